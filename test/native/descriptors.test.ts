import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { AutoMemory } from "../../src/auto-memory";
import { RefCountError, UseAfterFreeError } from "../../src/errors";
import { defineAsyncResource, defineResource } from "../../src/resource";

const self = import.meta.filename;

function define() {
  return defineResource({
    kind: "descriptor",
    open: (path: string) => openSync(path, "r"),
    free: closeSync,
    label: (fd, path) => `${path} (fd ${fd})`,
  });
}

/** Whether the operating system still knows the descriptor. */
function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

describe("a raw file descriptor", () => {
  it("stays open for the last of its holders, and is closed by that one", () => {
    const Descriptor = define();
    const file = Descriptor.open(self);
    const fd = file.value;
    const holders = [file, file.dup("parser"), file.dup("cache")];
    const seen = holders.map((holder) => {
      const byte = Buffer.alloc(1);
      const read = readSync(holder.value, byte, 0, 1, 0);
      holder.decrRef();
      return [read, isOpen(fd)];
    });
    expect(seen).toEqual([
      [1, true],
      [1, true],
      [1, false],
    ]);
    expect(Descriptor.stats).toMatchObject({ live: 0, opened: 1, freed: 1 });
  });

  it("is not closed a second time when its number belongs to another file", () => {
    const Descriptor = define();
    const first = Descriptor.open(self);
    const number = first.value;
    first.decrRef();
    const second = Descriptor.open(self);
    expect(second.value).toBe(number); // the system gives the lowest free number
    expect(() => first.decrRef()).toThrow(RefCountError);
    expect(() => first.value).toThrow(UseAfterFreeError);
    expect(isOpen(number)).toBe(true);
    second.decrRef();
  });

  it("shows what the same mistake does without an account: another file's descriptor is closed", () => {
    const first = openSync(self, "r");
    closeSync(first);
    const second = openSync(self, "r");
    closeSync(first);
    expect(isOpen(second)).toBe(false);
  });

  it("is closed by its context, 200 at a time, and none is left", () => {
    const Descriptor = define();
    const fds = AutoMemory.run((memory) => {
      const opened = Array.from({ length: 200 }, () => memory.open(Descriptor, self));
      expect(Descriptor.stats.live).toBe(200);
      const numbers = opened.map(({ value }) => value);
      expect(numbers.every(isOpen)).toBe(true);
      for (const file of opened.filter((_, i) => i % 3 === 0)) file.decrRef();
      return numbers;
    });
    expect(fds.filter(isOpen)).toEqual([]);
    expect(Descriptor.stats).toMatchObject({ live: 0, opened: 200, freed: 200, peak: 200 });
  });

  it("counts nothing when the file cannot be opened", () => {
    const Descriptor = define();
    expect(() => Descriptor.open(`${self}/no-such-file`)).toThrow("ENOTDIR");
    expect(Descriptor.stats).toMatchObject({ live: 0, opened: 0, freed: 0 });
  });
});

describe("a FileHandle", () => {
  const FileResource = defineAsyncResource({
    kind: "file",
    open: (path: string) => open(path),
    free: (file: FileHandle) => file.close(),
    label: (_file, path) => `${path}`,
  });

  it("is closed when the last concurrent reader has given it back", async () => {
    const file = await FileResource.open(self);
    const { fd } = file.value;
    const size = (await file.value.stat()).size;
    const read = Array.from({ length: 8 }, async (_, i) => {
      const mine = file.dup(`reader ${i}`);
      const { bytesRead } = await mine.value.read(Buffer.alloc(16), 0, 16, Math.floor((size / 10) * i));
      return [bytesRead, await mine.decrRef()];
    });
    expect(await file.decrRef()).toBe(false);
    const results = await Promise.all(read);
    expect(results.map(([bytes]) => bytes)).toEqual(Array(8).fill(16));
    expect(results.filter(([, last]) => last === true)).toHaveLength(1);
    expect(isOpen(fd)).toBe(false);
    expect(FileResource.stats.live).toBe(0);
  });

  it("closed by a borrower's back outlives the borrow and no longer", async () => {
    const file = await FileResource.open(self);
    const { fd } = file.value;
    const text = file.borrow(async (value) => {
      await new Promise(setImmediate);
      return (await value.readFile("utf8")).slice(0, 6);
    });
    expect(await file.decrRef()).toBe(true);
    expect(isOpen(fd)).toBe(true);
    expect(await text).toBe("import");
    expect(isOpen(fd)).toBe(false);
  });
});
