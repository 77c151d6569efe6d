/**
 * The time and the timers, as they were when this file was loaded: a test runner's fake timers neither fire nor block
 * what the detector does.
 */

interface Host {
  readonly performance?: { now(): number };
  setTimeout(call: () => void, ms: number): unknown;
  setInterval(call: () => void, ms: number): unknown;
  clearInterval(timer: unknown): void;
  setImmediate?(call: () => void): unknown;
}

const host = globalThis as unknown as Host;
const { setTimeout, setInterval, clearInterval, setImmediate, performance } = host;

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
