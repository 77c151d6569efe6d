import { describe, expect, it, vi } from "vitest";
import { AutoMemory, defineResource, Handle } from "../../src/index";
import { leakReport, liveHandles } from "../../src/leaks/index";
import { lineHere, tracked, until } from "./support";

const open = (label = "a", kind = "key"): Handle<string> => Handle.of(label, () => {}, { kind, label });

describe("held-too-long", () => {
  it("is reported once per account, and again when the handle is given back after all", async () => {
    await tracked({ heldTooLong: 30 }, async (leaks) => {
      const line = lineHere() + 1;
      const handle = open();
      await until(() => leaks.length > 0);
      await new Promise((resolve) => setTimeout(resolve, 60));
      expect(leaks.map(({ verdict, givenBack }) => [verdict, givenBack])).toEqual([["held-too-long", false]]);
      expect(leaks[0]?.opened).toContain(`verdicts.test.ts:${line}`);
      expect(leaks[0]?.age).toBeGreaterThanOrEqual(30);
      expect(leakReport().groups.map(({ verdict, count }) => [verdict, count])).toEqual([["held-too-long", 1]]);
      handle.decrRef();
      expect(leakReport().total).toBe(0);
      expect(leaks.map(({ verdict, givenBack }) => [verdict, givenBack])).toEqual([
        ["held-too-long", false],
        ["held-too-long", true],
      ]);
      expect(String(leaks[1])).toContain("given back after all");
    });
  });

  it("is not said of what is given back in time", async () => {
    await tracked({ heldTooLong: 60_000 }, async (leaks) => {
      const handle = open();
      await new Promise((resolve) => setTimeout(resolve, 50));
      handle.decrRef();
      expect(leaks).toEqual([]);
    });
  });

  it("goes by kind", async () => {
    await tracked({ heldTooLong: { key: 20 } }, async (leaks) => {
      const handles = [open("a", "row"), open("c", "constructor"), open("b", "key")];
      await until(() => leaks.length > 0);
      expect(leaks.map(({ kind }) => kind)).toEqual(["key"]);
      for (const handle of handles) handle.decrRef();
    });
  });

  it("takes no notice of fake timers", async () => {
    await tracked({ heldTooLong: 20 }, async (leaks) => {
      vi.useFakeTimers();
      try {
        const handle = open();
        vi.advanceTimersByTime(3_600_000);
        expect(leaks).toEqual([]);
        vi.useRealTimers();
        await until(() => leaks.length > 0);
        handle.decrRef();
      } finally {
        vi.useRealTimers();
      }
    });
  });
});

describe("two-owners", () => {
  const File = defineResource({ kind: "file", free: () => {}, exclusive: true });
  const Shared = defineResource({ kind: "shared", free: () => {} });
  const Objects = defineResource({ kind: "object", free: (_: object) => {}, exclusive: true });

  it("is reported at the second wrap of a value, with the first one's site", async () => {
    await tracked({}, (leaks) => {
      const line = lineHere() + 1;
      const first = File.wrap(7);
      const second = File.wrap(7);
      expect(leaks.map(({ verdict, kind }) => [verdict, kind])).toEqual([["two-owners", "file"]]);
      expect(leaks[0]?.first).toContain(`verdicts.test.ts:${line}`);
      expect(leaks[0]?.opened).toContain(`verdicts.test.ts:${line + 1}`);
      first.decrRef();
      second.decrRef();
    });
  });

  it("is reported as long as a dup of the first owner is left", async () => {
    await tracked({ quarantine: 1 }, (leaks) => {
      const first = File.wrap(9);
      const kept = first.dup();
      first.decrRef();
      for (let i = 0; i < 3; i++) open().decrRef();
      const second = File.wrap(9);
      expect(leaks.map(({ verdict }) => verdict)).toEqual(["two-owners"]);
      kept.decrRef();
      second.decrRef();
    });
  });

  it.each([
    ["a number", 10],
    ["an object", {}],
  ])("is reported when any of the earlier owners is left, of %s", async (_, value) => {
    const Any = defineResource({ kind: "any", free: (_: unknown) => {}, exclusive: true });
    await tracked({}, (leaks) => {
      for (const left of [0, 1]) {
        const owners = [Any.wrap(value), Any.wrap(value)];
        owners[1 - left]?.decrRef();
        const third = Any.wrap(value);
        expect(leaks.splice(0).map(({ verdict }) => verdict)).toEqual(["two-owners", "two-owners"]);
        owners[left]?.decrRef();
        third.decrRef();
        Any.wrap(value).decrRef();
        expect(leaks).toEqual([]);
      }
    });
  });

  it("tells objects apart by identity", async () => {
    await tracked({}, (leaks) => {
      const Socket = defineResource({ kind: "socket", free: () => {}, exclusive: true });
      const value = {};
      const handles = [Socket.wrap(value), Socket.wrap({}), Socket.wrap(value)];
      expect(leaks.map(({ verdict }) => verdict)).toEqual(["two-owners"]);
      for (const handle of handles) handle.decrRef();
    });
  });

  it("is not said of a value whose first owner has ended or was revoked, of a dup, or of other kinds", async () => {
    await tracked({}, (leaks) => {
      const first = File.wrap(8);
      first.dup().decrRef();
      first.decrRef();
      File.wrap(8).decrRef();
      const value = {};
      const revoked = Objects.wrap(value);
      Objects.revoke(revoked);
      Objects.wrap(value).decrRef();
      expect(liveHandles().map(({ refCount }) => refCount)).toEqual([1]);
      revoked.decrRef();
      const others = [Shared.wrap(8), Shared.wrap(8)];
      for (const handle of others) handle.decrRef();
      expect(leaks).toEqual([]);
    });
  });
});

describe("escaped", () => {
  it("is noticed when a handle still owes after its context has paid", async () => {
    await tracked({}, (leaks) => {
      const memory = new AutoMemory();
      const handle = memory.use(open());
      handle.incrRef();
      memory.dispose();
      expect(leaks.map(({ verdict, owed }) => [verdict, owed])).toEqual([["escaped", 1]]);
      expect(leakReport().groups.map(({ verdict, count }) => [verdict, count])).toEqual([["escaped", 1]]);
      handle.decrRef();
      expect(leakReport().total).toBe(0);
    });
  });

  it("is not said of what was paid for, or kept", async () => {
    await tracked({}, (leaks) => {
      const memory = new AutoMemory();
      memory.use(open());
      const kept = memory.keep(memory.use(open()));
      memory.dispose();
      kept.decrRef();
      expect(leaks).toEqual([]);
    });
  });
});
