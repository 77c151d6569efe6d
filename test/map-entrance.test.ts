import { getEventListeners } from "node:events";
import { describe, expect, it, vi } from "vitest";
import type { AsyncHandle } from "../src/async-handle";
import { AcquireTimeoutError } from "../src/errors";
import { HandleMap } from "../src/handle-map";
import { defineAsyncResource } from "../src/resource";
import { withBrokenRecords } from "./support/broken-records";
import { deferred, turn } from "./support/until";

async function rejection(promise: Promise<unknown>): Promise<AcquireTimeoutError> {
  const error = await promise.catch((error: unknown) => error);
  expect(error).toBeInstanceOf(AcquireTimeoutError);
  return error as AcquireTimeoutError;
}

describe("HandleMap.acquire(key, { timeout })", () => {
  it("gives up on an open that goes on, aborts it when nobody else waits, and frees a late value", async () => {
    const gate = deferred<string>();
    const signals: AbortSignal[] = [];
    const freed: string[] = [];
    const map = new HandleMap<string, string>({
      open: (_, { signal }) => {
        signals.push(signal as AbortSignal);
        return gate.promise;
      },
      free: (value) => freed.push(value),
    });
    const error = await rejection(map.acquire("a", { timeout: 1 }));
    expect(error).toMatchObject({ code: "ERR_ACQUIRE_TIMEOUT", kind: "entry", label: "a", keys: ["a"], holders: [] });
    expect(error.message).toBe('Cannot acquire entry "a": not within 1 ms: its open goes on');
    expect(signals[0]?.reason).toBe(error);
    gate.resolve("late");
    await turn();
    expect([freed, map.size]).toEqual([["late"], 0]);
  });

  it("names who holds what when there is no room", async () => {
    const map = new HandleMap<string, string>({ open: (key) => key, max: 1 });
    const held = await map.acquire("a", { holder: "importer" });
    const error = await rejection(map.acquire("b", { timeout: 1 }));
    expect(error.message).toMatch(
      /^Cannot acquire entry "b": not within 1 ms: all 1 places are taken, held by importer for \d+ ms$/,
    );
    expect(error).toMatchObject({ keys: ["a"], holders: [{ label: "a", holder: "importer" }] });
    map.invalidate("a");
    expect(await rejection(map.acquire("b", { timeout: 1 }))).toMatchObject({ holders: [{ holder: "importer" }] });
    await held.decrRef();
    expect((await map.acquire("b")).value).toBe("b");
  });

  it("gives up on a check that goes on, and gives the reference back", async () => {
    const map = new HandleMap<string, string>({
      open: (key) => key,
      idle: Infinity,
      validate: () => new Promise<boolean>(() => {}),
    });
    const first = await map.acquire("a");
    const error = await rejection(map.acquire("a", { timeout: 1 }));
    expect(error.message).toMatch(
      /not within 1 ms: it is being validated, held by a holder without a name for \d+ ms$/,
    );
    expect(first.refCount).toBe(1);
  });

  it("does not name who asks among those who hold the value that is checked", async () => {
    const map = new HandleMap<string, string>({
      open: (key) => key,
      idle: Infinity,
      validate: () => new Promise<boolean>(() => {}),
    });
    await (await map.acquire("a", { holder: "first" })).decrRef();
    const error = await rejection(map.acquire("a", { holder: "asker", timeout: 1 }));
    expect(error.message).toBe('Cannot acquire entry "a": not within 1 ms: it is being validated');
    expect([error.holders, map.stats.holders.size]).toEqual([[], 0]);
  });

  it("names each holder once, whatever he owes, who was given a dup, and whoever his account was moved to", async () => {
    const map = new HandleMap<string, string>({ open: (key) => key, max: 1 });
    const names = async () => (await rejection(map.acquire("b", { timeout: 1 }))).holders.map(({ holder }) => holder);
    const importer = (await map.acquire("a", { holder: "importer" })).incrRef();
    expect(await names()).toEqual(["importer"]);
    const reader = importer.dup("reader").move();
    const moved = importer.move();
    expect(await names()).toEqual(["importer", "reader"]);
    const nobody = moved.dup();
    await moved.decrRef();
    await moved.decrRef();
    expect(await names()).toEqual(["reader", undefined]);
    await reader.decrRef();
    await nobody.decrRef();
    expect(map.size).toBe(0);
  });

  it("names who was given a dup of a loan, and whom a handle on a weak one is given to", async () => {
    const map = new HandleMap<string, string>({ open: (key) => key, max: 1 });
    const names = async () => (await rejection(map.acquire("b", { timeout: 1 }))).holders.map(({ holder }) => holder);
    const importer = await map.acquire("a", { holder: "importer" });
    const reader = await importer.borrow((_, loan) => loan.dup("reader"));
    const upgraded = importer.weak().upgrade() as AsyncHandle<string>;
    const writer = upgraded.dup("writer");
    await upgraded.decrRef();
    const moved = reader.move();
    expect(await names()).toEqual(["importer", "reader", "writer"]);
    for (const handle of [importer, writer, moved]) await handle.decrRef();
    expect(map.size).toBe(0);
  });

  it("moves one of many holders without a look at the others", async () => {
    const map = new HandleMap<string, string>({ open: (key) => key });
    const first = await map.acquire("a");
    const handles = Array.from({ length: 100 }, (_, i) => first.dup(`holder ${i}`));
    const looks = vi.spyOn(WeakRef.prototype, "deref");
    try {
      handles.push(handles[99]?.move() as AsyncHandle<string>);
      expect(looks).not.toHaveBeenCalled();
    } finally {
      looks.mockRestore();
    }
    for (const handle of [first, ...handles]) if (handle.owed > 0) await handle.decrRef();
    expect(map.size).toBe(0);
  });

  it("names holders by whatever they gave as a name, made a string when it was given", async () => {
    const map = new HandleMap<string, string>({ open: (key) => key, max: 1 });
    const names: unknown[] = [
      Symbol("writer"),
      {
        toString() {
          throw new Error("nameless");
        },
      },
      Object.create(null),
    ];
    const waiting = names.map((holder) => map.acquire("a", { holder: holder as string }));
    const held = await Promise.all(waiting);
    map.peek("a", { holder: 7 as never });
    const named =
      /held by Symbol\(writer\) for \d+ ms, \(no name: nameless\) for \d+ ms, \(no name: .+\) for \d+ ms, 7 for \d+ ms$/;
    expect((await rejection(map.acquire("b", { timeout: 1 }))).message).toMatch(named);
    await expect(map.close({ timeout: 1 })).rejects.toThrow("Symbol(writer)");
    for (const handle of held) await handle.decrRef();
  });

  it("rejects all the same when its error cannot be made", async () => {
    const failure = new Error("no sites");
    await withBrokenRecords(failure, async () => {
      const map = new HandleMap<string, string>({ open: (key) => key, max: 1 });
      const held = await map.acquire("a", { holder: "writer" });
      await expect(map.acquire("b", { timeout: 1 })).rejects.toBe(failure);
      await expect(map.close({ timeout: 1 })).rejects.toBe(failure);
      await held.decrRef();
    });
  });

  it("is one time for all that the acquire does, and leaves no timer", async () => {
    vi.useFakeTimers();
    try {
      const gate = deferred<boolean>();
      let opens = 0;
      const map = new HandleMap<string, number>({
        open: () => (++opens === 1 ? 1 : new Promise<number>(() => {})),
        idle: Infinity,
        validate: () => gate.promise,
      });
      await (await map.acquire("a", { timeout: 1000 })).decrRef();
      expect(vi.getTimerCount()).toBe(0);
      const asked = rejection(map.acquire("a", { timeout: 100 }));
      await vi.advanceTimersByTimeAsync(80);
      gate.resolve(false);
      await vi.advanceTimersByTimeAsync(19);
      expect(opens).toBe(2);
      await vi.advanceTimersByTimeAsync(1);
      expect((await asked).message).toContain("not within 100 ms: its open goes on");
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  it("is refused when it is no time", async () => {
    const map = new HandleMap<string, string>({ open: (key) => key });
    for (const timeout of [-1, Number.NaN, "1" as never]) {
      await expect(map.acquire("a", { timeout })).rejects.toThrow(RangeError);
    }
    expect(map.size).toBe(0);
  });
});

describe("HandleMap.acquire(key, { signal, timeout })", () => {
  it("leaves no timer when the signal is none", async () => {
    vi.useFakeTimers();
    const map = new HandleMap<string, object>({ open: () => ({}) });
    await expect(map.acquire("a", { signal: {} as AbortSignal, timeout: 10 })).rejects.toThrow(TypeError);
    expect([vi.getTimerCount(), map.size]).toEqual([0, 0]);
    vi.useRealTimers();
  });
});

describe("HandleMap of an exclusive kind, acquired by who holds the value before", () => {
  const Port = defineAsyncResource({ kind: "port", exclusive: true, free: async (_: number) => {} });

  it("waits for itself until its timeout, which names it as the holder", async () => {
    let nr = 0;
    const map = new HandleMap<string, number>({ resource: Port, open: () => ++nr });
    const mine = await map.acquire("a", { holder: "me" });
    map.invalidate("a");
    const error = await rejection(map.acquire("a", { timeout: 1 }));
    expect(error.message).toMatch(
      /^Cannot acquire port "a": not within 1 ms: it waits for the end of the value before it, held by me for \d+ ms$/,
    );
    expect(error.holders).toMatchObject([{ label: "a", holder: "me" }]);
    await mine.decrRef();
    expect((await map.acquire("a")).value).toBe(2);
  });

  it("is refused at once where the map can tell: an open that waits for its own value to end", async () => {
    const map: HandleMap<string, number> = new HandleMap<string, number>({
      resource: Port,
      open: async (key, { acquire }) => {
        await turn();
        map.invalidate(key);
        return (await acquire(key)).value;
      },
    });
    const error = await map.acquire("a").catch((error: unknown) => error);
    expect(error).toMatchObject({ code: "ERR_MAP_CYCLE", keys: ["a", "a"] });
    expect([map.size, map.stats.leaving]).toEqual([0, 0]);
  });
});

describe("HandleMap, canonical", () => {
  it("is refused at every entrance when it answers with a promise, whose failure is heard", async () => {
    const map = new HandleMap<string, string>({
      open: (key) => key,
      canonical: (async (key: string) => Promise.reject(new Error(`no ${key}`))) as never,
    });
    const refusal = 'Cannot find the key of entry "a": canonical returned a promise, and the key must be known at once';
    await expect(map.acquire("a")).rejects.toThrow(new TypeError(refusal));
    for (const call of ["peek", "has", "touch", "invalidate"] as const) {
      expect(() => map[call]("a")).toThrow(new TypeError(refusal));
    }
    await turn();
    expect(map.size).toBe(0);
  });
});

describe("HandleMap.peek() of an exclusive kind", () => {
  const Port = defineAsyncResource({ kind: "port", exclusive: true, free: async (_: number) => {} });

  it("takes nothing out of the map while only a borrow keeps the value, which is kept after it", async () => {
    let nr = 0;
    const map = new HandleMap<string, number>({ resource: Port, open: () => ++nr, idle: Infinity });
    const handle = await map.acquire("a");
    const gate = deferred();
    const borrowed = handle.borrow(() => gate.promise);
    await handle.decrRef();
    expect([map.has("a"), map.peek("a"), map.has("a"), map.stats.leaving]).toEqual([true, undefined, true, 0]);
    gate.resolve();
    await borrowed;
    const again = map.peek("a");
    expect([again?.value, map.size]).toEqual([1, 1]);
    await again?.decrRef();
    await map.close();
  });
});

describe("HandleMap, an open that acquires much", () => {
  it("has one listener on its signal for all, and gives all up with it", async () => {
    let signal = new AbortController().signal;
    const asked: Promise<unknown>[] = [];
    const map = new HandleMap<string, string>({
      open: (key, context) => {
        if (key === "all") {
          signal = context.signal as AbortSignal;
          for (let i = 0; i < 20; i++) asked.push(context.acquire(`key ${i}`, i % 2 ? { timeout: 60_000 } : {}));
          asked.push(context.acquire("another", { signal: context.signal }));
        }
        return new Promise<string>(() => {});
      },
    });
    const stop = new AbortController();
    const all = map.acquire("all", { signal: stop.signal });
    expect([getEventListeners(signal, "abort").length, map.stats.opening]).toEqual([1, 22]);
    stop.abort("no");
    await expect(all).rejects.toBe("no");
    const settled = await Promise.allSettled(asked);
    expect(new Set(settled.map((one) => one.status === "rejected" && one.reason))).toEqual(new Set(["no"]));
    expect(map.size).toBe(0);
  });

  it("refuses what it asks for after it was given up", async () => {
    const gate = deferred();
    const late = deferred<unknown>();
    const map = new HandleMap<string, string>({
      open: async (key, { acquire }) => {
        if (key === "b") return key;
        await gate.promise;
        acquire("b").then(late.resolve, late.resolve);
        return key;
      },
    });
    const stop = new AbortController();
    const asked = map.acquire("a", { signal: stop.signal });
    stop.abort("no");
    await expect(asked).rejects.toBe("no");
    gate.resolve();
    expect([await late.promise, map.size]).toEqual(["no", 0]);
  });
});

describe("HandleMap, what it is told", () => {
  it("is refused by name when it is no object of options, or no whole number", () => {
    const open = (key: string) => key;
    const map = new HandleMap({ open });
    expect(() => map.close(null as never)).toThrow(
      new TypeError("Cannot close the map: expected an object of options, received null"),
    );
    expect(() => new HandleMap({ open, max: 1.5 })).toThrow(
      new RangeError("Expected max to be a whole number of at least 1, received number 1.5"),
    );
    expect(new HandleMap({ open, max: Infinity }).size).toBe(0);
  });
});

describe("HandleMap, closed by what an acquire asks for", () => {
  it("gives no handle of what is held", async () => {
    const make = async (options = {}) => {
      const map = new HandleMap<string, string>({ open: (key) => key, ...options });
      return [map, await map.acquire("a")] as const;
    };
    let closing = false;
    const canonical = (key: string): string => {
      if (closing) void map.close();
      return key;
    };
    const [map, held] = await make({ canonical });
    closing = true;
    await expect(map.acquire("a")).rejects.toThrow('Cannot acquire entry "a": the map is closed');
    expect(held.refCount).toBe(1);
    const [other, kept] = await make();
    const holder = {
      toString() {
        void other.close();
        return "holder";
      },
    };
    expect([other.peek("a", { holder: holder as never }), kept.refCount]).toEqual([undefined, 1]);
    await Promise.all([held.decrRef(), kept.decrRef()]);
  });
});
