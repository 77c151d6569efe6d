/**
 * What every host has and no language library declares: timers and abort signals.
 *
 * Read from the global object at each call, so that a test runner's fake timers are seen. The types are the user's own
 * `AbortSignal` where his libraries declare one (DOM, @types/node), and what is needed of it where they do not.
 */
import { unfit } from "./errors";

interface MinimalSignal {
  readonly aborted: boolean;
  readonly reason: unknown;
  addEventListener(type: "abort", listener: () => void): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/** An `AbortSignal`. */
export type Signal = typeof globalThis extends { AbortSignal: { prototype: infer S } } ? S : MinimalSignal;

export interface Controller {
  readonly signal: Signal;
  abort(reason: unknown): void;
}

interface Timer {
  unref?(): void;
}

interface Host {
  readonly AbortController: new () => Controller;
  readonly performance: { now(): number };
  setTimeout(call: () => void, delay: number): Timer;
  clearTimeout(timer: Timer): void;
}

const host = globalThis as unknown as Host;

/** The longest delay a timer can have; one more and it fires at once. */
const LONGEST = 2 ** 31 - 1;

/** Calls once after `ms` milliseconds (at most 24.8 days), without keeping the process alive. Returns its cancellation. */
export function after(ms: number, call: () => void): () => void {
  const timer = host.setTimeout(call, Math.min(ms, LONGEST));
  timer.unref?.();
  return () => host.clearTimeout(timer);
}

/** Milliseconds on a clock that never goes back. */
export function now(): number {
  return host.performance.now();
}

export function abortController(): Controller {
  return new host.AbortController();
}

const none = (): void => {};

/** An abort controller that is made when somebody asks for its signal: most are never asked. */
export class LateController {
  #controller: Controller | undefined = undefined;
  #aborted: { readonly reason: unknown } | undefined = undefined;

  get signal(): Signal {
    if (this.#controller === undefined) {
      this.#controller = abortController();
      if (this.#aborted !== undefined) this.#controller.abort(this.#aborted.reason);
    }
    return this.#controller.signal;
  }

  /** The first reason counts. */
  abort(reason: unknown): void {
    if (this.#aborted !== undefined) return;
    this.#aborted = { reason };
    this.#controller?.abort(reason);
  }
}

/** Calls once when one of the signals aborts. Returns its cancellation. */
export function onAbort(signals: readonly (Signal | undefined)[], call: (reason: unknown) => void): () => void {
  const given = signals.filter((signal) => signal !== undefined) as MinimalSignal[];
  if (given.length === 0) return none;
  const stop = (): void => {
    for (const signal of given) signal.removeEventListener("abort", heard);
  };
  const heard = (): void => {
    stop();
    call(given.find((signal) => signal.aborted)?.reason);
  };
  for (const signal of given) signal.addEventListener("abort", heard);
  return stop;
}

/** Calls once when one of the signals aborts, or after `timeout` milliseconds with the error of that. Returns its cancellation. */
export function onGivingUp(
  signals: readonly (Signal | undefined)[],
  timeout: number,
  late: () => Error,
  call: (reason: unknown) => void,
): () => void {
  if (timeout === Infinity) return onAbort(signals, call);
  const stop = (): void => {
    stopTimer();
    stopListening();
  };
  // First what throws if one of them is no signal.
  const stopListening = onAbort(signals, (reason) => {
    stop();
    call(reason);
  });
  const stopTimer = after(timeout, () => {
    stop();
    call(late());
  });
  return stop;
}

/** The signal among these that has aborted already, if any. */
export function aborted(signals: readonly (Signal | undefined)[]): Signal | undefined {
  return signals.find((signal) => signal?.aborted);
}

export function checkSignal(action: string, signal: unknown): void {
  if (signal === undefined) return;
  if (typeof (signal as { addEventListener?: unknown } | null)?.addEventListener !== "function") {
    throw unfit(action, "signal to be an AbortSignal", signal);
  }
}
