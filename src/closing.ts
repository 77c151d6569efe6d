import { ignore } from "./account";
import { suppress } from "./errors";
import { after } from "./host";
import { made } from "./map-refusals";

interface Deferred {
  readonly promise: Promise<void>;
  resolve(): void;
  reject(error: unknown): void;
}

/**
 * The promise of a close: one for all who ask while it is under way, and after it has settled; a new one for who asks
 * after it ran out of time.
 */
export class Closing {
  readonly #over: () => boolean;
  #current: Deferred | undefined = undefined;
  #failures: unknown[] = [];
  /** Stops the timers of who waits no longer than that. */
  #timers: (() => void)[] = [];

  /** @param over Whether nothing is left to wait for. */
  constructor(over: () => boolean) {
    this.#over = over;
  }

  /** Begins to wait, or joins. @param late Makes the error that the promise rejects with after `timeout` milliseconds. */
  begin(timeout: number, late: () => Error): Promise<void> {
    this.#current ??= deferred();
    const current = this.#current;
    if (timeout !== Infinity) {
      const stop = after(timeout, () => {
        if (this.#current !== current || this.#over()) return;
        this.#current = undefined;
        this.#stopTimers();
        current.reject(made(late));
      });
      this.#timers.push(stop);
    }
    return current.promise;
  }

  /** What failed on the way is told by the promise. @returns Whether there is one. */
  failed(error: unknown): boolean {
    if (this.#current === undefined) return false;
    this.#failures.push(error);
    return true;
  }

  /** Settles the promise if nothing is left to wait for. */
  settle(): void {
    if (this.#current === undefined || !this.#over()) return;
    this.#stopTimers();
    const [first, ...more] = this.#failures;
    if (this.#failures.length === 0) this.#current.resolve();
    else this.#current.reject(more.reduce((failure, error) => suppress(error, failure), first));
  }

  // By hand, and not by the promise: to listen to it would be to hear its rejection for everybody.
  #stopTimers(): void {
    for (const stop of this.#timers.splice(0)) stop();
  }
}

function deferred(): Deferred {
  let resolve = ignore;
  let reject: (error: unknown) => void = ignore;
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
