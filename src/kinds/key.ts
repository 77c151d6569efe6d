import { ignore, isThenable } from "../account";
import { UseAfterFreeError } from "../errors";

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
   * Iterates over a list, a set or a hash that is a `Map`. The key owns the iterator and ends it when it closes; a second
   * call ends the first.
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
  closed(key: KeyImpl<V>): void;
}

export class KeyImpl<V> implements Key<V> {
  readonly name: string;
  readonly mode: "read" | "write";
  readonly notify: boolean;
  /** Lent keys hold no name and tell nobody; one that was kept by a `dup` holds its name. */
  lent: boolean;
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
    return hasValue(this.#open("look at").store, this.name, "look at");
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
    synchronous("set", this.name, store.set(this.name, value));
  }

  delete(): boolean {
    const { store } = this.#writable("delete");
    const existed = hasValue(store, this.name, "delete");
    if (existed) synchronous("delete", this.name, store.delete(this.name));
    return existed;
  }

  iterate(): IterableIterator<unknown> {
    const value = this.#open("iterate over").store.get(this.name);
    if (typeof (value as Iterable<unknown> | undefined)?.[Symbol.iterator] !== "function") {
      throw new TypeError(`Cannot iterate over key "${this.name}": it is ${this.type}, and not iterable`);
    }
    this.endIteration();
    const iterator = (value as unknown as Iterable<unknown>)[Symbol.iterator]();
    this.#iterator = iterator;
    return this.#walk(iterator);
  }

  *#walk(iterator: Iterator<unknown>): IterableIterator<unknown> {
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
}

/** Whether the store has a value; a promise would say yes to every name. */
export function hasValue<V>(store: KeyStore<V>, name: string, verb: string): boolean {
  const found: unknown = store.has(name);
  synchronous(verb, name, found);
  return Boolean(found);
}

function synchronous(verb: string, name: string, returned: unknown): void {
  if (!isThenable(returned)) return;
  returned.then(ignore, ignore);
  throw new TypeError(`Cannot ${verb} key "${name}": the store returned a promise, and keys are synchronous`);
}

/** What the type of a value is called unless the keyspace says otherwise. */
export function plainType(value: unknown): string {
  if (typeof value !== "object" || value === null) return typeof value;
  if (Array.isArray(value)) return "list";
  if (value instanceof Set) return "set";
  return ArrayBuffer.isView(value) || value instanceof ArrayBuffer ? "bytes" : "hash";
}
