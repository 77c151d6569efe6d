import { describe, expect, it } from "vitest";
import { AutoMemory, defineResource, Handle } from "../../src/index";
import { leakReport, liveHandles, takeSnapshot, touch } from "../../src/leaks/index";
import { tracked, until } from "./support";

const open = (kind = "key", bytes = 0): Handle<number> => Handle.of(1, () => {}, { kind, bytes });

/** A function of that name, so that a site tells which call it was. */
function named<T>(name: string, call: () => T): () => T {
  return new Function("call", `return function ${name}() { return call(); }`)(call) as () => T;
}

describe("what the detector keeps", () => {
  it("is the newest thousand groups of finds; the report says how many are gone", async () => {
    const { report } = await tracked({}, () => {
      for (let i = 0; i < 1003; i++) {
        const handle = open(`kind ${i}`);
        handle.decrRef();
        for (let twice = 0; twice < 2; twice++) expect(() => handle.decrRef()).toThrow("refcount <= 0");
      }
      const { groups } = leakReport();
      const kinds = groups.map(({ kind }) => kind);
      expect([groups.length, kinds.includes("kind 2"), kinds.includes("kind 3"), groups[0]?.count]).toEqual([
        1000,
        false,
        true,
        2,
      ]);
    });
    expect(report).toContain("6 older finds are no longer kept");
  });

  it("is three examples of a group", async () => {
    await tracked({}, () => {
      const handle = open();
      handle.decrRef();
      for (let i = 0; i < 5; i++) expect(() => handle.decrRef()).toThrow("refcount <= 0");
      expect(leakReport().groups.map(({ count, examples }) => [count, examples.length])).toEqual([[5, 3]]);
    });
  });

  it("is every other touch in the middle, once there are more than eight", async () => {
    await tracked({}, () => {
      const handle = open();
      const seen = (): unknown[] =>
        liveHandles().flatMap((live) => [live.touches.map(({ hint }) => hint).join(), live.touchesDropped]);
      for (let i = 0; i < 8; i++) touch(handle, i);
      expect(seen()).toEqual(["0,1,2,3,4,5,6,7", 0]);
      touch(handle, 8);
      expect(seen()).toEqual(["0,1,3,5,7,8", 3]);
      handle.decrRef();
    });
  });

  it("is the first eight and the last eight of the steps of an account", async () => {
    await tracked({}, (leaks) => {
      const memory = new AutoMemory();
      const handle = memory.use(open());
      for (let i = 0; i < 20; i++) named(`step${i}`, () => handle.incrRef())();
      memory.dispose();
      const steps = leaks[0]?.unmatched.map((site) => Number(/step(\d+)/.exec(site)?.[1]));
      // The context paid for one, which takes the newest with it.
      expect(steps).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15, 16, 17, 18]);
      expect([leaks[0]?.unmatchedDropped, leaks[0]?.owed]).toEqual([4, 20]);
      for (let i = 0; i < 20; i++) handle.decrRef();
    });
  });

  it("is nothing of the values of an exclusive kind that were freed", async () => {
    const File = defineResource({ kind: "file", free: () => {}, exclusive: true });
    const { gc } = globalThis as unknown as { gc(): void };
    await tracked({}, async () => {
      const growth = async (from: number): Promise<number> => {
        gc();
        const before = process.memoryUsage().heapUsed;
        for (let i = from; i < from + 60_000; i++) File.wrap(i).decrRef();
        await new Promise((resolve) => setImmediate(resolve));
        gc();
        return process.memoryUsage().heapUsed - before;
      };
      await growth(0);
      expect(await growth(60_000)).toBeLessThan(1_500_000);
    });
  });
});

describe("a snapshot's diff", () => {
  it("has what grew most first: by count, then by bytes, then by name", async () => {
    await tracked({}, () => {
      const before = takeSnapshot();
      const sites: [string, number, number][] = [
        ["b", 1, 5],
        ["few", 1, 7],
        ["c", 1, 5],
        ["many", 3, 1],
        ["a", 1, 5],
      ];
      const handles = sites.flatMap(([kind, times, bytes]) => Array.from({ length: times }, () => open(kind, bytes)));
      const grown = takeSnapshot().diff(before);
      expect(grown.map(({ kind, count, bytes }) => [kind, count, bytes])).toEqual([
        ["many", 3, 3],
        ["few", 1, 7],
        ["a", 1, 5],
        ["b", 1, 5],
        ["c", 1, 5],
      ]);
      expect(before.diff(takeSnapshot()).map(({ kind }) => kind)).toEqual(["a", "b", "c", "few", "many"]);
      for (const handle of handles) handle.decrRef();
    });
  });

  it("refuses what is no snapshot", async () => {
    await tracked({}, () => {
      for (const wrong of [null, undefined, {}, 1]) {
        expect(() => takeSnapshot().diff(wrong as never)).toThrow("expected a snapshot made by takeSnapshot");
      }
    });
  });
});

describe("the hint of a leak", () => {
  it("says for every verdict what to do", async () => {
    const Key = defineResource({ kind: "key", free: () => {}, exclusive: true });
    await tracked({ heldTooLong: { slow: 1 } }, async (leaks) => {
      const hints = (): string[] => leaks.splice(0).map(({ verdict, hint }) => `${verdict}: ${hint}`);
      const slow = open("slow");
      await until(() => leaks.length > 0);
      expect(hints()).toEqual([
        'held-too-long: give the slow back sooner, or raise heldTooLong for "slow" if it is meant to live that long',
      ]);
      slow.decrRef();
      leaks.splice(0);
      // Whoever misused it has been told by the error; the report counts it.
      expect(() => slow.decrRef()).toThrow("refcount <= 0");
      expect(() => slow.value).toThrow("Cannot read");
      const misuses = leakReport().groups.map(({ verdict, examples }) => `${verdict}: ${examples[0]?.hint}`);
      expect(misuses.sort()).toEqual([
        expect.stringMatching(/^over-released: each decrRef\(\) pays for one reference/),
        expect.stringMatching(/^use-after-free: whoever uses it later takes an account/),
      ]);
      const owners = [Key.wrap(1), Key.wrap(1)];
      expect(hints()).toEqual([expect.stringMatching(/^two-owners: wrap a value once and share the handle/)]);
      for (const owner of owners) owner.decrRef();
      const memory = new AutoMemory();
      const escaping = memory.use(open()).incrRef();
      memory.dispose();
      expect(hints()).toEqual([expect.stringMatching(/^escaped: a context pays one reference per handle/)]);
      escaping.decrRef();
    });
  });
});
