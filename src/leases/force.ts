import { ignore } from "../account";
import type { Bids } from "./bids";
import type { Hold } from "./hold";
import { type Line, splitPause } from "./line";
import { cancel, later, now, type Timer } from "./platform";
import { unforced } from "./refusals";
import { type Times, timeLeft } from "./times";

/**
 * Takes a lock from whoever has it, and gives up when its deadline is over.
 *
 * On several nodes two that force at once can be in each other's way, so that neither has a majority: again then, after
 * a moment, for as long as one command may take.
 *
 * @param taken Gets the hold while somebody waits for it, and the number of the attempt that won it.
 */
export function force<T>(
  bids: Bids,
  line: Line,
  times: Times,
  timeout: number,
  taken: (hold: Hold, attempt: number) => T | Promise<T>,
): Promise<T> {
  const { name, keys } = line;
  const began = now();
  line.forcing++;
  return new Promise((resolve, reject) => {
    let waits = true;
    let timer: Timer | undefined;
    const leave = (): void => {
      waits = false;
      cancel(timer);
    };
    const fail = (error: unknown): void => {
      leave();
      reject(error);
    };
    const refuse = (why: string, cause?: unknown): void => fail(unforced(name, now() - began, why, cause));
    const patience = timeLeft(times.until);
    if (patience !== Infinity) timer = later(patience, () => refuse("its deadline is over"));
    const bid = (): void => {
      const at = now();
      const number = line.attempt();
      bids.make(name, keys, times, at, true, (hold, attempt) => {
        const rivals =
          hold === undefined && !(attempt instanceof Error) && !attempt.final && attempt.fault === undefined;
        if (rivals && waits && now() - began < timeout) {
          later(Math.ceil(splitPause()), bid);
          return;
        }
        line.forcing--;
        if (hold !== undefined && !waits) bids.undo(hold, ignore);
        else if (hold !== undefined) {
          leave();
          resolve(taken(hold, number));
        } else if (attempt instanceof Error) fail(attempt);
        else if (attempt.final) fail(attempt.fault);
        else if (rivals) refuse("somebody else forced it at the same time");
        else refuse("too few servers answered", attempt.fault);
      });
    };
    bid();
  });
}
