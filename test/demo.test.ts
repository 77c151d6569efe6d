import { spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Descriptors, descriptorCounter } from "./demo/descriptors";
import { Screen } from "./demo/screen";

interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

const command = [join(import.meta.dirname, "run-ts.mjs"), "--source", join(import.meta.dirname, "demo/demo.ts")];

function demo(...args: string[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...command, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let err = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      err += text;
    });
    child.on("error", reject).on("close", (code) => resolve({ code, out, err }));
  });
}

/** The row of the table whose first cell is this, as cells. */
function row(out: string, name: string): string[] {
  const line = out.split("\n").find((line) => line.split(/\s+/)[0] === name);
  return line?.trim().split(/\s{2,}/) ?? [];
}

describe("npm run demo", () => {
  const hasProc = existsSync("/proc/self/fd");
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "lastref-demo-"));
  });

  afterEach(() => {
    // A path that is too long for one call can be removed by a tool that walks.
    spawnSync("rm", ["-rf", directory]);
    rmSync(directory, { recursive: true, force: true });
  });

  it("counts files, lines and bytes, agrees with the operating system, and leaves no handle", async () => {
    mkdirSync(join(directory, "a/b"), { recursive: true });
    mkdirSync(join(directory, "empty"));
    mkdirSync(join(directory, "node_modules"));
    mkdirSync(join(directory, "a/.git"));
    writeFileSync(join(directory, "node_modules/left-out.txt"), "1\n2\n");
    writeFileSync(join(directory, "a/.git/left-out.txt"), "1\n2\n");
    writeFileSync(join(directory, "three.txt"), "1\n2\n3\n");
    writeFileSync(join(directory, "a/no-end.txt"), "1\n2");
    writeFileSync(join(directory, "a/nothing.txt"), "");
    writeFileSync(join(directory, "a/b/large.bin"), Buffer.alloc(1_000_000, "x\n"));
    symlinkSync("three.txt", join(directory, "link.txt"));
    for (let i = 0; i < 100; i++) writeFileSync(join(directory, `empty/${i}`), "line\n");

    const { code, out, err } = await demo(directory);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(row(out, "104")).toEqual(["104", String(3 + 2 + 500_000 + 100), String(6 + 3 + 1_000_000 + 500)]);
    const seen = (what: string): string[] => (hasProc ? [what, "0"] : []);
    expect(row(out, "file")).toEqual(["file", "104", "64", "104", "0", ...seen("64 at the peak")]);
    expect(row(out, "connection")).toEqual(["connection", "8", "8", "8", "0", ...seen("9 sockets at the peak")]);
    expect(row(out, "listener")).toEqual(["listener", "1", "1", "1", "0"]);
    expect(out).toContain("Left out: node_modules and .git (2 found; --all reads them too)");
    expect(out).toContain("Not followed: 1 symbolic link\n");
    expect(out).toContain("The server at the other end of 4 connections counted the same.");
    expect(out.trimEnd().split("\n").at(-1)).toBe("No live handle is left.");
  });

  it("prints each mistake's error as its author would see it", async () => {
    const { out } = await demo(directory);
    const told = out
      .slice(out.indexOf("Now three mistakes"))
      .replaceAll(/file ".*?"/g, "FILE")
      .replaceAll(/\(.*mistakes\.ts:\d+:\d+\)/g, "SITE");
    expect(told).toBe(`Now three mistakes, made on purpose:

A double close: file.decrRef(); file.decrRef();
  RefCountError: decrRefCount against refcount <= 0: cannot give back FILE: this handle owes nothing, it was freed
      at make SITE
  code: ERR_REFCOUNT, refCount: 0, owed: 0

A use after close: file.decrRef(); fstatSync(file.value);
  UseAfterFreeError: Cannot read FILE: it was freed
      at make SITE
  code: ERR_USE_AFTER_FREE, refCount: 0, owed: 0

A close under another holder: const reader = file.dup("reader"); file.decrRef(); file.decrRef();
  RefCountError: decrRefCount against refcount <= 0: cannot give back FILE: this handle owes nothing, 1 reference is held by another
      at make SITE
  code: ERR_REFCOUNT, refCount: 1, owed: 0

No live handle is left.
`);
  });

  it.runIf(hasProc)("compares with a counter that sees an open file and a closed one", () => {
    const count = descriptorCounter() as () => Descriptors;
    const fd = openSync(join(import.meta.dirname, "demo.test.ts"), "r");
    const open = count();
    closeSync(fd);
    expect([open, count()]).toEqual([
      { files: 1, sockets: 0 },
      { files: 0, sockets: 0 },
    ]);
  });

  it("reads what node_modules and .git hold when it is asked to", async () => {
    mkdirSync(join(directory, ".git"));
    writeFileSync(join(directory, ".git/HEAD"), "ref\n");
    const { code, out } = await demo("--all", directory);
    expect([code, row(out, "1")]).toEqual([0, ["1", "1", "4"]]);
    expect(out).not.toContain("Left out");
  });

  it("goes on past a file that cannot be opened, and names it", async () => {
    // A path longer than the system takes in one call: unreadable for every user, root included.
    const name = "n".repeat(250);
    const depth = Math.floor((4095 - directory.length) / (name.length + 1));
    const script = `for (let i = 0; i < ${depth}; i++) { fs.mkdirSync("${name}"); process.chdir("${name}"); }
      fs.writeFileSync("${name}", "");`;
    expect(spawnSync(process.execPath, ["-e", script], { cwd: directory }).status).toBe(0);
    writeFileSync(join(directory, "readable.txt"), "1\n");
    const { code, out } = await demo(directory);
    expect([code, row(out, "1")]).toEqual([0, ["1", "1", "2"]]);
    expect(out).toContain("Not readable: 1\n");
    expect(out).toContain("ENAMETOOLONG: name too long");
  });

  it("prints a name with control characters on one line, without them", async () => {
    const odd = join(directory, "a\nb\x1b[2J\u202e");
    mkdirSync(odd);
    const shown = `${directory}/a\\u{a}b\\u{1b}[2J\\u{202e}`;
    const [there, missing] = await Promise.all([demo(odd), demo(`${odd}.`)]);
    expect(there).toMatchObject({ code: 0, out: expect.stringContaining(`Read ${shown} in `) });
    expect(missing.err).toBe(`Cannot read directory "${shown}.": ENOENT: no such file or directory\n`);
  });

  it("says what is wrong with a directory that it cannot read, and exits with 1", async () => {
    const missing = join(directory, "missing");
    const file = join(directory, "file");
    writeFileSync(file, "");
    expect(await Promise.all([demo(missing), demo(file), demo(directory, file)])).toEqual([
      { code: 1, out: "", err: `Cannot read directory "${missing}": ENOENT: no such file or directory\n` },
      { code: 1, out: "", err: `Cannot read directory "${file}": ENOTDIR: not a directory\n` },
      { code: 1, out: "", err: expect.stringContaining("Usage: npm run demo") },
    ]);
  });

  it("says so when the process may not open as many files as it wants", async () => {
    for (let i = 0; i < 100; i++) writeFileSync(join(directory, `${i}.txt`), "line\n");
    const limited = ["-c", 'ulimit -n 60 && exec "$@"', "sh", process.execPath, ...command, directory];
    const { status, stderr } = spawnSync("sh", limited, { encoding: "utf8" });
    expect([status, stderr]).toEqual([1, expect.stringMatching(/^Cannot keep 64 files open: EMFILE: .*\n$/)]);
  });

  it("ends quietly when nobody reads its output any more", async () => {
    const child = spawn(process.execPath, [...command, directory], { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.destroy();
    let err = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      err += text;
    });
    const code = await new Promise((resolve) => child.on("close", resolve));
    expect({ code, err }).toEqual({ code: 0, err: "" });
  });
});

describe("Screen", () => {
  /** A stream that keeps what is written to it. */
  function stream(shape: { isTTY?: boolean; columns?: number }): { out: NodeJS.WriteStream; written: () => string } {
    let text = "";
    const sink = new Writable({
      write(chunk, _encoding, done) {
        text += chunk;
        done();
      },
    });
    return { out: Object.assign(sink, shape) as unknown as NodeJS.WriteStream, written: () => text };
  }

  afterEach(() => vi.restoreAllMocks());

  /** Shows progress at these times, in milliseconds, and then a line. */
  function show(times: readonly number[], shape: { isTTY?: boolean; columns?: number }): string {
    const clock = vi.spyOn(performance, "now").mockReturnValue(0);
    const { out, written } = stream(shape);
    const screen = new Screen(() => {}, out);
    for (const time of times) {
      clock.mockReturnValue(time);
      screen.progress(() => `${time} ms`);
    }
    screen.line("done");
    return written();
  }

  it("replaces one line on a terminal, within its width, and takes it away in the end", () => {
    expect(show([10, 100, 150, 200], { isTTY: true, columns: 6 })).toBe("\r\x1b[K100 m\r\x1b[K200 m\r\x1b[Kdone\n");
  });

  it("writes whole lines to a log, rarely", () => {
    expect(show([10, 2000, 2100, 4000], {})).toBe("2000 ms\n4000 ms\ndone\n");
  });

  it("tells of a reader that has gone, and throws on any other failure", () => {
    const gone = vi.fn();
    const { out } = stream({});
    new Screen(gone, out);
    out.emit("error", Object.assign(new Error("write EPIPE"), { code: "EPIPE" }));
    expect(gone).toHaveBeenCalledOnce();
    expect(() => out.emit("error", new Error("disk full"))).toThrow("disk full");
  });
});
