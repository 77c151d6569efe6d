import { around } from "../account";
import { checkObject, suppress, unfit } from "../errors";
import { Handle, type Loan } from "../handle";
import { defineResource, type Resource, type ResourceStats } from "../resource";
import { type Home, hasValue, type Key, KeyImpl, type KeyStore, plainType, synchronous, type TypeOf } from "./key";

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

/**
 * Hears that a write key was closed. The key it is lent reads, and is over with the call, or with the promise that it returns:
 * nobody waits for that one, and its rejection is unhandled.
 */
export type ModifiedListener<V> = (name: string, key: Loan<Key<V>>) => unknown;

/** What is called with a key that is lent for the call, or until the promise that it returns settles, as for a {@link ModifiedListener}. */
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
   * @throws {TypeError} If the name, the options or the mode is none.
   */
  open(name: string, options: KeyOptions & { readonly mode: "write" }): Handle<Key<V>>;
  open(name: string, options?: KeyOptions): Handle<Key<V>> | undefined;
  /**
   * Gives back one reference; the last one closes the key: `modified` is told, the iterator ends, the name is given
   * back, in this order. `undefined`, which opening a missing key gave, and `null` may be closed any number of times.
   *
   * @throws {RefCountError} If the handle owes nothing any more.
   * @throws {TypeError} If it is no handle: a key is closed by its handle, not by its name or its value.
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
   * @throws {TypeError} If `visit` is no function, or the store cannot list its names.
   * @throws What `visit` throws, and the scan is over; if ending the key's iterator fails as well, a `SuppressedError`
   * that carries both.
   */
  scan(visit: KeyVisitor<V>): void;
  /** Keys opened and closed so far. */
  readonly stats: ResourceStats;
}

/** The class of {@link Keyspace}. */
export interface KeyspaceConstructor {
  /** @throws {TypeError} If an option is of the wrong type. */
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
    if (typeof typeOf !== "function") throw unfit("make a Keyspace", "typeOf to be a function", typeOf);
    this.#home = { store, typeOf, closed: (key, name) => this.#closed(key, name) };
    this.#keys = defineResource({
      kind: "key",
      open: (name: string, mode: "read" | "write", notify: boolean) => {
        this.#hold(name);
        return new KeyImpl(this.#home, name, mode, notify, false);
      },
      free: KeyImpl.close,
      label: ({ name, mode }) => `${name} (${mode})`,
    });
  }

  get stats(): ResourceStats {
    return this.#keys.stats;
  }

  open(name: string, options: KeyOptions & { readonly mode: "write" }): Handle<Key<V>>;
  open(name: string, options?: KeyOptions): Handle<Key<V>> | undefined;
  open(name: string, options: KeyOptions = {}): Handle<Key<V>> | undefined {
    if (typeof name !== "string") throw unfit("open a key", "a name", name);
    checkObject(`open key "${name}"`, options);
    const { mode = "read", notify = true } = options;
    if (mode !== "read" && mode !== "write") {
      throw unfit(`open key "${name}"`, 'mode "read" or "write"', mode);
    }
    if (mode === "read" && !hasValue(this.#home.store, name, "open")) return undefined;
    return this.#keys.open(name, mode, notify) as Handle<unknown> as Handle<Key<V>>;
  }

  close(key: Handle<Key<V>> | undefined | null): void {
    if (key === undefined || key === null) return;
    if (typeof key.decrRef !== "function") throw unfit("close a key", "the handle that open() gave", key);
    key.decrRef();
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
    if (typeof visit !== "function") throw unfit("scan", "a function", visit);
    const names = store.keys();
    synchronous("scan", undefined, names);
    for (const name of [...names]) if (hasValue(store, name, "scan")) this.#lend(name, visit);
  }

  /** Lends a key that holds nothing for the time of one call. */
  #lend(name: string, use: KeyVisitor<V>): void {
    const lent = new KeyImpl(this.#home, name, "read", false, true);
    const handle = Handle.of<KeyImpl<V>>(lent, KeyImpl.close, { kind: "key", label: `${name} (lent)` });
    // `void`: a promise makes its own borrow last, and nobody waits for it here.
    around(
      () => void handle.borrow((_, loan) => use(loan as Loan<Key<V>>)),
      () => {
        if (handle.decrRef()) return;
        // Somebody keeps it: a key like any other from now on.
        KeyImpl.kept(lent);
        this.#hold(name);
      },
    );
  }

  #hold(name: string): void {
    this.#names.set(name, this.refCount(name) + 1);
  }

  /** Valkey's order: the signal, the iterator, the name. Each runs past what the one before throws. */
  #closed(key: KeyImpl<V>, name: string): void {
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
    if (KeyImpl.tells(key)) {
      for (const { listener } of [...this.#listeners]) {
        attempt(() => this.#lend(name, (loan) => listener(name, loan)));
      }
    }
    attempt(() => KeyImpl.endIteration(key));
    if (KeyImpl.holds(key)) {
      const left = this.refCount(name) - 1;
      if (left === 0) this.#names.delete(name);
      else this.#names.set(name, left);
    }
    if (failed) throw failure;
  }
};
