import type { AsyncHandle } from "../async-handle";
import { LeaseTimeoutError } from "../errors";
import { type OpenedThere, realm } from "../tracker";
import type { Lease } from "./lease";
import type { Line } from "./line";
import { cancel, later, now, type Signal, type Timer } from "./platform";
import { factsOf, withSites } from "./refusals";
import { listen, unlisten } from "./signals";
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

  /** Waits for `patience` milliseconds at most, `Infinity` for no bound. */
  constructor(
    line: Line,
    since: number,
    times: Times,
    once: boolean,
    patience: number,
    trying: boolean,
    signal: Signal | undefined,
    resolve: (handle: AsyncHandle<Lease> | undefined) => void,
    reject: (error: unknown) => void,
  ) {
    this.#line = line;
    this.#since = since;
    this.times = times;
    this.once = once;
    this.#trying = trying;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#signal = signal;
    line.add(this);
    this.#timer = patience === Infinity ? undefined : later(patience, () => this.timeOut());
    if (signal === undefined) return;
    this.#abort = () => this.fail(signal.reason);
    try {
      listen(signal, this.#abort);
    } catch (error) {
      this.fail(error);
    }
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
    const { name, fault, hold, left } = this.#line;
    const waited = Math.round(now() - this.#since);
    const ours = hold !== undefined && hold.remaining > 0 ? hold : undefined;
    const remaining = ours === undefined ? left : Math.ceil(ours.remaining);
    const sites = ours?.record?.sites();
    const message = `Cannot acquire lease "${name}": waited ${waited} ms and ${this.#why(remaining)}`;
    this.fail(
      new LeaseTimeoutError(withSites(message, sites), {
        ...factsOf(name),
        ...sites,
        refCount: ours?.refCount ?? 0,
        waited,
        remaining,
        cause: fault,
      }),
    );
  }

  #why(remaining: number | undefined): string {
    const { fault, hold, seen } = this.#line;
    if (hold !== undefined) {
      return hold.remaining > 0
        ? `it is held by this process, for ${remaining} ms more unless it is renewed`
        : "this process is giving it back";
    }
    if (fault !== undefined) return "too few servers answered to know who holds it";
    if (!seen) return "no server has answered yet";
    if (remaining === Infinity) return "it is held, by a key that never expires";
    return `it is held${remaining === undefined ? "" : `, for ${remaining} ms more unless it is renewed`}`;
  }

  #leave(): void {
    cancel(this.#timer);
    if (!this.waits) return;
    this.#line.remove(this);
    if (this.#abort !== undefined) unlisten(this.#signal as Signal, this.#abort);
  }
}
