import type { AsyncHandle } from "../async-handle";
import { LeaseTimeoutError } from "../errors";
import type { OpenedThere } from "../tracker";
import type { Bids } from "./bids";
import type { Hold } from "./hold";
import { type Lease, openLease } from "./lease";
import { Line } from "./line";
import type { Keys } from "./node";
import { now } from "./platform";
import type { Attempt } from "./quorum";
import type { Waiter } from "./waiter";

/** The names that one set of leases knows: whose turn it is, and what becomes of an attempt. */
export class Lines {
  readonly #bids: Bids;
  readonly #lines = new Map<string, Line>();
  /** Lines that are idle, at a guess: counted when they become so, and swept when there are many. */
  #idle = 0;

  constructor(bids: Bids) {
    this.#bids = bids;
  }

  get all(): Line[] {
    return [...this.#lines.values()];
  }

  find(name: string): Line | undefined {
    return this.#lines.get(name);
  }

  /** The line of a name, which is made if it is not there. */
  of(name: string, keys: Keys): Line {
    const known = this.#lines.get(name);
    if (known !== undefined) return known;
    const line = new Line(name, keys, this.#emptied);
    this.#lines.set(name, line);
    return line;
  }

  /** Sends the first waiter's bid, unless one is under way, the lock is here, or a pause is not over. */
  advance(line: Line, at = now()): void {
    // A bid can fail before it is sent, and then comes back here: a loop, because a line of thousands may fail like that.
    if (line.advancing) return;
    line.advancing = true;
    for (let time = at; line.first !== undefined && !isBusy(line); time = now()) this.#try(line, line.first, time);
    line.advancing = false;
    if (line.first !== undefined || isBusy(line)) return;
    line.left = undefined;
    line.fault = undefined;
    line.seen = false;
    if (++this.#idle >= MOST_IDLE) this.#sweep();
  }

  /** Lines stay a while, because the same names come back and a map that always changes is dear; but never many. */
  #sweep(): void {
    this.#idle = 0;
    for (const [name, line] of this.#lines) if (line.idle) this.#lines.delete(name);
  }

  readonly #emptied = (line: Line): void => {
    line.resume();
    this.advance(line);
  };

  #try(line: Line, waiter: Waiter, at: number): void {
    line.bidding = true;
    const number = line.attempt();
    this.#bids.make(line.name, line.keys, waiter.times, at, false, (hold, attempt) => {
      if (hold !== undefined) this.#won(line, waiter, hold, number);
      else this.#lost(line, waiter, attempt);
    });
  }

  #won(line: Line, waiter: Waiter, hold: Hold, number: number): void {
    line.fault = undefined;
    line.left = undefined;
    if (waiter.waits && !line.outdone(number, false, hold.fence)) {
      line.bidding = false;
      line.resume();
      waiter.grant(this.grant(line, hold, number, false, waiter.here));
      return;
    }
    // Whoever asked has left meanwhile, or it was taken by force meanwhile.
    this.#bids.undo(hold, () => {
      line.bidding = false;
      this.advance(line);
    });
  }

  #lost(line: Line, waiter: Waiter, attempt: Attempt | Error): void {
    line.bidding = false;
    if (attempt instanceof LeaseTimeoutError) waiter.fail(attempt);
    else if (attempt instanceof Error) refused(line, attempt);
    else if (attempt.final) refused(line, attempt.fault);
    // What it has found out is over where the lock was taken by force meanwhile.
    else if (line.hold === undefined) {
      line.left = attempt.left;
      line.fault = attempt.fault;
      line.seen = true;
      missed(line);
      if (line.first !== undefined) {
        line.pause(attempt.split, () => this.advance(line));
        return;
      }
    }
    this.advance(line);
  }

  /** Of two that have won, one by force and its answer out of order, the later one has the lock. */
  grant(line: Line, hold: Hold, number: number, forced: boolean, here: OpenedThere | undefined): AsyncHandle<Lease> {
    const rival = line.hold;
    const outdone = line.outdone(number, forced, hold.fence);
    if (!outdone) {
      line.grant(number, forced, hold.fence);
      line.hold = hold;
    }
    const handle = here === undefined ? openLease(hold) : here(() => openLease(hold));
    if (outdone) hold.lose("taken");
    else rival?.lose("taken");
    if (forced) missed(line);
    return handle;
  }

  /** The name is not held by this hold any more. */
  vacated(hold: Hold): void {
    const line = this.#lines.get(hold.name);
    if (line?.hold !== hold) return;
    line.hold = undefined;
    line.left = undefined;
    line.seen = false;
    line.resume();
    this.advance(line);
  }
}

/** How many names are remembered that nobody uses. */
const MOST_IDLE = 256;

/** The next attempt has to wait: for one that is under way, for the lease that is here, or for a pause to be over. */
function isBusy(line: Line): boolean {
  return line.bidding || line.hold !== undefined || line.pausing;
}

/** Asking again will not help anybody who waits. */
export function refused(line: Line, why: unknown): void {
  for (const waiter of line.waiters) waiter.fail(why);
}

/** Who asks once has been answered. */
function missed(line: Line): void {
  for (const waiter of line.waiters) if (waiter.once) waiter.miss();
}
