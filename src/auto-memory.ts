import { ASYNC_DISPOSE, around, DISPOSE, INSPECT, ignore, isObject, isThenable, warn } from "./account";
import { hidden, received, suppress, unfit } from "./errors";
import { type Handle, HandleImpl, type Loan, OWN_DISPOSE, shown } from "./handle";
import { type Entry, OPEN_INTO, OWNED, OwnedList, PAY } from "./owned-list";
import type { OpensInto, Resource } from "./resource";
import { type ContextRecord, realm } from "./tracker";

/**
 * A context that owns accounts and pays one reference for each on exit, last in first out (Valkey's AutoMemory frees in
 * the order of creation). Everything a `DisposableStack` is, with the same meanings, and more.
 *
 * A handle that is closed by hand leaves its context at once, in O(1) and in any order. One handle belongs in one
 * context: in two, each pays a reference as long as one is owed; whoever shares, shares by `dup`.
 *
 * @example Whatever was opened is freed, also when the body throws
 * ```ts
 * const log: string[] = [];
 * const Key = defineResource({ kind: "key", open: (name: string) => name, free: (name) => log.push(name) && undefined });
 * AutoMemory.run((memory) => {
 *   memory.open(Key, "a");
 *   memory.open(Key, "b");
 * });
 * console.log(log.join()); // b,a
 * ```
 */
export interface AutoMemory extends Disposable {
  /** Whether the context has ended: disposed, or moved. */
  readonly disposed: boolean;
  /** Things owned now. */
  readonly size: number;
  /**
   * Owns a handle, or anything else that can be disposed of (ECMA-262 `DisposableStack.prototype.use`).
   *
   * @returns `value`; `null` and `undefined` are given back and not owned.
   * @throws {ReferenceError} If the context has ended.
   * @throws {TypeError} If `value` has no `[Symbol.dispose]` method.
   */
  use<T extends Disposable | null | undefined>(value: T): T;
  /**
   * Owns a value together with the function that disposes of it (`DisposableStack.prototype.adopt`).
   *
   * @throws {ReferenceError} If the context has ended.
   * @throws {TypeError} If `onDispose` is no function.
   */
  adopt<T>(value: T, onDispose: (value: T) => void): T;
  /**
   * Owes a call (`DisposableStack.prototype.defer`).
   *
   * @throws {ReferenceError} If the context has ended.
   * @throws {TypeError} If `onDispose` is no function.
   */
  defer(onDispose: () => void): void;
  /**
   * Opens a resource straight into the context (Valkey's `OpenKey(ctx, ...)`), which owes its reference,
   * whatever a subclass has made of {@link use}; so does {@link hold}.
   *
   * @throws {ReferenceError} If the context has ended; nothing is opened, or what was opened is freed.
   * @throws Whatever the resource's `open` throws.
   */
  open<T, A extends readonly unknown[]>(resource: Resource<T, A>, ...args: A): Handle<T>;
  /**
   * Takes a handle out of the context with its count unchanged; the caller owes it from now on. Of a handle that is
   * owned twice it takes out the newest ownership.
   *
   * @returns `owned`.
   * @throws {TypeError} If the context does not own it.
   * @throws {ReferenceError} If the context has ended.
   */
  keep<T extends Disposable>(owned: T): T;
  /**
   * Opens a new account on the resource of a handle or a loan, owned by the context (Valkey's `HoldString`).
   *
   * @param holder The name that reports give the new account.
   * @throws {ReferenceError} If the context has ended.
   * @throws As {@link Handle.dup}.
   */
  hold<T>(handle: Handle<T> | Loan<T>, holder?: string): Handle<T>;
  /**
   * Pays for everything owned now, and stays usable (Valkey's `autoMemoryCollect`). What is added meanwhile stays.
   *
   * @throws {ReferenceError} If the context has ended.
   * @throws What the frees throw: one error as it is, several nested as `SuppressedError`.
   */
  freeAll(): void;
  /** Hands everything owned over to a new context, and ends this one (`DisposableStack.prototype.move`). */
  move(): AutoMemory;
  /**
   * Ends the context and pays for everything owned, last in first out, past whatever throws. Further calls do nothing.
   *
   * @throws What the frees throw: one error as it is, several nested as `SuppressedError`.
   */
  dispose(): void;
  /** The same as {@link dispose}. */
  [Symbol.dispose](): void;
}

/** The class of {@link AutoMemory}. */
export interface AutoMemoryConstructor {
  new (): AutoMemory;
  readonly prototype: AutoMemory;
  /**
   * Runs `body` with a new context and pays for what it owns when the body ends: at once, or when the promise that it
   * returned settles. The body's own error is never lost (`SuppressedError` if a free fails too).
   */
  run<R>(body: (memory: AutoMemory) => R): R;
}

/** Anything a context owns that is not a handle of this library, and the call that pays for it. */
export class Deferred implements Entry {
  readonly thing: unknown;
  #pay: (() => unknown) | undefined;

  constructor(thing: unknown, pay: () => unknown) {
    this.thing = thing;
    this.#pay = pay;
  }

  [OWNED](): boolean {
    return this.#pay !== undefined;
  }

  [PAY](): unknown {
    const pay = this.#pay;
    this.#pay = undefined;
    return pay?.();
  }
}

export function checkCallable(verb: string, value: unknown): void {
  if (typeof value !== "function") throw unfit(verb, "a function", value);
}

/** Takes the newest {@link Deferred} of `thing` out of a list. */
export function takeDeferred(list: OwnedList, thing: unknown): boolean {
  return list.remove((entry) => entry instanceof Deferred && entry.thing === thing);
}

export function ended(verb: string): ReferenceError {
  return new ReferenceError(`Cannot ${verb}: the context has ended, it was disposed or moved`);
}

export function notOwned(thing: unknown): TypeError {
  return new TypeError(`Cannot keep ${shown(thing)}: this context does not own it`);
}

export const AutoMemory: AutoMemoryConstructor = class AutoMemory implements AutoMemory {
  /** `undefined` once the context has ended. */
  #list: OwnedList | undefined = new OwnedList();
  #record: ContextRecord | undefined = undefined;

  constructor() {
    if (realm.tracker === undefined) return;
    this.#record = realm.tracker.context(this);
    (this.#list as OwnedList).context = this;
  }

  static run<R>(body: (memory: AutoMemory) => R): R {
    checkCallable("run", body);
    const memory = new AutoMemory();
    return around(
      () => body(memory),
      () => memory.dispose(),
    );
  }

  get disposed(): boolean {
    return this.#list === undefined;
  }

  get size(): number {
    return this.#list?.size ?? 0;
  }

  use<T extends Disposable | null | undefined>(value: T): T {
    const list = AutoMemory.#listOf(this, "use");
    if (value === null || value === undefined) return value;
    const dispose = isObject(value) ? value[DISPOSE] : undefined;
    if (dispose === OWN_DISPOSE && HandleImpl.own(value, list, this.#record)) return value;
    if (typeof dispose !== "function") {
      throw new TypeError(`Cannot use ${received(value)}: it has no [Symbol.dispose] method`);
    }
    list.add(new Deferred(value, () => Reflect.apply(dispose, value, [])));
    return value;
  }

  adopt<T>(value: T, onDispose: (value: T) => void): T {
    const list = AutoMemory.#listOf(this, "adopt");
    checkCallable("adopt", onDispose);
    list.add(new Deferred(value, () => onDispose(value)));
    return value;
  }

  defer(onDispose: () => void): void {
    const list = AutoMemory.#listOf(this, "defer");
    checkCallable("defer", onDispose);
    list.add(new Deferred(onDispose, () => onDispose()));
  }

  open<T, A extends readonly unknown[]>(resource: Resource<T, A>, ...args: A): Handle<T> {
    const list = AutoMemory.#listOf(this, "open");
    const handle = (resource as Partial<OpensInto<T, A>> | undefined)?.[OPEN_INTO]?.(list, this.#record, ...args);
    if (handle !== undefined && this.#list === list) return handle;
    // Opened after the open itself has ended the context, or freed all it had; or not opened yet.
    if (handle !== undefined) HandleImpl.disown(handle, list);
    else if (typeof resource?.open !== "function") throw unfit("open", "a resource", resource);
    return AutoMemory.#own(this, handle ?? resource.open(...args));
  }

  keep<T extends Disposable>(owned: T): T {
    const list = AutoMemory.#listOf(this, "keep");
    if (!isObject(owned) || !(HandleImpl.disown(owned, list) || takeDeferred(list, owned))) throw notOwned(owned);
    return owned;
  }

  hold<T>(handle: Handle<T> | Loan<T>, holder?: string): Handle<T> {
    AutoMemory.#listOf(this, "hold");
    if (typeof handle?.dup !== "function") throw unfit("hold", "a handle or a loan", handle);
    return AutoMemory.#own(this, handle.dup(holder));
  }

  freeAll(): void {
    const list = AutoMemory.#listOf(this, "freeAll");
    this.#list = new OwnedList();
    this.#list.context = list.context;
    HandleImpl.payAll(list);
  }

  move(): AutoMemory {
    const list = AutoMemory.#listOf(this, "move");
    this.#list = undefined;
    const to = new AutoMemory();
    list.context = to.#list?.context;
    to.#list = list;
    this.#record?.moved(to.#record);
    return to;
  }

  dispose(): void {
    const list = this.#list;
    if (list === undefined) return;
    this.#list = undefined;
    this.#record?.end();
    HandleImpl.payAll(list);
  }

  [INSPECT](): string {
    return `AutoMemory<${this.disposed ? "ended" : `${this.size} owned`}>`;
  }

  declare [DISPOSE]: () => void;

  // Static: an instance with private methods is dearer to make.
  static #listOf(memory: AutoMemory, verb: string): OwnedList {
    const list = memory.#list;
    if (list === undefined) throw ended(verb);
    return list;
  }

  /** Owns what was just made; it is given back if the context has ended meanwhile. */
  static #own<T>(memory: AutoMemory, handle: Handle<T>): Handle<T> {
    // A program without types may name an asynchronous resource: its handle is on its way.
    if (isThenable(handle)) {
      handle.then((late) => (late as AsyncDisposable)[ASYNC_DISPOSE]()).then(ignore, warn);
      throw new TypeError("Cannot open: the resource is asynchronous; open it in an AsyncAutoMemory");
    }
    try {
      return OWN_USE.call(memory, handle) as Handle<T>;
    } catch (error) {
      try {
        // An asynchronous handle is refused like anything else, and its account is not lost either.
        const { [DISPOSE]: pay, [ASYNC_DISPOSE]: payAsync } = handle as Partial<Disposable & AsyncDisposable>;
        const paid: unknown = (pay ?? payAsync)?.call(handle);
        if (isThenable(paid)) paid.then(ignore, warn);
      } catch (failedFree) {
        throw suppress(failedFree, error);
      }
      throw error;
    }
  }
};

/** What is opened or held is owned whatever a subclass has made of `use`. */
const OWN_USE = AutoMemory.prototype.use;

// A bundler renames a class that is called as what it is assigned to.
Object.defineProperty(AutoMemory, "name", { value: "AutoMemory" });

// ECMA-262: the two names are one function object.
Object.defineProperty(AutoMemory.prototype, DISPOSE, hidden(AutoMemory.prototype.dispose));
