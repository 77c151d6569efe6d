import type { Leak, TrackOptions } from "../../src/leaks/index";
import { leakReport, liveHandles, settle, trackLeaks } from "../../src/leaks/index";

/** Tracks leaks for one body, and hands it the list that they are heard in. */
export async function tracked<R>(
  options: TrackOptions,
  body: (leaks: Leak[]) => R,
): Promise<{ leaks: Leak[]; result: Awaited<R>; report: string }> {
  const leaks: Leak[] = [];
  const tracking = trackLeaks({ onLeak: (leak) => leaks.push(leak), ...options });
  try {
    const result = await body(leaks);
    return { leaks, result, report: String(leakReport()) };
  } finally {
    tracking[Symbol.dispose]();
  }
}

/** Runs a call whose frame has ended when this returns: nothing it held is held any more. */
export function inCall<R>(call: () => R): R {
  const result = call();
  return result;
}

/**
 * Settles until nothing is open. Code that ran often may be held for a moment by the compiler that is at work on it, and
 * with it what it has seen.
 */
export async function settleAll(): Promise<void> {
  for (let round = 0; round < 20; round++) {
    await settle();
    if (liveHandles().length === 0) return;
  }
}

/** Waits for a condition, for ten seconds at most. */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error("The condition did not come true within ten seconds");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** The line of this file's caller, for comparing with a site. */
export function lineHere(): number {
  const line = /\.test\.ts:(\d+)/.exec(new Error().stack ?? "")?.[1];
  return Number(line);
}
