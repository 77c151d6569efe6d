const { setTimeout: set, clearTimeout: clear } = globalThis;

/** The timers that code under test sets from now on: those that keep the process alive, and those that do not. */
export class Timers implements Disposable {
  readonly #running = new Set<unknown>();
  /** Timers that were ever set. */
  set = 0;

  constructor() {
    globalThis.setTimeout = ((call: () => void, ms?: number) => {
      const timer = set(() => {
        this.#running.delete(timer);
        call();
      }, ms);
      this.#running.add(timer);
      this.set++;
      return timer;
    }) as typeof setTimeout;
    globalThis.clearTimeout = ((timer: Parameters<typeof clearTimeout>[0]) => {
      this.#running.delete(timer);
      clear(timer);
    }) as typeof clearTimeout;
  }

  /** Timers that have neither fired nor been cleared. */
  get running(): number {
    return this.#running.size;
  }

  [Symbol.dispose](): void {
    globalThis.setTimeout = set;
    globalThis.clearTimeout = clear;
  }
}

/** Waits by the runtime's own timer, which {@link Timers} does not count. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => set(resolve, ms));
}
