import type { AsyncHandle } from "../async-handle";
import { LeaseTimeoutError } from "../errors";
import { type OpenedThere, realm } from "../tracker";
import type { Hold } from "./hold";
import type { Lease } from "./lease";
import type { Keys } from "./node";
import { cancel, later, now, type Signal, type Timer } from "./platform";
import { factsOf } from "./refusals";
import type { Times } from "./times";

/** One caller that waits for a lease, and its place in its line. Settling it takes it out of its line, with its timer and its listener. */
export class Waiter {
  readonly times: Times;
  /** Opens its handle as if from where it was asked for, where anybody keeps such sites. */
  readonly here: OpenedThere | undefined = realm.tracker?.here?.();
  /** Asks once, and takes a miss for an answer. */
  readonly once: boolean;
  /** The neighbours in the line. */
  before: Waiter | undefined;
  after: Waiter | undefined;
  /** Whether it still waits. */
  waits = true;
  readonly #line: Line;
  readonly #trying: boolean;
  readonly #since: number;
  readonly #resolve: (handle: AsyncHandle<Lease> | undefined) => void;
  readonly #reject: (error: unknown) => void;
  readonly #signal: Signal | undefined;
  readonly #timer: Timer | undefined;
  readonly #abort: (() => void) | undefined;

  constructor(
    line: Line,
    since: number,
    times: Times,
    wait: number,
    trying: boolean,
    signal: Signal | undefined,
    resolve: (handle: AsyncHandle<Lease> | undefined) => void,
    reject: (error: unknown) => void,
  ) {
    this.#line = line;
    this.#since = since;
    this.times = times;
    this.once = wait === 0;
    this.#trying = trying;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#signal = signal;
    this.#timer = this.once || wait === Infinity ? undefined : later(wait, () => this.timeOut());
    if (signal !== undefined) {
      this.#abort = () => this.fail(signal.reason);
      signal.addEventListener("abort", this.#abort);
    }
    line.add(this);
  }

  grant(handle: AsyncHandle<Lease> | undefined): void {
    this.#leave();
    this.#resolve(handle);
  }

  fail(error: unknown): void {
    this.#leave();
    this.#reject(error);
  }

  /** Somebody else has it, or that could not be found out. */
  miss(): void {
    if (this.#trying && this.#line.fault === undefined) this.grant(undefined);
    else this.timeOut();
  }

  timeOut(): void {
    const { name, fault, hold } = this.#line;
    const left = hold === undefined ? this.#line.left : Math.ceil(hold.remaining);
    const waited = Math.round(now() - this.#since);
    const why =
      fault === undefined
        ? `it is held${left === undefined || left < 0 ? "" : `, for ${left} ms more unless it is renewed`}`
        : "too few servers answered to know who holds it";
    this.fail(
      new LeaseTimeoutError(`Cannot acquire lease "${name}": waited ${waited} ms and ${why}`, {
        ...factsOf(name),
        waited,
        remaining: left,
        cause: fault,
      }),
    );
  }

  #leave(): void {
    cancel(this.#timer);
    if (this.#abort !== undefined) this.#signal?.removeEventListener("abort", this.#abort);
    if (this.waits) this.#line.remove(this);
  }
}

const SHORTEST_PAUSE = 50;
const LONGEST_PAUSE = 250;
/** A vote was split, so nobody holds it: the next try is soon, and at random so that one of them is first. */
const SPLIT_PAUSE = 50;

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
  /** What the holder had left when it was seen last, in milliseconds. */
  left: number | undefined;
  /** Why the last attempt could not tell who holds it. */
  fault: unknown;
  #misses = 0;
  #pause: Timer | undefined;

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
    return this.hold === undefined && this.first === undefined && !this.bidding;
  }

  get pausing(): boolean {
    return this.#pause !== undefined;
  }

  /** Waits a while before the next attempt, at random and longer every time, and no longer than the holder has left. */
  pause(split: boolean, next: () => void): void {
    const most = split ? SPLIT_PAUSE : Math.min(SHORTEST_PAUSE * 2 ** ++this.#misses, LONGEST_PAUSE);
    const least = split ? 1 : SHORTEST_PAUSE;
    const bound = this.left === undefined || this.left < 0 || split ? most : this.left + 1;
    const ms = Math.min(least + Math.random() * (most - least), bound);
    this.#pause = later(Math.ceil(ms), () => {
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
}
