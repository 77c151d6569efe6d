import { MAX_REFS } from "../account";
import { received, unfit } from "../errors";
import type { TrackOptions } from "./types";

/**
 * Refuses what `trackLeaks` does not know, before anything is switched: a limit that was misread would be silence.
 *
 * @throws {TypeError | RangeError} If an option is of the wrong type, or out of range.
 */
export function checkOptions(options: TrackOptions): void {
  check(typeof options === "object" && options !== null, "an object of options", options);
  const { level = "full", stackDepth = 8, budget = 0, quarantine = 0, heldTooLong, freeLeaked = false } = options;
  const { onLeak, suppress = [] } = options;
  check(["count", "sampled", "full"].includes(level), 'level "count", "sampled" or "full"', level);
  check(onLeak === undefined || typeof onLeak === "function", "onLeak to be a function", onLeak);
  checkRange("stackDepth", stackDepth, 1, 200, true);
  checkRange("budget", budget, 0, 1);
  checkRange("quarantine", quarantine, 0, MAX_REFS, true);
  if (typeof heldTooLong === "object") {
    check(heldTooLong !== null, "heldTooLong in milliseconds", heldTooLong);
    for (const [kind, ms] of Object.entries(heldTooLong)) checkRange(`heldTooLong of "${kind}"`, ms, 0, Infinity);
  } else if (heldTooLong !== undefined) checkRange("heldTooLong", heldTooLong, 0, Infinity);
  checkList("suppress to be a list of non-empty strings and expressions", suppress, isPattern);
  if (typeof freeLeaked !== "boolean") {
    checkList("freeLeaked to be a list of kinds", freeLeaked, (kind) => typeof kind === "string");
  }
}

/** Not `instanceof`: the expressions of another realm are as good. */
function isPattern(item: unknown): boolean {
  return (
    (typeof item === "string" && item !== "") || typeof (item as Partial<RegExp> | null)?.[Symbol.search] === "function"
  );
}

function check(fits: boolean, expected: string, given: unknown): void {
  if (!fits) throw unfit("track leaks", expected, given);
}

function checkRange(name: string, value: unknown, least: number, most: number, whole = false): void {
  if (typeof value !== "number" || !(value >= least && value <= most) || (whole && !Number.isInteger(value))) {
    throw new RangeError(
      `Cannot track leaks: expected ${name} ${whole ? "to be a whole number " : ""}between ${least} and ${most}, received ${received(value)}`,
    );
  }
}

function checkList(expected: string, list: unknown, fits: (item: unknown) => boolean): void {
  if (!Array.isArray(list)) check(false, expected, list);
  else for (const item of list) check(fits(item), expected, item);
}
