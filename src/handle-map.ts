import { ASYNC_DISPOSE, count, DISPOSE, INSPECT, ignore, isThenable, type Kind, named, warn } from "./account";
import type { AsyncHandle } from "./async-handle";
import { isObject } from "./auto-memory";
import { MapClosedError, MapCycleError, type MapErrorClass, MapFullError, received, suppress } from "./errors";

import { aborted, after, onAbort, type Signal } from "./host";
import { cycle, ENDED, ENDING, Entry, HELD, IDLE, OPENING, QUEUED, type Waiter, waitingFor } from "./map-entry";
import type { AcquireOptions, CloseOptions, HandleMapOptions, HandleMapStats, OpenContext } from "./map-options";
import { defineAsyncResource, type Family, familyOf } from "./resource";
import { type OpenedThere, realm } from "./tracker";

/**
 * One shared resource per key: opened when the first holder asks, counted while there are holders, freed after the last.
 *
 * The map itself is no holder. Opening is single-flight, a failed open is not remembered, and every way in goes through
 * one canonical spelling of the key. An entry leaves the map before its value is freed, so nobody is given a dying one,
 * and a handle from before an {@link invalidate} never touches the replacement.
 *
 * @example One connection for everybody who asks
 * ```ts
 * const log: string[] = [];
 * const links = new HandleMap({
 *   canonical: (host: string) => host.toLowerCase(),
 *   open: async (host) => (log.push(`open ${host}`), { host }),
 *   free: async ({ host }) => void log.push(`close ${host}`),
 * });
 * const [a, b] = await Promise.all([links.acquire("DB1"), links.acquire("db1")]);
 * console.log(a.value === b.value, a.refCount); // true 2
 * await a.decrRef();
 * await b.decrRef();
 * console.log(log.join(), links.size); // open db1,close db1 0
 * ```
 */
export interface HandleMap<K, T> extends AsyncDisposable {
  /**
   * Opens the value of `key`, or counts one more holder of it. The reference is taken before this returns; the caller
   * owes the handle's one reference.
   *
   * @returns A promise that rejects with what `canonical` or `open` failed with, the same error for all that waited for
   * that open; with the signal's reason; with {@link MapClosedError}, {@link MapFullError} or {@link MapCycleError}.
   */
  acquire(key: K, options?: AcquireOptions): Promise<AsyncHandle<T>>;
  /**
   * A handle, which the caller owes, if the value of `key` is open now, held or idle; otherwise `undefined`. It never
   * opens, never waits and does not validate.
   *
   * @throws What `canonical` throws.
   */
  peek(key: K, options?: Pick<AcquireOptions, "holder">): AsyncHandle<T> | undefined;
  /** Whether the value of `key` is open or on its way, so that an acquire would share it. */
  has(key: K): boolean;
  /** Restarts the idle time of an idle value. @returns Whether it was idle. */
  touch(key: K): boolean;
  /**
   * Takes the entry out of the map: the next acquire opens anew. Its holders keep their value, which is freed when the
   * last one gives it back; an idle one is freed now; those who wait for its open still get it.
   *
   * @returns Whether there was an entry.
   */
  invalidate(key: K): boolean;
  /** The canonical keys of all entries. */
  keys(): IterableIterator<K>;
  /** Entries the map leads to. */
  readonly size: number;
  /** A snapshot. */
  readonly stats: HandleMapStats<K>;
  /**
   * Closes the map for new acquires, rejects those that wait, frees what is idle, and waits for the holders of the rest
   * (`force`: revokes it). Called again it returns the same promise and may add `force` or a `timeout`; after one that
   * ran out of time it returns a new one.
   *
   * @returns A promise that settles when every value is freed; it rejects with the failures of frees that the close
   * itself caused, and after `timeout` with a {@link MapClosedError} that names the keys and holders that are left.
   */
  close(options?: CloseOptions): Promise<void>;
  /** The same as {@link close} without options. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** The class of {@link HandleMap}. */
export interface HandleMapConstructor {
  /** @throws {TypeError | RangeError} If an option is of the wrong type or out of range. */
  new <K, T, V = T>(options: HandleMapOptions<K, T, V>): HandleMap<K, T>;
  readonly prototype: HandleMap<unknown, unknown>;
}

type Free<T> = (value: T) => PromiseLike<void> | void;

/** The interface, by a name that the class expression does not take. */
type Face<K, T> = HandleMap<K, T>;

/** The promise of a close, and its two ends. */
interface Closing {
  readonly promise: Promise<void>;
  resolve(): void;
  reject(error: unknown): void;
}

export const HandleMap: HandleMapConstructor = class HandleMap<K, T, V = T> implements Face<K, T> {
  readonly #options: HandleMapOptions<K, T, V>;
  readonly #kind: Kind<T>;
  readonly #family: Family<T, readonly unknown[]>;
  readonly #idleFor: number;
  readonly #max: number;
  readonly #entries = new Map<K, Entry<K, T>>();
  /** Entries the map no longer leads to, until they have ended. */
  readonly #left = new Set<Entry<K, T>>();
  /** Idle entries, the longest unused first. */
  readonly #idle = new Set<Entry<K, T>>();
  /** Entries that wait to be opened, in order. */
  readonly #queue = new Set<Entry<K, T>>();
  /** Entries that have left, and whose successor under the same key has to wait for their end. */
  readonly #before = new Map<K, Set<Entry<K, T>>>();
  #used = 0;
  #ending = 0;
  #makingRoom = false;
  /** The entry whose open is in its synchronous part. */
  #calling: Entry<K, T> | undefined = undefined;
  #closed = false;
  #closing: Closing | undefined = undefined;
  #failures: unknown[] = [];

  constructor(options: HandleMapOptions<K, T, V>) {
    const { resource, kind = resource?.kind ?? "entry", free, idle = 0, max = Infinity, whenFull = "wait" } = options;
    check("open", options.open, true);
    for (const name of ["free", "label", "canonical", "validate", "onError"] as const)
      check(name, options[name], false);
    checkRange("idle", idle, 0);
    checkRange("max", max, 1);
    if (whenFull !== "wait" && whenFull !== "throw") {
      throw new TypeError(
        `Cannot make a HandleMap: expected whenFull "wait" or "throw", received ${received(whenFull)}`,
      );
    }
    const family = familyOf<T>(resource ?? defineAsyncResource({ kind, free: (free ?? disposeOf) as Free<T> }));
    if (family === undefined) {
      throw new TypeError(`Cannot make a HandleMap: expected a resource definition, received ${received(resource)}`);
    }
    this.#family = family;
    this.#kind = family.kind;
    this.#options = options;
    this.#idleFor = idle;
    this.#max = max;
  }

  get size(): number {
    return this.#entries.size;
  }

  get stats(): HandleMapStats<K> {
    let open = 0;
    let opening = 0;
    const holders = new Map<K, number>();
    for (const [key, entry] of this.#entries) {
      if (entry.state === HELD) open++;
      else if (entry.state !== IDLE) opening++;
      if (entry.owed > 0) holders.set(key, entry.owed);
    }
    return { open, opening, idle: this.#idle.size, leaving: this.#left.size, holders };
  }

  keys(): IterableIterator<K> {
    return this.#entries.keys();
  }

  has(key: K): boolean {
    return this.#entries.has(this.#canonical(key));
  }

  touch(key: K): boolean {
    const entry = this.#entries.get(this.#canonical(key));
    if (entry?.state !== IDLE) return false;
    this.#wake(entry);
    this.#rest(entry);
    return true;
  }

  peek(key: K, options?: Pick<AcquireOptions, "holder">): AsyncHandle<T> | undefined {
    const entry = this.#entries.get(this.#canonical(key));
    if (entry === undefined || this.#closed) return undefined;
    return this.#take(entry, options?.holder, realm.tracker?.here?.());
  }

  acquire(key: K, options?: AcquireOptions): Promise<AsyncHandle<T>> {
    return this.#enter(key, options, this.#calling, realm.tracker?.here?.());
  }

  invalidate(key: K): boolean {
    const entry = this.#entries.get(this.#canonical(key));
    if (entry === undefined) return false;
    // What waits to be opened is as fresh as can be.
    if (entry.state === QUEUED) return true;
    const idle = entry.state === IDLE;
    this.#leave(entry);
    if (idle) this.#endQuietly(entry);
    return true;
  }

  close({ force = false, timeout = Infinity }: CloseOptions = {}): Promise<void> {
    checkRange("timeout", timeout, 0);
    const first = !this.#closed;
    this.#closed = true;
    this.#closing ??= deferred();
    const closing = this.#closing;
    if (first) {
      for (const entry of [...this.#entries.values(), ...this.#left]) {
        if (entry.state === IDLE) {
          this.#leave(entry);
          this.#endQuietly(entry);
        } else if (entry.state === OPENING || entry.state === QUEUED) {
          const error = this.#closedError(entry.label);
          const waiters = entry.takeWaiters();
          this.#abandon(entry, error);
          for (const waiter of waiters) waiter.reject(error);
        }
      }
    }
    if (force) {
      for (const entry of [...this.#entries.values(), ...this.#left]) {
        if (entry.state !== HELD) continue;
        this.#leave(entry);
        entry.revoke();
      }
    }
    if (timeout !== Infinity) {
      const stop = after(timeout, () => this.#outOfTime(closing, timeout));
      closing.promise.then(stop, stop);
    }
    this.#settleClose();
    return closing.promise;
  }

  [INSPECT](): string {
    const { open, opening, idle } = this.stats;
    const state = this.#closed ? "closed, " : "";
    return `HandleMap<${this.#kind.name}, ${state}${open} open, ${opening} opening, ${idle} idle>`;
  }

  declare [ASYNC_DISPOSE]: () => Promise<void>;

  #canonical(key: K): K {
    const { canonical } = this.#options;
    return canonical === undefined ? key : canonical(key);
  }

  /** Joins or begins. All of it happens before the first await. */
  #enter(
    given: K,
    options: AcquireOptions | undefined,
    opener: Entry<K, T> | undefined,
    here: OpenedThere | undefined,
  ): Promise<AsyncHandle<T>> {
    try {
      const key = this.#canonical(given);
      const signals = [options?.signal, opener?.signal];
      if (this.#closed) throw this.#closedError(this.#label(key));
      const gaveUp = aborted(signals);
      if (gaveUp !== undefined) throw gaveUp.reason;
      const open = this.#entries.get(key);
      const handle = open && this.#take(open, options?.holder, here);
      if (handle !== undefined) {
        if (this.#options.validate === undefined) return Promise.resolve(handle);
        return this.#validated(open as Entry<K, T>, handle, given, options, opener, here);
      }
      return this.#wait(key, given, options?.holder, signals, opener, here);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** An account on an entry whose value is open. */
  #take(entry: Entry<K, T>, holder: string | undefined, here: OpenedThere | undefined): AsyncHandle<T> | undefined {
    if (entry.state === IDLE) this.#wake(entry);
    else if (entry.state !== HELD) return undefined;
    // Of an exclusive kind no second account may begin while borrows keep the first: the next value waits for them.
    else if (this.#kind.exclusive && entry.draining) {
      this.#leave(entry);
      return undefined;
    }
    return entry.account(holder, here);
  }

  /** Waits for an entry on its way, or makes one. */
  #wait(
    key: K,
    given: K,
    holder: string | undefined,
    signals: readonly (Signal | undefined)[],
    opener: Entry<K, T> | undefined,
    here: OpenedThere | undefined,
  ): Promise<AsyncHandle<T>> {
    const found = this.#entries.get(key);
    if (opener !== undefined) this.#checkCycle(key, found, opener);
    if (found === undefined && this.#options.whenFull === "throw") this.#checkRoom(key);
    const entry = found ?? new Entry<K, T>(key, given, this.#label(key), this.#kind, this.#lastOut);
    return new Promise((resolve, reject) => {
      const stop = onAbort(signals, (reason) => {
        entry.waiters.delete(waiter);
        if (entry.waiters.size === 0) this.#abandon(entry, reason);
        reject(reason);
      });
      const waiter: Waiter<K, T> = { opener, holder, here, resolve, reject, stop };
      entry.waiters.add(waiter);
      if (found === undefined) {
        this.#entries.set(key, entry);
        this.#queue.add(entry);
        this.#pump();
      }
      if (opener !== undefined && entry.state === QUEUED && this.#stuck()) {
        stop();
        entry.waiters.delete(waiter);
        if (entry.waiters.size === 0) this.#abandon(entry, undefined);
        reject(
          this.#refuse(MapFullError, key, "acquire", `all ${this.#max} places are taken by opens that wait for it`),
        );
      }
    });
  }

  /** Opens what waits in the queue as far as there is room, and makes room by freeing idle values. */
  #pump(): void {
    if (this.#queue.size === 0 || this.#makingRoom) return;
    if (this.#max !== Infinity) {
      this.#makingRoom = true;
      let wanted = 0;
      for (const { key } of this.#queue) if (!this.#before.has(key)) wanted++;
      for (const entry of this.#idle) {
        if (this.#used - this.#ending + wanted <= this.#max) break;
        this.#leave(entry);
        this.#endQuietly(entry);
      }
      this.#makingRoom = false;
    }
    for (const entry of this.#queue) {
      if (this.#before.has(entry.key)) continue;
      if (this.#used >= this.#max) return;
      this.#queue.delete(entry);
      this.#start(entry);
    }
  }

  #start(entry: Entry<K, T>): void {
    entry.state = OPENING;
    entry.roomy = true;
    this.#used++;
    const { key, given } = entry;
    entry.given = undefined;
    const context: OpenContext<K, V> = {
      get signal() {
        return entry.signal;
      },
      given: given as K,
      acquire: (other, options) => {
        const acquired = this.#enter(
          other,
          options,
          entry.state === OPENING ? entry : undefined,
          realm.tracker?.here?.(),
        );
        return acquired as Promise<AsyncHandle<unknown>> as Promise<AsyncHandle<V>>;
      },
    };
    const outer = this.#calling;
    this.#calling = entry;
    let opened: T | PromiseLike<T>;
    try {
      opened = this.#options.open(key, context);
    } catch (error) {
      this.#calling = outer;
      this.#openFailed(entry, error);
      return;
    }
    this.#calling = outer;
    if (!isThenable(opened)) this.#arrived(entry, opened);
    else {
      (opened as PromiseLike<T>).then(
        (value) => this.#arrived(entry, value),
        (error: unknown) => this.#openFailed(entry, error),
      );
    }
  }

  #arrived(entry: Entry<K, T>, value: T): void {
    const family = this.#family;
    const args = [entry.key];
    entry.value = value;
    entry.bytes = family.bytesOf(value, args);
    if (this.#options.label === undefined) entry.label = family.labelOf(value, args) || entry.label;
    family.kind.countOpened();
    family.kind.bytes += entry.bytes;
    entry.state = HELD;
    const waiters = entry.takeWaiters();
    if (waiters.length === 0) {
      this.#leave(entry);
      this.#endQuietly(entry);
      return;
    }
    // All are counted before the first of them is told.
    const handles = waiters.map(({ holder, here }) => entry.account(holder, here));
    for (const [i, { resolve }] of waiters.entries()) resolve(handles[i] as AsyncHandle<T>);
  }

  #openFailed(entry: Entry<K, T>, error: unknown): void {
    this.#leave(entry);
    const waiters = entry.takeWaiters();
    this.#ended(entry);
    for (const { reject } of waiters) reject(error);
  }

  /** Nobody waits for this open any more: its value, should it arrive, is freed, and the next open waits for that. */
  #abandon(entry: Entry<K, T>, reason: unknown): void {
    this.#leave(entry);
    if (entry.state === QUEUED) {
      this.#queue.delete(entry);
      this.#ended(entry);
      return;
    }
    this.#goesBefore(entry);
    this.#giveRoom(entry);
    entry.abort(reason);
    this.#pump();
  }

  async #validated(
    entry: Entry<K, T>,
    handle: AsyncHandle<T>,
    given: K,
    options: AcquireOptions | undefined,
    opener: Entry<K, T> | undefined,
    here: OpenedThere | undefined,
  ): Promise<AsyncHandle<T>> {
    const { validate } = this.#options;
    let stop = ignore;
    try {
      // A borrow, so that the value outlives the question even if whoever asked gives up.
      const answer = handle.borrow((value) => (validate as NonNullable<typeof validate>)(value, entry.key));
      const valid = await new Promise<boolean>((resolve, reject) => {
        stop = onAbort([options?.signal, opener?.signal], reject);
        answer.then(resolve, () => resolve(false));
      });
      if (valid) return handle;
    } catch (reason) {
      this.#giveBack(handle);
      throw reason;
    } finally {
      stop();
    }
    this.#leave(entry);
    this.#giveBack(handle);
    return this.#enter(given, options, opener, here);
  }

  #giveBack(handle: AsyncHandle<T>): void {
    handle[ASYNC_DISPOSE]().catch((error: unknown) => {
      if (this.#options.onError === undefined) warn(error);
    });
  }

  /** The value has no holders and no borrows left. */
  readonly #lastOut = (entry: Entry<K, T>): unknown => {
    if (entry.attached && this.#idleFor > 0 && !this.#closed) {
      this.#rest(entry);
      this.#pump();
      return undefined;
    }
    this.#leave(entry);
    return this.#end(entry, entry.forced);
  };

  #rest(entry: Entry<K, T>): void {
    entry.state = IDLE;
    this.#kind.cached++;
    this.#idle.add(entry);
    if (this.#idleFor === Infinity) return;
    entry.stopIdle = after(this.#idleFor, () => {
      this.#leave(entry);
      this.#endQuietly(entry);
    });
  }

  #wake(entry: Entry<K, T>): void {
    entry.state = HELD;
    this.#kind.cached--;
    this.#idle.delete(entry);
    const { stopIdle } = entry;
    entry.stopIdle = undefined;
    stopIdle?.();
  }

  /** Takes the entry out of the map: this very entry, whatever its key leads to by now. */
  #leave(entry: Entry<K, T>): void {
    if (!entry.attached) return;
    entry.attached = false;
    this.#entries.delete(entry.key);
    if (entry.state === IDLE) this.#wake(entry);
    this.#left.add(entry);
    if (this.#kind.exclusive) this.#goesBefore(entry);
  }

  #goesBefore(entry: Entry<K, T>): void {
    const before = this.#before.get(entry.key);
    if (before === undefined) this.#before.set(entry.key, new Set([entry]));
    else before.add(entry);
  }

  #endQuietly(entry: Entry<K, T>): void {
    try {
      this.#end(entry, true)?.catch(ignore);
    } catch {
      // Told to whoever hears of failures already.
    }
  }

  /** Frees the value of an entry that has left. */
  #end(entry: Entry<K, T>, quiet: boolean): Promise<void> | undefined {
    const value = entry.value as T;
    const { release } = this.#kind;
    entry.state = ENDING;
    entry.value = undefined;
    if (entry.roomy) this.#ending++;
    this.#kind.freed++;
    this.#kind.bytes -= entry.bytes;
    const failed = (error: unknown): never => {
      this.#freeFailed(entry, error, quiet);
      this.#ended(entry);
      throw error;
    };
    let returned: unknown;
    try {
      returned = release(value);
    } catch (error) {
      return failed(error);
    }
    if (isThenable(returned)) return Promise.resolve(returned).then(() => this.#ended(entry), failed);
    this.#ended(entry);
    return undefined;
  }

  #freeFailed(entry: Entry<K, T>, error: unknown, quiet: boolean): void {
    const { onError } = this.#options;
    try {
      onError?.(error, entry.key);
    } catch (failed) {
      warn(failed);
    }
    if (!quiet) return;
    if (this.#closing !== undefined) this.#failures.push(error);
    else if (onError === undefined) warn(error);
  }

  #ended(entry: Entry<K, T>): void {
    this.#giveRoom(entry);
    entry.state = ENDED;
    this.#left.delete(entry);
    const before = this.#before.get(entry.key);
    if (before?.delete(entry) && before.size === 0) this.#before.delete(entry.key);
    this.#settleClose();
    this.#pump();
  }

  #giveRoom(entry: Entry<K, T>): void {
    if (!entry.roomy) return;
    entry.roomy = false;
    this.#used--;
    if (entry.state === ENDING) this.#ending--;
  }

  #checkRoom(key: K): void {
    if (this.#used - this.#ending + this.#queue.size - this.#idle.size < this.#max) return;
    throw this.#refuse(MapFullError, key, "acquire", `the map has ${this.#max} values in use, and no more may be open`);
  }

  /** Refuses an open that would wait for itself: through the opens it asked for, or for a value that must end first. */
  #checkCycle(key: K, found: Entry<K, T> | undefined, opener: Entry<K, T>): void {
    const wanted = new Set(this.#before.get(key) ?? []);
    if (found !== undefined) wanted.add(found);
    const way = wanted.size === 0 ? undefined : cycle(wanted, opener, this.#above);
    if (way === undefined) return;
    const keys = [...way.map(({ label }) => label), this.#label(key)];
    throw this.#refuse(MapCycleError, key, "acquire", `opening it waits for itself: ${keys.join(" -> ")}`, keys);
  }

  /** The entries that wait for this one: opens that asked for it, and its successor under the same key. */
  readonly #above = (entry: Entry<K, T>): Entry<K, T>[] => {
    const above: Entry<K, T>[] = [];
    for (const { opener } of entry.waiters) if (opener !== undefined) above.push(opener);
    const successor = this.#entries.get(entry.key);
    if (successor?.state === QUEUED && this.#before.get(entry.key)?.has(entry)) above.push(successor);
    return above;
  };

  /** Whether every place is taken by an open that waits for one that waits for a place. */
  #stuck(): boolean {
    const waiting = waitingFor(this.#queue, this.#above);
    for (const entry of [...this.#entries.values(), ...this.#left]) {
      if (entry.roomy && !(entry.state === OPENING && waiting.has(entry))) return false;
    }
    return this.#used >= this.#max;
  }

  #settleClose(): void {
    const closing = this.#closing;
    if (closing === undefined || this.#entries.size > 0 || this.#left.size > 0) return;
    const [first, ...more] = this.#failures;
    if (this.#failures.length === 0) closing.resolve();
    else closing.reject(more.reduce((failure, error) => suppress(error, failure), first));
  }

  #outOfTime(closing: Closing, timeout: number): void {
    if (this.#closing !== closing || (this.#entries.size === 0 && this.#left.size === 0)) return;
    this.#closing = undefined;
    const left = [...this.#entries.values(), ...this.#left];
    const holders = left.flatMap((entry) => entry.holders());
    const keys = left.map(({ label }) => label);
    const what = `${count(keys.length, "key")} not given back after ${timeout} ms:${left.map((entry) => `\n  ${entry.standing()}`).join("")}`;
    const facts = { kind: this.#kind.name, label: "", refCount: holders.length, owed: 0, keys, holders };
    closing.reject(new MapClosedError(`Cannot close the map of kind ${this.#kind.name}: ${what}`, facts));
  }

  #label(key: K): string {
    const { label } = this.#options;
    if (label === undefined) return isObject(key) ? "" : String(key);
    try {
      return String(label(key));
    } catch (error) {
      return `(no label: ${error instanceof Error ? error.message : "the label function threw"})`;
    }
  }

  #closedError(label: string): Error {
    const kind = this.#kind.name;
    const facts = { kind, label, refCount: 0, owed: 0, keys: [label], holders: [] };
    return new MapClosedError(`Cannot acquire ${named(kind, label)}: the map is closed`, facts);
  }

  #refuse(
    Refusal: MapErrorClass<string, string>,
    key: K,
    verb: string,
    why: string,
    keys = [...this.#entries.values()].map(({ label }) => label),
  ): Error {
    const kind = this.#kind.name;
    const label = this.#label(key);
    const holders = Refusal === MapFullError ? [...this.#entries.values()].flatMap((entry) => entry.holders()) : [];
    const facts = { kind, label, refCount: 0, owed: 0, keys, holders };
    return new Refusal(`Cannot ${verb} ${named(kind, label)}: ${why}`, facts);
  }
};

Object.defineProperty(HandleMap.prototype, ASYNC_DISPOSE, {
  value(this: HandleMap<unknown, unknown>): Promise<void> {
    return this.close();
  },
  writable: true,
  configurable: true,
});

/** What frees a value whose map was given no free function: its own dispose method. */
function disposeOf(value: unknown): unknown {
  if (!isObject(value)) return undefined;
  const own = value as { [ASYNC_DISPOSE]?: () => unknown; [DISPOSE]?: () => unknown };
  return typeof own[ASYNC_DISPOSE] === "function" ? own[ASYNC_DISPOSE]() : own[DISPOSE]?.();
}

function deferred(): Closing {
  let resolve = ignore;
  let reject: (error: unknown) => void = ignore;
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

function check(name: string, given: unknown, required: boolean): void {
  if (typeof given === "function" || (given === undefined && !required)) return;
  throw new TypeError(`Cannot make a HandleMap: expected ${name} to be a function, received ${received(given)}`);
}

function checkRange(name: string, given: unknown, least: number): void {
  if (typeof given === "number" && given >= least) return;
  throw new RangeError(`Expected ${name} to be a number of at least ${least}, received ${received(given)}`);
}
