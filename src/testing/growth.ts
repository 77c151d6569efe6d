import { checkObject, received, unfit } from "../errors";
import type { Account } from "../leaks/account-record";
import { pause } from "../leaks/clock";
import { detector } from "../leaks/detector";
import { suppressible } from "../leaks/leak";
import { snapshotOf } from "../leaks/snapshot";
import type { Snapshot } from "../leaks/types";
import { GRACE, graceOf, Scope, scopes, trackFully } from "./scopes";

/** What {@link expectNoGrowth} takes. */
export interface GrowthOptions {
  /** Runs that are not counted: caches fill up. @default 3 */
  readonly warmup?: number;
  /** Runs that are counted. @default 3 */
  readonly runs?: number;
}

/**
 * Runs a body again and again, and rejects if the open handles of one kind and site grew in every counted run (the rule
 * of CPython's reference leak tests: a cache that fills up, or fluctuates, is no leak). Cleanup that comes a little later
 * is waited for, and what runs at once is told apart wherever there is `AsyncLocalStorage`. It records at level `full`.
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
  checkObject("look for growth", options);
  const { warmup = 3, runs = 3 } = options;
  if (!(Number.isInteger(runs) && runs >= 1 && Number.isInteger(warmup) && warmup >= 0)) {
    throw new RangeError(
      `Cannot look for growth: expected whole numbers runs >= 1 and warmup >= 0, received ${received(runs)} and ${received(warmup)}`,
    );
  }
  const stopTracking = trackFully();
  const all = scopes();
  const scope = new Scope("", all.current());
  // What another body or test opens is left out; what the body has set off elsewhere may be in no scope, or in one around.
  const isMine = (other: Scope | undefined): boolean =>
    other === undefined || other.outside || scope.holds(other) || other.holds(scope);
  const counts = (account: Account): boolean =>
    (!all.tellsApart || isMine(account.more?.scope as Scope | undefined)) &&
    detector().session?.suppression(suppressible(account)) === undefined;
  const dropped = new Map<string, number>();
  const onDropped = (account: Account): void => {
    if (!counts(account)) return;
    const key = keyOf(account);
    dropped.set(key, (dropped.get(key) ?? 0) + 1);
  };
  /** How the open handles have grown since `before`; what was collected is no longer open, and leaked all the same. */
  const growthSince = (before: Snapshot): Map<string, number> => {
    const growth = new Map(dropped);
    for (const { kind, site, count } of snapshotOf(counts).diff(before)) {
      const key = `${kind}\n${site}`;
      growth.set(key, (growth.get(key) ?? 0) + count);
    }
    return new Map([...growth].filter(([, count]) => count > 0));
  };
  detector().onDropped.add(onDropped);
  try {
    // Every run comes after an await: the stacks of the first would be others.
    await pause();
    for (let i = 0; i < warmup; i++) await all.within(scope, body);
    const grown = new Map<string, number[]>();
    for (let run = 0; run < runs; run++) {
      const before = snapshotOf(counts);
      dropped.clear();
      await all.within(scope, body);
      await pause();
      let growth = growthSince(before);
      for (let attempt = 0; attempt < GRACE && growth.size > 0; attempt++) {
        await pause(graceOf(attempt));
        growth = growthSince(before);
      }
      for (const [key, count] of growth) grown.set(key, [...(grown.get(key) ?? []), count]);
    }
    const leaks = [...grown].filter(([, deltas]) => deltas.length === runs);
    if (leaks.length > 0) throw new Error(`Open handles grew in every run:\n${leaks.map(print).join("\n")}`);
  } finally {
    scope.ended = true;
    detector().onDropped.delete(onDropped);
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
