import { count } from "../account";
import type { Account } from "./account-record";
import { cachedNow } from "./cached";
import { type Detector, detector } from "./detector";
import { Tally } from "./finds";
import { heapProfile } from "./heap-profile";
import { factsOf, leakOf } from "./leak";
import type { Site } from "./sites";
import { stackTrouble } from "./stack";
import { printGroups } from "./text";
import type { Cached, HeapProfile, LeakGroup, LeakReport, LeakReportJson, Level, LiveHandle, Verdict } from "./types";

/** Which accounts a report is about; all of them if absent. */
export interface Selection {
  readonly accounts?: (account: Account) => boolean;
  /** Found before: what was dropped, and misuse. */
  readonly finds?: readonly LeakGroup[];
  /** Said below the blind spots. */
  readonly notes?: readonly string[];
}

const ORDER: readonly Verdict[] = [
  "two-owners",
  "over-released",
  "use-after-free",
  "escaped",
  "dropped",
  "held-too-long",
  "held",
];

/** Culprits before their victims; then the largest, then by name, so that the same input prints the same text. */
function compareGroups(a: LeakGroup, b: LeakGroup): number {
  const context = Number(b.kind === "context") - Number(a.kind === "context");
  if (context !== 0) return context;
  const verdict = ORDER.indexOf(a.verdict) - ORDER.indexOf(b.verdict);
  if (verdict !== 0) return verdict;
  if (a.estimate !== b.estimate) return b.estimate - a.estimate;
  if (a.kind !== b.kind) return a.kind < b.kind ? -1 : 1;
  return a.site < b.site ? -1 : Number(a.site > b.site);
}

function verdictOf(account: Account): Verdict {
  if (account.more?.heldTooLong) return "held-too-long";
  return account.more?.escaped ? "escaped" : "held";
}

/** Adds up the open accounts by verdict, kind and site, without an object for each. */
function tallyLive(log: Detector, accounts: ((account: Account) => boolean) | undefined): Tally[] {
  const suppresses = (log.session?.suppressions.length ?? 0) > 0;
  // By identity first, which is fast; the same text may be under two site objects.
  const bySite = new Map<Site, Map<string, Tally>>();
  const byText = new Map<string, Tally>();
  for (let at = log.head; at !== undefined; at = at.next) {
    if (at.id <= log.since || (accounts !== undefined && !accounts(at))) continue;
    if (at.opened instanceof Error) at.read();
    const { kind } = at.family;
    const site = at.site;
    if (suppresses) {
      const { label, holder = "" } = at;
      if (log.suppressed({ kind, label, holder, opened: site.text })) continue;
    }
    const verdict = verdictOf(at);
    const key = `${verdict} ${kind}`;
    let tallies = bySite.get(site);
    if (tallies === undefined) {
      tallies = new Map();
      bySite.set(site, tallies);
    }
    let tally = tallies.get(key);
    if (tally === undefined) {
      const text = `${key}\n${site.text}`;
      tally = byText.get(text) ?? new Tally(verdict, kind, site.text);
      byText.set(text, tally);
      tallies.set(key, tally);
    }
    const { more } = at.first;
    const account = at;
    tally.add(at.owed, more?.bytes ?? 0, more?.weight ?? 1, () => leakOf(verdict, account));
  }
  return [...byText.values()];
}

function blindSpots(log: Detector): string[] {
  const spots: string[] = [];
  const { session } = log;
  if (session === undefined || session.level === "count") {
    spots.push("leak tracking is off: nothing was recorded, and this is not a report of no leaks (call trackLeaks)");
    return spots;
  }
  if (session.level === "sampled") {
    spots.push(
      `level sampled: stacks may take ${session.budget * 100} % of the time, the counts are extrapolated from the samples, and contexts are not recorded`,
    );
  }
  if (log.openedBefore > 0) {
    spots.push(`${count(log.openedBefore, "resource")} had been opened before tracking began and are not recorded`);
  }
  if (stackTrouble.lost > 0) spots.push(`${count(stackTrouble.lost, "stack")} could not be read`);
  if (stackTrouble.formatterFailed > 0) {
    spots.push(`Error.prepareStackTrace failed on ${count(stackTrouble.formatterFailed, "stack")}, printed unmapped`);
  }
  if (log.finds.forgotten > 0) spots.push(`${count(log.finds.forgotten, "older find")} are no longer kept`);
  for (const { pattern, uses } of session.suppressions) {
    spots.push(uses > 0 ? `suppressed by ${pattern}: ${uses}` : `suppression ${pattern} was of no use`);
  }
  return spots;
}

class Report implements LeakReport {
  readonly level: Level;
  readonly total: number | undefined;
  readonly groups: readonly LeakGroup[];
  readonly cached: readonly Cached[];
  readonly blindSpots: readonly string[];
  readonly #notes: readonly string[];

  constructor(log: Detector, selection: Selection) {
    this.level = log.session?.level ?? "count";
    const finds =
      selection.finds ?? [...log.finds.groups.values()].map((group) => ({ ...group, examples: [...group.examples] }));
    this.groups = [...tallyLive(log, selection.accounts), ...finds].sort(compareGroups);
    const total = this.groups.reduce((sum, group) => sum + group.count, 0);
    const { session } = log;
    this.total = session === undefined || session.level === "count" ? undefined : total;
    this.cached = cachedNow();
    this.blindSpots = blindSpots(log);
    this.#notes = selection.notes ?? [];
  }

  toString(): string {
    const { total, groups } = this;
    const found = `${count(total ?? 0, "leak")} in ${count(groups.length, "group")}`;
    const parts = [`lastref: ${total === undefined ? "leak tracking is off" : `${found} (level ${this.level})`}`];
    if (groups.length > 0) parts.push(printGroups(groups));
    const cached = this.cached.map(({ kind, count }) => `${count} ${kind}`).join(", ");
    const kept = cached === "" ? [] : [`cached by maps, held by nobody: ${cached}`];
    const remarks = [...this.#notes, ...kept, ...this.blindSpots.map((spot) => `not seen: ${spot}`)];
    if (remarks.length > 0) parts.push(remarks.join("\n"));
    if (groups.length > 0) parts.push(`more: ${moreWith(this.level)}`);
    return parts.join("\n\n");
  }

  toJSON(): LeakReportJson {
    const { level, total = null, groups, cached, blindSpots } = this;
    return { version: 1, level, total, groups, cached, blindSpots };
  }

  toHeapProfile(unit?: "count" | "bytes"): HeapProfile {
    return heapProfile(this.groups, unit);
  }
}

function moreWith(level: Level): string {
  return level === "full"
    ? "write leakReport().toHeapProfile() to a file leaks.heapprofile and open it in Chrome DevTools or VS Code"
    : "LASTREF_LEAKS=full node --import lastref/register app.js";
}

/** A report of what a test or a body has left behind. */
export function reportOf(selection: Selection): LeakReport {
  return new Report(detector(), selection);
}

/**
 * Reports what was dropped or misused so far and what is open now, grouped by kind and site.
 *
 * While nothing is tracked the report's `total` is `undefined`, and its text says so: that is not "no leaks".
 */
export function leakReport(): LeakReport {
  return reportOf({});
}

/** The open accounts, in the order they were opened; at level `full` all that were opened since tracking began. */
export function liveHandles(): LiveHandle[] {
  const handles: LiveHandle[] = [];
  const log = detector();
  for (let at = log.head; at !== undefined; at = at.next) if (at.id > log.since) handles.push(factsOf(at));
  return handles;
}
