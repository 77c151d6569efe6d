import { ASYNC_DISPOSE, Counted, ignore, type Kind, nameOf, State, warn } from "../account";
import { type AsyncHandle, AsyncHandleImpl } from "../async-handle";
import { AsyncKind } from "../async-kind";
import { Closing } from "../closing";
import {
  type AcquireRefusedError,
  type AcquireTimeoutError,
  checkObject,
  type HolderFacts,
  type MapClosedError,
  reasonOf,
  suppress,
  unfit,
} from "../errors";
import { HandleImpl } from "../handle";
import type { HandleMap } from "../handle-map";
import { abortController, aborted, checkSignal, onGivingUp } from "../host";
import { LoanImpl } from "../loan";
import { firstAccount, holderName } from "../map-entry";
import { type AcquireOptions, type CloseOptions, checkRange } from "../map-options";
import { made } from "../map-refusals";
import { defineAsyncResource, familyOf } from "../resource";
import { type OpenedThere, realm, type Tracker } from "../tracker";
import { type Checkout, CheckoutImpl, type CheckoutLoan, type Out } from "./checkout";
import { CheckoutRefusals } from "./checkout-refusals";
import { checkDriver, type PoolDriver } from "./pool-driver";
import { Supply } from "./supply";

/** Accounts in front of a pool. */
export interface Checkouts<T> extends AsyncDisposable {
  /**
   * Takes a connection out of the pool, under an account of its own: the caller owes its one reference, and giving it
   * back returns the connection, once. Whoever shares it during the checkout shares by `dup`.
   *
   * A {@link Checkout.borrow} that throws or rejects marks the connection as broken: it is destroyed instead of returned.
   *
   * @returns A promise that rejects with what the pool failed with, with the signal's reason, with
   * {@link AcquireTimeoutError}, which says who holds what and since when, with {@link AcquireRefusedError} or with
   * {@link MapClosedError}.
   */
  acquire(options?: AcquireOptions): Promise<Checkout<T>>;
  /**
   * Checks a connection out for one call, and gives it back after: destroyed if `body` failed, else returned. The loan's
   * `signal` aborts when the connection is lost meanwhile.
   */
  use<R>(body: (connection: T, loan: CheckoutLoan<T>) => R, options?: AcquireOptions): Promise<Awaited<R>>;
  /**
   * Marks a connection as broken: it is destroyed instead of returned when its last reference is given back.
   *
   * Inside {@link use} there is no handle to discard, only a loan: what `body` throws decides it there.
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
   * Refuses new acquires, rejects those that wait, and waits until all is given back, which from now on is destroyed
   * (`force`: revokes it), and until the pool has answered every acquire, for what still arrives is destroyed as well: the
   * `signal` of such an acquire aborts, and if the pool does not answer all the same, only a `timeout` ends the wait, not
   * `force`. The pool itself is ended by whoever made it, after this. Further calls are as those of
   * {@link HandleMap.close}: one promise, and a new one after a `timeout` has run out.
   *
   * @returns A promise that rejects after `timeout` with a {@link MapClosedError} that names the connections and holders
   * that are left, and counts the acquires without an answer.
   */
  close(options?: CloseOptions): Promise<void>;
  /** The same as {@link close} without options. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Puts accounts in front of a pool: any pool, told how to acquire, release and destroy.
 *
 * A pool knows its connections, not its callers: a second release of one it has given to somebody else meanwhile looks
 * like a first one, and a third caller is then given a connection in use. Here every checkout is an account of its own,
 * so the second release finds nothing to give back, and says so.
 *
 * Where handles are tracked with `heldTooLong`, a checkout that lasts longer is reported with the place it was asked for
 * at; a limit that is longer than `timeout` comes too late for whoever waits, and is warned of.
 *
 * @throws {TypeError | RangeError} If a member is of the wrong type, or out of range.
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
  checkDriver(driver);
  return new CheckoutsImpl(driver);
}

class CheckoutsImpl<T> implements Checkouts<T> {
  readonly #driver: PoolDriver<T>;
  readonly #kind: string;
  /** Counts all of them; each has one of its own, which knows its checkout. */
  readonly #counts: Kind<T>;
  readonly #out = new Map<Counted<T>, Out<T>>();
  /** What ends each acquire that waits. */
  readonly #waiting = new Set<(error: unknown) => void>();
  readonly #closing = new Closing(() => this.#out.size + this.#supply.leaving.size + this.#taking === 0);
  readonly #supply: Supply<T>;
  readonly #refusals: CheckoutRefusals<T>;
  /** Acquires under way, those that were given up included: what the pool still brings for them is destroyed. */
  #taking = 0;
  #closed = false;
  #checkedWith: Tracker | undefined = undefined;

  constructor(driver: PoolDriver<T>) {
    this.#driver = driver;
    this.#kind = driver.kind ?? "connection";
    this.#counts = familyOf<T>(defineAsyncResource<T>({ kind: this.#kind, free: ignore }))?.kind as Kind<T>;
    this.#supply = new Supply(driver, () => this.#closing.settle());
    this.#refusals = new CheckoutRefusals(this.#kind, () => {
      const { leaving, asked } = this.#supply;
      return { out: this.#out, leaving, waiting: this.waiting, asked };
    });
    this.#checkPatience();
  }

  get size(): number {
    return this.#out.size;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  holders(): HolderFacts[] {
    return this.#refusals.holders();
  }

  acquire(options: AcquireOptions = {}): Promise<Checkout<T>> {
    return new Promise((resolve, reject) => {
      checkObject(`acquire ${this.#kind}`, options);
      const { signal, timeout = this.#driver.timeout ?? Infinity } = options;
      checkSignal(`acquire ${this.#kind}`, signal);
      const holder = holderName(options.holder);
      if (this.#closed) throw this.#refusals.closed();
      const gaveUp = aborted([signal]);
      if (gaveUp !== undefined) throw gaveUp.reason;
      checkRange("timeout", timeout, 0);
      this.#checkPatience();
      const here = realm.tracker?.here?.("first");
      const abort = abortController();
      let over = false;
      const finish = (): void => {
        over = true;
        stop();
        this.#waiting.delete(giveUp);
      };
      const giveUp = (reason: unknown): void => {
        finish();
        reject(reason);
        abort.abort(reason);
      };
      const stop = onGivingUp([signal], timeout, () => made(() => this.#refusals.timedOut(timeout)), giveUp);
      this.#waiting.add(giveUp);
      const arrived = (out: Out<T> | undefined): void => {
        if (out === undefined) return;
        if (over) return void this.#supply.destroy(out);
        finish();
        resolve(this.#checkOut(out, holder, here));
      };
      const failed = (error: unknown): void => {
        if (over) return;
        finish();
        reject(error);
      };
      const answered = (): void => {
        this.#taking--;
        this.#closing.settle();
      };
      this.#taking++;
      this.#supply.take(abort.signal).then(arrived, failed).finally(answered);
    });
  }

  async use<R>(body: (connection: T, loan: CheckoutLoan<T>) => R, options?: AcquireOptions): Promise<Awaited<R>> {
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
    const account = AsyncHandleImpl.account(handle) as HandleImpl<T> | undefined;
    const out = account?.alive ? this.#out.get(HandleImpl.counted(account)) : undefined;
    if (out === undefined) throw this.#noCheckout(handle, account);
    out.broken = true;
  }

  close(options: CloseOptions = {}): Promise<void> {
    checkObject("close the checkouts", options);
    const { force = false, timeout = Infinity } = options;
    checkRange("timeout", timeout, 0);
    this.#closed = true;
    const closing = this.#closing.begin(timeout, () => this.#refusals.late(timeout));
    const error = this.#refusals.closed();
    for (const giveUp of [...this.#waiting]) giveUp(error);
    for (const [counted, out] of force ? [...this.#out] : []) {
      // Told first: whoever uses the connection now is to stop, and the revoke waits for him.
      out.abort(this.#refusals.forced(counted.label));
      counted.revoke();
      // No holder is left to hear of it.
      counted.freeing?.catch((failed: unknown) => this.#supply.failed(failed));
    }
    this.#closing.settle();
    return closing;
  }

  [ASYNC_DISPOSE](): Promise<void> {
    return this.close();
  }

  #checkOut(out: Out<T>, holder: string | undefined, here: OpenedThere | undefined): Checkout<T> {
    const { connection } = out;
    const free = (): unknown => this.#giveBack(counted, out);
    const kind = new AsyncKind<T>(this.#kind, free);
    kind.settled = () => {
      out.broken = true;
    };
    const counted = new Counted(kind, connection, this.#label(connection), 0, 0, State.Open);
    const open = () => firstAccount(counted, holder);
    const account = here === undefined ? open() : here(open);
    this.#counts.countOpened();
    out.checkedOut(counted, account, holder);
    this.#out.set(counted, out);
    return new CheckoutImpl(account, out);
  }

  /** After the close nothing goes back: the pool is about to be ended, and what was revoked may be in the middle of anything. */
  #giveBack(counted: Counted<T>, out: Out<T>): unknown {
    this.#out.delete(counted);
    this.#counts.freed++;
    return this.#supply.giveBack(out, !this.#closed);
  }

  /** A hold is to be reported while those who wait for its end still do. Asked again whenever tracking was switched. */
  #checkPatience(): void {
    const { tracker } = realm;
    if (tracker === this.#checkedWith) return;
    this.#checkedWith = tracker;
    const { timeout = Infinity } = this.#driver;
    const patience = tracker?.patience?.(this.#kind) ?? Infinity;
    if (patience === Infinity || patience <= timeout) return;
    const late = `heldTooLong is ${patience} ms, and an acquire gives up after ${timeout} ms already`;
    warn(new Error(`Cannot report ${this.#kind} held for too long in time: ${late}`));
  }

  #label(connection: T): string {
    const { label } = this.#driver;
    try {
      return label === undefined ? "" : String(label(connection));
    } catch (error) {
      return `(no label: ${reasonOf(error, "the label function threw")})`;
    }
  }

  /** Why a handle, or what was given instead, is none that could be discarded. */
  #noCheckout(given: unknown, account: HandleImpl<T> | undefined): TypeError {
    if (given instanceof LoanImpl) {
      return new TypeError(`Cannot discard ${given}: a loan is no account; throw instead, and it is destroyed`);
    }
    if (account === undefined) return unfit(`discard a ${this.#kind}`, "a handle that was checked out here", given);
    const spent = "its account was given back, revoked, or moved to another handle";
    const why = account.alive ? "it was not checked out here" : spent;
    return new TypeError(`Cannot discard ${nameOf(HandleImpl.counted(account))}: ${why}`);
  }
}
