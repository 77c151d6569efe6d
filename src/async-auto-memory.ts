import { ASYNC_DISPOSE, DISPOSE, INSPECT, isObject, isThenable, warn } from "./account";
import { type AsyncHandle, AsyncHandleImpl, type AsyncLoan, OWN_ASYNC_DISPOSE } from "./async-handle";
import { begun } from "./async-kind";
import { checkCallable, Deferred, ended, notOwned, takeDeferred } from "./auto-memory";
import { hidden, received, suppress, unfit } from "./errors";
import { type Handle, HandleImpl, type Loan, OWN_DISPOSE } from "./handle";
import { OWNED, OwnedList, PAY } from "./owned-list";
import type { AsyncResource, Resource } from "./resource";
import { type ContextRecord, realm } from "./tracker";

/**
 * A context for asynchronous frees: everything an `AsyncDisposableStack` is, with the same meanings, and what
 * {@link AutoMemory} adds. It pays for one thing after the other, last in first out, and waits for each; it owns
 * synchronous handles as well.
 *
 * A handle whose free is under way stays owned until that has settled, so that the context's end waits for it and hears
 * of its failure.
 *
 * @example Waits for what was opened
 * ```ts
 * const log: string[] = [];
 * const Link = defineAsyncResource({ kind: "link", open: async (to: string) => to, free: async (to) => void log.push(to) });
 * await AsyncAutoMemory.run(async (memory) => {
 *   await memory.open(Link, "a");
 *   await memory.open(Link, "b");
 * });
 * console.log(log.join()); // b,a
 * ```
 */
export interface AsyncAutoMemory extends AsyncDisposable {
  /** Whether the context has ended: disposed, or moved. */
  readonly disposed: boolean;
  /** Things owned now. */
  readonly size: number;
  /**
   * Owns a handle, or anything else that can be disposed of (`AsyncDisposableStack.prototype.use`).
   *
   * @throws {ReferenceError} If the context has ended.
   * @throws {TypeError} If `value` has neither dispose method.
   */
  use<T extends AsyncDisposable | Disposable | null | undefined>(value: T): T;
  /** See {@link AutoMemory.adopt}; the function may be asynchronous. */
  adopt<T>(value: T, onDispose: (value: T) => PromiseLike<void> | void): T;
  /** See {@link AutoMemory.defer}; the function may be asynchronous. */
  defer(onDispose: () => PromiseLike<void> | void): void;
  /** See {@link AutoMemory.open}. */
  open<T, A extends readonly unknown[]>(resource: Resource<T, A>, ...args: A): Handle<T>;
  /**
   * Opens a resource into the context. One that arrives after the context has ended is freed at once, and the promise
   * rejects: nothing is orphaned.
   *
   * @throws {ReferenceError} Synchronously, if the context has ended already; nothing is opened.
   */
  open<T, A extends readonly unknown[]>(resource: AsyncResource<T, A>, ...args: A): Promise<AsyncHandle<T>>;
  /** See {@link AutoMemory.keep}. */
  keep<T extends AsyncDisposable | Disposable>(owned: T): T;
  /** See {@link AutoMemory.hold}. */
  hold<T>(handle: AsyncHandle<T> | AsyncLoan<T>, holder?: string): AsyncHandle<T>;
  /** See {@link AutoMemory.hold}. */
  hold<T>(handle: Handle<T> | Loan<T>, holder?: string): Handle<T>;
  /**
   * See {@link AutoMemory.freeAll}.
   *
   * @returns A promise that settles after the last free. An end of the context meanwhile does not wait for it.
   */
  freeAll(): Promise<void>;
  /** See {@link AutoMemory.move}. */
  move(): AsyncAutoMemory;
  /**
   * Ends the context and pays for everything owned, last in first out, waiting for each, past whatever throws. A second
   * call resolves at once, as ECMA-262 has it (an {@link AsyncHandle} waits).
   *
   * @returns A promise that rejects with what the frees failed with: one error as it is, several as `SuppressedError`.
   */
  disposeAsync(): Promise<void>;
  /** The same as {@link disposeAsync}. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** The class of {@link AsyncAutoMemory}. */
export interface AsyncAutoMemoryConstructor {
  new (): AsyncAutoMemory;
  readonly prototype: AsyncAutoMemory;
  /** Runs `body`, synchronous or not, with a new context, and pays for what it owns when the body has ended. */
  run<R>(body: (memory: AsyncAutoMemory) => R): Promise<Awaited<R>>;
}

/** Pays for a whole list as ECMA-262 DisposeResources does, down to how often it awaits. */
async function payAll(list: OwnedList, awaitAnyway: boolean): Promise<void> {
  let failed = false;
  let failure: unknown;
  let awaited = false;
  // A free that ends its own context, by its synchronous part, is not waited for: it waits itself.
  const waiting = begun();
  for (const entry of list.takeAll().reverse()) {
    if (!entry[OWNED](list)) continue;
    try {
      const paid = entry[PAY](list);
      awaited = true;
      await (waiting.length > 0 && AsyncHandleImpl.of(entry, waiting) ? undefined : paid);
    } catch (error) {
      failure = failed ? suppress(error, failure) : error;
      failed = true;
    }
  }
  if (awaitAnyway && !awaited) await undefined;
  if (failed) throw failure;
}

export const AsyncAutoMemory: AsyncAutoMemoryConstructor = class AsyncAutoMemory implements AsyncAutoMemory {
  /** `undefined` once the context has ended. */
  #list: OwnedList | undefined = new OwnedList();
  /** `null` or `undefined` was used: the end then takes at least one turn of the microtask queue. */
  #awaits = false;
  #record: ContextRecord | undefined = undefined;

  constructor() {
    if (realm.tracker === undefined) return;
    this.#record = realm.tracker.context(this);
    (this.#list as OwnedList).context = this;
  }

  static async run<R>(body: (memory: AsyncAutoMemory) => R): Promise<Awaited<R>> {
    checkCallable("run", body);
    const memory = new AsyncAutoMemory();
    let result: Awaited<R>;
    try {
      result = await body(memory);
    } catch (error) {
      await memory.disposeAsync().catch((failedFree: unknown) => {
        throw suppress(failedFree, error);
      });
      throw error;
    }
    await memory.disposeAsync();
    return result;
  }

  get disposed(): boolean {
    return this.#list === undefined;
  }

  get size(): number {
    return this.#list === undefined ? 0 : this.#list.size;
  }

  use<T extends AsyncDisposable | Disposable | null | undefined>(value: T): T {
    const list = this.#open("use");
    if (value === null || value === undefined) {
      this.#awaits = true;
      return value;
    }
    const object: { [ASYNC_DISPOSE]?: unknown; [DISPOSE]?: unknown } = isObject(value) ? value : {};
    const disposeAsync = object[ASYNC_DISPOSE];
    if (disposeAsync === OWN_ASYNC_DISPOSE && AsyncHandleImpl.own(value, list, this.#record)) return value;
    if (typeof disposeAsync === "function") {
      list.add(new Deferred(value, () => Reflect.apply(disposeAsync, value, [])));
      return value;
    }
    const dispose = disposeAsync === undefined || disposeAsync === null ? object[DISPOSE] : undefined;
    if (dispose === OWN_DISPOSE && HandleImpl.own(value, list, this.#record)) return value;
    if (typeof dispose !== "function") {
      throw new TypeError(
        `Cannot use ${received(value)}: it has neither a [Symbol.asyncDispose] nor a [Symbol.dispose] method`,
      );
    }
    // What a synchronous dispose method returns is not awaited.
    list.add(new Deferred(value, async () => void Reflect.apply(dispose, value, [])));
    return value;
  }

  adopt<T>(value: T, onDispose: (value: T) => PromiseLike<void> | void): T {
    const list = this.#open("adopt");
    checkCallable("adopt", onDispose);
    list.add(new Deferred(value, () => onDispose(value)));
    return value;
  }

  defer(onDispose: () => PromiseLike<void> | void): void {
    const list = this.#open("defer");
    checkCallable("defer", onDispose);
    list.add(new Deferred(onDispose, () => onDispose()));
  }

  open<T, A extends readonly unknown[]>(resource: Resource<T, A>, ...args: A): Handle<T>;
  open<T, A extends readonly unknown[]>(resource: AsyncResource<T, A>, ...args: A): Promise<AsyncHandle<T>>;
  open<T, A extends readonly unknown[]>(
    resource: Resource<T, A> | AsyncResource<T, A>,
    ...args: A
  ): Handle<T> | Promise<AsyncHandle<T>> {
    this.#open("open");
    if (typeof resource?.open !== "function") throw unfit("open", "a resource", resource);
    const opened = resource.open(...args);
    return isThenable(opened) ? this.#ownLate(opened) : this.#own("open", opened);
  }

  keep<T extends AsyncDisposable | Disposable>(owned: T): T {
    const list = this.#open("keep");
    const kept =
      isObject(owned) &&
      (AsyncHandleImpl.disown(owned, list) || HandleImpl.disown(owned, list) || takeDeferred(list, owned));
    if (!kept) throw notOwned(owned);
    return owned;
  }

  hold<T>(handle: AsyncHandle<T> | AsyncLoan<T>, holder?: string): AsyncHandle<T>;
  hold<T>(handle: Handle<T> | Loan<T>, holder?: string): Handle<T>;
  hold<T>(handle: AsyncHandle<T> | AsyncLoan<T> | Handle<T> | Loan<T>, holder?: string): AsyncHandle<T> | Handle<T> {
    this.#open("hold");
    if (typeof handle?.dup !== "function") throw unfit("hold", "a handle or a loan", handle);
    return this.#own("hold", handle.dup(holder));
  }

  freeAll(): Promise<void> {
    const list = this.#open("freeAll");
    this.#list = new OwnedList();
    this.#list.context = list.context;
    return payAll(list, false);
  }

  move(): AsyncAutoMemory {
    const list = this.#open("move");
    this.#list = undefined;
    const to = new AsyncAutoMemory();
    list.context = to.#list?.context;
    to.#list = list;
    this.#record?.moved(to.#record);
    to.#awaits = this.#awaits;
    return to;
  }

  // Not an async function: that would settle later than ECMA-262 has it.
  disposeAsync(): Promise<void> {
    if (!isObject(this) || !(#list in this)) {
      return Promise.reject(new TypeError(`Cannot dispose of ${received(this)}: it is no AsyncAutoMemory`));
    }
    const list = this.#list;
    if (list === undefined) return Promise.resolve();
    this.#list = undefined;
    this.#record?.end();
    return payAll(list, this.#awaits);
  }

  [INSPECT](): string {
    return `AsyncAutoMemory<${this.disposed ? "ended" : `${this.size} owned`}>`;
  }

  declare [ASYNC_DISPOSE]: () => Promise<void>;

  #open(verb: string): OwnedList {
    if (this.#list === undefined) throw ended(verb);
    return this.#list;
  }

  /** Owns what was just made; it is given back if its making has ended the context. */
  #own<H extends AsyncHandle<unknown> | Handle<unknown>>(verb: string, made: H): H {
    if (this.#list !== undefined) return own(this, made);
    const error = ended(verb);
    try {
      if (DISPOSE in made) made[DISPOSE]();
      else made[ASYNC_DISPOSE]().catch(warn);
    } catch (failedFree) {
      throw suppress(failedFree, error);
    }
    throw error;
  }

  async #ownLate<T>(opening: PromiseLike<AsyncHandle<T>>): Promise<AsyncHandle<T>> {
    const handle = await opening;
    if (this.#list !== undefined) return own(this, handle);
    const error = ended("open");
    await handle[ASYNC_DISPOSE]().catch((failedFree: unknown) => {
      throw suppress(failedFree, error);
    });
    throw error;
  }
};

const OWN_USE = AsyncAutoMemory.prototype.use;

/** What is opened or held is owned whatever a subclass has made of `use`. */
function own<H extends AsyncDisposable | Disposable>(memory: AsyncAutoMemory, handle: H): H {
  OWN_USE.call(memory, handle);
  return handle;
}

// A bundler renames a class that is called as what it is assigned to.
Object.defineProperty(AsyncAutoMemory, "name", { value: "AsyncAutoMemory" });

// ECMA-262: the two names are one function object.
Object.defineProperty(AsyncAutoMemory.prototype, ASYNC_DISPOSE, hidden(AsyncAutoMemory.prototype.disposeAsync));
