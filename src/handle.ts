import {
  around,
  Counted,
  count,
  DISPOSE,
  INSPECT,
  ignore,
  isObject,
  Kind,
  nameOf,
  Owed,
  refCountOf,
  refuse,
  State,
  standing,
} from "./account";
import {
  checkObject,
  MovedError,
  RefCountError,
  RefOverflowError,
  type Refusal,
  RevokedError,
  received,
  suppress,
  UseAfterFreeError,
  unfit,
} from "./errors";
import type { Flat } from "./flat";
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
import { type AccountRecord, type ContextRecord, realm } from "./tracker";

/**
 * One holder's account on a resource.
 *
 * A handle is the account itself: a copy made by `structuredClone` or `postMessage` is an empty object, and one wrapped
 * in a `Proxy` refuses every call with a `TypeError`. Cycles of handles are not freed: counting cannot see them.
 */
export interface Handle<T> extends Disposable {
  /** The family of resources: `"key"`. */
  readonly kind: string;
  /** What names this resource among its kind: `user:1 (write)`; empty if it was given none. */
  readonly label: string;
  /**
   * The resource, to be used and not to be kept: whoever keeps it takes an account of his own by {@link dup}.
   *
   * @throws {MovedError} If this account was moved to another handle.
   * @throws {RevokedError} If the resource was revoked.
   * @throws {UseAfterFreeError} If this account owes nothing.
   */
  readonly value: T;
  /** References that all accounts owe together; `Infinity` for an immortal resource. */
  readonly refCount: number;
  /** References that this account owes; `Infinity` for an immortal resource. */
  readonly owed: number;
  /** Whether reading {@link value} would succeed. */
  readonly alive: boolean;
  /**
   * Takes one more reference on this account; whoever calls it owes a {@link decrRef}.
   *
   * @returns This handle.
   * @throws {MovedError} If this account was moved to another handle.
   * @throws {RevokedError} If the resource was revoked.
   * @throws {UseAfterFreeError} If this account owes nothing: a freed resource does not come back.
   * @throws {RefOverflowError} If the resource has {@link MAX_REFS} references; none is added.
   */
  incrRef(): this;
  /**
   * Gives back one reference. The last one frees the resource before this returns, or, while a borrow is under way,
   * when the last borrow ends.
   *
   * On an account that owes nothing it is the assertion (Valkey `decrRefCount`): the counts stay where they are, and
   * the error names the resource and, where sites are recorded, where it was opened and given back first. On a revoked
   * resource it closes the account and returns `false`.
   *
   * @returns `true` when this was the last reference.
   * @throws {MovedError} If this account was moved to another handle.
   * @throws {RefCountError} If this account owes nothing (see {@link setPanic}).
   * @throws {AsyncFreeError} If the free function returned a promise; the handle is spent all the same.
   * @throws Whatever the resource's free function throws; the handle is spent all the same.
   * @example Closing early inside a block with using
   * ```ts
   * using file = Handle.of("a file", () => {});
   * file.decrRef(); // true: freed here; the end of the block finds nothing to do
   * ```
   */
  decrRef(): boolean;
  /**
   * Opens a new account on the same resource, for another holder, who owes its one reference (POSIX `dup`).
   *
   * @param holder The name that reports give the new account: `"lru-list"`.
   * @throws As {@link incrRef}.
   * @example Two holders, each with an account of its own
   * ```ts
   * const writer = Handle.of("a socket", () => {});
   * const reader = writer.dup("reader");
   * writer.decrRef(); // false: the reader still holds it
   * reader.decrRef(); // true
   * ```
   */
  dup(holder?: string): Handle<T>;
  /**
   * Hands the whole account over to a new handle, which owes all that this one owed. This handle is spent and every
   * context that owned it has let go: the caller owes the new handle.
   *
   * @throws As {@link value}; the counts stay as they were.
   */
  move(): Handle<T>;
  /**
   * A way to the resource that does not keep it: {@link WeakHandle.upgrade} opens a new account while that is possible.
   *
   * @throws As {@link value}.
   */
  weak(): WeakHandle<Handle<T>>;
  /**
   * Calls `use` with the value and a loan, and keeps the resource alive for exactly as long, even if every account is
   * closed meanwhile. A promise (or any thenable, which is thereby started) extends the borrow until it settles.
   *
   * @returns What `use` returned, or for a thenable a promise of its result.
   * @throws What `use` throws; a free that fails at the borrow's end is thrown too, a second failure as a
   * `SuppressedError` that carries both.
   * @throws As {@link value}, before `use` is called.
   */
  borrow<R>(use: (value: T, loan: Loan<T>) => R): R;
  /** Whether this is the only reference and no borrow is under way, so that the value may be changed in place. */
  isSole(): boolean;
  /** Pays one reference if this account still owes one; otherwise does nothing, however often it is called. */
  [Symbol.dispose](): void;
}

/** Reaches a resource without keeping it alive. */
export interface WeakHandle<H> {
  /** Whether {@link upgrade} would give a handle. */
  readonly alive: boolean;
  /** Opens a new account, which the caller owes; `undefined` once the resource is freed, draining or revoked. */
  upgrade(): H | undefined;
}

/**
 * What a borrow lends to its callee (Valkey's borrowed and static objects): it reads while the borrow lasts, and has
 * nothing to give back.
 */
export interface Loan<T> {
  /**
   * The resource, until the borrow ends, also while it drains or was revoked.
   *
   * @throws {RevokedError} After the borrow, if the resource was revoked.
   * @throws {UseAfterFreeError} After the borrow.
   */
  readonly value: T;
  readonly label: string;
  /**
   * Opens an account for a callee that keeps the resource; the callee owes it.
   *
   * @param holder The name that reports give the new account.
   * @throws {RevokedError} If the resource was revoked.
   * @throws {UseAfterFreeError} If the resource has no account left, or the borrow is over.
   */
  dup(holder?: string): Handle<T>;
}

/** What names a resource, and its size, for errors and reports. */
export interface HandleOptions {
  /** @default "resource" */
  readonly kind?: string;
  readonly label?: string;
  /** Size in bytes, for reports. */
  readonly bytes?: number;
}

/** What an account keeps that owes anything but one reference, or that a context pays for. */
class Ledger {
  owed: number;
  owners: Owners;
  readonly record: AccountRecord | undefined;

  constructor(owed: number, record?: AccountRecord, owners?: Owners) {
    this.owed = owed;
    this.owners = owners;
    this.record = record;
  }
}

Object.defineProperty(Counted.prototype, "closed", { value: new Ledger(0) });

/**
 * A handle, in one of two forms, of 40 bytes. Alone on a plain resource (no label, no size, nobody tracks) `#core` is a
 * {@link Flat} and `#slot` the value. Otherwise `#core` is the {@link Counted}, and `#slot` the account's {@link Ledger}; if
 * it owes one reference and no context pays for it, it needs none, and `#slot` is its record if somebody writes it down.
 */
export class HandleImpl<T> implements Handle<T>, Entry {
  #core: Flat<T> | Counted<T>;
  #slot: unknown;

  constructor(core: Flat<T> | Counted<T>, slot: unknown) {
    this.#core = core;
    this.#slot = slot;
  }

  get kind(): string {
    return this.#core.kind.name;
  }

  get label(): string {
    const core = this.#core;
    return core.flat ? "" : core.label;
  }

  get value(): T {
    const core = this.#core;
    if (core.flat) return this.#slot as T;
    if (core.usable && HandleImpl.#owes(this)) return core.value as T;
    throw HandleImpl.#refuse(this, "read");
  }

  get refCount(): number {
    return refCountOf(this.#core);
  }

  get owed(): number {
    if (!HandleImpl.#owes(this)) return 0;
    return this.#core.state === State.Immortal ? Infinity : HandleImpl.#owed(this);
  }

  get alive(): boolean {
    const core = this.#core;
    return core.flat || (core.usable && HandleImpl.#owes(this));
  }

  // The common cases of the next three stand here, in as few checks as there can be; the rest is out of line.
  incrRef(): this {
    const core = this.#core;
    if (core.flat && core.extra >= 0 && core.extra < Owed.Most - 1) {
      core.extra++;
      return this;
    }
    HandleImpl.#take(this);
    return this;
  }

  decrRef(): boolean {
    const core = this.#core;
    if (this.#slot === undefined && core.count > 1 && core.state === State.Open) {
      this.#slot = core.closed;
      core.count--;
      return false;
    }
    if (core.flat && core.extra > 0) {
      core.extra--;
      return false;
    }
    return HandleImpl.#pay(this);
  }

  dup(holder?: string): Handle<T> {
    const core = this.#core;
    const ledger = this.#slot as Ledger | undefined;
    if (core.state === State.Open && (ledger === undefined || ledger.owed > 0) && core.count < Owed.Most) {
      if (core.record === undefined && core.realm.tracker === undefined) {
        core.count++;
        return new HandleImpl<T>(core, undefined);
      }
    }
    return openAccount(HandleImpl.#usable(this, "dup"), holder, HandleImpl.#owed(this));
  }

  move(): Handle<T> {
    return HandleImpl.moved(this);
  }

  weak(): WeakHandle<Handle<T>> {
    return new WeakImpl<T, Handle<T>>(HandleImpl.#usable(this, "make a weak handle of"), openAccount);
  }

  borrow<R>(use: (value: T, loan: Loan<T>) => R): R {
    const counted = HandleImpl.lend(this, use);
    const loan = new LoanImpl<T, Handle<T>>(counted, openAccount, HandleImpl.record(this));
    return around(
      () => use(counted.value as T, loan),
      () => LoanImpl.end(loan),
    );
  }

  isSole(): boolean {
    const core = this.#core;
    if (core.flat) return core.count === 1;
    const owed = HandleImpl.#owed(this);
    if (owed === Owed.Moved) throw HandleImpl.#refuse(this, "ask for the only reference on");
    return owed === 1 && core.count === 1 && core.borrows === 0 && core.state === State.Open;
  }

  [DISPOSE](): void {
    if (HandleImpl.#owes(this)) HandleImpl.#pay(this);
  }

  toString(): string {
    return HandleImpl.describe(this, "Handle");
  }

  [INSPECT](): string {
    return this.toString();
  }

  [OWNED](list: OwnedList): boolean {
    const core = this.#core;
    return core.flat ? core.owner === list : owns(HandleImpl.#owners(this), list);
  }

  [PAY](list: OwnedList): void {
    const core = this.#core;
    if (core.flat && core.extra <= 0) {
      if (core.owner === list) HandleImpl.#free(this, core, undefined);
      return;
    }
    if (!this[OWNED](list)) return;
    const ledger = HandleImpl.#openLedger(this);
    ledger.owners = removeOwner(ledger.owners, list);
    if (ledger.owed > 0) HandleImpl.#pay(this);
    if (ledger.owed > 0 && ledger.owners === undefined) ledger.record?.escaped();
  }

  /** Pays for a whole list, last in first out. One failure is thrown as it is, several are nested. */
  static payAll(list: OwnedList): void {
    let failed = false;
    let failure: unknown;
    const entries = list.takeAll();
    for (let i = entries.length - 1; i >= 0; i--) {
      const entry = entries[i] as Entry;
      try {
        // A flat account's PAY is written out here: V8 inlines this function or what it calls, not both.
        if (#slot in entry && entry.#core.flat && entry.#core.extra <= 0) {
          if (entry.#core.owner === list) HandleImpl.#free(entry, entry.#core, undefined);
        } else entry[PAY](list);
      } catch (error) {
        failure = failed ? suppress(error, failure) : error;
        failed = true;
      }
    }
    if (failed) throw failure;
  }

  /** Takes the handle into a context's list, unless it is none of ours or has nothing to pay. */
  static own(value: object, list: OwnedList, context: ContextRecord | undefined): boolean {
    if (!(#slot in value)) return false;
    const core = value.#core;
    if (core.flat && core.owner === undefined && core.extra < 0) {
      list.add(value);
      value.#core = list.flatOf(core);
    } else if (HandleImpl.#owes(value)) {
      list.add(value);
      const ledger = HandleImpl.#openLedger(value);
      ledger.owners = addOwner(ledger.owners, list);
      if (context !== undefined) ledger.record?.owned(context);
    }
    return true;
  }

  /** Takes the handle out of a context's list, its newest place there first. */
  static disown(value: object, list: OwnedList): boolean {
    if (!(#slot in value) || !value[OWNED](list)) return false;
    const ledger = HandleImpl.#openLedger(value);
    if (Array.isArray(ledger.owners)) list.remove((entry) => entry === value);
    else list.takenOut(value);
    ledger.owners = removeOwner(ledger.owners, list);
    ledger.record?.owned(undefined);
    return true;
  }

  static moved<T>(handle: HandleImpl<T>): HandleImpl<T> {
    if (!handle.alive) throw HandleImpl.#refuse(handle, "move");
    // Shared from now on: the spent handle still says what the resource owes.
    const counted = HandleImpl.counted(handle);
    const { owed, owners, record } = HandleImpl.#openLedger(handle);
    const to = new HandleImpl<T>(counted, new Ledger(owed, record));
    handle.#slot = new Ledger(Owed.Moved, record);
    leaveAll(owners);
    record?.moved(to);
    return to;
  }

  /** Begins a borrow. Whoever calls this owes the end. */
  static lend<T>(handle: HandleImpl<T>, use: unknown): Counted<T> {
    const counted = HandleImpl.#usable(handle, "borrow");
    if (typeof use !== "function") {
      throw unfit(`borrow ${nameOf(counted)}`, "a function", use);
    }
    counted.borrows++;
    return counted;
  }

  /** The resource behind a handle, which is shared from now on. */
  static counted<T>(handle: HandleImpl<T>): Counted<T> {
    const core = handle.#core;
    if (!core.flat) return core;
    const { kind, owner, count: owed } = core;
    const counted = new Counted<T>(kind, handle.#slot as T, "", 0, owed, State.Open);
    handle.#core = counted;
    handle.#slot = owner === undefined && owed === 1 ? undefined : new Ledger(owed, undefined, owner as Owners);
    return counted;
  }

  /** Closes the door of the handle's resource, if it is one of `kind`. */
  static revoke<T>(handle: unknown, kind: Kind<T>): Counted<T> {
    if (!isObject(handle) || !(#slot in handle)) {
      throw new TypeError(`Cannot revoke: expected a handle of kind "${kind.name}", received ${shown(handle)}`);
    }
    const counted = HandleImpl.counted(handle);
    if (HandleImpl.#owed(handle) === Owed.Moved) throw HandleImpl.#refuse(handle, "revoke");
    const mine = (counted.kind as unknown) === kind;
    if (!mine || counted.state === State.Immortal) {
      const why = mine ? "it is immortal" : `it was not opened by this resource definition ("${kind.name}")`;
      throw new TypeError(`Cannot revoke ${nameOf(counted)}: ${why}`);
    }
    counted.revoke();
    return counted as Counted<unknown> as Counted<T>;
  }

  /** Registers a new account with whoever keeps records of its resource. If that fails its reference is given back. */
  static track<T>(handle: HandleImpl<T>, counted: Counted<T>, holder?: string): void {
    try {
      handle.#slot = counted.track(handle, holder);
    } catch (error) {
      counted.decrement();
      throw error;
    }
  }

  static record(handle: object): AccountRecord | undefined {
    if (!(#slot in handle) || handle.#core.flat) return undefined;
    const slot = handle.#slot as Ledger | AccountRecord | undefined;
    return slot instanceof Ledger ? slot.record : slot;
  }

  /** `Handle<key "user:1 (write)", 2 references, 1 here>`, without touching the value. */
  static describe<T>(handle: HandleImpl<T>, name: string): string {
    const counted = HandleImpl.counted(handle);
    const { state } = counted;
    let now = `${count(counted.count, "reference")}, ${handle.owed} here`;
    if (HandleImpl.#owed(handle) === Owed.Moved) now = "moved";
    else if (state === State.Immortal) now = "immortal";
    else if (state & State.Revoked) now = "revoked";
    else if (state & State.Freed) now = "freed";
    else if (state & State.Draining) now = "draining";
    return `${name}<${nameOf(counted)}, ${now}>`;
  }

  /** Whether the account can pay. */
  static #owes<T>(handle: HandleImpl<T>): boolean {
    return HandleImpl.#owed(handle) > 0;
  }

  static #owed<T>(handle: HandleImpl<T>): number {
    const core = handle.#core;
    if (core.flat) return core.count;
    const ledger = handle.#slot;
    return ledger instanceof Ledger ? ledger.owed : 1;
  }

  static #owners<T>(handle: HandleImpl<T>): Owners {
    const ledger = handle.#slot;
    return ledger instanceof Ledger ? ledger.owners : undefined;
  }

  /** The ledger of an account, opened if it has none yet. */
  static #openLedger<T>(handle: HandleImpl<T>): Ledger {
    HandleImpl.counted(handle);
    const slot = handle.#slot as Ledger | AccountRecord | undefined;
    if (slot instanceof Ledger) return slot;
    const ledger = new Ledger(1, slot);
    handle.#slot = ledger;
    return ledger;
  }

  /** The resource, shared from now on, or the error that says why it cannot be used. */
  static #usable<T>(handle: HandleImpl<T>, verb: string): Counted<T> {
    if (handle.alive) return HandleImpl.counted(handle);
    throw HandleImpl.#refuse(handle, verb);
  }

  /** The error of a refused call, the first match of the error table: moved, overdrawn, revoked, used after the end. */
  static #refuse<T>(handle: HandleImpl<T>, verb: string, overdraft = false): Error {
    const counted = HandleImpl.counted(handle);
    const owed = handle.owed;
    let Refusal: Refusal = UseAfterFreeError;
    let why = standing(counted);
    if (HandleImpl.#owed(handle) === Owed.Moved) {
      Refusal = MovedError;
      why = "its account was moved to another handle";
    } else if (overdraft) {
      Refusal = RefCountError;
      if (counted.state !== State.Open) why = `this handle owes nothing, ${why}`;
    } else if (counted.state & State.Revoked) Refusal = RevokedError;
    const what = `annot ${verb} ${nameOf(counted)}: ${why}`;
    const message = Refusal === RefCountError ? `decrRefCount against refcount <= 0: c${what}` : `C${what}`;
    return refuse(Refusal, message, counted, owed, HandleImpl.record(handle));
  }

  /** Takes one more reference, or the error that says why it cannot be. */
  static #take<T>(handle: HandleImpl<T>): void {
    const core = handle.#core;
    if (core.flat && core.extra < 0) {
      handle.#core = core.counting();
      return;
    }
    const counted = HandleImpl.#usable(handle, "take another reference on");
    if (counted.state === State.Immortal) return;
    addReference(counted, HandleImpl.#owed(handle));
    const ledger = HandleImpl.#openLedger(handle);
    ledger.owed++;
    ledger.record?.counted(1);
  }

  /** Gives back one reference: all state first, then the free. */
  static #pay<T>(handle: HandleImpl<T>): boolean {
    const core = handle.#core;
    if (core.flat) {
      if (core.extra <= 0) return HandleImpl.#free(handle, core, core.owner);
      core.extra--;
      return false;
    }
    const owed = HandleImpl.#owed(handle);
    if (owed <= 0) return HandleImpl.#overdrawn(handle);
    if (core.state === State.Immortal) return false;
    if (handle.#slot === undefined) handle.#slot = core.closed;
    else {
      const ledger = HandleImpl.#openLedger(handle);
      ledger.owed = owed - 1;
      if (owed > 1) ledger.record?.counted(-1);
      else {
        const { owners } = ledger;
        ledger.owners = undefined;
        leaveAll(owners);
        ledger.record?.closed();
      }
    }
    return core.decrement();
  }

  /** Pays the only reference of a flat account; `owner` is who has to hear that it left: not a context that pays. */
  static #free<T>(handle: HandleImpl<T>, core: Flat<T>, owner: Flat<T>["owner"]): true {
    const { kind, gone } = core;
    const value = handle.#slot as T;
    handle.#core = gone;
    handle.#slot = gone.closed;
    owner?.left();
    kind.free(value);
    return true;
  }

  /** The assertion of Valkey's `decrRefCount`: the counts stay as they are, and `setPanic` says what becomes of it. */
  static #overdrawn<T>(handle: HandleImpl<T>): false {
    const error = HandleImpl.#refuse(handle, "give back", true);
    if (HandleImpl.#owed(handle) === Owed.Moved || realm.panic === undefined) throw error;
    realm.panic(error);
    return false;
  }
}

/** What {@link HandleImpl}'s dispose method is unless somebody overrode it. */
export const OWN_DISPOSE = HandleImpl.prototype[DISPOSE];

export class WeakImpl<T, H> implements WeakHandle<H> {
  readonly #counted: Counted<T>;
  readonly #open: (counted: Counted<T>) => H;

  constructor(counted: Counted<T>, open: (counted: Counted<T>) => H) {
    this.#counted = counted;
    this.#open = open;
  }

  get alive(): boolean {
    return this.#counted.usable;
  }

  upgrade(): H | undefined {
    return this.#counted.usable ? this.#open(this.#counted) : undefined;
  }
}

function addReference<T>(counted: Counted<T>, owed: number): void {
  if (counted.count >= Owed.Most) {
    const message = `Cannot take another reference on ${nameOf(counted)}: it has ${counted.count}, and no resource can have more`;
    throw refuse(RefOverflowError, message, counted, owed);
  }
  counted.count++;
}

/** Opens one more account on a usable resource, for one whose own account owes `asker` references. */
export function openAccount<T>(counted: Counted<T>, holder?: string, asker = 0): HandleImpl<T> {
  if (counted.state === State.Open) addReference(counted, asker);
  const handle = new HandleImpl<T>(counted, undefined);
  if ((counted.record !== undefined || realm.tracker?.adopts) && counted.state === State.Open) {
    HandleImpl.track(handle, counted, holder);
  }
  return handle;
}

/** Opens the first account on a resource without label and size, of a synchronous kind nobody watches. */
export function openPlain<T>(flat: Flat<T>, value: T): HandleImpl<T> {
  const { kind } = flat;
  if (realm.tracker?.wants()) return openHandle(kind, value, "", 0, false, true);
  kind.countOpened();
  return new HandleImpl<T>(flat, value);
}

/** Opens the first account on a resource that was just made. */
export function openHandle<T>(
  kind: Kind<T>,
  value: T,
  label: string,
  bytes: number,
  immortal = false,
  tracked = !immortal && (realm.tracker?.wants() || kind.watch),
): HandleImpl<T> {
  if (!immortal) {
    kind.countOpened();
    kind.bytes += bytes;
  }
  const counted = new Counted(kind, value, label, bytes, 1, immortal ? State.Immortal : State.Open);
  const handle = new HandleImpl<T>(counted, undefined);
  if (tracked) HandleImpl.track(handle, counted);
  return handle;
}

function make<T>(value: T, free: (value: T) => void, options: HandleOptions, immortal?: true): Handle<T> {
  checkObject("make a handle", options);
  const { kind = "resource", label = "", bytes = 0 } = options;
  if (typeof free !== "function") throw unfit(`make a handle of kind ${received(kind)}`, "a free function", free);
  checkNames(kind, label, bytes);
  return openHandle(new Kind<T>(kind, free), value, label, bytes, immortal);
}

/** Makes handles without defining a kind first. */
export const Handle = {
  /**
   * Wraps a value and the function that frees it; the caller owes the handle's one reference.
   *
   * @param free Called once with the value when the last reference is given back. It must not return a promise.
   * @throws {TypeError} If `free` is no function, or an option is of the wrong type.
   * @example Anything with an end
   * ```ts
   * const timer = Handle.of(setInterval(() => {}, 1000), clearInterval, { kind: "timer", label: "heartbeat" });
   * timer.decrRef(); // true: the interval is cleared
   * ```
   */
  of<T>(value: T, free: (value: T) => void, options: HandleOptions = {}): Handle<T> {
    return make(value, free, options);
  },

  /**
   * Wraps a value that is never freed (Valkey's shared objects): counting it changes nothing, and no report names it.
   *
   * @throws {TypeError} If an option is of the wrong type.
   */
  immortal<T>(value: T, options: Omit<HandleOptions, "bytes"> = {}): Handle<T> {
    return make(value, ignore, options, true);
  },
};

/** What was given, for a message: a handle, of either form, says which. */
export function shown(thing: unknown): string {
  try {
    if (isObject(thing) && OWNED in thing) return String(thing);
  } catch {
    // Something that only looks like one.
  }
  return received(thing);
}

export function checkNames(kind: unknown, label: unknown, bytes: unknown): void {
  const action = "name a resource";
  if (typeof kind !== "string" || kind === "") throw unfit(action, "a kind that is a non-empty string", kind);
  if (typeof label !== "string") throw unfit(action, "a label that is a string", label);
  // A size that is no finite number would spoil the sum of all sizes.
  if (!Number.isFinite(bytes) || (bytes as number) < 0) throw unfit(action, "a size in bytes", bytes);
}
