import { describe, expect, it, vi } from "vitest";
import { AcquireTimeoutError } from "../src/errors";
import { HandleMap } from "../src/handle-map";
import { defineAsyncResource } from "../src/resource";
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
    expect(error.message).toMatch(/not within 1 ms: it is being validated, held by a holder without a name/);
    expect(first.refCount).toBe(1);
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
