import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MapClosedError } from "../src/errors";
import { HandleMap } from "../src/handle-map";
import type { OpenContext } from "../src/map-options";
import { defineAsyncResource } from "../src/resource";
import { pause, Timers } from "./support/timers";
import { turn, until } from "./support/until";

interface Value {
  readonly key: string;
  readonly nr: number;
  freed: boolean;
  /** Gives its place back: called when it has been freed. */
  readonly leave: () => void;
}

/** How many are open or opening. What was given up on while it was opening does not count any more. */
class Places {
  taken = 0;
  most = 0;

  /** @returns Gives the place back, once. */
  take(signal: { addEventListener(type: "abort", listener: () => void): void }): () => void {
    this.most = Math.max(this.most, ++this.taken);
    let left = false;
    const leave = (): void => {
      if (!left) this.taken--;
      left = true;
    };
    signal.addEventListener("abort", leave);
    return leave;
  }
}

/** A world that counts what is open, with latencies and failures from one seeded sequence. */
function makeWorld(seed: number, exclusive: boolean, idle: number, max: number) {
  let state = seed >>> 0 || 1;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const latency = (): Promise<void> | undefined => {
    const turns = random(4);
    if (turns === 0) return undefined;
    return turns < 3 ? turn() : pause(random(3));
  };
  const faults: string[] = [];
  const live = new Map<string, number>();
  const places = new Places();
  const losers = new Set<() => void>();
  const world = { opens: 0, frees: 0, failures: 0, losses: 0, places, losers, faults, live, random, latency };
  const free = async (value: Value): Promise<void> => {
    if (value.freed) faults.push(`${value.key}${value.nr} was freed twice`);
    value.freed = true;
    await latency();
    world.frees++;
    live.set(value.key, (live.get(value.key) as number) - 1);
    value.leave();
    if (random(10) === 0) throw new Error("the free failed");
  };
  const Thing = defineAsyncResource({ kind: "thing", exclusive, free });
  const map = new HandleMap<string, Value>({
    resource: Thing,
    idle,
    max,
    onError: () => world.failures++,
    validate: idle === 0 ? undefined : () => Promise.resolve(latency()).then(() => random(12) > 0),
    maxAge: idle === 2 ? 3 : Infinity,
    lost: (_, lost) => {
      losers.add(lost);
      if (random(30) === 0) lost(new Error("lost at once"));
      return () => {
        world.losses++;
        losers.delete(lost);
      };
    },
    open: async (key, { acquire, signal }) => {
      const leave = places.take(signal);
      try {
        return await open(key, { acquire, signal }, leave);
      } catch (error) {
        leave();
        throw error;
      }
    },
  } as ConstructorParameters<typeof HandleMap<string, Value>>[0]);
  async function open(
    key: string,
    { acquire, signal }: Pick<OpenContext<string, Value>, "acquire" | "signal">,
    leave: () => void,
  ): Promise<Value> {
    await latency();
    if (random(8) === 0) throw new Error("the open failed");
    if (random(10) === 0 && max === Infinity) {
      // Needs another key for a moment, in both directions: circles do come up.
      const other = await acquire(`key ${random(20)}`);
      await latency();
      await other.decrRef().catch(() => {});
    }
    if (signal.aborted && random(2) === 0) throw signal.reason;
    const nr = ++world.opens;
    const now = (live.get(key) ?? 0) + 1;
    live.set(key, now);
    if (exclusive && now > 1) faults.push(`${key} is open ${now} times`);
    return { key, nr, freed: false, leave };
  }
  return { ...world, world, map, Thing };
}

async function play(seed: number, operations: number, exclusive: boolean, idle: number, max: number): Promise<void> {
  using timers = new Timers();
  const { world, map, Thing, random, latency, faults, live, places, losers } = makeWorld(seed, exclusive, idle, max);
  const one = async (): Promise<void> => {
    const { open, opening, idle: resting } = map.stats;
    if (open + opening + resting !== map.size) faults.push(`${open}, ${opening} and ${resting} of ${map.size} entries`);
    const key = `key ${random(20)}`;
    const what = random(22);
    if (what === 20) {
      for (const lose of losers) return lose();
    }
    if (what === 0) return void map.invalidate(key);
    if (what === 1) return void map.touch(key);
    if (what === 2) {
      const peeked = map.peek(key);
      if (peeked?.value.freed) faults.push(`peek gave a freed ${key}`);
      await latency();
      return void (await peeked?.decrRef().catch(() => {}));
    }
    const stop = random(5) === 0 ? new AbortController() : undefined;
    const timeout = random(10) === 0 ? random(3) : Infinity;
    const asked = map.acquire(key, { signal: stop?.signal as never, timeout });
    if (stop !== undefined) {
      void (async () => {
        await latency();
        stop.abort(new Error("gave up"));
      })();
    }
    const handle = await asked.catch(() => undefined);
    if (handle === undefined) return;
    if (handle.value.key !== key) faults.push(`${key} gave ${handle.value.key}`);
    if (handle.value.freed) faults.push(`${key} was freed when it was given out`);
    const second = random(4) === 0 ? handle.dup() : undefined;
    await latency();
    if (handle.value.freed) faults.push(`${key} was freed under its holder`);
    if (handle.refCount < 1) faults.push(`${key} has ${handle.refCount} references`);
    await handle.decrRef().catch(() => {});
    if (second?.value.freed) faults.push(`${key} was freed under its second holder`);
    await second?.decrRef().catch(() => {});
  };
  // Twenty walkers, so that operations overlap.
  let left = operations;
  const walker = async (): Promise<void> => {
    while (left-- > 0) await one();
  };
  await Promise.all(Array.from({ length: 20 }, walker));
  expect(map.stats.opening).toBe(0);
  // A caller that gave up leaves his open under way, which may hold another key, and the question whether a value is valid.
  await until(() => map.stats.holders.size === 0, "an abandoned open to give back what it needed");
  await until(() => map.stats.open === 0, "the last borrow to end");
  await until(() => map.stats.leaving === 0, "what has left to be freed");
  expect(world.opens - world.frees).toBe(map.stats.idle);
  expect(map.size).toBe(map.stats.idle);
  await map.close().catch(() => {});
  expect(faults).toEqual([]);
  expect([timers.running, losers.size, places.taken]).toEqual([0, 0, 0]);
  expect(places.most).toBeLessThanOrEqual(max);
  if (operations > 1000) {
    expect([timers.set > 0, world.losses > 0]).toEqual([true, true]);
    if (max !== Infinity) expect(places.most).toBe(max);
  }
  expect(world.opens).toBe(world.frees);
  expect([...live.values()].every((count) => count === 0)).toBe(true);
  expect([map.size, map.stats.leaving, Thing.stats.live, Thing.stats.opened]).toEqual([0, 0, 0, world.opens]);
  await expect(map.acquire("key 1")).rejects.toThrow(MapClosedError);
}

describe("HandleMap under 10,000 random operations over 20 keys", () => {
  for (const [name, exclusive, idle, max] of [
    ["freed at once", false, 0, Infinity],
    ["kept for 2 ms", false, 2, Infinity],
    ["kept for ever, 7 at a time", false, Infinity, 7],
    ["of an exclusive kind", true, 1, Infinity],
  ] as const) {
    it(`opens as often as it frees, and hands out nothing freed: ${name}`, async () => {
      await play(20_260 + idle, 10_000, exclusive, idle, max);
    }, 60_000);
  }

  it("does so for every seed", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(),
        fc.boolean(),
        fc.constantFrom(0, 1, Infinity),
        fc.constantFrom(3, Infinity),
        (seed, exclusive, idle, max) => play(seed, 300, exclusive, idle, max),
      ),
      { numRuns: 30 },
    );
  }, 60_000);
});
