import { ASYNC_DISPOSE, Counted, ignore, isThenable, Kind, named, OPEN, REVOKED, warn } from "../account";
import { type AsyncHandle, AsyncHandleImpl, type AsyncLoan } from "../async-handle";
import { AcquireTimeoutError, type HolderFacts, MapClosedError, received, suppress } from "../errors";
import { HandleImpl } from "../handle";
import { abortController, aborted, after, now, onAbort, type Signal } from "../host";
import { firstAccount, holding } from "../map-entry";
import type { AcquireOptions, CloseOptions } from "../map-options";
import { defineAsyncResource, familyOf } from "../resource";
import { type OpenedThere, realm } from "../tracker";

/** A pool, as {@link checkouts} sees it. */
export interface PoolDriver<T> {
  /** Takes a connection out of the pool. `signal` aborts when the caller has given up; one that arrives anyway is destroyed. */
  readonly acquire: (context: { readonly signal: Signal }) => T | PromiseLike<T>;
  /** Puts a healthy connection back. */
  readonly release: (connection: T) => unknown;
  /** Closes a connection that must not be used again, and takes it off the pool's books. */
  readonly destroy: (connection: T) => unknown;
  /** The name of the family in errors and reports. @default "connection" */
  readonly kind?: string;
  /** Names one connection in errors and reports; must not give secrets away. */
  readonly label?: (connection: T) => string;
  /** How long an acquire waits unless it says otherwise, in milliseconds. @default Infinity */
  readonly timeout?: number;
  /** Hears of connections that arrived too late and could not be destroyed; without it they are warnings. */
  readonly onError?: (error: unknown) => void;
}

/** How a caller of {@link Checkouts.acquire} waits, and what it is called. */
export interface CheckoutOptions extends AcquireOptions {
  /** How long to wait, in milliseconds. */
  readonly timeout?: number;
}

/** Accounts in front of a pool. */
export interface Checkouts<T> extends AsyncDisposable {
  /**
   * Takes a connection out of the pool, under an account of its own: the caller owes its one reference, and giving it
   * back returns the connection, once. Whoever shares it during the checkout shares by `dup`.
   *
   * A {@link AsyncHandle.borrow} on the handle that throws or rejects marks the connection as broken: it is destroyed
   * instead of returned.
   *
   * @returns A promise that rejects with what the pool failed with, with the signal's reason, with
   * {@link AcquireTimeoutError}, which says who holds what and since when, or with {@link MapClosedError}.
   */
  acquire(options?: CheckoutOptions): Promise<AsyncHandle<T>>;
  /** Checks a connection out for one call, and gives it back after: destroyed if `body` failed, else returned. */
  use<R>(body: (connection: T, loan: AsyncLoan<T>) => R, options?: CheckoutOptions): Promise<Awaited<R>>;
  /**
   * Marks a connection as broken: it is destroyed instead of returned when its last reference is given back.
   *
   * @throws {TypeError} If `handle` was not checked out here, or has given its connection back.
   */
  discard(handle: AsyncHandle<T>): void;
  /** Connections that are checked out now. */
  readonly size: number;
  /** Acquires that wait for the pool. */
  readonly waiting: number;
  /** Who holds what, and since when. */
  holders(): HolderFacts[];
  /**
   * Refuses new acquires, rejects those that wait, and waits until all is given back (`force`: revokes and destroys it).
   * The pool itself is ended by whoever made it, after this. Called again it returns the same promise, and may add to it.
   *
   * @returns A promise that rejects after `timeout` with a {@link MapClosedError} that names the holders that are left.
   */
  close(options?: CloseOptions): Promise<void>;
  /** The same as {@link close} without options. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** One connection that is out. It does not reach the handle, which the garbage collector must be able to find dropped. */
interface Out<T> {
  readonly counted: Counted<T>;
  readonly holder: string | undefined;
  readonly since: number;
  readonly account: WeakRef<HandleImpl<T>>;
  broken: boolean;
}

/** The account of whoever checked out. What fails inside its borrows marks the connection. */
class CheckedOut<T> extends AsyncHandleImpl<T> {
  readonly #out: Out<T>;

  constructor(account: HandleImpl<T>, out: Out<T>) {
    super(account);
    this.#out = out;
  }

  override borrow<R>(use: (value: T, loan: AsyncLoan<T>) => R): Promise<Awaited<R>> {
    if (typeof use !== "function") return super.borrow(use);
    return super.borrow((value, loan) => {
      const broken = (error: unknown): never => {
        this.#out.broken = true;
        throw error;
      };
      try {
        const result = use(value, loan);
        return isThenable(result) ? (Promise.resolve(result).catch(broken) as R) : result;
      } catch (error) {
        return broken(error);
      }
    });
  }

  static out(value: object): Out<unknown> | undefined {
    return #out in value ? (value.#out as unknown as Out<unknown>) : undefined;
  }
}

/**
 * Puts accounts in front of a pool: any pool, told how to acquire, release and destroy.
 *
 * A pool knows its connections, not its callers: a second release of one it has given to somebody else meanwhile looks
 * like a first one, and a third caller is then given a connection in use. Here every checkout is an account of its own,
 * so the second release finds nothing to give back, and says so.
 *
 * @throws {TypeError} If a member is of the wrong type.
 * @example Over a pool of your own
 * ```ts
 * const idle = ["connection 1", "connection 2"];
 * const pool = checkouts({
 *   acquire: async () => idle.pop() ?? "another",
 *   release: (connection) => void idle.push(connection),
 *   destroy: () => {},
 * });
 * const handle = await pool.acquire({ holder: "report", timeout: 1000 });
 * await handle.decrRef();
 * await pool.use(() => Promise.reject(new Error("broken pipe"))).catch(() => {});
 * console.log(idle.length, pool.size); // 1 0
 * ```
 */
export function checkouts<T>(driver: PoolDriver<T>): Checkouts<T> {
  for (const name of ["acquire", "release", "destroy"] as const) {
    if (typeof driver[name] === "function") continue;
    const what = received(driver[name]);
    throw new TypeError(`Cannot make checkouts: expected ${name} to be a function, received ${what}`);
  }
  return new CheckoutsImpl(driver);
}

class CheckoutsImpl<T> implements Checkouts<T> {
  readonly #driver: PoolDriver<T>;
  /** Counts all of them; each has one of its own, which knows its checkout. */
  readonly #counts: Kind<T>;
  readonly #kind: string;
  readonly #out = new Set<Out<T>>();
  /** What ends each acquire that waits. */
  readonly #waiting = new Set<(error: unknown) => void>();
  /** Frees under way, by the accounts that they end. */
  #freeing = 0;
  #closed = false;
  #closing: { readonly promise: Promise<void>; resolve(): void; reject(error: unknown): void } | undefined = undefined;

  constructor(driver: PoolDriver<T>) {
    this.#driver = driver;
    this.#kind = driver.kind ?? "connection";
    this.#counts = familyOf<T>(defineAsyncResource<T>({ kind: this.#kind, free: ignore }))?.kind as Kind<T>;
  }

  get size(): number {
    return this.#out.size;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  holders(): HolderFacts[] {
    const at = now();
    return [...this.#out].map(({ counted, holder, since, account }) => {
      const live = account.deref();
      const opened = live && HandleImpl.record(live)?.sites().opened;
      return { label: counted.label, holder, heldFor: at - since, opened };
    });
  }

  acquire(options: CheckoutOptions = {}): Promise<AsyncHandle<T>> {
    const { signal, holder, timeout = this.#driver.timeout ?? Infinity } = options;
    return new Promise((resolve, reject) => {
      if (this.#closed) throw this.#closedError();
      const gaveUp = aborted([signal]);
      if (gaveUp !== undefined) throw gaveUp.reason;
      if (typeof timeout !== "number" || !(timeout >= 0)) {
        throw new RangeError(`Expected a timeout in milliseconds, received ${received(timeout)}`);
      }
      const here = realm.tracker?.here?.();
      const abort = abortController();
      let over = false;
      let stopTimer = ignore;
      let stopSignal = ignore;
      const finish = (): boolean => {
        if (over) return false;
        over = true;
        stopTimer();
        stopSignal();
        this.#waiting.delete(giveUp);
        return true;
      };
      const giveUp = (reason: unknown): void => {
        if (!finish()) return;
        reject(reason);
        abort.abort(reason);
      };
      this.#waiting.add(giveUp);
      stopSignal = onAbort([signal], giveUp);
      if (timeout !== Infinity) stopTimer = after(timeout, () => giveUp(this.#timeoutError(timeout)));
      const arrived = (connection: T): void => {
        if (finish()) resolve(this.#checkOut(connection, holder, here));
        else this.#destroyLate(connection);
      };
      const failed = (error: unknown): void => {
        if (finish()) reject(error);
      };
      try {
        const { acquire } = this.#driver;
        const acquired = acquire({ signal: abort.signal });
        if (isThenable(acquired)) (acquired as PromiseLike<T>).then(arrived, failed);
        else arrived(acquired);
      } catch (error) {
        failed(error);
      }
    });
  }

  async use<R>(body: (connection: T, loan: AsyncLoan<T>) => R, options?: CheckoutOptions): Promise<Awaited<R>> {
    const handle = await this.acquire(options);
    let result: Awaited<R>;
    try {
      result = await handle.borrow(body);
    } catch (error) {
      await handle[ASYNC_DISPOSE]().catch((failed: unknown) => {
        throw suppress(failed, error);
      });
      throw error;
    }
    await handle[ASYNC_DISPOSE]();
    return result;
  }

  discard(handle: AsyncHandle<T>): void {
    const out = CheckedOut.out(handle) as unknown as Out<T> | undefined;
    if (out === undefined || !this.#out.has(out)) {
      throw new TypeError(`Cannot discard ${received(handle)}: it is not checked out here`);
    }
    out.broken = true;
  }

  close({ force = false, timeout = Infinity }: CloseOptions = {}): Promise<void> {
    this.#closed = true;
    this.#closing ??= closing();
    const { promise, reject } = this.#closing;
    const error = this.#closedError();
    for (const giveUp of [...this.#waiting]) giveUp(error);
    if (force) for (const { counted } of [...this.#out]) counted.revoke();
    if (timeout !== Infinity) {
      const stop = after(timeout, () => {
        this.#closing = undefined;
        const holders = this.holders();
        const left = `${holders.length} not given back after ${timeout} ms: ${holding(holders)}`;
        reject(new MapClosedError(`Cannot close the checkouts of kind ${this.#kind}: ${left}`, this.#facts(holders)));
      });
      promise.then(stop, stop);
    }
    this.#settleClose();
    return promise;
  }

  [ASYNC_DISPOSE](): Promise<void> {
    return this.close();
  }

  #checkOut(connection: T, holder: string | undefined, here: OpenedThere | undefined): AsyncHandle<T> {
    const free = (value: T): unknown => this.#giveBack(out, value);
    const counted = new Counted(new Kind<T>(this.#kind, free, true), connection, this.#label(connection), 0, 0, OPEN);
    const open = () => firstAccount(counted, holder);
    const account = here === undefined ? open() : here(open);
    this.#counts.countOpened();
    const out: Out<T> = { counted, holder, since: now(), account: new WeakRef(account), broken: false };
    this.#out.add(out);
    return new CheckedOut(account, out);
  }

  /** What was revoked may be in the middle of anything: it does not go back either. */
  #giveBack(out: Out<T>, connection: T): unknown {
    this.#out.delete(out);
    this.#counts.freed++;
    this.#freeing++;
    const { release, destroy } = this.#driver;
    const settled = (): void => {
      this.#freeing--;
      this.#settleClose();
    };
    let returned: unknown;
    try {
      returned = out.broken || out.counted.state & REVOKED ? destroy(connection) : release(connection);
    } catch (error) {
      settled();
      throw error;
    }
    if (isThenable(returned)) return Promise.resolve(returned).finally(settled);
    settled();
    return undefined;
  }

  #destroyLate(connection: T): void {
    const { destroy, onError = warn } = this.#driver;
    Promise.resolve(connection).then(destroy).catch(onError);
  }

  #settleClose(): void {
    if (this.#closing !== undefined && this.#out.size === 0 && this.#freeing === 0) this.#closing.resolve();
  }

  #label(connection: T): string {
    const { label } = this.#driver;
    try {
      return label === undefined ? "" : String(label(connection));
    } catch (error) {
      return `(no label: ${error instanceof Error ? error.message : "the label function threw"})`;
    }
  }

  #timeoutError(timeout: number): Error {
    const holders = this.holders();
    const others = this.#waiting.size - 1;
    const who = holders.length === 0 ? "none is checked out" : `${holders.length} checked out, ${holding(holders)}`;
    const ahead = others > 0 ? `; ${others} others wait` : "";
    return new AcquireTimeoutError(
      `Cannot acquire ${this.#kind}: none came within ${timeout} ms; ${who}${ahead}`,
      this.#facts(holders),
    );
  }

  #closedError(): Error {
    return new MapClosedError(`Cannot acquire ${named(this.#kind, "")}: the checkouts are closed`, this.#facts([]));
  }

  #facts(holders: HolderFacts[]) {
    const keys = holders.map(({ label }) => label);
    return { kind: this.#kind, label: "", refCount: holders.length, owed: 0, keys, holders };
  }
}

function closing(): { readonly promise: Promise<void>; resolve(): void; reject(error: unknown): void } {
  let resolve = ignore;
  let reject: (error: unknown) => void = ignore;
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
