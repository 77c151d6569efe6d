import type { Leak, TrackOptions } from "../../src/leaks/index";
import { leakReport, trackLeaks } from "../../src/leaks/index";

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
