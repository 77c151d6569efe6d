import { checkObject, suppress, unfit } from "../errors";
import { Handle, type Loan } from "../handle";
import { defineResource, type Resource, type ResourceStats } from "../resource";
import { type Home, hasValue, type Key, KeyImpl, type KeyStore, plainType, type TypeOf } from "./key";

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
  readonly typeOf?: TypeOf<V>;
}

/** Hears that a write key was closed. The key it is lent reads, and is over with the call. */
export type ModifiedListener<V> = (name: string, key: Loan<Key<V>>) => unknown;

/** What is called with a key that is lent for the call. */
export type KeyVisitor<V> = (key: Loan<Key<V>>) => unknown;

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
   * back, in this order. `undefined`, which opening a missing key gave, and `null` may be closed any number of times.
   *
   * @throws {RefCountError} If the handle owes nothing any more.
   */
  close(key: Handle<Key<V>> | undefined | null): void;
  /** How many open keys hold the name: those that were opened, and those that were lent and kept by a `dup`. */
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
  scan(visit: KeyVisitor<V>): void;
  /** Keys opened and closed so far. */
  readonly stats: ResourceStats;
}

/** The class of {@link Keyspace}. */
export interface KeyspaceConstructor {
  /** @throws {TypeError} If `store` is none. */
  new <V = unknown>(options?: KeyspaceOptions<V>): Keyspace<V>;
  readonly prototype: Keyspace<unknown>;
}

export const Keyspace: KeyspaceConstructor = class<V> implements Keyspace<V> {
  readonly #home: Home<V>;
  readonly #keys: Resource<KeyImpl<V>, [name: string, mode: "read" | "write", notify: boolean]>;
  readonly #names = new Map<string, number>();
  readonly #listeners = new Set<{ readonly listener: ModifiedListener<V> }>();

  constructor(options: KeyspaceOptions<V> = {}) {
    checkObject("make a Keyspace", options);
    const { store = new Map<string, V>(), typeOf = plainType } = options;
    for (const name of ["get", "set", "delete", "has"] as const) {
      if (typeof store?.[name] === "function") continue;
      throw unfit("make a Keyspace", `a store with ${name}()`, store);
    }
    this.#home = { store, typeOf, closed: (key) => this.#closed(key) };
    this.#keys = defineResource({
      kind: "key",
      open: (name: string, mode: "read" | "write", notify: boolean) => {
        this.#hold(name);
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
    if (typeof name !== "string") throw unfit("open a key", "a name", name);
    if (mode !== "read" && mode !== "write") {
      throw unfit(`open key "${name}"`, 'mode "read" or "write"', mode);
    }
    if (mode === "read" && !hasValue(this.#home.store, name, "open")) return undefined;
    return this.#keys.open(name, mode, notify) as Handle<unknown> as Handle<Key<V>>;
  }

  close(key: Handle<Key<V>> | undefined | null): void {
    key?.decrRef();
  }

  refCount(name: string): number {
    return this.#names.get(name) ?? 0;
  }

  onModified(listener: ModifiedListener<V>): () => void {
    if (typeof listener !== "function") {
      throw unfit("listen", "a function", listener);
    }
    const place = { listener };
    this.#listeners.add(place);
    return () => void this.#listeners.delete(place);
  }

  scan(visit: KeyVisitor<V>): void {
    const { store } = this.#home;
    if (typeof store.keys !== "function") throw new TypeError("Cannot scan: the store has no keys() to list its names");
    for (const name of [...store.keys()]) if (hasValue(store, name, "scan")) this.#lend(name, visit);
  }

  /** Lends a key that holds nothing for the time of one call. */
  #lend(name: string, use: KeyVisitor<V>): void {
    const lent = new KeyImpl(this.#home, name, "read", false, true);
    const handle = Handle.of<KeyImpl<V>>(lent, (key) => key.close(), { kind: "key", label: `${name} (lent)` });
    try {
      handle.borrow((_, loan) => use(loan as Loan<Key<V>>));
    } finally {
      if (!handle.decrRef()) {
        // Somebody keeps it: a key like any other from now on.
        lent.lent = false;
        this.#hold(name);
      }
    }
  }

  #hold(name: string): void {
    this.#names.set(name, this.refCount(name) + 1);
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
