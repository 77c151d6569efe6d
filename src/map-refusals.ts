import { count, isObject, named } from "./account";
import { AcquireTimeoutError, MapClosedError, MapCycleError, MapFullError, reasonOf } from "./errors";
import { type Entry, holding, QUEUED } from "./map-entry";
import type { HandleMapOptions } from "./map-options";
import type { Room } from "./map-room";

type Name<K> = HandleMapOptions<K, unknown>["label"];

/** The errors of a keyed map, and how it names a key in them. */
export class Refusals<K, T> {
  readonly #kind: string;
  readonly #name: Name<K>;
  readonly #entries: ReadonlyMap<K, Entry<K, T>>;
  readonly #left: ReadonlySet<Entry<K, T>>;

  constructor(kind: string, name: Name<K>, entries: ReadonlyMap<K, Entry<K, T>>, left: ReadonlySet<Entry<K, T>>) {
    this.#kind = kind;
    this.#name = name;
    this.#entries = entries;
    this.#left = left;
  }

  label(key: K): string {
    const name = this.#name;
    if (name === undefined) return isObject(key) ? "" : String(key);
    try {
      return String(name(key));
    } catch (error) {
      return `(no label: ${reasonOf(error, "the label function threw")})`;
    }
  }

  /** Of a canonical key that is a promise: each would be a key of its own. */
  promised(key: K): Error {
    const what = `Cannot find the key of ${named(this.#kind, this.label(key))}`;
    return new TypeError(`${what}: canonical returned a promise, and the key must be known at once`);
  }

  /** Of an acquire from a closed map. */
  closed(label: string): Error {
    const kind = this.#kind;
    const facts = { kind, label, refCount: 0, owed: 0, keys: [label], holders: [] };
    return new MapClosedError(`Cannot acquire ${named(kind, label)}: the map is closed`, facts);
  }

  full(key: K, why: string): Error {
    const entries = this.#roomy();
    const keys = entries.map(({ label }) => label);
    const holders = entries.flatMap((entry) => entry.holders());
    return new MapFullError(...this.#acquire(key, why, keys, holders));
  }

  /** @param way The entries whose opens wait, each for the next, and the last for the key. */
  cycle(key: K, way: readonly Entry<K, T>[]): Error {
    const keys = [...way.map(({ label }) => label), this.label(key)];
    return new MapCycleError(...this.#acquire(key, `opening it waits for itself: ${keys.join(" -> ")}`, keys, []));
  }

  /** Of an acquire that ran out of time. */
  timedOut(entry: Entry<K, T>, timeout: number, room: Room<K, T>): Error {
    const before = entry.state === QUEUED ? room.before(entry.key) : undefined;
    const awaited = entry.state === QUEUED ? [...(before ?? this.#roomy())] : [entry];
    const holders = awaited.flatMap((other) => other.holders());
    let why = "its open goes on";
    if (entry.state !== QUEUED) why = entry.value === undefined ? why : "it is being validated";
    else if (before !== undefined) why = "it waits for the end of the value before it";
    else why = `all ${room.max} places are taken`;
    const who = holders.length > 0 ? `, held by ${holding(holders)}` : "";
    const { key, label } = entry;
    const keys = awaited.map((other) => other.label);
    return new AcquireTimeoutError(
      ...this.#acquire(key, `not within ${timeout} ms: ${why}${who}`, keys, holders, label),
    );
  }

  /** Of a close that ran out of time. */
  late(timeout: number, left: readonly Entry<K, T>[]): Error {
    const holders = left.flatMap((entry) => entry.holders());
    const keys = left.map(({ label }) => label);
    const who = left.map((entry) => `\n  ${entry.standing()}`).join("");
    const what = `${count(keys.length, "key")} not given back after ${timeout} ms:${who}`;
    const facts = { kind: this.#kind, label: "", refCount: holders.length, owed: 0, keys, holders };
    return new MapClosedError(`Cannot close the map of kind ${this.#kind}: ${what}`, facts);
  }

  /** The entries that have places, also those that the map no longer leads to. */
  #roomy(): Entry<K, T>[] {
    return [...this.#entries.values(), ...this.#left].filter(({ roomy }) => roomy);
  }

  #acquire(
    key: K,
    why: string,
    keys: string[],
    holders: ReturnType<Entry<K, T>["holders"]>,
    label = this.label(key),
  ): ConstructorParameters<typeof MapFullError> {
    const kind = this.#kind;
    return [`Cannot acquire ${named(kind, label)}: ${why}`, { kind, label, refCount: 0, owed: 0, keys, holders }];
  }
}

/** Makes an error, or gives what that failed with: who waits must hear of something. */
export function made(error: () => Error): Error {
  try {
    return error();
  } catch (failed) {
    return failed as Error;
  }
}

/** Why a value is of no use any more, from what its "error" or "close" event was called with. */
export function lostReason(kind: string, label: string, given: unknown): Error {
  return given instanceof Error ? given : new Error(`Cannot rely on ${named(kind, label)}: it was lost`);
}
