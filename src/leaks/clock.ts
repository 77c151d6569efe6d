/**
 * The time and the timers, as they were when this file was loaded, and the runtime's own where it has modules for them: a
 * test runner's fake timers neither fire nor block what the detector does, also where they are faked before anything is
 * loaded (Jest's `fakeTimers.enableGlobally`).
 */

interface Timers {
  setTimeout(call: () => void, ms: number): unknown;
  setInterval(call: () => void, ms: number): unknown;
  clearInterval(timer: unknown): void;
  setImmediate?(call: () => void): unknown;
}

interface Time {
  readonly performance?: { now(): number };
}

const { process } = globalThis as { process?: { getBuiltinModule?(id: string): unknown } };

/** A module of the runtime, without importing it: browsers load this too. */
export function builtin<T>(id: string): T | undefined {
  return process?.getBuiltinModule?.(id) as T | undefined;
}

const host = globalThis as unknown as Timers & Time;
const { setTimeout, setInterval, clearInterval, setImmediate } = builtin<Timers>("node:timers") ?? host;
const { performance } = builtin<Time>("node:perf_hooks") ?? host;

/** Milliseconds on a clock that is the same for every copy of the library. */
export const elapsed: () => number = performance === undefined ? Date.now : performance.now.bind(performance);

/** The whole milliseconds of {@link elapsed}. */
export const ticks = (): number => {
  const at = Math.round(elapsed());
  // For the first 24 days a small integer, which costs a record no object of its own.
  return at < 2 ** 31 ? at | 0 : at;
};

function unref<T>(timer: T): T {
  (timer as { unref?(): void } | undefined)?.unref?.();
  return timer;
}

/** Calls back from the next macrotask, unless the process ends before: it is not kept alive for this. */
export function soon(call: () => void): void {
  unref(setImmediate === undefined ? setTimeout.call(globalThis, call, 0) : setImmediate.call(globalThis, call));
}

/** Calls back again and again, without keeping the process alive, until the function it returns is called. */
export function every(ms: number, call: () => void): () => void {
  const timer = unref(setInterval.call(globalThis, call, ms));
  return () => clearInterval.call(globalThis, timer);
}

/** Waits for the next macrotask, or for `ms`; the process stays alive until then. */
export function pause(ms = 0): Promise<void> {
  return new Promise((resolve) => {
    if (ms === 0 && setImmediate !== undefined) setImmediate.call(globalThis, resolve);
    else setTimeout.call(globalThis, resolve, ms);
  });
}
