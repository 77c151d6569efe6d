import { ASYNC_DISPOSE, type Counted, INSPECT } from "./account";
import { type AsyncKind, onceBegun } from "./async-kind";
import { suppress } from "./errors";
import { type Handle, HandleImpl, type Loan, openAccount, type WeakHandle, WeakImpl } from "./handle";
import { LoanImpl } from "./loan";
import {
  addOwner,
  type Entry,
  leaveAll,
  OWNED,
  type OwnedList,
  type Owners,
  owns,
  PAY,
  removeOwner,
} from "./owned-list";
import type { ContextRecord } from "./tracker";

/** One holder's account on a resource whose free is asynchronous. Everything else is as in {@link Handle}. */
export interface AsyncHandle<T> extends AsyncDisposable {
  /** See {@link Handle.kind}. */
  readonly kind: string;
  /** See {@link Handle.label}. */
  readonly label: string;
  /** See {@link Handle.value}. */
  readonly value: T;
  /** See {@link Handle.refCount}. */
  readonly refCount: number;
  /** See {@link Handle.owed}. */
  readonly owed: number;
  /** See {@link Handle.alive}. */
  readonly alive: boolean;
  /** See {@link Handle.incrRef}. */
  incrRef(): this;
  /**
   * Gives back one reference at once. While the resource drains the promise does not wait for the borrows (the borrow's
   * own promise reports a free that fails), and neither does one asked for in the synchronous part of the free.
   *
   * @returns A promise that settles after the free if this caused it, with `true` when this was the last reference; it
   * rejects with what the free function throws or rejects with.
   * @throws {MovedError} Synchronously, if this account was moved to another handle.
   * @throws {RefCountError} Synchronously, if this account owes nothing, also while the free is in flight.
   */
  decrRef(): Promise<boolean>;
  /** See {@link Handle.dup}. */
  dup(holder?: string): AsyncHandle<T>;
  /** See {@link Handle.move}. */
  move(): AsyncHandle<T>;
  /** See {@link Handle.weak}. */
  weak(): WeakHandle<AsyncHandle<T>>;
  /**
   * Calls `use` at once with the value and a loan, and keeps the resource alive until its result has settled.
   *
   * @returns A promise of the result; if the free fails that the end of this borrow caused, it rejects with that error,
   * and with a `SuppressedError` that carries both when `use` failed too. A refusal (see {@link Handle.borrow}) rejects.
   */
  borrow<R>(use: (value: T, loan: AsyncLoan<T>) => R): Promise<Awaited<R>>;
  /** See {@link Handle.isSole}. */
  isSole(): boolean;
  /**
   * Pays one reference if this account still owes one. Every call while the resource's free is under way waits for that
   * one free, and hears of its failure; afterwards a call does nothing.
   */
  [Symbol.asyncDispose](): Promise<void>;
}

/** See {@link Loan}: what a borrow of an {@link AsyncHandle} lends. */
export interface AsyncLoan<T> {
  /** See {@link Loan.value}. */
  readonly value: T;
  readonly label: string;
  /** See {@link Loan.dup}. */
  dup(holder?: string): AsyncHandle<T>;
}

/** An account of the synchronous kind, with a close that waits for the free. */
export class AsyncHandleImpl<T> implements AsyncHandle<T>, Entry {
  readonly #account: HandleImpl<T>;
  #owners: Owners;

  constructor(account: HandleImpl<T>) {
    this.#account = account;
  }

  get kind(): string {
    return this.#account.kind;
  }

  get label(): string {
    return this.#account.label;
  }

  get value(): T {
    return this.#account.value;
  }

  get refCount(): number {
    return this.#account.refCount;
  }

  get owed(): number {
    return this.#account.owed;
  }

  get alive(): boolean {
    return this.#account.alive;
  }

  incrRef(): this {
    this.#account.incrRef();
    return this;
  }

  decrRef(): Promise<boolean> {
    const last = this.#account.decrRef();
    const freeing = this.#settled();
    return last && freeing !== undefined ? freeing.then(() => true) : Promise.resolve(last);
  }

  dup(holder?: string): AsyncHandle<T> {
    return new AsyncHandleImpl(this.#account.dup(holder) as HandleImpl<T>);
  }

  move(): AsyncHandle<T> {
    const to = new AsyncHandleImpl(HandleImpl.moved(this.#account));
    this.#leave();
    return to;
  }

  weak(): WeakHandle<AsyncHandle<T>> {
    this.#account.weak();
    return new WeakImpl<T, AsyncHandle<T>>(HandleImpl.counted(this.#account), openAsyncAccount);
  }

  async borrow<R>(use: (value: T, loan: AsyncLoan<T>) => R): Promise<Awaited<R>> {
    const counted = HandleImpl.lend(this.#account, use);
    const loan = new LoanImpl<T, AsyncHandle<T>>(counted, openAsyncAccount, HandleImpl.record(this.#account));
    let result: Awaited<R>;
    try {
      result = await use(counted.value as T, loan);
    } catch (error) {
      LoanImpl.end(loan);
      await counted.freeing?.catch((failedFree: unknown) => {
        throw suppress(failedFree, error);
      });
      throw error;
    }
    LoanImpl.end(loan);
    await counted.freeing;
    return result;
  }

  isSole(): boolean {
    return this.#account.isSole();
  }

  // Each call has a promise of its own, so that a failure is reported as unhandled if nobody hears it.
  async [ASYNC_DISPOSE](): Promise<void> {
    await this.#dispose();
  }

  toString(): string {
    return HandleImpl.describe(this.#account, "AsyncHandle");
  }

  [INSPECT](): string {
    return this.toString();
  }

  [OWNED](list: OwnedList): boolean {
    return owns(this.#owners, list);
  }

  /** The place is kept until the free has settled, so that a context that ends meanwhile waits for it. */
  [PAY](list: OwnedList): Promise<void> | undefined {
    if (!owns(this.#owners, list)) return undefined;
    this.#owners = removeOwner(this.#owners, list);
    const paid = this.#dispose();
    if (this.#account.owed > 0 && this.#owners === undefined) HandleImpl.record(this.#account)?.escaped();
    return paid;
  }

  /** See {@link HandleImpl.own}. */
  static own(value: object, list: OwnedList, context: ContextRecord | undefined): boolean {
    if (!(#owners in value)) return false;
    const account = value.#account;
    if (account.owed > 0 || HandleImpl.counted(account).freeing !== undefined) {
      list.add(value);
      value.#owners = addOwner(value.#owners, list);
      if (context !== undefined) HandleImpl.record(account)?.owned(context);
      if (account.owed === 0) value.#settled();
    }
    return true;
  }

  /** See {@link HandleImpl.disown}. */
  static disown(value: object, list: OwnedList): boolean {
    if (!(#owners in value) || !owns(value.#owners, list)) return false;
    if (Array.isArray(value.#owners)) list.remove((entry) => entry === value);
    else list.takenOut(value);
    value.#owners = removeOwner(value.#owners, list);
    HandleImpl.record(value.#account)?.owned(undefined);
    return true;
  }

  /** Whether an entry is an account of one of these resources. */
  static of(entry: Entry, resources: readonly Counted<unknown>[]): boolean {
    return #owners in entry && resources.includes(HandleImpl.counted(entry.#account as HandleImpl<unknown>));
  }

  /** The synchronous account inside, for what the two forms share. */
  static account(value: unknown): HandleImpl<unknown> | undefined {
    return typeof value === "object" && value !== null && #owners in value
      ? (value.#account as HandleImpl<unknown>)
      : undefined;
  }

  #dispose(): Promise<void> | undefined {
    // Who closed it sees to its contexts: inside its own free it is not yet known what they are to wait for.
    if (this.#account.owed === 0) return HandleImpl.counted(this.#account).freeing;
    this.#account.decrRef();
    return this.#settled();
  }

  /** The free under way, if any; a spent account leaves its contexts when it has settled, else at once. */
  #settled(): Promise<void> | undefined {
    const counted = HandleImpl.counted(this.#account);
    const { freeing } = counted;
    if (this.#account.owed === 0 && this.#owners !== undefined) {
      const leave = (): void => this.#leave();
      if (freeing !== undefined) freeing.then(leave, leave);
      else if (!onceBegun(counted, leave)) leave();
    }
    return freeing;
  }

  #leave(): void {
    const owners = this.#owners;
    this.#owners = undefined;
    leaveAll(owners);
  }
}

/** What {@link AsyncHandleImpl}'s dispose method is unless somebody overrode it. */
export const OWN_ASYNC_DISPOSE = AsyncHandleImpl.prototype[ASYNC_DISPOSE];

function openAsyncAccount<T>(counted: Counted<T>, holder?: string): AsyncHandle<T> {
  const account = openAccount(counted, holder);
  const handle = (counted.kind as AsyncKind<T>).handle?.(account, holder) as AsyncHandle<T> | undefined;
  return handle ?? new AsyncHandleImpl(account);
}
