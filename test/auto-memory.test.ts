import { describe, expect, it, vi } from "vitest";
import { AutoMemory } from "../src/auto-memory";
import { AsyncFreeError, RefCountError, SuppressedError, UseAfterFreeError } from "../src/errors";
import { Handle } from "../src/handle";
import { defineAsyncResource, defineResource } from "../src/resource";
import { realm } from "../src/tracker";
import { caught } from "./support/caught";
import { expectEnded, expectNothingOwned, itBehavesAsDisposable } from "./support/contracts";
import { RecordingTracker } from "./support/recording-tracker";

/** A kind whose frees are written down. */
function logged(log: string[] = []) {
  const Key = defineResource({ kind: "key", open: (name: string) => name, free: (name) => void log.push(name) });
  return { log, Key, open: (name: string) => Key.open(name) };
}

function failing(message: string): Handle<string> {
  return Handle.of(message, () => {
    throw new Error(message);
  });
}

describe("AutoMemory.dispose()", () => {
  itBehavesAsDisposable((free) => {
    let freed = 0;
    const memory = new AutoMemory();
    memory.defer(() => {
      freed++;
      free(() => thing);
    });
    const thing = { dispose: () => memory.dispose(), freed: () => freed };
    return thing;
  });

  it("frees in reverse order, where Valkey frees in the order of creation", () => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    for (const name of ["a", "b", "c", "d"]) memory.use(open(name));
    memory.dispose();
    expect(log).toEqual(["d", "c", "b", "a"]);
  });

  it("keeps the order of the others when one is closed by hand first", () => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    const handles = ["a", "b", "c", "d"].map((name) => memory.use(open(name)));
    handles[1]?.decrRef();
    memory.dispose();
    expect(log).toEqual(["b", "d", "c", "a"]);
  });

  it("frees the rest when one free throws, and throws one error as it is", () => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    memory.use(open("a"));
    memory.use(failing("b"));
    memory.use(open("c"));
    expect(String(caught(() => memory.dispose()))).toBe("Error: b");
    expect([log, memory.size, memory.disposed]).toEqual([["c", "a"], 0, true]);
  });

  it("nests several failures as the language does, the newest outermost", () => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    memory.use(failing("1"));
    memory.use(open("a"));
    memory.use(failing("2"));
    memory.use(failing("3"));
    const error = caught(() => memory.dispose());
    expect(error).toBeInstanceOf(SuppressedError);
    expect(error).toMatchObject({
      error: { message: "1" },
      suppressed: { error: { message: "2" }, suppressed: { message: "3" } },
    });
    expect(log).toEqual(["a"]);
  });

  it("pays one reference for each: what still owes afterwards is its holder's", () => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    const handle = memory.use(open("a")).incrRef();
    memory.dispose();
    expect([log, handle.owed, handle.value]).toEqual([[], 1, "a"]);
    handle.decrRef();
    expect(log).toEqual(["a"]);
  });

  it("leaves a handle that escaped it unusable, and says so", () => {
    const { open } = logged();
    const memory = new AutoMemory();
    const escaped = memory.use(open("a"));
    memory.dispose();
    expect(() => escaped.value).toThrow(UseAfterFreeError);
    expect(() => escaped.decrRef()).toThrow(RefCountError);
  });

  it("refuses everything afterwards, and frees at once what was opened meanwhile", () => {
    const { log, Key, open } = logged();
    const memory = new AutoMemory();
    memory.dispose();
    const handle = open("mine");
    expectEnded(memory, Key, handle);
    const usable = new AutoMemory();
    expect(() => usable.use({} as Disposable)).toThrow(/^Cannot use object: it has no \[Symbol\.dispose\] method$/);
    expectNothingOwned(usable);
    expect([log, Key.stats.opened, handle.owed, memory.size]).toEqual([[], 1, 1, 0]);
    const ending = new AutoMemory();
    const Ending = defineResource({
      kind: "key",
      open: () => ending.dispose(),
      free: () => void log.push("freed at once"),
    });
    expect(() => ending.open(Ending)).toThrow(ReferenceError);
    expect(log).toEqual(["freed at once"]);
    const both = new AutoMemory();
    const Both = defineResource({
      kind: "key",
      open: () => both.dispose(),
      free: () => {
        throw new Error("free failed");
      },
    });
    expect(caught(() => both.open(Both))).toMatchObject({
      error: { message: "free failed" },
      suppressed: { name: "ReferenceError" },
    });
  });

  it("owns nothing new while it ends: a free that adds is refused and keeps what it has", () => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    const late = open("late");
    memory.defer(() => expect(() => memory.use(late)).toThrow(ReferenceError));
    memory.dispose();
    expect([late.owed, log]).toEqual([1, []]);
  });
});

describe("AutoMemory.open()", () => {
  it("pays for each kind by its own free, in whichever turn they were opened", () => {
    const { log, Key } = logged();
    const Digit = defineResource({ kind: "digit", free: (n: number) => void log.push(`digit ${n}`) });
    const memory = new AutoMemory();
    const [, one] = [memory.open(Key, "a"), memory.open(Digit, 1), memory.open(Key, "b"), memory.open(Digit, 2)];
    expect([memory.size, String(one)]).toEqual([4, "Handle<digit, 1 reference, 1 here>"]);
    memory.dispose();
    expect(log).toEqual(["digit 2", "b", "digit 1", "a"]);
    expect([Key.stats.live, Digit.stats.live]).toEqual([0, 0]);
  });

  it("pays one reference of each; the others stay with the account", () => {
    const { log, Key } = logged();
    const memory = new AutoMemory();
    const handle = memory.open(Key, "a").incrRef().incrRef();
    expect([handle.owed, handle.refCount, handle.isSole(), handle.decrRef()]).toEqual([3, 3, false, false]);
    const other = memory.open(Key, "b");
    expect([other.owed, other.isSole()]).toEqual([1, true]);
    memory.dispose();
    expect([handle.owed, handle.value, other.alive, log]).toEqual([1, "a", false, ["b"]]);
    expect([handle.decrRef(), log]).toEqual([true, ["b", "a"]]);
  });

  it("calls an open that was overridden, and owns what it returned", () => {
    const { log, Key } = logged();
    const spied = vi.spyOn(Key, "open");
    const memory = new AutoMemory();
    memory.open(Key, "a");
    expect([spied.mock.calls, spied.mock.contexts[0], memory.size]).toEqual([[["a"]], Key, 1]);
    memory.dispose();
    expect(log).toEqual(["a"]);
  });

  it("owns what it opens and holds whatever a subclass has made of use", () => {
    const { log, Key } = logged();
    const Named = defineResource({ kind: "named", label: String, free: (n: number) => void log.push(`named ${n}`) });
    const used: unknown[] = [];
    class Watching extends AutoMemory {
      override use<T extends Disposable | null | undefined>(value: T): T {
        used.push(value);
        return value;
      }
    }
    const memory = new Watching();
    memory.hold(memory.open(Key, "a"));
    memory.open(Named, 1);
    expect([memory.size, used]).toEqual([3, []]);
    memory.dispose();
    expect(log).toEqual(["named 1", "a"]);
  });

  it("owns what an open that freed all it had opens, once", () => {
    const { log, Key } = logged();
    const memory = new AutoMemory();
    memory.open(Key, "before");
    const Clearing = defineResource({ kind: "key", open: () => memory.freeAll(), free: () => void log.push("after") });
    const handle = memory.open(Clearing);
    expect([log, handle.owed, memory.size]).toEqual([["before"], 1, 1]);
    memory.dispose();
    expect([log, handle.alive]).toEqual([["before", "after"], false]);
    const tracker = new RecordingTracker();
    tracker.during(() => {
      const tracked = new AutoMemory();
      const Again = defineResource({ kind: "key", open: () => tracked.freeAll(), free: () => {} });
      const kept = tracked.open(Again).incrRef();
      tracked.dispose();
      expect([kept.owed, tracker.log.at(-1)]).toEqual([1, "#1 escaped"]);
      kept.decrRef();
    });
  });

  it("refuses what an open that moved the context away opens, and frees it at once", () => {
    const { log, Key } = logged();
    const memory = new AutoMemory();
    memory.open(Key, "before");
    const moved: AutoMemory[] = [];
    const Moving = defineResource({
      kind: "key",
      open: () => void moved.push(memory.move()),
      free: () => void log.push("at once"),
    });
    expect(() => memory.open(Moving)).toThrow(/^Cannot use: the context has ended, it was disposed or moved$/);
    expect([log, Moving.stats.live, moved[0]?.size]).toEqual([["at once"], 0, 1]);
    moved[0]?.dispose();
    expect(log).toEqual(["at once", "before"]);
  });

  it("refuses the promise of a synchronous open, and frees what arrives late", async () => {
    const { log } = logged();
    const Late = defineResource({ kind: "late", open: async () => "value", free: () => void log.push("freed") });
    const memory = new AutoMemory();
    expect(() => memory.open(Late)).toThrow(AsyncFreeError);
    expect([memory.size, Late.stats.opened]).toEqual([0, 0]);
    await vi.waitFor(() => expect(log).toEqual(["freed"]));
  });

  it("writes down what an open opens that has switched tracking on", () => {
    const tracker = new RecordingTracker();
    const { log } = logged();
    const memory = new AutoMemory();
    const before = realm.tracker;
    const open = (): string => {
      realm.tracker = tracker;
      return "on";
    };
    const Switching = defineResource({ kind: "switch", open, free: () => void log.push("off") });
    try {
      memory.open(Switching);
      expect([tracker.log, memory.size]).toEqual([["opened switch", "#1 account"], 1]);
      memory.dispose();
      expect([tracker.log.slice(2), log]).toEqual([["#1 closed", "freed"], ["off"]]);
    } finally {
      realm.tracker = before;
    }
  });
});

describe("AutoMemory.use()", () => {
  it("gives back what it was given and owns no null and no undefined", () => {
    const memory = new AutoMemory();
    expect([memory.use(null), memory.use(undefined), memory.size]).toEqual([null, undefined, 0]);
    const { open } = logged();
    const handle = open("a");
    expect([memory.use(handle), memory.size]).toEqual([handle, 1]);
    memory.dispose();
  });

  it("owns no handle that has nothing to pay", () => {
    const memory = new AutoMemory();
    const handle = Handle.of(1, () => {});
    const moved = Handle.of(1, () => {});
    moved.move();
    handle.decrRef();
    memory.use(handle);
    memory.use(moved);
    expect(memory.size).toBe(0);
    memory.dispose();
  });

  it("owns a handle twice when it is asked twice: a close by hand leaves both places, the end pays two", () => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    const handle = memory.use(memory.use(open("a").incrRef()));
    expect(memory.size).toBe(2);
    handle.decrRef();
    expect(memory.size).toBe(2);
    handle.decrRef();
    expect([memory.size, log]).toEqual([0, ["a"]]);
    const twice = memory.use(memory.use(open("b").incrRef()));
    memory.dispose();
    expect([twice.owed, log]).toEqual([0, ["a", "b"]]);
  });

  it("lets two contexts own one handle, each paying a reference as long as one is owed", () => {
    const { log, open } = logged();
    const [a, b] = [new AutoMemory(), new AutoMemory()];
    const handle = b.use(a.use(open("a").incrRef()));
    a.dispose();
    expect([handle.owed, b.size, log]).toEqual([1, 1, []]);
    b.dispose();
    expect([handle.owed, log]).toEqual([0, ["a"]]);
    const [c, d] = [new AutoMemory(), new AutoMemory()];
    d.use(c.use(open("b")));
    c.dispose();
    expect([d.size, log]).toEqual([0, ["a", "b"]]);
    d.dispose();
  });

  it("calls a spied or overridden dispose method as a DisposableStack does", () => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    const handle = open("a");
    const spied = vi.spyOn(handle, Symbol.dispose);
    memory.use(handle);
    handle.decrRef();
    expect(memory.size).toBe(1);
    memory.dispose();
    expect([spied.mock.calls.length, spied.mock.contexts[0], log]).toEqual([1, handle, ["a"]]);
    const inherited = Object.create(open("b")) as Handle<string>;
    const second = new AutoMemory();
    second.use(inherited);
    expect(() => second.dispose()).toThrow(TypeError);
  });
});

describe("AutoMemory: early closes", () => {
  it.each(["first in first out", "last in first out", "any order"])("detach at once, %s", (order) => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    const handles = Array.from({ length: 500 }, (_, i) => memory.use(open(`${i}`)));
    if (order === "last in first out") handles.reverse();
    if (order === "any order")
      handles.sort((a, b) => ((Number(a.value) * 7919) % 500) - ((Number(b.value) * 7919) % 500));
    for (const [i, handle] of handles.entries()) {
      handle.decrRef();
      expect(memory.size).toBe(499 - i);
    }
    memory.dispose();
    expect(log).toHaveLength(500);
  });

  it("take as long for a million as without a context, within a wide margin", () => {
    const Key = defineResource<number>({ kind: "key", free: () => {} });
    const memory = new AutoMemory();
    const start = performance.now();
    const window: Handle<number>[] = [];
    for (let i = 0; i < 1_000_000; i++) {
      window.push(memory.open(Key, i));
      if (window.length === 1000) for (const handle of window.splice(0)) handle.decrRef();
    }
    expect(memory.size).toBe(0);
    // A scan of the queue per close would take minutes.
    expect(performance.now() - start).toBeLessThan(15_000);
    memory.dispose();
  });

  it("leave a handle that is closed by another's free during the end paid once", () => {
    const log: string[] = [];
    const memory = new AutoMemory();
    const first = memory.use(Handle.of("first", (v) => void log.push(v)));
    memory.use(
      Handle.of("second", (v) => {
        log.push(v);
        first.decrRef();
      }),
    );
    memory.dispose();
    expect(log).toEqual(["second", "first"]);
  });
});

describe("AutoMemory.keep()", () => {
  it("takes a handle out with its count unchanged; the caller owes it", () => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    const handle = memory.use(open("a"));
    expect([memory.keep(handle), memory.size, handle.owed]).toEqual([handle, 0, 1]);
    memory.dispose();
    expect([log, handle.value]).toEqual([[], "a"]);
    handle.decrRef();
  });

  it("throws a TypeError for what it does not own, and changes nothing", () => {
    const { open } = logged();
    const memory = new AutoMemory();
    const [owned, foreign] = [memory.use(open("a")), open("b")];
    memory.keep(owned);
    const adopted = vi.fn();
    memory.adopt("something else", adopted);
    for (const thing of [owned, foreign, {}, null, undefined, 5]) {
      expect(() => memory.keep(thing as Disposable)).toThrow(TypeError);
      expect(() => memory.keep(thing as Disposable)).toThrow(/^Cannot keep .*: this context does not own it$/);
    }
    expect(() => memory.keep(foreign)).toThrow(/^Cannot keep Handle<key, 1 reference, 1 here>: /);
    expect([owned.owed, foreign.owed, memory.size]).toEqual([1, 1, 1]);
    memory.dispose();
    expect(adopted.mock.calls).toEqual([["something else"]]);
  });

  it("owns a kept handle again when it is asked to, in its new place", () => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    const [a, b] = [memory.use(open("a")), memory.use(open("b"))];
    memory.use(memory.keep(a));
    expect(memory.size).toBe(2);
    memory.use(memory.keep(a));
    expect(memory.size).toBe(2);
    expect(b.owed).toBe(1);
    memory.dispose();
    expect(log).toEqual(["a", "b"]);
    const again = new AutoMemory();
    const c = again.use(open("c"));
    again.use(again.keep(c));
    c.decrRef();
    expect(again.size).toBe(0);
    again.dispose();
  });

  it("takes out the newest ownership of two", () => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    const a = memory.use(open("a").incrRef());
    memory.use(open("b"));
    memory.use(a);
    memory.keep(a);
    expect(memory.size).toBe(2);
    memory.dispose();
    expect([log, a.owed]).toEqual([["b"], 1]);
    a.decrRef();
    const [c, d] = [new AutoMemory(), new AutoMemory()];
    const both = d.use(c.use(open("both")));
    c.keep(both);
    expect([c.size, d.size]).toEqual([0, 1]);
    d.keep(both);
    expect([d.size, both.owed]).toEqual([0, 1]);
  });

  it("takes out anything else it owns", () => {
    const log: string[] = [];
    const memory = new AutoMemory();
    const disposable = { [Symbol.dispose]: () => void log.push("disposable") };
    const adopted = { [Symbol.dispose]: () => {} };
    memory.use(disposable);
    memory.use(disposable);
    memory.adopt(adopted, () => void log.push("adopted"));
    expect(memory.keep(disposable)).toBe(disposable);
    memory.keep(adopted);
    expect(memory.size).toBe(1);
    memory.dispose();
    expect(log).toEqual(["disposable"]);
  });

  it("finds the oldest among many, also after others were taken out of between them", () => {
    const freed: number[] = [];
    const memory = new AutoMemory();
    const add = (from: number): Handle<number>[] =>
      Array.from({ length: 50 }, (_, i) => memory.use(Handle.of(from + i, (n) => void freed.push(n))));
    const first = add(0);
    const call = (): void => void freed.push(-1);
    memory.defer(call);
    const second = add(50);
    const [oldest, later] = [first[0] as Handle<number>, second[10] as Handle<number>];
    memory.keep(oldest);
    memory.keep(call as unknown as Disposable);
    memory.keep(later);
    expect(memory.size).toBe(98);
    memory.dispose();
    expect([freed.length, freed.includes(61), oldest.alive, later.value]).toEqual([98, true, true, 60]);
    for (const handle of [oldest, later]) handle.decrRef();
  });

  it("survives any number of keeps among early closes", () => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    const handles = Array.from({ length: 200 }, (_, i) => memory.use(open(`${i}`)));
    for (const [i, handle] of handles.entries()) {
      if (i % 3 === 0) memory.keep(handle);
      if (i % 3 === 1) handle.decrRef();
      if (i % 6 === 0) memory.use(handle);
    }
    const owned = handles.filter((_, i) => i % 3 === 2 || i % 6 === 0).length;
    expect(memory.size).toBe(owned);
    log.length = 0;
    memory.dispose();
    expect(log).toHaveLength(owned);
    expect(new Set(log).size).toBe(owned);
  });
});

describe("AutoMemory.hold()", () => {
  it("owns a new account on the resource of a handle or a loan", () => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    const client = open("a");
    const held = memory.hold(client, "context");
    const lent = client.borrow((_, loan) => memory.hold(loan));
    expect([held === client, client.refCount, held.owed, lent.owed, memory.size]).toEqual([false, 3, 1, 1, 2]);
    client.decrRef();
    expect([held.value, log]).toEqual(["a", []]);
    memory.dispose();
    expect(log).toEqual(["a"]);
  });

  it("refuses an asynchronous handle, and leaves no account behind", () => {
    const memory = new AutoMemory();
    const link = defineAsyncResource({ kind: "link", free: () => {} }).wrap("a");
    expect(() => memory.hold(link as never)).toThrow(TypeError);
    expect([link.refCount, memory.size]).toEqual([1, 0]);
  });

  it("is refused on a spent handle, and owns nothing then", () => {
    const memory = new AutoMemory();
    const spent = Handle.of(1, () => {});
    spent.decrRef();
    expect(() => memory.hold(spent)).toThrow(UseAfterFreeError);
    expect(memory.size).toBe(0);
  });
});

describe("AutoMemory.freeAll()", () => {
  it("pays for everything now and stays usable; what is added meanwhile stays", () => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    memory.defer(() => void memory.use(open("added")));
    memory.use(open("a"));
    memory.freeAll();
    expect([log, memory.size, memory.disposed]).toEqual([["a"], 1, false]);
    memory.use(open("b"));
    memory.dispose();
    expect(log).toEqual(["a", "b", "added"]);
  });

  it("frees the rest when one free throws", () => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    memory.use(open("a"));
    memory.use(failing("b"));
    expect(() => memory.freeAll()).toThrow("b");
    expect([log, memory.size]).toEqual([["a"], 0]);
    memory.freeAll();
    memory.dispose();
  });
});

describe("AutoMemory.move()", () => {
  it("hands everything over; early closes and keep go to the new context", () => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    const [a, b] = [memory.use(open("a")), memory.use(open("b"))];
    memory.use(open("c"));
    const moved = memory.move();
    expect([memory.disposed, memory.size, moved.size]).toEqual([true, 0, 3]);
    a.decrRef();
    expect([moved.size, moved.keep(b), moved.size]).toEqual([2, b, 1]);
    memory.dispose();
    moved.dispose();
    expect([log, b.owed]).toEqual([["a", "c"], 1]);
  });

  it("leaves an account that was moved out of a context to whoever moved it", () => {
    const { log, open } = logged();
    const memory = new AutoMemory();
    const moved = memory.use(open("a")).move();
    expect(memory.size).toBe(0);
    memory.dispose();
    expect([moved.value, log]).toEqual(["a", []]);
  });
});

describe("AutoMemory.run()", () => {
  it("pays when the body returns, and returns what it returned", () => {
    const { log, Key } = logged();
    let kept: AutoMemory | undefined;
    const result = AutoMemory.run((memory) => {
      kept = memory;
      memory.open(Key, "a");
      return memory.open(Key, "b").value;
    });
    expect([result, log, kept?.disposed]).toEqual(["b", ["b", "a"], true]);
  });

  it("pays when the body throws, and keeps its error", () => {
    const { log, Key } = logged();
    const own = new Error("own");
    const error = caught(() =>
      AutoMemory.run((memory) => {
        memory.open(Key, "a");
        throw own;
      }),
    );
    expect([error, log]).toEqual([own, ["a"]]);
    expect(
      caught(() =>
        AutoMemory.run((memory) => {
          memory.use(failing("free"));
          throw own;
        }),
      ),
    ).toMatchObject({ name: "SuppressedError", error: { message: "free" }, suppressed: own });
    expect(() => AutoMemory.run((memory) => void memory.use(failing("free")))).toThrow("free");
  });

  it("pays when the promise of the body has settled, not before", async () => {
    const { log, Key } = logged();
    const result = AutoMemory.run(async (memory) => {
      memory.open(Key, "a");
      await Promise.resolve();
      log.push("body goes on");
      return 5;
    });
    expect(log).toEqual([]);
    expect([await result, log]).toEqual([5, ["body goes on", "a"]]);
    const own = new Error("own");
    const rejected = AutoMemory.run(async (memory) => {
      memory.use(failing("free"));
      await Promise.resolve();
      throw own;
    });
    expect(await rejected.catch((error: unknown) => error)).toMatchObject({
      error: { message: "free" },
      suppressed: own,
    });
    await expect(AutoMemory.run(async (memory) => void memory.use(failing("free")))).rejects.toThrow("free");
    await expect(AutoMemory.run(() => Promise.reject(own))).rejects.toBe(own);
  });

  it("throws a TypeError when the body is no function", () => {
    expect(() => AutoMemory.run(undefined as never)).toThrow("Cannot run: expected a function, received undefined");
  });
});

describe("AutoMemory and a leak detector", () => {
  it("says whose an account is, that it escaped, and when the context ended", () => {
    const tracker = new RecordingTracker();
    tracker.during(() => {
      const memory = new AutoMemory();
      const a = memory.use(Handle.of("a", () => {})).incrRef();
      memory.keep(memory.use(Handle.of("b", () => {})));
      memory.dispose();
      a.decrRef();
      const moving = new AutoMemory();
      moving.move().dispose();
    });
    expect(tracker.log).toEqual([
      "opened resource",
      "#1 account",
      "#1 owned by context 1",
      "#1 counted 1",
      "opened resource",
      "#2 account",
      "#2 owned by context 1",
      "#2 owned by nobody",
      "context 1 ended",
      "#1 counted -1",
      "#1 escaped",
      "#1 closed",
      "freed",
      "context 2 moved",
      "context 3 ended",
    ]);
  });

  it("does not call an account escaped that another place still pays for", () => {
    const tracker = new RecordingTracker();
    tracker.during(() => {
      const [one, two] = [new AutoMemory(), new AutoMemory()];
      two.use(
        one.use(
          one.use(
            Handle.of("a", () => {})
              .incrRef()
              .incrRef(),
          ),
        ),
      );
      one.dispose();
      two.dispose();
    });
    expect(tracker.log).not.toContain("#1 escaped");
    expect(tracker.log.slice(-2)).toEqual(["#1 closed", "freed"]);
  });
});

describe("AutoMemory.open() of an asynchronous resource", () => {
  it("refuses it, and frees what arrives late", async () => {
    const log: string[] = [];
    const Link = defineAsyncResource({
      kind: "link",
      open: async (to: string) => to,
      free: async (to) => void log.push(`closed ${to}`),
    });
    const memory = new AutoMemory();
    expect(() => memory.open(Link as never, "a")).toThrow(/^Cannot open: the resource is asynchronous/);
    await vi.waitFor(() => expect(log).toEqual(["closed a"]));
    expect([memory.size, Link.stats.live]).toEqual([0, 0]);
  });
});
