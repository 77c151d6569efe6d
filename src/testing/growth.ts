import { received, unfit } from "../errors";
import type { Account } from "../leaks/account-record";
import { pause } from "../leaks/clock";
import { detector } from "../leaks/detector";
import { takeSnapshot } from "../leaks/snapshot";
import { trackFully } from "./scopes";

/** What {@link expectNoGrowth} takes. */
export interface GrowthOptions {
  /** Runs that are not counted: caches fill up. @default 3 */
  readonly warmup?: number;
  /** Runs that are counted. @default 3 */
  readonly runs?: number;
}

/**
 * Runs a body again and again, and rejects if the open handles of one kind and site grew in every counted run (the rule
 * of CPython's reference leak tests: a cache that fills up, or fluctuates, is no leak). It turns level `full` on for itself.
 *
 * @throws {Error} If something grew; the message says what, and by how much in each run.
 * @example A body that gives everything back
 * ```ts
 * import { expectNoGrowth } from "lastref/testing";
 *
 * await expectNoGrowth(() => {
 *   using handle = Handle.of("a file", () => {});
 * });
 * ```
 */
export async function expectNoGrowth(body: () => unknown, options: GrowthOptions = {}): Promise<void> {
  if (typeof body !== "function") {
    throw unfit("look for growth", "a function", body);
  }
  const { warmup = 3, runs = 3 } = options;
  if (!(Number.isInteger(runs) && runs >= 1 && Number.isInteger(warmup) && warmup >= 0)) {
    throw new RangeError(
      `Cannot look for growth: expected whole numbers runs >= 1 and warmup >= 0, received ${received(runs)} and ${received(warmup)}`,
    );
  }
  const stopTracking = trackFully();
  const log = detector();
  const heard = log.onDropped;
  try {
    // Every run comes after an await: the stacks of the first would be others.
    await pause();
    for (let i = 0; i < warmup; i++) await body();
    const grown = new Map<string, number[]>();
    for (let run = 0; run < runs; run++) {
      const before = takeSnapshot();
      const dropped = new Map<string, number>();
      // What was collected is no longer open, and leaked all the same.
      log.onDropped = (account) => {
        heard?.(account);
        const key = keyOf(account);
        dropped.set(key, (dropped.get(key) ?? 0) + 1);
      };
      await body();
      await pause();
      for (const { kind, site, count } of takeSnapshot().diff(before)) {
        const key = `${kind}\n${site}`;
        dropped.set(key, (dropped.get(key) ?? 0) + count);
      }
      for (const [key, count] of dropped) {
        const deltas = grown.get(key) ?? [];
        if (count > 0) grown.set(key, [...deltas, count]);
      }
    }
    const leaks = [...grown].filter(([, deltas]) => deltas.length === runs);
    if (leaks.length > 0) throw new Error(`Open handles grew in every run:\n${leaks.map(print).join("\n")}`);
  } finally {
    log.onDropped = heard;
    stopTracking();
  }
}

function keyOf(account: Account): string {
  return `${account.family.kind}\n${account.site.text}`;
}

function print([key, deltas]: [string, number[]]): string {
  const [kind, ...frames] = key.split("\n");
  return `${kind}: ${deltas.map((delta) => `+${delta}`).join(", ")}\n  opened at ${frames.join("\n            ")}`;
}
