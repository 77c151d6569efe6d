import { now } from "./platform";

/** The times of one lease, in milliseconds. */
export interface Times {
  readonly ttl: number;
  readonly renewEvery: number;
  /** How long it may be held, renewals included; `Infinity` for no bound. */
  readonly maxHold: number;
  /** When it has to be over, in `performance.now()` time; `Infinity` for no bound. */
  readonly until: number;
}

/** When a command was sent, on both clocks, and the time to live that it asked for. */
export interface Sent {
  readonly at: number;
  readonly wall: number;
  readonly ttl: number;
}

/** How far the clocks may drift apart: the time of a lease is shorter here than on the server (Redlock's bound). */
export function drift(ttl: number): number {
  return ttl / 100 + 2;
}

const LONGEST_TIMER = 2 ** 31 - 1;

/** Milliseconds until then, for a timer; `Infinity` for never, and for what is further away than any timer can be. */
export function timeLeft(until: number): number {
  if (until === Infinity) return Infinity;
  const left = Math.max(0, Math.ceil(until - now()));
  return left > LONGEST_TIMER ? Infinity : left;
}

/** When a hold that was asked for then ends, however often it is renewed. */
export function endOf(times: Times, at: number): number {
  return Math.min(at + times.maxHold, times.until);
}

/**
 * What a server is asked for now, by a hold that ends by itself then.
 *
 * No longer than the hold may last, drift included, so that it ends here when it should; and never past the caller's own
 * deadline, so that the key ends there whatever becomes of this process.
 */
export function sending(times: Times, at: number, endsAt: number): Sent {
  const left = endsAt - at;
  const ttl = Math.min(times.ttl, Math.ceil((left + 2) / 0.99) + 1);
  return { at, wall: Date.now(), ttl: times.until === Infinity ? ttl : Math.min(ttl, Math.floor(times.until - at)) };
}

/** Milliseconds that are left of what was acquired or renewed by a command sent then. */
export function remaining(sent: Sent): number {
  const left = sent.ttl - drift(sent.ttl);
  return Math.min(sent.at + left - now(), sent.wall + left - Date.now());
}
