import type { Hold } from "./hold";
import type { Keys } from "./node";
import { cancel, later, type Timer } from "./platform";
import type { Waiter } from "./waiter";

const SHORTEST_PAUSE = 50;
const LONGEST_PAUSE = 250;
/** A vote was split, so nobody holds it: the next try is soon, and at random so that one of them is first. */
const SPLIT_PAUSE = 50;

/** How long to wait after a split vote. */
export function splitPause(): number {
  return 1 + Math.random() * (SPLIT_PAUSE - 1);
}

/** Everything this process knows of one name: who holds it here, who waits, and when to ask the servers again. */
export class Line {
  readonly name: string;
  readonly keys: Keys;
  /** First in, first out. */
  first: Waiter | undefined;
  #last: Waiter | undefined;
  /** The lease that this process has. While it has it, nobody asks the servers. */
  hold: Hold | undefined;
  /** The one attempt is under way. */
  bidding = false;
  /** How many take it by force now. */
  forcing = 0;
  /** The next attempt is being made. */
  advancing = false;
  /** An attempt for who waits has been answered, since this process had it last. */
  seen = false;
  /** What the holder had left when it was seen last, in milliseconds; `Infinity` for a key that never expires. */
  left: number | undefined;
  /** Why the last attempt could not tell who holds it. */
  fault: unknown;
  #misses = 0;
  #pause: Timer | undefined;
  /** How many attempts were made, by force or not. */
  #made = 0;
  /** The one that was granted last: which it was, and how many were made by then. */
  #granted = 0;
  #madeByThen = 0;
  #forced = false;
  #fence: number | undefined;

  readonly #onEmptied: (line: Line) => void;

  constructor(name: string, keys: Keys, onEmptied: (line: Line) => void) {
    this.name = name;
    this.keys = keys;
    this.#onEmptied = onEmptied;
  }

  add(waiter: Waiter): void {
    waiter.before = this.#last;
    if (this.#last === undefined) this.first = waiter;
    else this.#last.after = waiter;
    this.#last = waiter;
  }

  /** From anywhere in the line, at once. */
  remove(waiter: Waiter): void {
    const { before, after } = waiter;
    waiter.waits = false;
    waiter.before = undefined;
    waiter.after = undefined;
    if (before === undefined) this.first = after;
    else before.after = after;
    if (after === undefined) this.#last = before;
    else after.before = before;
    if (this.first === undefined) this.#onEmptied(this);
  }

  /** Whoever waits now, first come first. */
  get waiters(): Waiter[] {
    const all: Waiter[] = [];
    for (let waiter = this.first; waiter !== undefined; waiter = waiter.after) all.push(waiter);
    return all;
  }

  /** Nobody holds it, waits for it or asks for it here. */
  get idle(): boolean {
    return this.hold === undefined && this.first === undefined && !this.bidding && this.forcing === 0;
  }

  /** The number of an attempt that is made now. */
  attempt(): number {
    return ++this.#made;
  }

  /** The attempt with that number has the lock, or had it for a moment. */
  grant(attempt: number, forced: boolean, fence: number | undefined): void {
    this.#granted = attempt;
    this.#madeByThen = this.#made;
    this.#forced = forced;
    this.#fence = fence;
    this.fault = undefined;
  }

  /**
   * Whether an attempt that has won was carried out before one that was granted already: their answers need not come in
   * the order in which the servers gave them. Fences tell that order. Without them, one by force is the later of two,
   * since it needs no lock that is free, and of two by force the one that was made later.
   */
  outdone(attempt: number, forced: boolean, fence: number | undefined): boolean {
    if (attempt > this.#madeByThen) return false;
    if (fence !== undefined && this.#fence !== undefined) return fence < this.#fence;
    return forced === this.#forced ? attempt < this.#granted : this.#forced;
  }

  get pausing(): boolean {
    return this.#pause !== undefined;
  }

  /** Waits a while before the next attempt, at random and longer every time, and no longer than the holder has left. */
  pause(split: boolean, next: () => void): void {
    this.#pause = later(Math.ceil(split ? splitPause() : this.#missPause()), () => {
      this.#pause = undefined;
      next();
    });
  }

  /** The next attempt need not wait: something changed here. */
  resume(): void {
    cancel(this.#pause);
    this.#pause = undefined;
    this.#misses = 0;
  }

  #missPause(): number {
    const most = Math.min(SHORTEST_PAUSE * 2 ** ++this.#misses, LONGEST_PAUSE);
    const ms = SHORTEST_PAUSE + Math.random() * (most - SHORTEST_PAUSE);
    return this.left === undefined ? ms : Math.min(ms, this.left + 1);
  }
}
