import { describe, expect, it } from "vitest";
import { defineResource, Handle, RevokedError } from "../../src/index";
import { detector } from "../../src/leaks/detector";
import { leakReport, liveHandles } from "../../src/leaks/index";
import { lineHere, tracked, until } from "./support";

describe("the references that nothing has paid for", () => {
  const places = (handle: Handle<string>): string[] => {
    const [example] = leakReport().groups.flatMap(({ examples }) => examples);
    expect([example?.owed, example?.unmatched.length]).toEqual([handle.owed, handle.owed - 1]);
    return example?.unmatched.map((site) => /^(\w+) /.exec(site)?.[1] ?? "") ?? [];
  };

  it("are those that are owed, however many were taken and paid before and after", async () => {
    await tracked({}, () => {
      const handle = Handle.of("a", () => {}, { kind: "key" });
      const paid = (): void => void handle.incrRef();
      const owing = (): void => void handle.incrRef();
      for (let i = 0; i < 8; i++) paid();
      for (let i = 0; i < 8; i++) handle.decrRef();
      for (let i = 0; i < 4; i++) {
        paid();
        handle.decrRef();
      }
      expect(places(handle)).toEqual([]);
      for (let i = 0; i < 3; i++) owing();
      for (let i = 0; i < 20; i++) paid();
      for (let i = 0; i < 20; i++) handle.decrRef();
      expect(places(handle)).toEqual(["owing", "owing", "owing"]);
      while (handle.owed > 0) handle.decrRef();
    });
  });
});

describe("references taken while nothing is tracked", () => {
  it("take no place from those that were taken before", async () => {
    const handle = await tracked({}, () => {
      const opened = Handle.of("a", () => {}, { kind: "key" });
      (function forgets() {
        opened.incrRef();
      })();
      return opened;
    });
    handle.result.incrRef();
    handle.result.decrRef();
    await tracked({ heldTooLong: 0 }, async (leaks) => {
      await until(() => leaks.length > 0);
      expect([leaks[0]?.owed, leaks[0]?.unmatched.map((site) => site.split(" ")[0])]).toEqual([2, ["forgets"]]);
      for (let i = 0; i < 2; i++) handle.result.decrRef();
    });
  });
});

describe("records of what is strange", () => {
  it("take any kind, any holder and any label", async () => {
    await tracked({}, () => {
      const handle = Handle.of("a", () => {}, { kind: "constructor", label: "ann@example.com" });
      const broken = {
        toString(): string {
          throw new Error("no name");
        },
      };
      const dup = handle.dup(broken as unknown as string);
      expect([handle.refCount, liveHandles().map(({ refCount, holder }) => [refCount, holder])]).toEqual([
        2,
        [
          [2, ""],
          [2, "(no holder: no name)"],
        ],
      ]);
      expect(String(leakReport())).toContain('held  constructor "ann@example.com"');
      for (const one of [handle, dup]) one.decrRef();
      for (let i = 0; i < 3; i++) expect(() => handle.decrRef()).toThrow(/^decrRefCount against refcount <= 0/);
      const [group, ...more] = leakReport().groups;
      expect([group?.count, group?.site.split("\n")[0], more]).toEqual([
        3,
        expect.stringContaining("strange.test.ts"),
        [],
      ]);
    });
  });

  it("group misuse by where it was, whatever the labels are", async () => {
    await tracked({}, () => {
      for (let i = 0; i < 50; i++) {
        const handle = Handle.of(i, () => {}, {
          kind: "user",
          label: `${i}@example.com\n    at evil (/etc/passwd:1:1)`,
        });
        handle.decrRef();
        expect(() => handle.value).toThrow();
      }
      expect(leakReport().groups.map(({ count, site }) => [count, site.includes("passwd")])).toEqual([[50, false]]);
    });
  });

  it("say how many other accounts there are, beyond those that are listed", async () => {
    await tracked({}, () => {
      const handle = Handle.of("a", () => {}, { kind: "key" });
      const dups = Array.from({ length: 20 }, (_, i) => handle.dup(`holder ${i}`));
      dups[3]?.incrRef();
      const text = String(leakReport().groups.find(({ count }) => count === 1)?.examples[0]);
      expect(text.match(/also held by/g)).toHaveLength(5);
      expect(text).toContain("and others, which owe 15");
      for (const dup of dups) dup.decrRef();
      dups[3]?.decrRef();
      const [alone] = leakReport().groups[0]?.examples ?? [];
      expect([alone?.handles, alone?.refCount]).toEqual([[], 1]);
      handle.decrRef();
    });
  });

  it("say where a handle was moved, and where a resource was revoked", async () => {
    const Key = defineResource({ kind: "key", open: (name: string) => name, free: () => {}, label: String });
    await tracked({}, () => {
      const old = Key.open("a");
      const here = lineHere() + 1;
      const moved = old.move();
      expect(() => old.value).toThrow(
        new RegExp(`\\n  opened: .*[\\s\\S]*\\n  last moved: .*strange\\.test\\.ts:${here}:`),
      );
      const there = lineHere() + 1;
      Key.revoke(moved);
      expect(() => moved.value).toThrow(
        new RegExp(`\\n  opened: .*[\\s\\S]*\\n  revoked: .*strange\\.test\\.ts:${there}:`),
      );
      const misuses = leakReport().groups.filter(({ verdict }) => verdict === "use-after-free");
      expect(misuses.map(({ examples: [leak] }) => leak?.hint)).toEqual([
        "use the handle that move() returned; the old one is spent",
        "its opener has closed it for everybody: open it anew, or ask handle.alive before",
      ]);
      moved.decrRef();
      expect(() => moved.value).toThrow(RevokedError);
    });
  });

  it("name the frames of nameless asynchronous functions, and none of the runtime's", async () => {
    await tracked({}, async () => {
      const open = async (): Promise<Handle<number>> => {
        await null;
        return Handle.of(1, () => {}, { kind: "key" });
      };
      const handles = await Promise.all([(async () => await open())()]);
      const frames = liveHandles()[0]?.opened.split("\n") ?? [];
      expect(frames.length).toBeGreaterThan(1);
      expect(frames.filter((frame) => /async|index|file:|node:/.test(frame))).toEqual([]);
      for (const handle of handles) handle.decrRef();
    });
  });
});

describe("exclusive kinds", () => {
  it("forget the owner of a value that was freed, also without a quarantine", async () => {
    const File = defineResource({ kind: "file without quarantine", free: () => {}, exclusive: true });
    for (const quarantine of [0, 2]) {
      await tracked({ quarantine }, (leaks) => {
        for (let i = 0; i < 100; i++) File.wrap(`path ${i}`).decrRef();
        expect(detector().families.of("file without quarantine").primitiveOwners.size).toBe(0);
        const [first, second] = [File.wrap("same"), File.wrap("same")];
        expect(leaks.map(({ verdict }) => verdict)).toEqual(["two-owners"]);
        for (const handle of [first, second]) handle.decrRef();
      });
    }
  });

  it("know their owners however many kinds come and go", async () => {
    const File = defineResource({ kind: "file", free: () => {}, exclusive: true });
    await tracked({}, (leaks) => {
      const first = File.wrap(7);
      for (let i = 0; i < 10_001; i++) Handle.of(i, () => {}, { kind: `kind ${i}` }).decrRef();
      const second = File.wrap(7);
      expect(leaks.map(({ verdict }) => verdict)).toEqual(["two-owners"]);
      for (const handle of [first, second]) handle.decrRef();
    });
  });
});
