import { ENDING, type Entry } from "./map-entry";

/**
 * The places of a keyed map: how many values may be open, who waits for one, and which idle ones make room.
 *
 * A value takes its place when its open begins and gives it back when its free has ended, so that those being freed
 * count as well.
 */
export class Room<K, T> {
  readonly max: number;
  readonly #open: (entry: Entry<K, T>) => void;
  readonly #evict: (entry: Entry<K, T>) => void;
  /** Idle entries, the longest unused first. */
  readonly idle = new Set<Entry<K, T>>();
  /** Entries that wait to be opened, in order. */
  readonly queue = new Set<Entry<K, T>>();
  /** Entries that have left, and whose successor under the same key has to wait for their end. */
  readonly #before = new Map<K, Set<Entry<K, T>>>();
  #used = 0;
  #ending = 0;
  #pumping = false;
  #evicting = false;
  /** Whether there may be more to do than when the pumping began: a free or an open may acquire, or end at once. */
  #more = false;

  /**
   * @param open Begins the open of an entry from the queue.
   * @param evict Frees an idle value to make room.
   */
  constructor(max: number, open: (entry: Entry<K, T>) => void, evict: (entry: Entry<K, T>) => void) {
    this.max = max;
    this.#open = open;
    this.#evict = evict;
  }

  /** Whether every place is taken, those of values being freed included. */
  get taken(): boolean {
    return this.#used >= this.max;
  }

  /** Whether one more key would have to wait for somebody to give his value back. */
  get full(): boolean {
    return this.#used - this.#ending + this.queue.size - this.idle.size >= this.max;
  }

  /**
   * Opens what waits in the queue as far as there is room, and makes room by freeing idle values.
   *
   * What it calls may end at once and ask for the next: that is left to the call under way, so that a long queue of such
   * takes no stack. Not so what an open asks for: it goes before what that open asks for next, and may have given its place
   * back when that comes.
   *
   * @param forOpen Whether an open in its synchronous part asks.
   */
  pump(forOpen = false): void {
    if (this.queue.size === 0) return;
    this.#more = true;
    if (this.#evicting || (this.#pumping && !forOpen)) return;
    const outer = this.#pumping;
    this.#pumping = true;
    try {
      while (this.#more) {
        this.#more = false;
        if (this.max !== Infinity) this.#makeRoom();
        this.#openNext();
      }
    } finally {
      this.#pumping = outer;
    }
  }

  /** The free of the entry's value begins: its place is about to be had. */
  ending(entry: Entry<K, T>): void {
    if (entry.roomy) this.#ending++;
  }

  giveBack(entry: Entry<K, T>): void {
    if (!entry.roomy) return;
    entry.roomy = false;
    this.#used--;
    if (entry.state === ENDING) this.#ending--;
  }

  /** The next entry under the same key waits for the end of this one. */
  goesBefore(entry: Entry<K, T>): void {
    const before = this.#before.get(entry.key);
    if (before === undefined) this.#before.set(entry.key, new Set([entry]));
    else before.add(entry);
  }

  /** Whoever waited for the end of this entry need not any more. */
  hasEnded(entry: Entry<K, T>): void {
    const before = this.#before.get(entry.key);
    if (before?.delete(entry) && before.size === 0) this.#before.delete(entry.key);
  }

  /** The entries that must have ended before the next one under this key is opened. */
  before(key: K): ReadonlySet<Entry<K, T>> | undefined {
    return this.#before.get(key);
  }

  #makeRoom(): void {
    const wanted = this.#wanted();
    this.#evicting = true;
    for (const entry of this.idle) {
      if (this.#used - this.#ending + wanted <= this.max) break;
      this.#evict(entry);
    }
    this.#evicting = false;
  }

  #openNext(): void {
    for (const entry of this.queue) {
      if (this.#before.has(entry.key)) continue;
      if (this.taken) return;
      this.queue.delete(entry);
      this.#used++;
      entry.roomy = true;
      this.#open(entry);
    }
  }

  /** How many in the queue could be opened at once. Counted no further than all idle ones would make room for. */
  #wanted(): number {
    const most = this.idle.size === 0 ? 0 : this.max - this.#used + this.#ending + this.idle.size;
    let wanted = 0;
    for (const { key } of this.queue) {
      if (wanted >= most) break;
      if (!this.#before.has(key)) wanted++;
    }
    return wanted;
  }
}
