import { isObject, isThenable, warn } from "../account";
import { AcquireRefusedError, suppress } from "../errors";
import { now, onAbort, type Signal } from "../host";
import { Out } from "./checkout";
import type { PoolDriver } from "./pool-driver";

const ATTEMPTS = 10;

/** The way of connections out of the pool, as far as they are fit for use, and back. */
export class Supply<T> {
  readonly #driver: PoolDriver<T>;
  readonly #settled: () => void;
  /** When a connection was taken out for the first time. */
  readonly #born = new WeakMap<object, number>();
  /** Connections on their way back. */
  readonly leaving = new Set<Out<T>>();
  /** Acquires that the pool has not answered. */
  asked = 0;

  /** @param settled Called when a connection is back, or destroyed. */
  constructor(driver: PoolDriver<T>, settled: () => void) {
    this.#driver = driver;
    this.#settled = settled;
  }

  /**
   * Takes connections out of the pool until one is fit for use; the others are destroyed.
   *
   * @param signal Aborts when the caller has given up: what arrives then is destroyed as well, and what has arrived is
   * destroyed although the check of it goes on.
   * @returns A promise of `undefined` if he has; it rejects with what the pool fails with, or with
   * {@link AcquireRefusedError}.
   */
  async take(signal: Signal): Promise<Out<T> | undefined> {
    const { acquire, attempts = ATTEMPTS, kind = "connection" } = this.#driver;
    let cause: unknown;
    for (let attempt = 0; attempt < attempts; attempt++) {
      let connection: T;
      this.asked++;
      try {
        connection = (await acquire({ signal })) as T;
      } finally {
        this.asked--;
      }
      const out = new Out(connection);
      try {
        // Whatever becomes of it: an event that nobody listens to would be an uncaught exception.
        out.listen(this.#driver);
        if (!signal.aborted && (await this.#isFit(out, signal)) && !signal.aborted && !out.broken) return out;
        cause = out.lost?.reason;
      } catch (error) {
        cause = error;
      }
      await this.destroy(out);
      if (signal.aborted) return undefined;
    }
    const message = `Cannot acquire ${kind}: ${attempts} in a row were of no use, and have been destroyed`;
    const facts = { kind, label: "", refCount: 0, owed: 0, keys: [], holders: [] };
    throw new AcquireRefusedError(message, cause === undefined ? facts : { ...facts, cause });
  }

  /** Returns a healthy connection to the pool, and destroys any other. The failure is the caller's. */
  giveBack(out: Out<T>, healthy: boolean): unknown {
    const { connection } = out;
    const { destroy } = this.#driver;
    this.leaving.add(out);
    let returned: unknown;
    try {
      const fit = healthy && !out.broken && !this.#isTooOld(connection);
      returned = fit ? this.#release(connection) : destroy(connection);
    } catch (error) {
      this.#gone(out);
      throw error;
    }
    if (isThenable(returned)) return Promise.resolve(returned).finally(() => this.#gone(out));
    this.#gone(out);
    return undefined;
  }

  /** Returns a connection. One that cannot be is destroyed, so that the pool does not wait for it; the failure stays. */
  #release(connection: T): unknown {
    const { release, destroy } = this.#driver;
    const instead = async (error: unknown): Promise<never> => {
      try {
        await destroy(connection);
      } catch (newer) {
        throw suppress(newer, error);
      }
      throw error;
    };
    try {
      const returned = release(connection);
      return isThenable(returned) ? Promise.resolve(returned).catch(instead) : returned;
    } catch (error) {
      return instead(error);
    }
  }

  /** Destroys a connection that nobody has, or waits for. */
  async destroy(out: Out<T>): Promise<void> {
    out.broken = true;
    try {
      await this.giveBack(out, false);
    } catch (error) {
      this.failed(error);
    }
  }

  /** A connection that nobody waits for could not be destroyed. */
  failed(error: unknown): void {
    const { onError = warn } = this.#driver;
    try {
      onError(error);
    } catch (failed) {
      warn(failed);
    }
  }

  /** Waits for the check no longer than for the connection itself: a check of one that is dead may never settle. */
  async #isFit(out: Out<T>, signal: Signal): Promise<boolean> {
    const { connection } = out;
    const { validate } = this.#driver;
    if (this.#isTooOld(connection) || out.broken) return false;
    if (validate === undefined) return true;
    return new Promise((resolve, reject) => {
      const stop = onAbort([signal, out.signal], () => resolve(false));
      const ask = async () => validate(connection);
      ask().then(resolve, reject).finally(stop);
    });
  }

  #isTooOld(connection: T): boolean {
    const { maxAge = Infinity } = this.#driver;
    if (maxAge === Infinity || !isObject(connection)) return false;
    const born = this.#born.get(connection);
    if (born === undefined) this.#born.set(connection, now());
    return born !== undefined && now() - born > maxAge;
  }

  #gone(out: Out<T>): void {
    this.leaving.delete(out);
    out.stopListening();
    this.#settled();
  }
}
