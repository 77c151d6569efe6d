import { type Entry, OPENING, QUEUED } from "./map-entry";
import type { Room } from "./map-room";

/** Who waits for whom among the entries of a keyed map: what tells a wait that ends from one that cannot. */
export class Waits<K, T> {
  readonly #entries: ReadonlyMap<K, Entry<K, T>>;
  readonly #left: ReadonlySet<Entry<K, T>>;
  readonly #room: Room<K, T>;

  constructor(entries: ReadonlyMap<K, Entry<K, T>>, left: ReadonlySet<Entry<K, T>>, room: Room<K, T>) {
    this.#entries = entries;
    this.#left = left;
    this.#room = room;
  }

  /**
   * The way round, if `opener` waiting for `key` would make an open wait for itself, through the opens it asked for or
   * for a value that must end first: `[a, b]` when opening `a` asked for `b` and opening `b` now asks for `a`.
   */
  cycle(key: K, opener: Entry<K, T>): Entry<K, T>[] | undefined {
    const wanted = new Set(this.#room.before(key) ?? []);
    const found = this.#entries.get(key);
    if (found !== undefined) wanted.add(found);
    return wanted.size === 0 ? undefined : cycle(wanted, opener, this.#above);
  }

  /** Whether every place is taken by an open that waits for one that waits for a place. */
  get stuck(): boolean {
    if (!this.#room.taken) return false;
    const waiting = waitingFor(this.#room.queue, this.#above);
    for (const entry of [...this.#entries.values(), ...this.#left]) {
      if (entry.roomy && !(entry.state === OPENING && waiting.has(entry))) return false;
    }
    return true;
  }

  /** The entries that wait for this one: opens that asked for it, and its successor under the same key. */
  readonly #above = (entry: Entry<K, T>): Entry<K, T>[] => {
    const above: Entry<K, T>[] = [];
    for (const { opener } of entry.waiters) if (opener !== undefined) above.push(opener);
    const successor = this.#entries.get(entry.key);
    if (successor?.state === QUEUED && this.#room.before(entry.key)?.has(entry)) above.push(successor);
    return above;
  };
}

/** @param above The entries that wait for an entry. */
function cycle<E>(wanted: ReadonlySet<E>, opener: E, above: (entry: E) => Iterable<E>): E[] | undefined {
  const seen = new Set<E>();
  const search = (from: E): E[] | undefined => {
    if (wanted.has(from)) return [from];
    if (seen.has(from)) return undefined;
    seen.add(from);
    for (const entry of above(from)) {
      const way = search(entry);
      if (way) return [...way, from];
    }
    return undefined;
  };
  return search(opener);
}

/** All entries whose opens wait, directly or through others, for one of these, and these. */
function waitingFor<E>(entries: Iterable<E>, above: (entry: E) => Iterable<E>): Set<E> {
  const found = new Set(entries);
  for (const entry of found) for (const other of above(entry)) found.add(other);
  return found;
}
