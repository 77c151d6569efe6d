import { ignore, isThenable } from "../account";
import { received, suppress, UseAfterFreeError } from "../errors";
import { Handle, type Loan } from "../handle";
import { defineResource, type Resource, type ResourceStats } from "../resource";

/** Where a {@link Keyspace} keeps its values. A `Map` is one. */
export interface KeyStore<V> {
  get(name: string): V | undefined;
  set(name: string, value: V): unknown;
  delete(name: string): unknown;
  has(name: string): boolean;
  /** The names of all values, for {@link Keyspace.scan}. */
  keys?(): Iterable<string>;
}

/** An open key (Valkey's `RedisModuleKey`). It reads and writes the store as it is now; nothing in it can be out of date. */
export interface Key<V> {
  readonly name: string;
  readonly mode: "read" | "write";
  /** Whether the store has a value under this name. */
  readonly exists: boolean;
  /** `"empty"`, `"string"`, `"number"`, `"list"`, `"set"`, `"hash"`, `"bytes"`, or what the keyspace's `typeOf` says. */
  readonly type: string;
  /** The value, or `undefined` if there is none. */
  get(): V | undefined;
  /**
   * Stores a value; the key exists from now on.
   *
   * @throws {TypeError} If the key was opened for reading, or `value` is `undefined`.
   */
  set(value: V): void;
  /**
   * Deletes the value. The key stays open and empty, and a later {@link set} creates it again.
   *
   * @returns Whether there was a value.
   * @throws {TypeError} If the key was opened for reading.
   */
  delete(): boolean;
  /**
   * Iterates over a list, a set or a hash. The key owns the iterator and ends it when it closes; a second call ends the
   * first.
   *
   * @throws {TypeError} If the value cannot be iterated.
   */
  iterate(): IterableIterator<unknown>;
}

/** How {@link Keyspace.open} opens. */
export interface KeyOptions {
  /** @default "read" */
  readonly mode?: "read" | "write";
  /** Whether closing a write key tells {@link Keyspace.onModified}'s listeners. @default true */
  readonly notify?: boolean;
}

export interface KeyspaceOptions<V> {
  /** @default a new `Map` */
  readonly store?: KeyStore<V>;
  /** Names the type of a value, for {@link Key.type}. */
  readonly typeOf?: (value: V) => string;
}

/** Hears that a write key was closed. The key it is lent reads, and is over with the call. */
export type ModifiedListener<V> = (name: string, key: Loan<Key<V>>) => unknown;

/**
 * The keys of Valkey's module API over any store: opened for reading or writing, counted, and closed once.
 *
 * @example A key that is closed twice
 * ```ts
 * const keys = new Keyspace<string>();
 * const key = keys.open("user:1", { mode: "write" });
 * key.value.set("Ada");
 * keys.close(key);
 * try {
 *   keys.close(key);
 * } catch (error) {
 *   console.log((error as Error).message.split(":")[0]); // decrRefCount against refcount <= 0
 * }
 * console.log(keys.open("user:2"), keys.refCount("user:1")); // undefined 0
 * ```
 */
export interface Keyspace<V> {
  /**
   * Opens a key; the caller owes the handle's one reference. For writing a missing one is opened empty, and created by
   * the first `set`, not before.
   *
   * @returns `undefined` if a key that is missing was asked for reading; nothing is counted then.
   * @throws {TypeError} If the name or the mode is none.
   */
  open(name: string, options: KeyOptions & { readonly mode: "write" }): Handle<Key<V>>;
  open(name: string, options?: KeyOptions): Handle<Key<V>> | undefined;
  /**
   * Gives back one reference; the last one closes the key: `modified` is told, the iterator ends, the name is given
   * back, in this order. `undefined`, which opening a missing key gave, may be closed any number of times.
   *
   * @throws {RefCountError} If the handle owes nothing any more.
   */
  close(key: Handle<Key<V>> | undefined): void;
  /** How many open keys hold the name. */
  refCount(name: string): number;
  /**
   * Calls back for every write key that is closed, unless it was opened with `notify: false`.
   *
   * @returns Ends it.
   */
  onModified(listener: ModifiedListener<V>): () => void;
  /**
   * Lends every key to `visit`, which can read it during the call and has nothing to close. Whoever wants to keep one
   * calls `dup()` on the loan.
   *
   * @throws {TypeError} If the store cannot list its names.
   */
  scan(visit: (key: Loan<Key<V>>) => unknown): void;
  /** Keys opened and closed so far. */
  readonly stats: ResourceStats;
}

/** The class of {@link Keyspace}. */
export interface KeyspaceConstructor {
  /** @throws {TypeError} If `store` is none. */
  new <V = unknown>(options?: KeyspaceOptions<V>): Keyspace<V>;
  readonly prototype: Keyspace<unknown>;
}

/** What a key needs from its keyspace. */
interface Home<V> {
  readonly store: KeyStore<V>;
  typeOf(value: V): string;
  /** The key was closed. */
  closed(key: KeyImpl<V>): void;
}

class KeyImpl<V> implements Key<V> {
  readonly name: string;
  readonly mode: "read" | "write";
  readonly notify: boolean;
  /** Lent keys hold no name and tell nobody. */
  readonly lent: boolean;
  #home: Home<V> | undefined;
  #iterator: Iterator<unknown> | undefined = undefined;

  constructor(home: Home<V>, name: string, mode: "read" | "write", notify: boolean, lent: boolean) {
    this.name = name;
    this.mode = mode;
    this.notify = notify;
    this.lent = lent;
    this.#home = home;
  }

  get exists(): boolean {
    return this.#open("look at").store.has(this.name);
  }

  get type(): string {
    const home = this.#open("look at");
    const value = home.store.get(this.name);
    return value === undefined ? "empty" : home.typeOf(value);
  }

  get(): V | undefined {
    return this.#open("read").store.get(this.name);
  }

  set(value: V): void {
    const { store } = this.#writable("set");
    if (value === undefined)
      throw new TypeError(`Cannot set key "${this.name}": undefined is no value, delete it instead`);
    this.#synchronous("set", store.set(this.name, value));
  }

  delete(): boolean {
    const { store } = this.#writable("delete");
    const existed = store.has(this.name);
    if (existed) this.#synchronous("delete", store.delete(this.name));
    return existed;
  }

  *iterate(): IterableIterator<unknown> {
    const value = this.#open("iterate over").store.get(this.name);
    if (typeof (value as Iterable<unknown> | undefined)?.[Symbol.iterator] !== "function") {
      throw new TypeError(`Cannot iterate over key "${this.name}": it is ${this.type}`);
    }
    this.endIteration();
    const iterator = (value as unknown as Iterable<unknown>)[Symbol.iterator]();
    this.#iterator = iterator;
    try {
      while (this.#iterator === iterator) {
        const { done, value } = iterator.next();
        if (done) {
          this.#iterator = undefined;
          return;
        }
        yield value;
        this.#open("iterate over");
      }
    } finally {
      if (this.#iterator === iterator) this.endIteration();
    }
  }

  endIteration(): void {
    const iterator = this.#iterator;
    this.#iterator = undefined;
    iterator?.return?.();
  }

  close(): void {
    const home = this.#open("close");
    this.#home = undefined;
    home.closed(this);
  }

  #open(verb: string): Home<V> {
    if (this.#home !== undefined) return this.#home;
    const label = `${this.name} (${this.mode})`;
    const facts = { kind: "key", label, refCount: 0, owed: 0 };
    throw new UseAfterFreeError(`Cannot ${verb} key "${label}": it was closed`, facts);
  }

  #writable(verb: string): Home<V> {
    const home = this.#open(verb);
    if (this.mode === "write") return home;
    throw new TypeError(`Cannot ${verb} key "${this.name} (read)": it was opened for reading`);
  }

  #synchronous(verb: string, returned: unknown): void {
    if (!isThenable(returned)) return;
    returned.then(ignore, ignore);
    throw new TypeError(`Cannot ${verb} key "${this.name}": the store returned a promise, and keys are synchronous`);
  }
}

export const Keyspace: KeyspaceConstructor = class Keyspace<V> implements Keyspace<V> {
  readonly #home: Home<V>;
  readonly #keys: Resource<KeyImpl<V>, [name: string, mode: "read" | "write", notify: boolean]>;
  readonly #names = new Map<string, number>();
  readonly #listeners = new Set<{ readonly listener: ModifiedListener<V> }>();

  constructor({ store = new Map<string, V>(), typeOf = plainType }: KeyspaceOptions<V> = {}) {
    for (const name of ["get", "set", "delete", "has"] as const) {
      if (typeof store[name] === "function") continue;
      throw new TypeError(`Cannot make a Keyspace: expected a store with ${name}(), received ${received(store)}`);
    }
    this.#home = { store, typeOf, closed: (key) => this.#closed(key) };
    this.#keys = defineResource({
      kind: "key",
      open: (name: string, mode: "read" | "write", notify: boolean) => {
        this.#names.set(name, this.refCount(name) + 1);
        return new KeyImpl(this.#home, name, mode, notify, false);
      },
      free: (key) => key.close(),
      label: ({ name, mode }) => `${name} (${mode})`,
    });
  }

  get stats(): ResourceStats {
    return this.#keys.stats;
  }

  open(name: string, options: KeyOptions & { readonly mode: "write" }): Handle<Key<V>>;
  open(name: string, options?: KeyOptions): Handle<Key<V>> | undefined;
  open(name: string, { mode = "read", notify = true }: KeyOptions = {}): Handle<Key<V>> | undefined {
    if (typeof name !== "string") throw new TypeError(`Cannot open a key: expected a name, received ${received(name)}`);
    if (mode !== "read" && mode !== "write") {
      throw new TypeError(`Cannot open key "${name}": expected mode "read" or "write", received ${received(mode)}`);
    }
    if (mode === "read" && !this.#home.store.has(name)) return undefined;
    return this.#keys.open(name, mode, notify) as Handle<unknown> as Handle<Key<V>>;
  }

  close(key: Handle<Key<V>> | undefined): void {
    key?.decrRef();
  }

  refCount(name: string): number {
    return this.#names.get(name) ?? 0;
  }

  onModified(listener: ModifiedListener<V>): () => void {
    if (typeof listener !== "function") {
      throw new TypeError(`Cannot listen: expected a function, received ${received(listener)}`);
    }
    const place = { listener };
    this.#listeners.add(place);
    return () => void this.#listeners.delete(place);
  }

  scan(visit: (key: Loan<Key<V>>) => unknown): void {
    const { store } = this.#home;
    if (typeof store.keys !== "function") throw new TypeError("Cannot scan: the store has no keys() to list its names");
    for (const name of [...store.keys()]) if (store.has(name)) this.#lend(name, visit);
  }

  /** Lends a key that holds nothing for the time of one call. */
  #lend(name: string, use: (key: Loan<Key<V>>) => unknown): void {
    const lent = new KeyImpl(this.#home, name, "read", false, true);
    const handle = Handle.of<KeyImpl<V>>(lent, (key) => key.close(), { kind: "key", label: `${name} (lent)` });
    try {
      handle.borrow((_, loan) => use(loan as Loan<Key<V>>));
    } finally {
      handle.decrRef();
    }
  }

  /** Valkey's order: the signal, the iterator, the name. Each runs past what the one before throws. */
  #closed(key: KeyImpl<V>): void {
    let failed = false;
    let failure: unknown;
    const attempt = (step: () => void): void => {
      try {
        step();
      } catch (error) {
        failure = failed ? suppress(error, failure) : error;
        failed = true;
      }
    };
    if (key.mode === "write" && key.notify) {
      for (const { listener } of [...this.#listeners]) {
        attempt(() => this.#lend(key.name, (loan) => listener(key.name, loan)));
      }
    }
    attempt(() => key.endIteration());
    if (!key.lent) {
      const left = this.refCount(key.name) - 1;
      if (left === 0) this.#names.delete(key.name);
      else this.#names.set(key.name, left);
    }
    if (failed) throw failure;
  }
};

function plainType(value: unknown): string {
  if (typeof value !== "object" || value === null) return typeof value;
  if (Array.isArray(value)) return "list";
  if (value instanceof Set) return "set";
  return ArrayBuffer.isView(value) || value instanceof ArrayBuffer ? "bytes" : "hash";
}
