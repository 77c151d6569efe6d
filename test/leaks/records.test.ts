import { describe, expect, it } from "vitest";
import {
  AsyncAutoMemory,
  AutoMemory,
  defineAsyncResource,
  defineResource,
  Handle,
  type LastrefError,
  UseAfterFreeError,
} from "../../src/index";
import { leakReport, liveHandles, settle, takeSnapshot, touch, trackLeaks } from "../../src/leaks/index";
import { lineHere, tracked } from "./support";

const open = (label = "a", kind = "key"): Handle<string> => Handle.of(label, () => {}, { kind, label });

function refusalOf(call: () => unknown): LastrefError {
  try {
    call();
  } catch (error) {
    return error as LastrefError;
  }
  throw new Error("The call was not refused");
}

describe("the errors at level full", () => {
  it("say where the account was opened, where it was closed first, and by whom", async () => {
    await tracked({}, () => {
      const first = open();
      const opened = lineHere() + 1;
      const handle = first.dup("reader");
      const closed = lineHere() + 1;
      handle.decrRef();
      handle[Symbol.dispose]();
      for (const error of [refusalOf(() => handle.decrRef()), refusalOf(() => handle.value)]) {
        expect(error.opened).toContain(`records.test.ts:${opened}`);
        expect(error.closed).toContain(`records.test.ts:${closed}`);
        expect(error.by).toBe("reader");
        expect(error.message).toContain(`given back first: test/leaks/records.test.ts:${closed}`);
      }
      expect(first.decrRef()).toBe(true);
    });
  });

  it("say of an account that was moved where it was opened", async () => {
    await tracked({}, () => {
      const handle = open();
      const opened = lineHere() - 1;
      const moved = handle.move();
      expect(refusalOf(() => handle.value).opened).toContain(`records.test.ts:${opened}`);
      moved.decrRef();
      expect(refusalOf(() => handle.decrRef()).closed).toContain("records.test.ts");
    });
  });

  it("name the end of a context as the closer", async () => {
    await tracked({}, () => {
      const memory = new AutoMemory();
      const handle = memory.use(open());
      memory.dispose();
      expect(refusalOf(() => handle.decrRef()).by).toBe("the end of its context");
    });
  });

  it.each([8, 1])(
    "name the program's own line however the account was opened and closed, at a depth of %i",
    async (stackDepth) => {
      const Link = defineAsyncResource({ kind: "link", open: (name: string) => name, free: () => {} });
      const Key = defineResource({ kind: "key", open: (name: string) => name, free: () => {} });
      type Closed = { decrRef(): unknown };
      const closings: Record<string, () => Promise<Closed> | Closed> = {
        "await using": async () => {
          const link = Link.wrap("a");
          await link[Symbol.asyncDispose]();
          return link;
        },
        "an asynchronous decrRef": async () => {
          const link = await Link.open("a");
          await link.decrRef();
          return link;
        },
        "AutoMemory.run": () => AutoMemory.run((memory) => memory.open(Key, "a")),
        "AutoMemory.run of a body that throws": () => {
          let key: Handle<string> | undefined;
          expect(() =>
            AutoMemory.run((memory) => {
              key = memory.open(Key, "a");
              throw new Error("the body");
            }),
          ).toThrow("the body");
          return key as Handle<string>;
        },
        "AutoMemory.run of an asynchronous body": () => AutoMemory.run(async (memory) => memory.open(Key, "a")),
        "AsyncAutoMemory.run": () => AsyncAutoMemory.run(async (memory) => memory.use(Link.wrap("a"))),
        "an asynchronous freeAll": async () => {
          await using memory = new AsyncAutoMemory();
          const link = memory.use(Link.wrap("a"));
          await memory.freeAll();
          return link;
        },
        hold: () => AutoMemory.run((memory) => memory.hold(memory.open(Key, "a"))),
      };
      await tracked({ stackDepth }, async () => {
        for (const [name, closing] of Object.entries(closings)) {
          const closed = await closing();
          const { opened, closed: site } = refusalOf(() => closed.decrRef());
          for (const text of [opened, site]) {
            expect(text, name).toContain("records.test.ts");
            expect(text, name).not.toMatch(/src\/|dist\//);
          }
        }
      });
    },
  );

  it("say no sites while nothing is tracked", () => {
    const handle = open();
    handle.decrRef();
    const error = refusalOf(() => handle.value);
    expect(error).toBeInstanceOf(UseAfterFreeError);
    expect([error.opened, error.closed, error.by]).toEqual([undefined, undefined, undefined]);
  });

  it("of a loan say where the account that lent it was opened, and are in the report", async () => {
    const { report } = await tracked({}, () => {
      const handle = open();
      const opened = lineHere() - 1;
      const lent = handle.borrow((_, loan) => {
        expect(refusalOf(() => (loan as unknown as Handle<string>).decrRef()).code).toBe("ERR_LOAN");
        return loan;
      });
      handle.decrRef();
      const error = refusalOf(() => lent.value);
      expect(error.opened).toContain(`records.test.ts:${opened}`);
      expect(error.message).toContain("given back first: ");
    });
    expect(report).toContain(`over-released  key "a"`);
    expect(report).toContain(`use-after-free  key "a"`);
  });

  it("say so when the site is no longer kept", async () => {
    await tracked({ quarantine: 2 }, () => {
      const handles = ["a", "b", "c"].map((label) => open(label));
      for (const handle of handles) handle.decrRef();
      const closed = handles.map((handle) => refusalOf(() => handle.decrRef()).closed);
      expect(closed[0]).toContain("no longer kept");
      expect(closed.slice(1)).toEqual([
        expect.stringContaining("records.test.ts"),
        expect.stringContaining("records.test.ts"),
      ]);
    });
  });

  it("are forgotten at once without a quarantine", async () => {
    await tracked({ quarantine: 0 }, () => {
      const handle = open();
      handle.decrRef();
      expect(refusalOf(() => handle.decrRef()).closed).toContain("no longer kept");
    });
  });

  it("are listed in the report by what was called where, and are no leaks that onLeak hears of", async () => {
    const { leaks, report } = await tracked({}, async () => {
      const handle = open();
      handle.decrRef();
      for (let i = 0; i < 3; i++) refusalOf(() => handle.decrRef());
      refusalOf(() => handle.value);
      await settle();
    });
    expect(leaks).toEqual([]);
    expect(report).toContain("over-released  key  3 from one site");
    expect(report).toContain(`use-after-free  key "a"`);
  });
});

describe("liveHandles()", () => {
  it("knows the resource still when its first account was closed long ago", async () => {
    await tracked({ quarantine: 2 }, () => {
      const first = Handle.of("x", () => {}, { kind: "key", bytes: 7 });
      const kept = first.dup();
      first.decrRef();
      for (let i = 0; i < 3; i++) open().decrRef();
      expect(refusalOf(() => first.decrRef()).closed).toContain("no longer kept");
      expect(liveHandles()).toMatchObject([{ refCount: 1, taken: 2, bytes: 7 }]);
      kept.decrRef();
    });
  });

  it("lists the open accounts in the order they were opened", async () => {
    await tracked({}, () => {
      const first = open("a");
      first.incrRef();
      const second = first.dup("cache");
      const third = Handle.of(1, () => {}, { kind: "row", bytes: 100 });
      expect(
        liveHandles().map(({ kind, label, holder, owed, refCount, taken, bytes }) => [
          kind,
          label,
          holder,
          owed,
          refCount,
          taken,
          bytes,
        ]),
      ).toEqual([
        ["key", "a", "", 2, 3, 3, 0],
        ["key", "a", "cache", 1, 3, 3, 0],
        ["row", "", "", 1, 1, 1, 100],
      ]);
      first.decrRef();
      first.decrRef();
      expect(liveHandles().map(({ holder, refCount, taken }) => [holder, refCount, taken])).toEqual([
        ["cache", 1, 3],
        ["", 1, 1],
      ]);
      second.decrRef();
      third.decrRef();
      expect(liveHandles()).toEqual([]);
    });
  });

  it("leaves out immortal resources and loans", async () => {
    await tracked({}, () => {
      Handle.immortal("pi").dup();
      const handle = open();
      handle.borrow(() => expect(liveHandles()).toHaveLength(1));
      handle.decrRef();
    });
  });

  it("has every account of a resource that is freed by a context, by revoke or by an early close", async () => {
    const Key = defineResource({ kind: "key", free: () => {} });
    await tracked({}, () => {
      const memory = new AutoMemory();
      memory.open(Key, "a").decrRef();
      memory.hold(memory.open(Key, "b"));
      const revoked = Key.open("c");
      Key.revoke(revoked);
      expect(liveHandles()).toHaveLength(3);
      revoked.decrRef();
      memory.dispose();
      expect(liveHandles()).toEqual([]);
    });
  });
});

describe("touch()", () => {
  it("keeps the first and the last, thins the middle and counts what it drops", async () => {
    await tracked({}, () => {
      const handle = open();
      for (let i = 0; i < 100; i++) touch(handle, i);
      const [{ touches = [], touchesDropped = 0 } = {}] = liveHandles();
      expect(touches[0]?.hint).toBe("0");
      expect(touches.at(-1)?.hint).toBe("99");
      expect(touches[0]?.site).toContain("records.test.ts");
      expect(touches.length).toBeLessThan(10);
      expect(touches.length + touchesDropped).toBe(100);
      expect(String(leakReport())).toMatch(/last touch +99 at test\/leaks\/records\.test\.ts/);
      handle.decrRef();
    });
  });

  it("makes the hint a string at once, and contains one that cannot be made one", async () => {
    await tracked({}, () => {
      const handle = open();
      const hint = { toString: (): string => "then" };
      touch(handle, hint);
      hint.toString = () => "now";
      const failing = {
        toString: (): string => {
          throw new Error("broken");
        },
      };
      touch(handle, failing);
      expect(liveHandles()[0]?.touches.map((seen) => seen.hint)).toEqual(["then", "(no hint: broken)"]);
      handle.decrRef();
    });
  });

  it("does nothing on an account without a record", () => {
    const handle = open();
    touch(handle, "here");
    expect(handle.decrRef()).toBe(true);
  });
});

describe("trackLeaks()", () => {
  it("restores what was before, whichever of two ends first", () => {
    const outer = trackLeaks({ level: "sampled" });
    const inner = trackLeaks({ level: "full" });
    expect(leakReport().level).toBe("full");
    outer[Symbol.dispose]();
    expect(leakReport().level).toBe("full");
    inner[Symbol.dispose]();
    inner[Symbol.dispose]();
    expect(leakReport().level).toBe("count");
  });

  it("keeps the record that an account was born with", async () => {
    const outer = trackLeaks({ level: "full" });
    const early = open("early");
    const inner = trackLeaks({ level: "count" });
    const unrecorded = open("unrecorded");
    expect(liveHandles().map(({ label }) => label)).toContain("early");
    inner[Symbol.dispose]();
    expect(liveHandles().map(({ label }) => label)).toEqual(["early"]);
    early.decrRef();
    unrecorded.decrRef();
    outer[Symbol.dispose]();
  });

  it("counts what was opened before tracking began", async () => {
    const Key = defineResource({ kind: "key", free: () => {} });
    const before = Key.open("a");
    const { report } = await tracked({}, () => {
      const other = before.dup("late");
      expect(liveHandles().map(({ refCount, taken }) => [refCount, taken])).toEqual([[2, 2]]);
      other.decrRef();
    });
    before.decrRef();
    expect(report).toMatch(/\d+ resources? had been opened before tracking began/);
  });

  it("refuses what it does not know", () => {
    expect(() => trackLeaks({ level: "all" as never })).toThrow(`expected level "count", "sampled" or "full"`);
    expect(() => trackLeaks({ onLeak: 1 as never })).toThrow(TypeError);
    expect(() => trackLeaks({ budget: 2 })).toThrow(RangeError);
    expect(() => trackLeaks({ stackDepth: 0 })).toThrow(RangeError);
    for (const quarantine of [-1, 1.5]) expect(() => trackLeaks({ quarantine })).toThrow(RangeError);
    for (const heldTooLong of [-1, Number.NaN, "1000" as never, { key: -1 }]) {
      expect(() => trackLeaks({ heldTooLong })).toThrow(RangeError);
    }
    expect(() => trackLeaks({ heldTooLong: null as never })).toThrow(TypeError);
    for (const list of ["key", [1], null] as never[]) {
      expect(() => trackLeaks({ freeLeaked: list })).toThrow(TypeError);
      expect(() => trackLeaks({ suppress: list })).toThrow(TypeError);
    }
    expect(() => trackLeaks({ stackDepth: 2.5 })).toThrow("stackDepth to be a whole number between 1 and 200");
    expect(() => trackLeaks({ suppress: [""] })).toThrow("a list of non-empty strings and expressions");
    expect(() => trackLeaks("sampled" as never)).toThrow("expected an object of options");
    expect(leakReport().level).toBe("count");
  });
});

describe("takeSnapshot()", () => {
  it("says what grew per kind and site, and what shrank", async () => {
    await tracked({}, () => {
      const old = open("old", "row");
      const before = takeSnapshot();
      const grown = Array.from({ length: 3 }, () => Handle.of(1, () => {}, { kind: "key", bytes: 10 }));
      old.decrRef();
      const after = takeSnapshot();
      expect((after.total ?? 0) - (before.total ?? 0)).toBe(2);
      expect(after.diff(before).map(({ kind, count, bytes }) => [kind, count, bytes])).toEqual([
        ["key", 3, 30],
        ["row", -1, 0],
      ]);
      expect(after.diff(after)).toEqual([]);
      for (const handle of grown) handle.decrRef();
      expect(
        takeSnapshot()
          .diff(after)
          .map(({ count }) => count),
      ).toEqual([-3]);
      expect(() => after.diff({} as never)).toThrow(TypeError);
    });
  });
});

describe("very many handles", () => {
  it("opened and freed at level full leave nothing behind", async () => {
    const Key = defineResource({ kind: "key", free: () => {} });
    const cycle = (): void => {
      const handle = Key.open("a");
      const other = handle.dup("other");
      handle.decrRef();
      other.decrRef();
    };
    const used = (): number => {
      gc?.();
      return process.memoryUsage().heapUsed;
    };
    const turns = async (count: number): Promise<void> => {
      for (let turn = 0; turn < count; turn++) {
        for (let i = 0; i < 5000; i++) cycle();
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    await tracked({}, async () => {
      await turns(3);
      await settle();
      const before = used();
      await turns(20);
      await settle();
      expect(used() - before).toBeLessThan(2_000_000);
      expect(liveHandles()).toEqual([]);
    });
  });

  it("from thousands of generated sites fill no table", async () => {
    let sites = 0;
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
    /** Bytes that 12,000 sites more leave behind: the engine keeps something of each when code coverage is measured. */
    const growth = async (): Promise<number> => {
      const used = (): number => {
        gc?.();
        return process.memoryUsage().heapUsed;
      };
      const before = used();
      for (const end = sites + 12_000; sites < end; ) {
        const handles: Handle<unknown>[] = [];
        for (const full = sites + 1000; sites < full; sites++) {
          const site = new Function("open", `return function site${sites}() { return open(); }`)(open) as typeof open;
          handles.push(site());
        }
        // Only the sites of those that live until the next turn are read.
        await turn();
        await turn();
        for (const handle of handles) handle.decrRef();
      }
      await turn();
      return used() - before;
    };
    const untracked = await growth();
    await tracked({}, async () => {
      await growth();
      expect((await growth()) - untracked).toBeLessThan(4_000_000);
    });
  });
});
