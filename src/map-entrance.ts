import { ASYNC_DISPOSE, ignore, warn } from "./account";
import type { AsyncHandle } from "./async-handle";
import { aborted, onAbort, type Signal } from "./host";
import { type Entry, HELD, IDLE, QUEUED, type Waiter } from "./map-entry";
import type { Life } from "./map-life";
import type { AcquireOptions } from "./map-options";
import type { OpenedThere } from "./tracker";

/** How one gets into a keyed map: joins what is there, or begins it, and waits for it. */
export class Entrance<K, T, V> {
  readonly #life: Life<K, T, V>;

  constructor(life: Life<K, T, V>) {
    this.#life = life;
  }

  /** The one spelling of a key. */
  canonical(key: K): K {
    const { canonical } = this.#life.options;
    return canonical === undefined ? key : canonical(key);
  }

  /** Joins or begins. All of it happens before the first await. */
  enter(
    given: K,
    options: AcquireOptions | undefined,
    opener: Entry<K, T> | undefined,
    here: OpenedThere | undefined,
  ): Promise<AsyncHandle<T>> {
    try {
      const key = this.canonical(given);
      const signals = [options?.signal, opener?.signal];
      const { closed, refusals } = this.#life;
      if (closed) throw refusals.closed(refusals.label(key));
      const gaveUp = aborted(signals);
      if (gaveUp !== undefined) throw gaveUp.reason;
      const open = this.#life.entries.get(key);
      const handle = open && this.take(open, options?.holder, here);
      if (handle !== undefined) {
        if (this.#life.options.validate === undefined) return Promise.resolve(handle);
        return this.#validated(open as Entry<K, T>, handle, given, options, opener, here);
      }
      return this.#wait(key, given, options?.holder, signals, opener, here);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** An account on an entry whose value is open. */
  take(entry: Entry<K, T>, holder: string | undefined, here: OpenedThere | undefined): AsyncHandle<T> | undefined {
    if (entry.state === IDLE) this.#life.wake(entry);
    else if (entry.state !== HELD) return undefined;
    // Of an exclusive kind no second account may begin while borrows keep the first: the next value waits for them.
    else if (this.#life.kind.exclusive && entry.draining) {
      this.#life.leave(entry);
      return undefined;
    }
    return entry.account(holder, here);
  }

  /** Waits for an entry on its way, or makes one. */
  #wait(
    key: K,
    given: K,
    holder: string | undefined,
    signals: readonly (Signal | undefined)[],
    opener: Entry<K, T> | undefined,
    here: OpenedThere | undefined,
  ): Promise<AsyncHandle<T>> {
    const life = this.#life;
    const { room, waits, refusals } = life;
    const found = this.#life.entries.get(key);
    const way = opener && waits.cycle(key, opener);
    if (way !== undefined) throw refusals.cycle(key, way);
    if (found === undefined && life.options.whenFull === "throw" && room.full) {
      throw refusals.full(key, `the map has ${room.max} values in use, and no more may be open`);
    }
    const entry = found ?? life.make(key, given);
    return new Promise((resolve, reject) => {
      const giveUp = (reason: unknown): void => {
        entry.waiters.delete(waiter);
        if (entry.waiters.size === 0) life.abandon(entry, reason);
      };
      const stop = onAbort(signals, (reason) => {
        giveUp(reason);
        reject(reason);
      });
      const waiter: Waiter<K, T> = { opener, holder, here, resolve, reject, stop };
      entry.waiters.add(waiter);
      if (found === undefined) life.begin(entry);
      if (opener !== undefined && entry.state === QUEUED && waits.stuck) {
        stop();
        giveUp(undefined);
        reject(refusals.full(key, `all ${room.max} places are taken by opens that wait for it`));
      }
    });
  }

  async #validated(
    entry: Entry<K, T>,
    handle: AsyncHandle<T>,
    given: K,
    options: AcquireOptions | undefined,
    opener: Entry<K, T> | undefined,
    here: OpenedThere | undefined,
  ): Promise<AsyncHandle<T>> {
    const { validate } = this.#life.options;
    let stop = ignore;
    try {
      // A borrow, so that the value outlives the question even if whoever asked gives up.
      const answer = handle.borrow((value) => (validate as NonNullable<typeof validate>)(value, entry.key));
      const valid = await new Promise<boolean>((resolve, reject) => {
        stop = onAbort([options?.signal, opener?.signal], reject);
        answer.then(resolve, () => resolve(false));
      });
      if (valid) return handle;
    } catch (reason) {
      this.#giveBack(handle);
      throw reason;
    } finally {
      stop();
    }
    this.#life.leave(entry);
    this.#giveBack(handle);
    return this.enter(given, options, opener, here);
  }

  #giveBack(handle: AsyncHandle<T>): void {
    handle[ASYNC_DISPOSE]().catch((error: unknown) => {
      if (this.#life.options.onError === undefined) warn(error);
    });
  }
}
