import { INSPECT, ignore, isThenable } from "../account";
import { LoanError, UseAfterFreeError } from "../errors";

/** Where a `Keyspace` keeps its values. A `Map` is one. */
export interface KeyStore<V> {
  get(name: string): V | undefined;
  set(name: string, value: V): unknown;
  delete(name: string): unknown;
  has(name: string): boolean;
  /** The names of all values, for `Keyspace.scan`. */
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
   * Iterates over a list, a set or a hash that is a `Map`. The key owns the iterator and ends it when it closes, after which
   * the next step throws; a second call ends the first, which then is done.
   *
   * @throws {TypeError} If the value cannot be iterated.
   */
  iterate(): IterableIterator<unknown>;
}

/** Names the type of a value. */
export type TypeOf<V> = (value: V) => string;

/** What a key needs from its keyspace. */
export interface Home<V> {
  readonly store: KeyStore<V>;
  readonly typeOf: TypeOf<V>;
  /** The key was closed. */
  closed(key: KeyImpl<V>, name: string): void;
}

/** A key. Its mode and its end are the keyspace's affair, by statics: whoever is lent the value has no right to them. */
export class KeyImpl<V> implements Key<V> {
  readonly #name: string;
  readonly #mode: "read" | "write";
  readonly #notify: boolean;
  #lent: boolean;
  #home: Home<V> | undefined;
  #iterator: Iterator<unknown> | undefined = undefined;

  constructor(home: Home<V>, name: string, mode: "read" | "write", notify: boolean, lent: boolean) {
    this.#name = name;
    this.#mode = mode;
    this.#notify = notify;
    this.#lent = lent;
    this.#home = home;
  }

  get name(): string {
    return this.#name;
  }

  get mode(): "read" | "write" {
    return this.#mode;
  }

  get exists(): boolean {
    return hasValue(this.#open("look at").store, this.#name, "look at");
  }

  get type(): string {
    const home = this.#open("look at");
    const value = home.store.get(this.#name);
    return value === undefined ? "empty" : home.typeOf(value);
  }

  get(): V | undefined {
    return this.#open("read").store.get(this.#name);
  }

  set(value: V): void {
    const { store } = this.#writable("set");
    if (value === undefined)
      throw new TypeError(`Cannot set key "${this.#name}": undefined is no value, delete it instead`);
    synchronous("set", this.#name, store.set(this.#name, value));
  }

  delete(): boolean {
    const { store } = this.#writable("delete");
    const existed = hasValue(store, this.#name, "delete");
    if (existed) synchronous("delete", this.#name, store.delete(this.#name));
    return existed;
  }

  iterate(): IterableIterator<unknown> {
    const value = this.#open("iterate over").store.get(this.#name);
    if (typeof (value as Iterable<unknown> | undefined)?.[Symbol.iterator] !== "function") {
      throw new TypeError(`Cannot iterate over key "${this.#name}": it is ${this.type}, and not iterable`);
    }
    KeyImpl.endIteration(this);
    const iterator = (value as unknown as Iterable<unknown>)[Symbol.iterator]();
    this.#iterator = iterator;
    return this.#walk(iterator);
  }

  *#walk(iterator: Iterator<unknown>): IterableIterator<unknown> {
    this.#open("iterate over");
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
      if (this.#iterator === iterator) KeyImpl.endIteration(this);
    }
  }

  /** Not a key's own to do: says whose it is. */
  close(): never {
    const message = `Cannot close key "${this.#label}" by its value`;
    if (!this.#lent) throw new TypeError(`${message}: close its handle, keyspace.close(handle)`);
    const facts = { kind: "key", label: this.#label, refCount: 0, owed: 0 };
    throw new LoanError(`${message}: it is lent, and has nothing to close; dup() the loan to keep it`, facts);
  }

  toString(): string {
    return `Key<${this.#label}${this.#home === undefined ? ", closed" : ""}>`;
  }

  [INSPECT](): string {
    return this.toString();
  }

  static close<V>(key: KeyImpl<V>): void {
    const home = key.#open("close");
    key.#home = undefined;
    home.closed(key, key.#name);
  }

  static endIteration<V>(key: KeyImpl<V>): void {
    const iterator = key.#iterator;
    key.#iterator = undefined;
    iterator?.return?.();
  }

  /** Whether closing it tells those who listen. */
  static tells<V>(key: KeyImpl<V>): boolean {
    return key.#mode === "write" && key.#notify;
  }

  /** Whether it holds its name: a lent one does not. */
  static holds<V>(key: KeyImpl<V>): boolean {
    return !key.#lent;
  }

  /** A lent key was kept by a `dup`: it is a key like any other from now on. */
  static kept<V>(key: KeyImpl<V>): void {
    key.#lent = false;
  }

  get #label(): string {
    return `${this.#name} (${this.#lent ? "lent" : this.#mode})`;
  }

  #open(verb: string): Home<V> {
    if (this.#home !== undefined) return this.#home;
    const label = this.#label;
    const facts = { kind: "key", label, refCount: 0, owed: 0 };
    throw new UseAfterFreeError(`Cannot ${verb} key "${label}": it was closed`, facts);
  }

  #writable(verb: string): Home<V> {
    const home = this.#open(verb);
    if (this.#mode === "write") return home;
    throw new TypeError(`Cannot ${verb} key "${this.#name} (read)": it was opened for reading`);
  }
}

/** Whether the store has a value; a promise would say yes to every name. */
export function hasValue<V>(store: KeyStore<V>, name: string, verb: string): boolean {
  const found: unknown = store.has(name);
  synchronous(verb, name, found);
  return Boolean(found);
}

/** Refuses a promise, whose rejection is heard. @param name Of the key that the store was asked for, if it was for one. */
export function synchronous(verb: string, name: string | undefined, returned: unknown): void {
  if (!isThenable(returned)) return;
  returned.then(ignore, ignore);
  const what = name === undefined ? verb : `${verb} key "${name}"`;
  throw new TypeError(`Cannot ${what}: the store returned a promise, and keys are synchronous`);
}

/** What the type of a value is called unless the keyspace says otherwise. */
export function plainType(value: unknown): string {
  if (typeof value !== "object" || value === null) return typeof value;
  if (Array.isArray(value)) return "list";
  if (value instanceof Set) return "set";
  return ArrayBuffer.isView(value) || value instanceof ArrayBuffer ? "bytes" : "hash";
}
