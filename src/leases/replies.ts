import { integer, list, text } from "./command";
import type { ACQUIRE, LOOK } from "./scripts";

/** One node's answer to a bid. */
export interface Grab {
  readonly taken: boolean;
  /** Undefined when the bid was not fenced, or the key is somebody else's. */
  readonly fence: number | undefined;
  /** What the holder has left there, in milliseconds: `Infinity` for no expiry, undefined where it was not said. */
  readonly left: number | undefined;
}

/** Reads a reply; `undefined` if it makes no sense. */
export type Read<T> = (reply: unknown) => T | undefined;

/** What {@link LOOK} says of a key that is ours after all. */
const OURS = -3;

/** What a bid without a fence has when it was answered. */
export const TAKEN: Grab = { taken: true, fence: undefined, left: undefined };

/** What {@link ACQUIRE} says. */
export function grabbed(reply: unknown): Grab | undefined {
  const [first, second] = list(reply);
  const taken = integer(first);
  const said = integer(second);
  if (Number.isNaN(taken) || Number.isNaN(said)) return undefined;
  return taken === 1
    ? { taken: true, fence: said, left: undefined }
    : { taken: false, fence: undefined, left: leftOf(said) };
}

/** What a look at a key that was not to be had says. */
export function seen(reply: unknown): Grab | undefined {
  const left = integer(reply);
  return Number.isNaN(left) ? undefined : { taken: left === OURS, fence: undefined, left: leftOf(left) };
}

/** What a holder has left, by the server's `PTTL`: -1 for no expiry, -2 for no key. */
function leftOf(pttl: number): number | undefined {
  if (pttl === -1) return Infinity;
  return pttl < 0 ? undefined : pttl;
}

/** Whether it was done. */
export function isOne(reply: unknown): boolean | undefined {
  const said = integer(reply);
  return Number.isNaN(said) ? undefined : said === 1;
}

/** Whether it was done, by a command that says so in a word. */
export function isOk(reply: unknown): boolean {
  return text(reply) === "OK";
}
