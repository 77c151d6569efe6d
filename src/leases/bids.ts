import { Hold, type Keeper } from "./hold";
import { CannotCompare, type Keys } from "./node";
import { now, randomToken } from "./platform";
import type { Attempt } from "./quorum";
import { closed, overdue, unsupported } from "./refusals";
import { drift, endOf, remaining, sending, type Times } from "./times";

/** Hears how one attempt ended: with a hold, or with the reason why there is none. It must not throw. */
export type Ended = (hold: Hold | undefined, attempt: Attempt | Error) => void;

/** The attempts to take locks. Those under way are counted, and what is given back of them: of callers that are gone too. */
export class Bids {
  readonly #keeper: Keeper;
  readonly #fence: boolean | undefined;
  #closed = false;

  constructor(keeper: Keeper, fence: boolean | undefined) {
    this.#keeper = keeper;
    this.#fence = fence;
  }

  /** One attempt, with a token of its own, at a moment that was just read from the clock. */
  make(name: string, keys: Keys, times: Times, at: number, force: boolean, ended: Ended): void {
    const { quorum, underWay } = this.#keeper;
    const { scripted, single } = quorum;
    if (this.#closed) {
      ended(undefined, closed(name));
      return;
    }
    const sent = sending(times, at, endOf(times, at));
    if (sent.ttl <= drift(sent.ttl)) {
      ended(undefined, overdue(name, force));
      return;
    }
    if (!scripted && this.#fence) {
      ended(undefined, unsupported(name, force, "a fence takes a script, and its server runs none for this user"));
      return;
    }
    const token = randomToken();
    const fenced = scripted && (this.#fence ?? single);
    underWay.begin();
    quorum.acquire({ keys, token, at, ttl: sent.ttl, fenced, force }, (attempt, error) => {
      if (attempt === undefined) ended(undefined, error as Error);
      else if (attempt.won) {
        const hold = new Hold(this.#keeper, name, keys, token, attempt.fence, times, sent);
        if (remaining(sent) > 0) ended(hold, attempt);
        else this.#tooLate(attempt, hold, sent.ttl, ended);
      } else if (attempt.fault instanceof CannotCompare)
        ended(undefined, unsupported(name, force, attempt.fault.message, attempt.fault.cause));
      // It turned out that scripts are forbidden: again without, or with the refusal.
      else if (scripted && !quorum.scripted) this.make(name, keys, times, now(), force, ended);
      else ended(undefined, attempt);
      underWay.end();
    });
  }

  /** Makes none from now on, also for those that pause before they try again. */
  close(): void {
    this.#closed = true;
  }

  /** Gives back what nobody wants any more. */
  undo(hold: Hold, done: () => void): void {
    const { underWay } = this.#keeper;
    underWay.begin();
    void hold.release().then(() => {
      done();
      underWay.end();
    });
  }

  /** It is ours, for no time at all: that is nothing to hand out. */
  #tooLate(attempt: Attempt, hold: Hold, ttl: number, ended: Ended): void {
    this.undo(hold, () => {
      const fault = new Error(`It took longer than the ttl of ${ttl} ms to hear that it was acquired`);
      ended(undefined, { ...attempt, won: false, fault });
    });
  }
}
