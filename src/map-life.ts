import { ignore, type Kind, warn } from "./account";
import type { AsyncHandle } from "./async-handle";
import { Closing } from "./closing";
import { after } from "./host";
import { ENDED, ENDING, Entry, HELD, IDLE, OPENING, QUEUED } from "./map-entry";
import type { AcquireOptions, HandleMapOptions, OpenContext, StopListening } from "./map-options";
import { lostReason, Refusals } from "./map-refusals";
import { Room } from "./map-room";
import { Waits } from "./map-waits";
import { type Family, isPromise } from "./resource";

/** How an open acquires what it needs from its own map. */
type Enter<K, T> = (key: K, options: AcquireOptions | undefined, opener?: Entry<K, T>) => Promise<AsyncHandle<T>>;

/**
 * The life of a keyed map's entries: queued, opened, held, idle, held again, and freed after they have left the map.
 *
 * Every step is by entry, never by key: what a key leads to by then is somebody else's.
 */
export class Life<K, T, V> {
  readonly options: HandleMapOptions<K, T, V>;
  readonly kind: Kind<T>;
  readonly #family: Family<T, readonly unknown[]>;
  readonly #idleFor: number;
  readonly #enter: Enter<K, T>;
  /** What the map leads to. */
  readonly entries = new Map<K, Entry<K, T>>();
  /** Entries the map no longer leads to, until they have ended. */
  readonly left = new Set<Entry<K, T>>();
  readonly room: Room<K, T>;
  readonly waits: Waits<K, T>;
  readonly refusals: Refusals<K, T>;
  readonly closing = new Closing(() => this.entries.size === 0 && this.left.size === 0);
  /** The entry whose open is in its synchronous part. */
  calling: Entry<K, T> | undefined = undefined;
  closed = false;

  constructor(
    options: HandleMapOptions<K, T, V>,
    family: Family<T, readonly unknown[]>,
    idle: number,
    max: number,
    enter: Enter<K, T>,
  ) {
    this.options = options;
    this.#family = family;
    this.kind = family.kind;
    this.#idleFor = idle;
    this.#enter = enter;
    this.room = new Room(
      max,
      (entry) => this.#open(entry),
      (entry) => this.drop(entry),
    );
    this.waits = new Waits(this.entries, this.left, this.room);
    this.refusals = new Refusals(this.kind.name, options.label, this.entries, this.left);
  }

  /** @param given The key as the first one to ask spelled it. */
  make(key: K, given: K): Entry<K, T> {
    return new Entry<K, T>(key, given, this.refusals.label(key), this.kind, this.#lastOut);
  }

  /** Opens the entry's value, as soon as there is room. */
  begin(entry: Entry<K, T>): void {
    this.entries.set(entry.key, entry);
    this.room.queue.add(entry);
    this.room.pump(this.calling !== undefined);
  }

  #open(entry: Entry<K, T>): void {
    entry.state = OPENING;
    const { key } = entry;
    const context = this.#context(entry);
    const outer = this.calling;
    this.calling = entry;
    let opened: T | PromiseLike<T>;
    try {
      opened = this.options.open(key, context);
    } catch (error) {
      this.calling = outer;
      this.#openFailed(entry, error);
      return;
    }
    this.calling = outer;
    if (!isPromise(opened)) this.#arrived(entry, opened);
    else {
      // A promise of its own: another's `then` may throw, or call back twice.
      Promise.resolve(opened).then(
        (value) => this.#arrived(entry, value),
        (error: unknown) => this.#openFailed(entry, error),
      );
    }
  }

  #context(entry: Entry<K, T>): OpenContext<K, V> {
    const given = entry.given as K;
    entry.given = undefined;
    return {
      get signal() {
        return entry.signal;
      },
      given,
      acquire: (key, options) => {
        const acquired = this.#enter(key, options, entry.state === OPENING ? entry : undefined);
        return acquired as Promise<AsyncHandle<unknown>> as Promise<AsyncHandle<V>>;
      },
    };
  }

  #arrived(entry: Entry<K, T>, value: T): void {
    const family = this.#family;
    const args = [entry.key];
    entry.value = value;
    entry.bytes = family.bytesOf(value, args);
    if (this.options.label === undefined) entry.label = family.labelOf(value, args) || entry.label;
    family.kind.countOpened();
    family.kind.bytes += entry.bytes;
    // Still on its way: whoever acquires from inside the hook waits with the others. Also where nobody waits any more: an
    // "error" event during the free that nobody listens to would be an uncaught exception.
    const dead = this.#listen(entry, value);
    entry.state = HELD;
    const waiters = entry.takeWaiters();
    if (waiters.length === 0 || dead !== undefined) {
      this.drop(entry);
      for (const { reject } of waiters) reject(dead?.reason);
      return;
    }
    // All are counted before the first of them is told.
    const handles = waiters.map(({ holder, here }) => entry.account(holder, here));
    for (const [i, { resolve }] of waiters.entries()) resolve(handles[i] as AsyncHandle<T>);
  }

  /** Listens for the end of the value, and counts its time. @returns Why, if it has ended already. */
  #listen(entry: Entry<K, T>, value: T): { readonly reason: unknown } | undefined {
    const { lost, maxAge = Infinity } = this.options;
    let dead: { readonly reason: unknown } | undefined;
    let heard = false;
    try {
      const stop = lost?.(value, (error) => {
        if (heard) this.#lost(entry);
        else dead ??= { reason: lostReason(this.kind.name, entry.label, error) };
      });
      if (typeof stop === "function") entry.stopListening = stop as StopListening;
    } catch (reason) {
      dead ??= { reason };
    }
    heard = true;
    if (dead === undefined && maxAge !== Infinity) entry.stopAge = after(maxAge, () => this.#replace(entry));
    return dead;
  }

  #lost(entry: Entry<K, T>): void {
    for (const question of entry.asking) question.left(true);
    this.#replace(entry);
  }

  /** The next acquire opens anew; the value is freed when nobody holds it. */
  #replace(entry: Entry<K, T>): void {
    if (entry.state === IDLE) this.drop(entry);
    else if (entry.state === HELD) this.leave(entry);
  }

  #openFailed(entry: Entry<K, T>, error: unknown): void {
    this.leave(entry);
    const waiters = entry.takeWaiters();
    this.#ended(entry);
    for (const { reject } of waiters) reject(error);
  }

  /** Nobody waits for this open any more: its value, should it arrive, is freed, and the next open waits for that. */
  abandon(entry: Entry<K, T>, reason: unknown): void {
    this.leave(entry);
    if (entry.state === QUEUED) {
      this.room.queue.delete(entry);
      this.#ended(entry);
      return;
    }
    this.room.goesBefore(entry);
    this.room.giveBack(entry);
    entry.abort(reason);
    this.room.pump();
  }

  /** The value has no holders and no borrows left. */
  readonly #lastOut = (entry: Entry<K, T>): unknown => {
    if (entry.attached && this.#idleFor > 0 && !this.closed) {
      this.rest(entry);
      this.room.pump();
      return undefined;
    }
    this.leave(entry);
    return this.#end(entry, entry.forced);
  };

  rest(entry: Entry<K, T>): void {
    entry.state = IDLE;
    this.kind.cached++;
    this.room.idle.add(entry);
    if (this.#idleFor !== Infinity) entry.stopIdle = after(this.#idleFor, () => this.drop(entry));
  }

  wake(entry: Entry<K, T>): void {
    entry.state = HELD;
    this.kind.cached--;
    this.room.idle.delete(entry);
    const { stopIdle } = entry;
    entry.stopIdle = undefined;
    stopIdle?.();
  }

  /** Takes the entry out of the map: this very entry, whatever its key leads to by now. */
  leave(entry: Entry<K, T>): void {
    if (!entry.attached) return;
    entry.attached = false;
    this.entries.delete(entry.key);
    if (entry.state === IDLE) this.wake(entry);
    this.left.add(entry);
    if (this.kind.exclusive) this.room.goesBefore(entry);
    for (const question of entry.asking) question.left(false);
  }

  /** Takes out and frees a value that nobody holds. */
  drop(entry: Entry<K, T>): void {
    this.leave(entry);
    try {
      this.#end(entry, true)?.catch(ignore);
    } catch {
      // Told to whoever hears of failures already.
    }
  }

  /** Frees the value of an entry that has left. @param quiet No caller is left to hear of a failure. */
  #end(entry: Entry<K, T>, quiet: boolean): Promise<void> | undefined {
    const value = entry.value as T;
    const { release } = this.kind;
    entry.state = ENDING;
    entry.value = undefined;
    this.room.ending(entry);
    this.kind.freed++;
    this.kind.bytes -= entry.bytes;
    const { stopAge } = entry;
    entry.stopAge = undefined;
    stopAge?.();
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
    if (isPromise(returned)) return Promise.resolve(returned).then(() => this.#ended(entry), failed);
    this.#ended(entry);
    return undefined;
  }

  #freeFailed(entry: Entry<K, T>, error: unknown, quiet: boolean): void {
    const { onError } = this.options;
    try {
      onError?.(error, entry.key);
    } catch (failed) {
      warn(failed);
    }
    if (quiet && !this.closing.failed(error) && onError === undefined) warn(error);
  }

  #ended(entry: Entry<K, T>): void {
    this.room.giveBack(entry);
    entry.state = ENDED;
    const { stopListening } = entry;
    entry.stopListening = undefined;
    try {
      stopListening?.();
    } catch (error) {
      this.#freeFailed(entry, error, true);
    }
    this.left.delete(entry);
    this.room.hasEnded(entry);
    this.closing.settle();
    this.room.pump();
  }
}
