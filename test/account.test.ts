import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Counted, count, isThenable, Kind, MAX_REFS, named, State, warn } from "../src/account";
import { AsyncFreeError, LastrefError, RefOverflowError } from "../src/errors";
import { Handle, type HandleImpl, openAccount, openHandle } from "../src/handle";
import { defineAsyncResource } from "../src/resource";
import { realm } from "../src/tracker";
import { RecordingTracker } from "./support/recording-tracker";
import { thenable } from "./support/thenable";

afterEach(() => vi.restoreAllMocks());

function counted(free: (value: string) => unknown = () => {}, owed = 1, label = "a", bytes = 3): Counted<string> {
  const kind = new Kind<string>("key", free);
  kind.opened++;
  kind.bytes += bytes;
  return new Counted<string>(kind, "value", label, bytes, owed, State.Open);
}

describe("Counted", () => {
  it("frees at the last reference, once, with the state changed first", () => {
    const seen: unknown[] = [];
    const resource: Counted<string> = counted((value) => {
      seen.push([value, resource.state, resource.count, resource.value, resource.kind.freed, resource.kind.bytes]);
    }, 2);
    expect(resource.decrement()).toBe(false);
    expect(seen).toEqual([]);
    expect(resource.decrement()).toBe(true);
    expect(seen).toEqual([["value", State.Freed, 0, undefined, 1, 0]]);
  });

  it("waits for the last borrow", () => {
    const free = vi.fn();
    const resource = counted(free);
    resource.borrows = 2;
    expect(resource.decrement()).toBe(true);
    expect([resource.state, resource.usable, free.mock.calls.length]).toEqual([State.Draining, false, 0]);
    resource.endBorrow();
    expect(free).not.toHaveBeenCalled();
    resource.endBorrow();
    expect([resource.state, free.mock.calls.length]).toEqual([State.Freed, 1]);
  });

  it("is left alone by the end of a borrow while it is open", () => {
    const free = vi.fn();
    const resource = counted(free);
    resource.borrows = 1;
    resource.endBorrow();
    expect([resource.state, resource.usable, free.mock.calls.length]).toEqual([State.Open, true, 0]);
  });

  it("is revoked once, and its accounts are closed without another free", () => {
    const free = vi.fn();
    const resource = counted(free, 2);
    resource.revoke();
    resource.revoke();
    expect([resource.state, resource.count, free.mock.calls.length]).toEqual([State.Freed | State.Revoked, 2, 1]);
    expect([resource.decrement(), resource.decrement(), resource.count]).toEqual([false, false, 0]);
    expect(free).toHaveBeenCalledTimes(1);
  });

  it("stays freed when it is revoked afterwards", () => {
    const resource = counted();
    resource.decrement();
    resource.revoke();
    expect(resource.state).toBe(State.Freed);
  });

  it("can be revoked while it drains", () => {
    const free = vi.fn();
    const resource = counted(free);
    resource.borrows = 1;
    resource.decrement();
    resource.revoke();
    expect(resource.state).toBe(State.Draining | State.Revoked);
    resource.endBorrow();
    expect([resource.state, free.mock.calls.length]).toEqual([State.Freed | State.Revoked, 1]);
  });

  it("settles what a dead account owed, and frees only when nothing else is owed", () => {
    const tracker = new RecordingTracker();
    const free = vi.fn();
    const handle = tracker.during(() => Handle.of("v", free, { label: "a" }));
    handle.incrRef();
    const other = handle.dup();
    tracker.facts[0]?.settle(2);
    expect([other.refCount, free.mock.calls.length]).toEqual([1, 0]);
    tracker.facts[0]?.settle(1);
    expect([other.refCount, other.alive, free.mock.calls.length]).toEqual([0, false, 1]);
  });
});

describe("MAX_REFS", () => {
  const full = () => {
    const resource = counted(undefined, MAX_REFS - 1);
    return { resource, handle: openAccount(resource) };
  };

  it("is 2 ** 31 - 1, and reachable", () => {
    expect(MAX_REFS).toBe(2 ** 31 - 1);
    expect(full().handle.refCount).toBe(MAX_REFS);
  });

  it.each(["incrRef", "dup", "upgrade", "loan"] as const)("is not exceeded by %s, and nothing changes", (way) => {
    const { resource, handle } = full();
    const attempt = (): unknown => {
      if (way === "incrRef") return handle.incrRef();
      if (way === "dup") return handle.dup();
      if (way === "upgrade") return handle.weak().upgrade();
      return handle.borrow((_, loan) => loan.dup());
    };
    expect(attempt).toThrow(RefOverflowError);
    expect(attempt).toThrow(
      'Cannot take another reference on key "a": it has 2147483647, and no resource can have more',
    );
    expect([resource.count, resource.state, handle.owed, resource.borrows]).toEqual([MAX_REFS, State.Open, 1, 0]);
    expect(handle.decrRef()).toBe(false);
    expect(resource.count).toBe(MAX_REFS - 1);
  });

  it("is not exceeded by a handle that is alone on a plain resource, counted one by one", () => {
    // The built files, in a process of their own: two thousand million calls take seconds there.
    const program = `
      import { defineResource, MAX_REFS } from ${JSON.stringify(pathToFileURL(join(import.meta.dirname, "..", "dist", "index.js")))};
      const handle = defineResource({ kind: "key", free: () => {} }).open("v");
      for (let owed = 1; owed < MAX_REFS; owed++) handle.incrRef();
      const attempt = (call) => { try { return call(); } catch (error) { return error.code; } };
      const said = [attempt(() => handle.incrRef()), attempt(() => handle.dup()), handle.owed, handle.decrRef(), handle.refCount];
      console.log(JSON.stringify(said));
    `;
    const said = execFileSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" });
    expect(JSON.parse(said)).toEqual(["ERR_REF_OVERFLOW", "ERR_REF_OVERFLOW", MAX_REFS, false, MAX_REFS - 1]);
  }, 120_000);

  it.each(["incrRef", "dup"] as const)("is named in the error of %s with what resource and account owe", (way) => {
    const { handle } = full();
    let error: unknown;
    try {
      handle[way]();
    } catch (caught) {
      error = caught;
    }
    expect(error).toMatchObject({ code: "ERR_REF_OVERFLOW", kind: "key", label: "a", refCount: MAX_REFS, owed: 1 });
  });
});

describe("Kind", () => {
  it("counts what is open, was opened, was freed, and the most at once", () => {
    const kind = new Kind<number>("n", () => {});
    const handles = [1, 2, 3].map((n) => openHandle<number>(kind, n, "", 10));
    handles[0]?.decrRef();
    handles.push(openHandle<number>(kind, 4, "x", 5));
    expect(kind).toMatchObject({ opened: 4, freed: 1, peak: 3, bytes: 25 });
  });

  it("calls the free function unbound, with the value alone", () => {
    const calls: unknown[][] = [];
    function free(this: unknown, ...args: unknown[]): void {
      calls.push([this, ...args]);
    }
    Handle.of("plain", free).decrRef();
    Handle.of("labelled", free, { label: "l" }).decrRef();
    expect(calls).toEqual([
      [undefined, "plain"],
      [undefined, "labelled"],
    ]);
  });
});

describe("a free function that returns a promise where none is waited for", () => {
  it.each([{}, { label: "user:1" }])(
    "is refused, the handle is spent, and the rejection is heard (%o)",
    async (options) => {
      const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
      const reason = new Error("late");
      const handle = Handle.of("v", async () => Promise.reject(reason), { kind: "key", ...options });
      let error: unknown;
      try {
        handle.decrRef();
      } catch (caught) {
        error = caught;
      }
      expect(error).toBeInstanceOf(AsyncFreeError);
      expect(error).toMatchObject({ code: "ERR_ASYNC_FREE", kind: "key", label: "", ...options });
      expect(String(error)).toContain(`Cannot free ${named("key", options.label ?? "")} synchronously`);
      expect([handle.alive, handle.owed]).toEqual([false, 0]);
      await vi.waitFor(() => expect(warned).toHaveBeenCalledWith(reason));
      expect((error as Error).cause).toBe(reason);
    },
  );

  it("is refused for any thenable, and only for thenables", () => {
    for (const late of [
      thenable(() => {}),
      thenable(
        () => {},
        () => {},
      ),
    ]) {
      expect(() => Handle.of(1, (() => late) as () => void).decrRef()).toThrow(AsyncFreeError);
    }
    for (const harmless of [null, 0, "then", thenable(1 as never), () => {}]) {
      expect(Handle.of(1, (() => harmless) as () => void).decrRef()).toBe(true);
    }
  });
});

describe("isThenable()", () => {
  it("goes by a callable then, on objects and functions", () => {
    const thenables = [
      thenable(() => {}),
      thenable(
        () => {},
        () => {},
      ),
      Promise.resolve(),
    ];
    expect(thenables.map(isThenable)).toEqual([true, true, true]);
    expect([undefined, null, 1, "a", {}, thenable(true as never), () => {}].map(isThenable)).toEqual(
      Array(7).fill(false),
    );
  });
});

describe("warn()", () => {
  it("emits a process warning, an Error in every case", () => {
    const emitted = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const error = new Error("a");
    warn(error);
    warn("text");
    expect(emitted.mock.calls).toEqual([[error], [new Error("text")]]);
  });

  it("falls back on the console, and on silence", () => {
    const said = vi.spyOn(console, "warn").mockImplementation(() => {});
    vi.stubGlobal("process", undefined);
    warn("a");
    vi.stubGlobal("console", undefined);
    warn("b");
    vi.unstubAllGlobals();
    expect(said.mock.calls).toEqual([["a"]]);
  });
});

describe("how things are named", () => {
  it("prints kind and label, and counts with their noun", () => {
    expect([named("key", "a"), named("key", "")]).toEqual(['key "a"', "key"]);
    expect([0, 1, 2].map((n) => count(n, "borrow"))).toEqual(["0 borrows", "1 borrow", "2 borrows"]);
  });
});

describe("the seam to a leak detector", () => {
  it("hears of everything that happens to an account, closed before freed", () => {
    const tracker = new RecordingTracker();
    tracker.during(() => {
      const free = (): void => void tracker.log.push("free runs");
      const handle = Handle.of("v", free, { kind: "key", label: "a", bytes: 7 });
      const dup = handle.incrRef().dup("lru-list");
      const moved = handle.move();
      moved.decrRef();
      moved.decrRef();
      dup.decrRef();
    });
    expect(tracker.log).toEqual([
      "opened key",
      "#1 account",
      "#1 counted 1",
      "lru-list account",
      "#1 moved",
      "#1 counted -1",
      "#1 closed",
      "lru-list closed",
      "freed",
      "free runs",
    ]);
    expect(tracker.facts[0]).toMatchObject({
      kind: { name: "key", exclusive: false, watch: false },
      label: "a",
      bytes: 7,
      value: "v",
    });
  });

  it("hears of misuse, and its sites are in the message and the fields", () => {
    const tracker = new RecordingTracker();
    tracker.sites = { opened: "open.ts:1", closed: "close.ts:2", by: "lru-list" };
    const handle = tracker.during(() => Handle.of("v", () => {}, { kind: "key", label: "a" }));
    handle.decrRef();
    let error: unknown;
    try {
      handle.decrRef();
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(LastrefError);
    expect(error).toMatchObject({ opened: "open.ts:1", closed: "close.ts:2", by: "lru-list" });
    expect((error as Error).message.split("\n")).toEqual([
      'decrRefCount against refcount <= 0: cannot give back key "a": this handle owes nothing, it was freed',
      "  opened: open.ts:1",
      "  given back first: close.ts:2",
      "  by: lru-list",
    ]);
    expect(() => handle.value).toThrow("given back first: close.ts:2");
    expect(tracker.errors).toHaveLength(2);
    expect(tracker.errors[0]).toBe(error);
  });

  it("never hears of an immortal resource", () => {
    const tracker = new RecordingTracker();
    tracker.during(() => {
      const handle = Handle.immortal("v", { label: "pong" });
      handle.incrRef().dup().decrRef();
      handle.weak().upgrade()?.decrRef();
      handle.borrow((_, loan) => loan.dup());
      handle.move();
    });
    expect(tracker.log).toEqual([]);
    expect(State.Immortal).toBe(1);
  });

  it("leaves an account without a record when it is switched on later, and records its dups", () => {
    const tracker = new RecordingTracker();
    const handle = Handle.of("v", () => {}, { label: "a" });
    const dup = tracker.during(() => handle.incrRef().dup("late"));
    handle.decrRef();
    handle.decrRef();
    dup.decrRef();
    expect(tracker.log).toEqual(["opened resource", "late account", "late closed", "freed"]);
    expect(tracker.facts[0]?.count).toBeGreaterThan(0);
  });

  it("keeps the record an account was born with when it is switched off", () => {
    const tracker = new RecordingTracker();
    const handle = tracker.during(() => Handle.of("v", () => {}));
    const dup = handle.dup("after");
    handle.decrRef();
    dup.decrRef();
    expect(tracker.log).toEqual([
      "opened resource",
      "#1 account",
      "after account",
      "#1 closed",
      "after closed",
      "freed",
    ]);
  });

  it("is heard by a watcher while tracking is off, for the kinds that ask for it", () => {
    const watcher = new RecordingTracker();
    const watched = new Kind<string>("watched", () => {}, false, true);
    const before = realm.watcher;
    openHandle(watched, "nobody watches", "", 0).dup().decrRef();
    realm.watcher = watcher;
    try {
      Handle.of("unwatched", () => {}).dup();
      const handle = openHandle(watched, "v", "", 0);
      handle.dup("holder").decrRef();
      handle.decrRef();
      const tracker = new RecordingTracker();
      tracker.during(() => openHandle(watched, "tracked", "", 0).decrRef());
      expect(tracker.log).toEqual(["opened watched", "#1 account", "#1 closed", "freed"]);
    } finally {
      realm.watcher = before;
    }
    expect(watcher.log).toEqual([
      "opened watched",
      "#1 account",
      "holder account",
      "holder closed",
      "#1 closed",
      "freed",
    ]);
  });

  it("may decline to record a resource", () => {
    const tracker = new RecordingTracker();
    tracker.opened = () => undefined as never;
    const handle = tracker.during(() => Handle.of("v", () => {}).dup());
    expect([handle.refCount, handle.decrRef()]).toEqual([2, false]);
  });

  it("frees the value when the tracker fails half-way through an open", () => {
    const tracker = new RecordingTracker();
    tracker.opened = () => {
      throw new Error("tracker failed");
    };
    const freed: string[] = [];
    const kind = new Kind<string>("key", (value) => void freed.push(value));
    expect(() => tracker.during(() => openHandle(kind, "v", "a", 4))).toThrow("tracker failed");
    expect(freed).toEqual(["v"]);
    expect([kind.opened - kind.freed, kind.bytes]).toEqual([0, 0]);
  });

  it("leaves the counts as they were when the tracker fails inside a dup", () => {
    const tracker = new RecordingTracker();
    const handle = Handle.of("v", () => {}) as HandleImpl<string>;
    tracker.opened = () => {
      throw new Error("tracker failed");
    };
    expect(() => tracker.during(() => handle.dup())).toThrow("tracker failed");
    expect(handle.refCount).toBe(1);
    expect(handle.decrRef()).toBe(true);
  });
});

describe("settling a dropped account of an asynchronous kind", () => {
  it("frees, and a failure is heard by whoever settles: no holder is left", async () => {
    const Link = defineAsyncResource({ kind: "link", free: (_: string) => Promise.reject(new Error("cut")) });
    const tracker = new RecordingTracker();
    tracker.during(() => Link.wrap("a"));
    const freeing = tracker.facts[0]?.settle(1);
    expect(Link.stats.live).toBe(0);
    await expect(freeing).rejects.toThrow("cut");
  });
});
