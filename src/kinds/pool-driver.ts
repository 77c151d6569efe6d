import { type AcquireRefusedError, checkObject, unfit } from "../errors";
import type { Signal } from "../host";
import { checkRange } from "../map-options";

/** A pool, as {@link checkouts} sees it. */
export interface PoolDriver<T> {
  /** Takes a connection out of the pool. `signal` aborts when the caller has given up; one that arrives anyway is destroyed. */
  readonly acquire: (context: { readonly signal: Signal }) => T | PromiseLike<T>;
  /** Puts a healthy connection back. One that cannot be put back is destroyed; whoever gave it back hears of the failure. */
  readonly release: (connection: T) => unknown;
  /** Closes a connection that must not be used again, and takes it off the pool's books. */
  readonly destroy: (connection: T) => unknown;
  /** The name of the family in errors and reports. @default "connection" */
  readonly kind?: string;
  /** Names one connection in errors and reports; must not give secrets away. */
  readonly label?: (connection: T) => string;
  /** How long an acquire waits unless it says otherwise, in milliseconds. @default Infinity */
  readonly timeout?: number;
  /**
   * Listens for the end of a connection, its "error" and "close" events, from the moment it leaves the pool until it is
   * back or destroyed. Once it calls `lost` the checkout's signal aborts, and giving it back destroys it. A function that
   * it returns stops listening.
   */
  readonly lost?: (connection: T, lost: (error?: unknown) => void) => unknown;
  /**
   * Asked before a connection is given out. `false`, or a failure, destroys it, and the pool is asked for the next one. So
   * does losing it meanwhile, and it is destroyed when its caller gives up: nobody waits then for an answer that may never come.
   */
  readonly validate?: (connection: T) => boolean | PromiseLike<boolean>;
  /** How many connections in a row may turn out to be unusable before the acquire fails with an {@link AcquireRefusedError}. @default 10 */
  readonly attempts?: number;
  /**
   * How old a connection may get, in milliseconds since its first checkout: then it is destroyed instead of returned, or
   * instead of given out. What ages while it is idle is the pool's affair. Of connections that are objects, the same one each
   * time: mysql2/promise wraps a connection anew for every checkout, and none of its wrappers gets old; its callback pool,
   * which the promise pool has as `pool.pool`, gives the connections themselves. @default Infinity
   */
  readonly maxAge?: number;
  /** Hears of connections that nobody waited for, or that were unusable, and could not be destroyed; without it they are warnings. */
  readonly onError?: (error: unknown) => void;
}

export function checkDriver<T>(driver: PoolDriver<T>): void {
  checkObject("make checkouts", driver, "a driver of the pool");
  for (const name of ["acquire", "release", "destroy", "label", "lost", "validate", "onError"] as const) {
    const given: unknown = driver[name];
    const required = name === "acquire" || name === "release" || name === "destroy";
    if (typeof given === "function" || (given === undefined && !required)) continue;
    throw unfit("make checkouts", `${name} to be a function`, given);
  }
  const { timeout = Infinity, attempts = 1, maxAge = Infinity } = driver;
  checkRange("timeout", timeout, 0);
  checkRange("attempts", attempts, 1, true);
  checkRange("maxAge", maxAge, 0);
}
