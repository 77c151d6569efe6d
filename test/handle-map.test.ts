import { afterEach, describe, expect, it, vi } from "vitest";
import type { AsyncHandle } from "../src/async-handle";
import {
  MapClosedError,
  MapCycleError,
  MapFullError,
  RefCountError,
  RevokedError,
  UseAfterFreeError,
} from "../src/errors";
import { HandleMap } from "../src/handle-map";
import type { HandleMapOptions } from "../src/map-options";
import { defineAsyncResource } from "../src/resource";
import { runProgram } from "./support/program";
import { type Deferred, deferred, turn, until } from "./support/until";

interface Thing {
  readonly key: string;
  readonly nr: number;
}

/** A map that writes down what it opens and frees. */
function make(options: Partial<HandleMapOptions<string, Thing>> = {}) {
  const log: string[] = [];
  let nr = 0;
  const map = new HandleMap<string, Thing>({
    open: async (key) => {
      const thing = { key, nr: ++nr };
      log.push(`open ${key}${thing.nr}`);
      return thing;
    },
    free: ({ key, nr }) => {
      log.push(`free ${key}${nr}`);
    },
    ...options,
  });
  return { map, log };
}

/** A map whose opens are settled by hand. */
function manual(options: Partial<HandleMapOptions<string, Thing>> = {}) {
  const opens: (Deferred<Thing> & { key: string; signal: AbortSignal })[] = [];
  const made = make({
    open: (key, { signal }) => {
      const open = { ...deferred<Thing>(), key, signal: signal as AbortSignal };
      opens.push(open);
      return open.promise;
    },
    ...options,
  });
  return { ...made, opens };
}

afterEach(() => {
  vi.useRealTimers();
});

describe("HandleMap.acquire()", () => {
  it("opens once for a hundred at a time, counts each, and frees after the last", async () => {
    const { map, log, opens } = manual();
    const waiting = Array.from({ length: 100 }, () => map.acquire("a"));
    expect(opens.length).toBe(1);
    opens[0]?.resolve({ key: "a", nr: 1 });
    const handles = await Promise.all(waiting);
    expect(handles[0]?.refCount).toBe(100);
    expect(new Set(handles).size).toBe(100);
    expect(map.stats.holders.get("a")).toBe(100);
    for (const handle of handles) await handle.decrRef();
    expect(log).toEqual(["free a1"]);
    expect(map.size).toBe(0);
  });

  it("takes the reference before it returns", async () => {
    const { map, log } = make();
    const first = await map.acquire("a");
    const second = map.acquire("a");
    expect(first.refCount).toBe(2);
    await first.decrRef();
    expect((await second).value.nr).toBe(1);
    await (await second).decrRef();
    expect(log).toEqual(["open a1", "free a1"]);
  });

  it("has counted every waiter before the first one hears", async () => {
    const { map, opens } = manual();
    const counts: number[] = [];
    const waiting = Array.from({ length: 3 }, () => map.acquire("a").then((handle) => counts.push(handle.refCount)));
    opens[0]?.resolve({ key: "a", nr: 1 });
    await Promise.all(waiting);
    expect(counts).toEqual([3, 3, 3]);
  });

  it("goes through one canonical key at every entrance", async () => {
    const { map, log } = make({ canonical: (key) => key.toLowerCase(), idle: Infinity });
    const a = await map.acquire("LOCAL");
    const b = await map.acquire("local");
    expect(a.value).toBe(b.value);
    expect(map.has("Local")).toBe(true);
    expect([...map.keys()]).toEqual(["local"]);
    const c = map.peek("LOCAL");
    expect(c?.refCount).toBe(3);
    await Promise.all([a.decrRef(), b.decrRef(), c?.decrRef()]);
    expect(map.touch("lOCAL")).toBe(true);
    expect(map.invalidate("LOCAL")).toBe(true);
    expect(log).toEqual(["open local1", "free local1"]);
  });

  it("shows what happens without: the value stored under one spelling is not found under the other", async () => {
    const { map, log } = make();
    await map.acquire("LOCAL");
    await map.acquire("local");
    expect(log).toEqual(["open LOCAL1", "open local2"]);
  });

  it("rejects with what canonical throws, and stores nothing", async () => {
    const { map } = make({
      canonical: () => {
        throw new TypeError("no key");
      },
    });
    await expect(map.acquire("a")).rejects.toThrow("no key");
    expect(() => map.has("a")).toThrow("no key");
    expect(map.size).toBe(0);
  });

  it("gives the open the canonical key, and the spelling it was asked by", async () => {
    const seen: string[] = [];
    const { map } = make({
      canonical: (key) => key.toLowerCase(),
      open: async (key, { given }) => {
        seen.push(key, given);
        return { key, nr: 1 };
      },
    });
    await map.acquire("A");
    expect(seen).toEqual(["a", "A"]);
  });

  for (const how of ["rejects", "throws"]) {
    it(`rejects all waiters with one error when open ${how}, is gone before they hear, and remembers nothing`, async () => {
      let opens = 0;
      const gate = deferred();
      const { map } = make({
        open: (key) => {
          if (++opens > 1) return { key, nr: opens };
          if (how === "throws") throw new Error("refused");
          return gate.promise.then(() => Promise.reject(new Error("refused")));
        },
      });
      const sizes: number[] = [];
      const errors: unknown[] = [];
      const hear = (error: unknown): void => {
        sizes.push(map.size);
        errors.push(error);
      };
      const waiting = [map.acquire("a").catch(hear)];
      for (let i = 1; how === "rejects" && i < 100; i++) waiting.push(map.acquire("a").catch(hear));
      gate.resolve();
      await Promise.all(waiting);
      expect(new Set(errors).size).toBe(1);
      expect(sizes.every((size) => size === 0)).toBe(true);
      const again = await map.acquire("a");
      expect([opens, again.value.nr]).toEqual([2, 2]);
    });
  }

  it("begins a new flight for who acquires again in the catch of the failed one", async () => {
    let opens = 0;
    const { map } = make({
      open: async (key) => {
        if (++opens === 1) throw new Error("first");
        return { key, nr: opens };
      },
    });
    const handle = await map.acquire("a").catch(() => map.acquire("a"));
    expect(handle.value.nr).toBe(2);
  });

  it("never gives out the dying value to who acquires inside the free", async () => {
    let inside: Promise<{ value: Thing }> | undefined;
    const { map, log } = make({
      free: ({ key, nr }) => {
        log.push(`free ${key}${nr}, ${map.has(key) ? "still there" : "gone"}`);
        if (nr === 1) inside = map.acquire("a");
      },
    });
    const handle = await map.acquire("a");
    await handle.decrRef();
    expect((await inside)?.value.nr).toBe(2);
    expect(log).toEqual(["open a1", "free a1, gone", "open a2"]);
  });

  it("frees after the last holder before its decrRef resolves, also asynchronously", async () => {
    const gate = deferred();
    const { map } = make({ free: () => gate.promise });
    const handle = await map.acquire("a");
    let freed = false;
    const freeing = handle.decrRef().then(() => {
      freed = true;
    });
    expect(map.size).toBe(0);
    expect(map.stats.leaving).toBe(1);
    await turn();
    expect(freed).toBe(false);
    gate.resolve();
    await freeing;
    expect(map.stats.leaving).toBe(0);
  });

  it("tells the holder and onError once when the free fails, and the next acquire opens", async () => {
    const heard: unknown[] = [];
    const { map } = make({
      free: async () => {
        throw new Error("stuck");
      },
      onError: (error, key) => heard.push(`${key}: ${(error as Error).message}`),
    });
    const handle = await map.acquire("a");
    await expect(handle.decrRef()).rejects.toThrow("stuck");
    expect(heard).toEqual(["a: stuck"]);
    expect(map.size).toBe(0);
    expect((await map.acquire("a")).value.nr).toBe(2);
  });

  it("counts no account twice: disposing again does nothing, decrRef again is the assertion", async () => {
    const { map, log } = make();
    const a = await map.acquire("a");
    const b = await map.acquire("a");
    await Promise.all([a[Symbol.asyncDispose](), a[Symbol.asyncDispose](), a[Symbol.asyncDispose]()]);
    expect(b.refCount).toBe(1);
    expect(() => a.decrRef()).toThrow(RefCountError);
    expect(() => a.value).toThrow(UseAfterFreeError);
    expect(b.value.nr).toBe(1);
    await b.decrRef();
    expect(log).toEqual(["open a1", "free a1"]);
  });

  it("frees a value by its own dispose method when there is no free", async () => {
    const log: string[] = [];
    const map = new HandleMap<string, Disposable>({
      open: (key) => ({ [Symbol.dispose]: () => void log.push(key) }),
    });
    await (await map.acquire("a")).decrRef();
    expect(log).toEqual(["a"]);
  });
});

describe("HandleMap.acquire(key, { signal })", () => {
  it("opens nothing when the signal has aborted before", async () => {
    const { map, log } = make();
    await expect(map.acquire("a", { signal: AbortSignal.abort("no") })).rejects.toBe("no");
    expect(log).toEqual([]);
  });

  it("rejects one waiter and leaves the open to the other", async () => {
    const { map, opens } = manual();
    const stop = new AbortController();
    const first = map.acquire("a", { signal: stop.signal });
    const second = map.acquire("a");
    stop.abort(new Error("too long"));
    await expect(first).rejects.toThrow("too long");
    expect(opens[0]?.signal.aborted).toBe(false);
    opens[0]?.resolve({ key: "a", nr: 1 });
    expect((await second).refCount).toBe(1);
    expect(opens.length).toBe(1);
  });

  it("aborts the open with the last waiter, frees a value that arrives anyway, and opens anew after that", async () => {
    const { map, log, opens } = manual();
    const stop = new AbortController();
    const first = map.acquire("a", { signal: stop.signal });
    stop.abort("enough");
    await expect(first).rejects.toBe("enough");
    expect(opens[0]?.signal.reason).toBe("enough");
    expect(map.has("a")).toBe(false);
    const second = map.acquire("a");
    expect(opens.length).toBe(1);
    opens[0]?.resolve({ key: "a", nr: 1 });
    await until(() => opens.length === 2);
    expect(log).toEqual(["free a1"]);
    opens[1]?.resolve({ key: "a", nr: 2 });
    expect((await second).value.nr).toBe(2);
  });

  it("leaves no listener on the signal", async () => {
    const { map } = make({ idle: Infinity });
    const { signal } = new AbortController();
    let listeners = 0;
    const add = signal.addEventListener;
    const remove = signal.removeEventListener;
    signal.addEventListener = (...args: unknown[]) => {
      listeners++;
      Reflect.apply(add, signal, args);
    };
    signal.removeEventListener = (...args: unknown[]) => {
      listeners--;
      Reflect.apply(remove, signal, args);
    };
    await map.acquire("a", { signal });
    await map.acquire("a", { signal });
    expect(listeners).toBe(0);
  });
});

describe("HandleMap, what is idle", () => {
  it("is freed at once with idle 0", async () => {
    const { map, log } = make({ idle: 0 });
    await (await map.acquire("a")).decrRef();
    expect([log, map.size]).toEqual([["open a1", "free a1"], 0]);
  });

  it("is kept for idle milliseconds, again after each use", async () => {
    vi.useFakeTimers();
    const { map, log } = make({ idle: 100 });
    await (await map.acquire("a")).decrRef();
    vi.advanceTimersByTime(50);
    const again = await map.acquire("a");
    expect(again.value.nr).toBe(1);
    vi.advanceTimersByTime(500);
    expect(log).toEqual(["open a1"]);
    await again.decrRef();
    vi.advanceTimersByTime(99);
    expect(map.stats).toMatchObject({ open: 0, idle: 1 });
    vi.advanceTimersByTime(51);
    expect([log, map.size, vi.getTimerCount()]).toEqual([["open a1", "free a1"], 0, 0]);
  });

  it("is kept for ever with Infinity, without a timer", async () => {
    vi.useFakeTimers();
    const { map, log } = make({ idle: Infinity });
    await (await map.acquire("a")).decrRef();
    expect(vi.getTimerCount()).toBe(0);
    map.invalidate("a");
    expect(log).toEqual(["open a1", "free a1"]);
  });

  it("is not freed at once because the time is longer than a timer can be", async () => {
    const { map, log } = make({ idle: 2 ** 40 });
    await (await map.acquire("a")).decrRef();
    await turn();
    await turn();
    expect(log).toEqual(["open a1"]);
    await map.close();
  });

  it("gets a new count, and the old accounts stay spent", async () => {
    const { map } = make({ idle: Infinity });
    const old = await map.acquire("a");
    const weak = old.weak();
    await old.decrRef();
    const again = await map.acquire("a");
    expect(again.value.nr).toBe(1);
    expect(again.refCount).toBe(1);
    expect(() => old.decrRef()).toThrow(RefCountError);
    expect(() => old.value).toThrow(UseAfterFreeError);
    expect(weak.upgrade()).toBe(undefined);
  });

  it("starts its time again when touched", async () => {
    vi.useFakeTimers();
    const { map, log } = make({ idle: 100 });
    expect(map.touch("a")).toBe(false);
    await (await map.acquire("a")).decrRef();
    vi.advanceTimersByTime(80);
    expect(map.touch("a")).toBe(true);
    vi.advanceTimersByTime(80);
    expect(log).toEqual(["open a1"]);
    vi.advanceTimersByTime(21);
    expect(log).toEqual(["open a1", "free a1"]);
  });

  it("does not keep the process alive", async () => {
    const program = `
      import { HandleMap } from "./src/index";
      const map = new HandleMap({ open: async () => 1, idle: 60_000 });
      map.acquire("a").then((handle) => handle.decrRef());
    `;
    const began = performance.now();
    await runProgram(program);
    expect(performance.now() - began).toBeLessThan(15_000);
  });

  it("is kept by a borrow past its last holder, and by whoever acquires meanwhile", async () => {
    const { map, log } = make();
    const gate = deferred();
    const handle = await map.acquire("a");
    const borrowed = handle.borrow(() => gate.promise);
    await handle.decrRef();
    expect(log).toEqual(["open a1"]);
    const second = await map.acquire("a");
    expect([second.value.nr, second.refCount]).toEqual([1, 1]);
    gate.resolve();
    await borrowed;
    expect(log).toEqual(["open a1"]);
    await second.decrRef();
    expect(log).toEqual(["open a1", "free a1"]);
  });
});

describe("HandleMap.peek()", () => {
  it("gives a handle when the value is open, held or idle, and else undefined", async () => {
    const { map, opens } = manual({ idle: Infinity });
    expect(map.peek("a")).toBe(undefined);
    const waiting = map.acquire("a");
    expect(map.peek("a")).toBe(undefined);
    opens[0]?.resolve({ key: "a", nr: 1 });
    const handle = await waiting;
    const peeked = map.peek("a");
    expect(peeked?.refCount).toBe(2);
    await peeked?.decrRef();
    await handle.decrRef();
    expect(map.peek("a")?.refCount).toBe(1);
    expect(opens.length).toBe(1);
  });
});

describe("HandleMap.invalidate()", () => {
  for (const idle of [0, 50, Infinity]) {
    it(`frees each value with its own last holder (idle ${idle})`, async () => {
      const { map, log } = make({ idle });
      const h1 = await map.acquire("a");
      expect(map.invalidate("a")).toBe(true);
      const h2 = await map.acquire("a");
      expect([h1.value.nr, h2.value.nr]).toEqual([1, 2]);
      await h1.decrRef();
      expect(log).toEqual(["open a1", "open a2", "free a1"]);
      expect(h2.value.nr).toBe(2);
      expect(map.peek("a")?.value.nr).toBe(2);
      await map.close({ force: true });
    });
  }

  it("frees an idle value now, and answers whether there was an entry", async () => {
    const { map, log } = make({ idle: Infinity });
    expect(map.invalidate("a")).toBe(false);
    await (await map.acquire("a")).decrRef();
    expect(map.invalidate("a")).toBe(true);
    expect(log).toEqual(["open a1", "free a1"]);
  });

  it("lets those who wait for the open have it, once, and the next acquire opens anew", async () => {
    const { map, log, opens } = manual({ idle: Infinity });
    const first = map.acquire("a");
    map.invalidate("a");
    const second = map.acquire("a");
    expect(opens.length).toBe(2);
    opens[0]?.resolve({ key: "a", nr: 1 });
    opens[1]?.resolve({ key: "a", nr: 2 });
    await (await first).decrRef();
    expect(log).toEqual(["free a1"]);
    expect((await second).value.nr).toBe(2);
  });
});

describe("HandleMap, validate", () => {
  it("replaces a broken value once for two who ask at the same time, and frees it", async () => {
    const broken = new Set<number>();
    const { map, log } = make({
      idle: Infinity,
      validate: async ({ nr }) => {
        await turn();
        return !broken.has(nr);
      },
    });
    await (await map.acquire("a")).decrRef();
    expect((await map.acquire("a")).value.nr).toBe(1);
    broken.add(1);
    const [x, y] = await Promise.all([map.acquire("a"), map.acquire("a")]);
    expect([x.value.nr, y.value.nr]).toEqual([2, 2]);
    expect(log).toEqual(["open a1", "open a2"]);
    await map.close({ force: true });
    expect(log.sort()).toEqual(["free a1", "free a2", "open a1", "open a2"]);
  });

  it("takes a failing check for a broken value", async () => {
    const { map, log } = make({
      idle: Infinity,
      validate: () => {
        throw new Error("no answer");
      },
    });
    await (await map.acquire("a")).decrRef();
    const handle = await map.acquire("a");
    expect(handle.value.nr).toBe(2);
    expect(log).toEqual(["open a1", "free a1", "open a2"]);
  });

  it("warns of a free that fails after the one who asked gave up, when nobody else can hear of it", async () => {
    const emitWarning = vi.spyOn(process, "emitWarning").mockReturnValue();
    const check = deferred<boolean>();
    const failure = new Error("no more room");
    const { map } = make({ idle: 1000, validate: () => check.promise, free: () => Promise.reject(failure) });
    await (await map.acquire("a")).decrRef();
    const controller = new AbortController();
    const asked = map.acquire("a", { signal: controller.signal });
    map.invalidate("a");
    controller.abort();
    await expect(asked).rejects.toThrow("aborted");
    check.resolve(true);
    await until(() => emitWarning.mock.calls.length > 0);
    expect(emitWarning.mock.calls).toEqual([[failure]]);
    emitWarning.mockRestore();
  });

  it("gives the reference back when the caller gives up during the check", async () => {
    const gate = deferred<boolean>();
    const { map, log } = make({ idle: Infinity, validate: () => gate.promise });
    await (await map.acquire("a")).decrRef();
    const stop = new AbortController();
    const asked = map.acquire("a", { signal: stop.signal });
    await turn();
    stop.abort("late");
    await expect(asked).rejects.toBe("late");
    gate.resolve(true);
    await until(() => map.stats.idle === 1);
    expect(log).toEqual(["open a1"]);
  });
});

describe("HandleMap, max", () => {
  it("evicts the idle value that was not used for longest, and finishes its free before the open", async () => {
    const log: string[] = [];
    const gate = deferred();
    const map = new HandleMap<string, string>({
      max: 2,
      idle: Infinity,
      open: (key) => {
        log.push(`open ${key}`);
        return key;
      },
      free: async (key) => {
        await gate.promise;
        log.push(`free ${key}`);
      },
    });
    await (await map.acquire("a")).decrRef();
    await (await map.acquire("b")).decrRef();
    await (await map.acquire("a")).decrRef();
    const third = map.acquire("c");
    expect([...map.keys()]).toEqual(["a", "c"]);
    gate.resolve();
    expect((await third).value).toBe("c");
    expect(log).toEqual(["open a", "open b", "free b", "open c"]);
  });

  it("evicts for who acquires inside the free of what is evicted", async () => {
    let inner: Promise<AsyncHandle<Thing>> | undefined;
    const { map } = make({
      max: 2,
      idle: Infinity,
      free: ({ key }) => {
        if (key === "a") inner = map.acquire("d");
      },
    });
    for (const key of ["a", "b"]) await (await map.acquire(key)).decrRef();
    await map.acquire("c");
    expect((await inner)?.label).toBe("d");
    expect([...map.keys()]).toEqual(["c", "d"]);
  });

  it("never evicts what is held: a third key waits, in order", async () => {
    const { map, log } = make({ max: 1 });
    const a = await map.acquire("a");
    const b = map.acquire("b");
    const c = map.acquire("c");
    expect(map.stats).toMatchObject({ open: 1, opening: 2 });
    await a.decrRef();
    await (await b).decrRef();
    await (await c).decrRef();
    expect(log).toEqual(["open a1", "free a1", "open b2", "free b2", "open c3", "free c3"]);
  });

  it("does not look through all who wait whenever one comes or goes", async () => {
    let asked = 0;
    class Key {}
    const keys = Array.from({ length: 200 }, () => new Key());
    const has = Map.prototype.has;
    vi.spyOn(Map.prototype, "has").mockImplementation(function (this: Map<unknown, unknown>, key) {
      if (key instanceof Key) asked++;
      return has.call(this, key);
    });
    const map = new HandleMap<Key, object>({ max: 2, idle: Infinity, open: () => ({}) });
    await Promise.all(keys.map(async (key) => (await map.acquire(key)).decrRef()));
    vi.restoreAllMocks();
    expect(asked).toBeLessThan(20 * keys.length);
  });

  it("lets a waiter give up without losing the place of the next", async () => {
    const { map, log } = make({ max: 1 });
    const a = await map.acquire("a");
    const stop = new AbortController();
    const b = map.acquire("b", { signal: stop.signal });
    const c = map.acquire("c");
    stop.abort("no");
    await expect(b).rejects.toBe("no");
    await a.decrRef();
    expect((await c).value.key).toBe("c");
    expect(log).toEqual(["open a1", "free a1", "open c2"]);
  });

  it("throws instead of waiting when asked to, and names who holds what", async () => {
    const { map } = make({ max: 1, whenFull: "throw" });
    const a = await map.acquire("a", { holder: "importer" });
    const error = await map.acquire("b").catch((error: unknown) => error);
    expect(error).toBeInstanceOf(MapFullError);
    expect(error).toMatchObject({ code: "ERR_MAP_FULL", keys: ["a"], holders: [{ label: "a", holder: "importer" }] });
    expect((error as Error).message).toBe(
      'Cannot acquire entry "b": the map has 1 values in use, and no more may be open',
    );
    map.invalidate("a");
    await expect(map.acquire("b")).rejects.toMatchObject({ holders: [{ label: "a", holder: "importer" }] });
    await a.decrRef();
    expect((await map.acquire("b")).value.key).toBe("b");
  });

  it("gives back the place of an open that was aborted and hangs for ever", async () => {
    const { map, opens } = manual({ max: 1 });
    const stop = new AbortController();
    const a = map.acquire("a", { signal: stop.signal });
    stop.abort("hung");
    await expect(a).rejects.toBe("hung");
    const b = map.acquire("b");
    opens[1]?.resolve({ key: "b", nr: 2 });
    expect((await b).value.key).toBe("b");
  });

  it("gives back the place of an open that failed", async () => {
    let opens = 0;
    const { map } = make({
      max: 2,
      open: async (key) => {
        if (++opens <= 3) throw new Error("down");
        return { key, nr: opens };
      },
    });
    for (let i = 0; i < 3; i++) await expect(map.acquire("a")).rejects.toThrow("down");
    const both = await Promise.all([map.acquire("a"), map.acquire("b")]);
    expect(both.map(({ value }) => value.key)).toEqual(["a", "b"]);
  });

  it("fails an open that needs a second place while opens like it have taken all", async () => {
    const map = new HandleMap<string, string>({
      max: 1,
      open: async (key, { acquire }) => (key === "a" ? `a+${(await acquire("b")).value}` : key),
    });
    const error = await map.acquire("a").catch((error: unknown) => error);
    expect(error).toBeInstanceOf(MapFullError);
    expect((error as Error).message).toBe(
      'Cannot acquire entry "b": all 1 places are taken by opens that wait for a place',
    );
    expect([map.size, map.stats.leaving]).toEqual([0, 0]);
  });

  it("fails an open that takes the last place and needs one whose open waits for a place", async () => {
    const gate = deferred();
    const needs: Record<string, string> = { a: "c", b: "a" };
    const map = new HandleMap<string, string>({
      max: 2,
      open: async (key, { acquire }) => {
        if (key === "a") await gate.promise;
        const other = needs[key];
        return other === undefined ? key : `${key}+${(await acquire(other)).value}`;
      },
    });
    const held = await map.acquire("held");
    const a = map.acquire("a");
    const b = map.acquire("b");
    // Behind "b", and not without hope: the first place is held by somebody who can give it back.
    gate.resolve();
    await turn();
    void held.decrRef();
    await expect(b).rejects.toThrow('Cannot acquire entry "a": all 2 places are taken by opens that wait for a place');
    expect((await a).value).toBe("a+c");
  });
});

describe("HandleMap, an open that acquires", () => {
  it("works when the free gives back what the open took", async () => {
    const log: string[] = [];
    const map: HandleMap<string, { key: string; needs?: { decrRef(): Promise<boolean> } }> = new HandleMap({
      open: async (key: string, { acquire }) => {
        log.push(`open ${key}`);
        return key === "a" ? { key, needs: await acquire("b") } : { key };
      },
      free: async ({ key, needs }: { key: string; needs?: { decrRef(): Promise<boolean> } }) => {
        log.push(`free ${key}`);
        await needs?.decrRef();
      },
    });
    const a = await map.acquire("a");
    await a.decrRef();
    expect(log).toEqual(["open a", "open b", "free a", "free b"]);
    expect(map.size).toBe(0);
  });

  for (const [name, needs, way] of [
    ["itself", { a: "a" }, "a -> a"],
    ["itself through another", { a: "b", b: "a" }, "a -> b -> a"],
    ["a circle further on", { a: "b", b: "c", c: "b" }, "b -> c -> b"],
  ] as const) {
    it(`is refused instead of hanging when it needs ${name}`, async () => {
      const map = new HandleMap<string, string>({
        open: async (key, { acquire }) => {
          await turn();
          const other = (needs as Record<string, string>)[key];
          return other === undefined ? key : key + (await acquire(other)).value;
        },
      });
      const error = await map.acquire("a").catch((error: unknown) => error);
      expect(error).toBeInstanceOf(MapCycleError);
      expect((error as Error).message).toContain(`opening it waits for itself: ${way}`);
      expect((error as MapCycleError).keys).toEqual(way.split(" -> "));
      expect(map.size).toBe(0);
    });
  }

  it("is refused as well when it calls the map's own acquire at once", async () => {
    const map: HandleMap<string, unknown> = new HandleMap<string, unknown>({ open: (key) => map.acquire(key) });
    await expect(map.acquire("a")).rejects.toThrow(MapCycleError);
  });

  it("sees a circle that two callers close from both sides", async () => {
    const gate = deferred();
    const map = new HandleMap<string, string>({
      open: async (key, { acquire }) => {
        await gate.promise;
        return key + (await acquire(key === "a" ? "b" : "a")).value;
      },
    });
    const both = [map.acquire("a"), map.acquire("b")];
    gate.resolve();
    for (const one of await Promise.allSettled(both)) {
      expect(one.status === "rejected" && one.reason).toBeInstanceOf(MapCycleError);
    }
  });

  it("stops what its open waits for when the last waiter gives up", async () => {
    const signals: AbortSignal[] = [];
    const map = new HandleMap<string, string>({
      open: async (key, { acquire, signal }) => {
        signals.push(signal as AbortSignal);
        return key === "a" ? (await acquire("b")).value : new Promise<string>(() => {});
      },
    });
    const stop = new AbortController();
    const a = map.acquire("a", { signal: stop.signal });
    stop.abort("no");
    await expect(a).rejects.toBe("no");
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
    expect(map.size).toBe(0);
  });
});

describe("HandleMap.close()", () => {
  it("frees what is idle, rejects what waits, waits for what is held, and is one promise", async () => {
    const { map, log, opens } = manual({ idle: Infinity });
    const idle = map.acquire("idle");
    const held = map.acquire("held");
    const late = map.acquire("late");
    opens[0]?.resolve({ key: "idle", nr: 1 });
    opens[1]?.resolve({ key: "held", nr: 2 });
    await (await idle).decrRef();
    const handle = await held;
    let closed = false;
    const closing = map.close();
    closing.then(() => {
      closed = true;
    });
    expect(map.close()).toBe(closing);
    expect(log).toEqual(["free idle1"]);
    const error = await late.catch((error: unknown) => error);
    expect(error).toBeInstanceOf(MapClosedError);
    expect((error as Error).message).toBe('Cannot acquire entry "late": the map is closed');
    expect(opens[2]?.signal.aborted).toBe(true);
    await expect(map.acquire("new")).rejects.toThrow(MapClosedError);
    expect(map.peek("held")).toBe(undefined);
    opens[2]?.resolve({ key: "late", nr: 3 });
    await turn();
    expect(closed).toBe(false);
    await handle.decrRef();
    await closing;
    expect(log).toEqual(["free idle1", "free late3", "free held2"]);
    expect(map[Symbol.asyncDispose]()).toBe(closing);
  });

  it("rejects who waits for a check that goes on, forced or not, and frees the value when the check ends", async () => {
    for (const force of [false, true]) {
      const check = deferred<boolean>();
      const freed: string[] = [];
      const map = new HandleMap<string, string>({
        open: (key) => key,
        free: (value) => freed.push(value),
        idle: Infinity,
        validate: () => check.promise,
      });
      await (await map.acquire("a")).decrRef();
      let refused: unknown;
      map.acquire("a").catch((error: unknown) => {
        refused = error;
      });
      await turn();
      const closing = map.close({ force });
      await turn();
      expect(refused).toBeInstanceOf(MapClosedError);
      expect((refused as Error).message).toBe('Cannot acquire entry "a": the map is closed');
      expect(freed).toEqual([]);
      check.resolve(true);
      await closing;
      expect([freed, map.size]).toEqual([["a"], 0]);
    }
  });

  it("opens nothing of what waited for the room that it makes", async () => {
    const { map, log, opens } = manual({ max: 1, idle: Infinity });
    const first = map.acquire("a").catch((error: unknown) => error);
    const second = map.acquire("b").catch((error: unknown) => error);
    const closed = map.close();
    expect([await first, await second]).toEqual([expect.any(MapClosedError), expect.any(MapClosedError)]);
    expect(opens.map(({ key }) => key)).toEqual(["a"]);
    opens[0]?.resolve({ key: "a", nr: 1 });
    await closed;
    expect(log).toEqual(["free a1"]);
  });

  it("revokes what is held when forced, also after a plain close", async () => {
    const { map, log } = make();
    const handle = await map.acquire("a");
    const closing = map.close();
    expect(map.close({ force: true })).toBe(closing);
    await closing;
    expect(log).toEqual(["open a1", "free a1"]);
    expect(() => handle.value).toThrow(RevokedError);
    await handle[Symbol.asyncDispose]();
    expect(log.length).toBe(2);
  });

  it("rejects after timeout, naming keys and holders, and can be called again", async () => {
    const { map } = make();
    const a = await map.acquire("a", { holder: "importer" });
    const b = await map.acquire("b");
    const spent = await map.acquire("a", { holder: "gone" });
    await spent.decrRef();
    const error = (await map.close({ timeout: 5 }).catch((error: unknown) => error)) as MapClosedError;
    expect(error).toBeInstanceOf(MapClosedError);
    expect(error.keys).toEqual(["a", "b"]);
    expect(error.holders).toMatchObject([{ label: "a", holder: "importer" }, { label: "b" }]);
    expect(error.message).toMatch(
      /^Cannot close the map of kind entry: 2 keys not given back after 5 ms:\n {2}"a": 1 reference, importer for \d+ ms\n {2}"b": 1 reference, a holder without a name for \d+ ms$/,
    );
    await b.decrRef();
    const again = map.close();
    await a.decrRef();
    await again;
  });

  it("rejects with the frees that failed, past which all others ran", async () => {
    const { map, log } = make({
      idle: Infinity,
      free: ({ key }) => {
        log.push(`free ${key}`);
        throw new Error(key);
      },
    });
    for (const key of ["a", "b"]) await (await map.acquire(key)).decrRef();
    await map.acquire("c");
    const error = await map.close({ force: true }).catch((error: unknown) => error);
    expect(log.filter((line) => line.startsWith("free"))).toEqual(["free a", "free b", "free c"]);
    expect(error).toMatchObject({
      error: { message: "c" },
      suppressed: { error: { message: "b" }, suppressed: { message: "a" } },
    });
  });

  it("waits for a validated value as well, and refuses its replacement", async () => {
    const gate = deferred<boolean>();
    const { map } = make({ idle: Infinity, validate: () => gate.promise });
    await (await map.acquire("a")).decrRef();
    const asked = map.acquire("a");
    const closing = map.close();
    gate.resolve(false);
    await expect(asked).rejects.toThrow(MapClosedError);
    await closing;
  });
});

describe("HandleMap, resource", () => {
  it("uses the kind, the label, the size, the free and the counters of a definition", async () => {
    const freed: string[] = [];
    const Socket = defineAsyncResource({
      kind: "socket",
      free: async (value: string) => void freed.push(value),
      label: (value) => `to ${value}`,
      bytes: 10,
    });
    const map = new HandleMap<string, string>({ open: (key) => key, resource: Socket, idle: Infinity });
    const handle = await map.acquire("a");
    expect([handle.kind, handle.label, Socket.stats]).toEqual([
      "socket",
      "to a",
      { live: 1, opened: 1, freed: 0, peak: 1, bytes: 10 },
    ]);
    await handle.decrRef();
    expect(Socket.stats.live).toBe(1);
    await map.close();
    expect([freed, Socket.stats]).toEqual([["a"], { live: 0, opened: 1, freed: 1, peak: 1, bytes: 0 }]);
  });

  it("never has two values of an exclusive kind open for one key", async () => {
    let live = 0;
    const Port = defineAsyncResource({
      kind: "port",
      exclusive: true,
      free: async (_: number) => {
        await turn();
        live--;
      },
    });
    let nr = 0;
    const map = new HandleMap<string, number>({
      resource: Port,
      open: () => {
        if (++live > 1) throw new Error("two at once");
        return ++nr;
      },
    });
    const first = await map.acquire("a");
    map.invalidate("a");
    const second = map.acquire("a");
    void first.decrRef();
    expect((await second).value).toBe(2);
    const gate = deferred();
    const borrowed = (await second).borrow(() => gate.promise);
    await (await second).decrRef();
    const third = map.acquire("a");
    gate.resolve();
    await borrowed;
    expect((await third).value).toBe(3);
  });

  it("refuses what is no definition", () => {
    for (const resource of [{ kind: "a" }, {}, () => {}]) {
      expect(() => new HandleMap({ open: () => 1, resource: resource as never })).toThrow(
        `Cannot make a HandleMap: expected a resource definition, received ${typeof resource}`,
      );
    }
    expect(new HandleMap({ open: () => 1, resource: null as never }).size).toBe(0);
  });

  it("refuses a free or another kind beside a definition, which has its own", () => {
    const resource = defineAsyncResource<string>({ kind: "a", free: () => {} });
    const open = (key: string) => key;
    expect(() => new HandleMap({ open, resource, free: () => {} })).toThrow(
      new TypeError("Cannot make a HandleMap: expected no free beside a resource, received function"),
    );
    expect(() => new HandleMap({ open, resource, kind: "b" })).toThrow(
      new TypeError('Cannot make a HandleMap: expected the kind of its resource, "a", received "b"'),
    );
    expect(new HandleMap({ open, resource, kind: "a" }).size).toBe(0);
  });
});

describe("new HandleMap()", () => {
  it("refuses options of the wrong type or out of range", () => {
    const open = () => 1;
    expect(() => new HandleMap({} as never)).toThrow("expected open to be a function, received undefined");
    expect(() => new HandleMap({ open, canonical: "a" as never })).toThrow(TypeError);
    expect(() => new HandleMap({ open, idle: -1 })).toThrow(RangeError);
    expect(() => new HandleMap({ open, max: Number.NaN })).toThrow(RangeError);
    expect(() => new HandleMap({ open, whenFull: "drop" as never })).toThrow(TypeError);
  });

  it("has one entry for a key whose label function acquires it, and none if that closes the map", async () => {
    let inner: Promise<AsyncHandle<Thing>> | undefined;
    let named = 0;
    const { map, log } = make({
      label: (key) => {
        if (key === "b") void map.close();
        else if (named++ === 0) inner = map.acquire(key);
        return key;
      },
    });
    const [handle, other] = [await map.acquire("a"), await inner];
    expect(other?.value).toBe(handle.value);
    expect([handle.refCount, map.size]).toEqual([2, 1]);
    await expect(map.acquire("b")).rejects.toThrow(MapClosedError);
    await handle.decrRef();
    await other?.decrRef();
    await map.close();
    expect(log).toEqual(["open a1", "free a1"]);
  });

  it("contains a label that throws", async () => {
    const { map } = make({
      label: () => {
        throw new Error("no name");
      },
    });
    expect((await map.acquire("a")).label).toBe("(no label: no name)");
  });

  it("does not grow with the keys it has seen", async () => {
    const map = new HandleMap<string, string>({ open: async (key) => key });
    const { gc } = globalThis as unknown as { gc(): void };
    const use = async (from: number, to: number): Promise<void> => {
      for (let i = from; i < to; i++) await (await map.acquire(`key ${i}`)).decrRef();
      await turn();
      gc();
    };
    await use(0, 5_000);
    const before = process.memoryUsage().heapUsed;
    await use(5_000, 100_000);
    expect(map.size).toBe(0);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(8_000_000);
  });
});
