import { ASYNC_DISPOSE, ignore, warn } from "./account";
import type { AsyncHandle } from "./async-handle";
import { checkObject } from "./errors";
import { aborted, checkSignal, now, onGivingUp, type Signal } from "./host";
import { type Entry, HELD, holderName, IDLE, type Question, type Waiter } from "./map-entry";
import type { Life } from "./map-life";
import { type AcquireOptions, checkRange } from "./map-options";
import { made } from "./map-refusals";
import { isPromise } from "./resource";
import { type OpenedThere, realm } from "./tracker";

/** One acquire: what its caller said, until when he waits, and where he was. */
interface Asked<K, T> {
  /** The key as the caller spelled it. */
  readonly given: K;
  readonly holder: string | undefined;
  readonly signals: readonly (Signal | undefined)[];
  readonly timeout: number;
  readonly until: number;
  /** The open that asks. */
  readonly opener: Entry<K, T> | undefined;
  readonly here: OpenedThere | undefined;
}

const NOTHING: AcquireOptions = {};
const NO_SIGNALS: readonly (Signal | undefined)[] = [];

/** How one gets into a keyed map: joins what is there, or begins it, and waits for it. */
export class Entrance<K, T, V> {
  readonly #life: Life<K, T, V>;

  constructor(life: Life<K, T, V>) {
    this.#life = life;
  }

  /** The one spelling of a key. */
  canonical(key: K): K {
    const { canonical } = this.#life.options;
    if (canonical === undefined) return key;
    const found = canonical(key);
    if (typeof found !== "string" && isPromise(found)) {
      Promise.resolve(found as PromiseLike<K>).then(ignore, ignore);
      throw this.#life.refusals.promised(key);
    }
    return found;
  }

  /** Joins or begins. All of it happens before the first await. */
  enter(given: K, options: AcquireOptions = NOTHING, opener?: Entry<K, T>): Promise<AsyncHandle<T>> {
    try {
      if (options !== NOTHING) checkObject("acquire", options);
      const { signal, holder: name, timeout = Infinity } = options;
      checkSignal("acquire", signal);
      if (timeout !== Infinity) checkRange("timeout", timeout, 0);
      // The open's own signal is listened to for all that it asks for, see below.
      const signals = signal === undefined || signal === opener?.signal ? NO_SIGNALS : [signal];
      const until = timeout === Infinity ? Infinity : now() + timeout;
      const holder = holderName(name);
      return this.#ask({ given, holder, signals, timeout, until, opener, here: realm.tracker?.here?.() });
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #ask(asked: Asked<K, T>): Promise<AsyncHandle<T>> {
    const { refusals, entries, options } = this.#life;
    const key = this.canonical(asked.given);
    // Only now: the function that spells keys may have closed the map.
    if (this.#life.closed) throw refusals.closed(refusals.label(key));
    const { signals, opener } = asked;
    const gaveUp = aborted(opener === undefined ? signals : [...signals, opener.signal]);
    if (gaveUp !== undefined) throw gaveUp.reason;
    const open = entries.get(key);
    const handle = open && this.take(open, asked.holder, asked.here);
    if (handle === undefined) {
      // Only borrows keep it: the next value waits for them.
      if (open?.state === HELD) this.#life.leave(open);
      return this.#wait(key, asked);
    }
    if (options.validate === undefined) return Promise.resolve(handle);
    return this.#validated(open as Entry<K, T>, handle, asked);
  }

  /** An account on an entry whose value is open. */
  take(entry: Entry<K, T>, holder: string | undefined, here: OpenedThere | undefined): AsyncHandle<T> | undefined {
    if (entry.state === IDLE) this.#life.wake(entry);
    else if (entry.state !== HELD) return undefined;
    // Of an exclusive kind no second account may begin while borrows keep the first.
    else if (this.#life.kind.exclusive && entry.draining) return undefined;
    return entry.account(holder, here);
  }

  /** Waits for an entry on its way, or makes one. */
  #wait(key: K, asked: Asked<K, T>): Promise<AsyncHandle<T>> {
    const life = this.#life;
    const { room, waits, refusals } = life;
    const { opener, holder } = asked;
    const found = life.entries.get(key);
    const way = opener && waits.cycle(key, opener);
    if (way !== undefined) throw refusals.cycle(key, way);
    if (found === undefined && life.options.whenFull === "throw" && room.full) {
      throw refusals.full(key, `the map has ${room.max} values in use, and no more may be open`);
    }
    const entry = found ?? life.make(key, asked.given);
    // The function that made its label may have acquired the key as well, or closed the map.
    if (found === undefined && (life.closed || life.entries.has(key))) return this.#ask(asked);
    const here = asked.here ?? realm.tracker?.here?.(entry.asked ?? "first");
    entry.asked ??= here;
    return new Promise((resolve, reject) => {
      const giveUp = (reason: unknown): void => {
        entry.waiters.delete(waiter);
        if (entry.waiters.size === 0) life.abandon(entry, reason);
      };
      const late = () => refusals.timedOut(entry, asked.timeout, room);
      const stop = this.#onGivingUp(asked, late, (reason) => {
        giveUp(reason);
        reject(reason);
      });
      const waiter: Waiter<K, T> = { opener, holder, here, resolve, reject, stop };
      entry.waiters.add(waiter);
      if (found === undefined) life.begin(entry);
      if (opener !== undefined && waits.stuck) {
        stop();
        giveUp(undefined);
        reject(refusals.full(key, `all ${room.max} places are taken by opens that wait for a place`));
      }
    });
  }

  async #validated(entry: Entry<K, T>, handle: AsyncHandle<T>, asked: Asked<K, T>): Promise<AsyncHandle<T>> {
    const { refusals, room } = this.#life;
    // He who asks is none of those who are in his way.
    const late = (): Error => {
      this.#giveBack(handle);
      return refusals.timedOut(entry, asked.timeout, room);
    };
    let stop = ignore;
    try {
      const valid = await new Promise<boolean>((resolve, reject) => {
        let dead = ignore;
        const left: Question["left"] = (isLost) => {
          if (isLost) dead();
          resolve(false);
        };
        stop = this.#onGivingUp(asked, late, reject);
        const stopAsking = entry.ask({ left, giveUp: reject });
        // A borrow, so that the value outlives the question even if whoever asked gives up; unless it is dead.
        const ask = (value: T) =>
          new Promise<boolean>((resolve) => {
            const answered = (valid: boolean): void => {
              stopAsking();
              resolve(valid);
            };
            dead = () => answered(false);
            this.#isValid(entry, value).then(answered);
          });
        const answer = handle.borrow(ask);
        answer.then(resolve, (error: unknown) => {
          this.#unheard(error);
          resolve(false);
        });
      });
      // It may have left after the answer.
      if (valid && entry.attached) return handle;
    } catch (reason) {
      this.#giveBack(handle);
      throw reason;
    } finally {
      stop();
    }
    this.#life.leave(entry);
    this.#giveBack(handle);
    return this.#ask(asked);
  }

  async #isValid(entry: Entry<K, T>, value: T): Promise<boolean> {
    try {
      return (await this.#life.options.validate?.(value, entry.key)) ?? false;
    } catch {
      return false;
    }
  }

  #onGivingUp({ signals, timeout, until, opener }: Asked<K, T>, late: () => Error, call: (reason: unknown) => void) {
    // At first as it was given, so that the clock's rounding does not show.
    const left = until === Infinity ? Infinity : Math.min(timeout, Math.max(0, until - now()));
    if (opener === undefined) return onGivingUp(signals, left, () => made(late), call);
    const stop = (): void => {
      stopWaiting();
      stopOpener();
    };
    const gaveUp = (reason: unknown): void => {
      stop();
      call(reason);
    };
    const stopWaiting = onGivingUp(signals, left, () => made(late), gaveUp);
    const stopOpener = opener.onGivenUp(gaveUp);
    return stop;
  }

  #giveBack(handle: AsyncHandle<T>): void {
    handle[ASYNC_DISPOSE]().catch((error: unknown) => this.#unheard(error));
  }

  /** A free failed that no caller waits for; `onError` was told already. */
  #unheard(error: unknown): void {
    if (this.#life.options.onError === undefined) warn(error);
  }
}
