import { type Counted, isThenable, warn } from "../account";
import { type AsyncHandle, AsyncHandleImpl, type AsyncLoan } from "../async-handle";
import type { HolderFacts } from "../errors";
import { type Handle, HandleImpl, type Loan, type WeakHandle } from "../handle";
import { LateController, now, type Signal } from "../host";
import { accountOf, holderName } from "../map-entry";
import type { StopListening } from "../map-options";
import { lostReason } from "../map-refusals";
import type { PoolDriver } from "./pool-driver";

/**
 * An account on a connection that is checked out; its dups, those of its loans, what its weak handles give and whoever it
 * is moved to are such accounts as well.
 */
export interface Checkout<T> extends AsyncHandle<T> {
  /**
   * Aborts when the connection is lost while it is checked out (see {@link PoolDriver.lost}), with what it was lost by, or
   * when a forced close takes it away. Giving it back does not abort it.
   */
  readonly signal: Signal;
  /** See {@link Handle.dup}. */
  dup(holder?: string): Checkout<T>;
  /** See {@link Handle.move}. */
  move(): Checkout<T>;
  /** See {@link Handle.weak}. */
  weak(): WeakHandle<Checkout<T>>;
  /** See {@link AsyncHandle.borrow}; what fails in it marks the connection as broken. */
  borrow<R>(use: (connection: T, loan: CheckoutLoan<T>) => R): Promise<Awaited<R>>;
}

/** See {@link Loan}: what a borrow of a {@link Checkout} lends. */
export interface CheckoutLoan<T> extends AsyncLoan<T> {
  /** See {@link Checkout.signal}. */
  readonly signal: Signal;
  /** See {@link Loan.dup}. */
  dup(holder?: string): Checkout<T>;
}

/** An account on a checkout that can be listed by name; its reference is weak, for what is dropped must be found. */
interface Listed<T> {
  readonly holder: string | undefined;
  readonly since: number;
  account: WeakRef<HandleImpl<T>>;
}

/**
 * One connection that has left the pool. It does not reach a handle, which the garbage collector must be able to find
 * dropped. Its signal is the checkout's.
 */
export class Out<T> extends LateController {
  readonly connection: T;
  /** Not to be used by anybody else after this. */
  broken = false;
  /** What it was lost by. */
  lost: { readonly reason: unknown } | undefined = undefined;
  counted: Counted<T> | undefined = undefined;
  #listed: Listed<T>[] = [];
  #stopListening: StopListening | undefined = undefined;

  constructor(connection: T) {
    super();
    this.connection = connection;
  }

  /** What names it, once it is checked out. */
  get label(): string {
    return this.counted?.label ?? "";
  }

  /** @throws What the driver's `lost` throws. */
  listen({ lost, kind = "connection" }: PoolDriver<T>): void {
    const stop = lost?.(this.connection, (given) => {
      this.broken = true;
      this.lost ??= { reason: lostReason(kind, this.label, given) };
      this.abort(this.lost.reason);
    });
    if (typeof stop === "function") this.#stopListening = stop as StopListening;
  }

  /** Back in the pool, or destroyed. */
  stopListening(): void {
    const stop = this.#stopListening;
    this.#stopListening = undefined;
    try {
      stop?.();
    } catch (error) {
      warn(error);
    }
  }

  checkedOut(counted: Counted<T>, account: HandleImpl<T>, holder: string | undefined): void {
    this.counted = counted;
    this.list(account, holder);
  }

  /** Accounts that have paid are forgotten now and then; the first is not, which tells whether it was dropped. */
  list(account: HandleImpl<T>, holder: string | undefined): void {
    if (this.#listed.length > 2 * (this.counted?.count ?? 0) + 8) {
      this.#listed = this.#listed.filter((listed, i) => i === 0 || owed(listed) > 0);
    }
    this.#listed.push({ holder, since: now(), account: new WeakRef(account) });
  }

  /** The account is a new one's from now on, under the same name. */
  moved(from: HandleImpl<T>, to: HandleImpl<T>): void {
    const listed = this.#listed.find(({ account }) => account.deref() === from);
    if (listed !== undefined) listed.account = new WeakRef(to);
  }

  /** Who has not given it back yet. */
  holders(): HolderFacts[] {
    const { label } = this;
    const { count = 0 } = this.counted ?? {};
    const at = now();
    const known = this.#listed.filter((listed) => owed(listed) > 0);
    const holders: HolderFacts[] = known.map(({ holder, since, account }) => {
      const opened = HandleImpl.record(account.deref() as HandleImpl<T>)?.sites().opened;
      return { label, holder, heldFor: at - since, opened };
    });
    const [first] = this.#listed;
    if (first === undefined || known.reduce((sum, listed) => sum + owed(listed), 0) >= count) return holders;
    // Who asked for it, if his account was collected: dropped, in all likelihood. Else one whose dup was.
    const holder = first.account.deref() === undefined ? first.holder : undefined;
    return [...holders, { label, holder, heldFor: at - first.since, opened: undefined }];
  }
}

function owed<T>({ account }: Listed<T>): number {
  return account.deref()?.owed ?? 0;
}

/** What fails inside the borrows of a checkout marks the connection. */
export class CheckoutImpl<T> extends AsyncHandleImpl<T> implements Checkout<T> {
  readonly #out: Out<T>;

  constructor(account: HandleImpl<T>, out: Out<T>) {
    super(account);
    this.#out = out;
  }

  get signal(): Signal {
    return this.#out.signal;
  }

  override dup(holder?: string): Checkout<T> {
    const name = holderName(holder);
    return another(super.dup(name), this.#out, name);
  }

  override move(): Checkout<T> {
    const handle = super.move();
    this.#out.moved(accountOf(this), accountOf(handle));
    return new CheckoutImpl(accountOf(handle), this.#out);
  }

  override weak(): WeakHandle<Checkout<T>> {
    return weakly(super.weak(), this.#out);
  }

  override borrow<R>(use: (connection: T, loan: CheckoutLoan<T>) => R): Promise<Awaited<R>> {
    if (typeof use !== "function") return super.borrow(use);
    const out = this.#out;
    const broken = (error: unknown): never => {
      out.broken = true;
      throw error;
    };
    return super.borrow((connection, loan) => {
      const { dup } = loan;
      const lent = Object.defineProperties(loan, {
        signal: { get: () => out.signal },
        dup: { value: (holder?: string) => another(dup.call(loan, holder), out, holderName(holder)) },
      }) as CheckoutLoan<T>;
      try {
        const result = use(connection, lent);
        return isThenable(result) ? (Promise.resolve(result).catch(broken) as R) : result;
      } catch (error) {
        return broken(error);
      }
    });
  }
}

/** The account of a handle that was just made, listed, and under a handle that knows its checkout. */
function another<T>(handle: AsyncHandle<T>, out: Out<T>, holder?: string): Checkout<T> {
  const account = accountOf(handle);
  out.list(account, holder);
  return new CheckoutImpl(account, out);
}

/** No method: what it returns must not reach the handle that it was asked of. */
function weakly<T>(weak: WeakHandle<AsyncHandle<T>>, out: Out<T>): WeakHandle<Checkout<T>> {
  return {
    get alive() {
      return weak.alive;
    },
    upgrade() {
      const handle = weak.upgrade();
      return handle && another(handle, out);
    },
  };
}
