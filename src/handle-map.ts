import { ASYNC_DISPOSE, DISPOSE, INSPECT, isObject } from "./account";
import type { AsyncHandle } from "./async-handle";
import {
  type AcquireTimeoutError,
  checkObject,
  type MapClosedError,
  type MapCycleError,
  type MapFullError,
  unfit,
} from "./errors";
import { Entrance } from "./map-entrance";
import { type Entry, HELD, holderName, IDLE, OPENING, QUEUED } from "./map-entry";
import { Life } from "./map-life";
import {
  type AcquireOptions,
  type CloseOptions,
  checkRange,
  type HandleMapOptions,
  type HandleMapStats,
} from "./map-options";
import { defineAsyncResource, familyOf } from "./resource";
import { realm } from "./tracker";

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
   * that open; with the signal's reason; with {@link AcquireTimeoutError}, {@link MapClosedError}, {@link MapFullError} or
   * {@link MapCycleError}.
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
   * (`force`: revokes it). While it is under way, and after it has settled, further calls return the same promise, and
   * may add `force` or a `timeout` to it. Once it has rejected because a `timeout` ran out, the next call goes on waiting
   * under a new promise, which again is one for all.
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

export const HandleMap: HandleMapConstructor = class<K, T, V = T> implements Face<K, T> {
  readonly #life: Life<K, T, V>;
  readonly #entrance: Entrance<K, T, V>;
  readonly #entries: Map<K, Entry<K, T>>;

  constructor(options: HandleMapOptions<K, T, V>) {
    checkObject("make a HandleMap", options);
    const { resource, kind = resource?.kind ?? "entry", free } = options;
    const { idle = 0, max = Infinity, maxAge = Infinity, whenFull = "wait" } = options;
    check("open", options.open, true);
    for (const name of ["free", "label", "canonical", "validate", "lost", "onError"] as const)
      check(name, options[name], false);
    checkRange("idle", idle, 0);
    checkRange("max", max, 1, true);
    checkRange("maxAge", maxAge, 0);
    if (whenFull !== "wait" && whenFull !== "throw") {
      throw unfit("make a HandleMap", 'whenFull "wait" or "throw"', whenFull);
    }
    const family = familyOf<T>(resource ?? defineAsyncResource({ kind, free: (free ?? disposeOf) as Free<T> }));
    if (family === undefined) {
      throw unfit("make a HandleMap", "a resource definition", resource);
    }
    if (resource && free !== undefined) {
      throw unfit("make a HandleMap", "no free beside a resource", free);
    }
    if (resource && kind !== resource.kind) {
      throw unfit("make a HandleMap", `the kind of its resource, "${resource.kind}"`, kind);
    }
    this.#life = new Life(options, family, idle, max, (key, acquiring, opener) =>
      this.#entrance.enter(key, acquiring, opener),
    );
    this.#entrance = new Entrance(this.#life);
    this.#entries = this.#life.entries;
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
    const { room, left } = this.#life;
    return { open, opening, idle: room.idle.size, leaving: left.size, holders };
  }

  keys(): IterableIterator<K> {
    return this.#entries.keys();
  }

  has(key: K): boolean {
    return this.#entries.has(this.#entrance.canonical(key));
  }

  touch(key: K): boolean {
    const entry = this.#entries.get(this.#entrance.canonical(key));
    if (entry?.state !== IDLE) return false;
    this.#life.wake(entry);
    this.#life.rest(entry);
    return true;
  }

  peek(key: K, options?: Pick<AcquireOptions, "holder">): AsyncHandle<T> | undefined {
    if (options !== undefined) checkObject("peek", options);
    const holder = holderName(options?.holder);
    const entry = this.#entries.get(this.#entrance.canonical(key));
    if (entry === undefined || this.#life.closed) return undefined;
    return this.#entrance.take(entry, holder, realm.tracker?.here?.());
  }

  acquire(key: K, options?: AcquireOptions): Promise<AsyncHandle<T>> {
    return this.#entrance.enter(key, options, this.#life.calling);
  }

  invalidate(key: K): boolean {
    const entry = this.#entries.get(this.#entrance.canonical(key));
    if (entry === undefined) return false;
    // What waits to be opened is as fresh as can be.
    if (entry.state === IDLE) this.#life.drop(entry);
    else if (entry.state !== QUEUED) this.#life.leave(entry);
    return true;
  }

  close(options: CloseOptions = {}): Promise<void> {
    checkObject("close the map", options);
    const { force = false, timeout = Infinity } = options;
    checkRange("timeout", timeout, 0);
    const life = this.#life;
    const all = (): Entry<K, T>[] => [...life.entries.values(), ...life.left];
    const first = !life.closed;
    life.closed = true;
    const closing = life.closing.begin(timeout, () => life.refusals.late(timeout, all()));
    // What the others give up below is no room for these any more.
    if (first) life.room.queue.clear();
    for (const entry of first ? all() : []) {
      if (entry.state === IDLE) life.drop(entry);
      else if (entry.state === OPENING || entry.state === QUEUED) {
        const error = life.refusals.closed(entry.label);
        const waiters = entry.takeWaiters();
        life.abandon(entry, error);
        for (const waiter of waiters) waiter.reject(error);
      } else for (const question of entry.asking) question.giveUp(life.refusals.closed(entry.label));
    }
    for (const entry of force ? all() : []) {
      if (entry.state !== HELD) continue;
      life.leave(entry);
      entry.revoke();
    }
    life.closing.settle();
    return closing;
  }

  [INSPECT](): string {
    const { open, opening, idle } = this.stats;
    const state = this.#life.closed ? "closed, " : "";
    return `HandleMap<${this.#life.kind.name}, ${state}${open} open, ${opening} opening, ${idle} idle>`;
  }

  declare [ASYNC_DISPOSE]: () => Promise<void>;
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

function check(name: string, given: unknown, required: boolean): void {
  if (typeof given === "function" || (given === undefined && !required)) return;
  throw unfit("make a HandleMap", `${name} to be a function`, given);
}
