import { count } from "../account";
import type { Account } from "./account-record";
import { cachedNow } from "./cached";
import { type Detector, detector } from "./detector";
import { isMisuse, Tally } from "./finds";
import { heapProfile } from "./heap-profile";
import { factsOf, leakOf } from "./leak";
import type { Suppression } from "./session";
import type { Site } from "./sites";
import { stackTrouble } from "./stack";
import { printGroups } from "./text";
import type { Cached, HeapProfile, LeakGroup, LeakReport, LeakReportJson, Level, LiveHandle, Verdict } from "./types";

/** Which accounts a report is about; all of them if absent. */
export interface Selection {
  readonly accounts?: (account: Account) => boolean;
  /** Found before: what was dropped, and misuse. */
  readonly finds?: readonly LeakGroup[];
  /** How the reader comes by the report, for the command that shows more. */
  readonly asked?: string;
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

/**
 * Adds up the open accounts by verdict, kind and site, without an object for each.
 *
 * @param left Counts those left out, which are not counted for good: they may be asked about again.
 */
function tallyLive(log: Detector, accounts: Selection["accounts"], left: Map<Suppression, number>): Tally[] {
  const session = (log.session?.suppressions.length ?? 0) > 0 ? log.session : undefined;
  // By identity first, which is fast; the same text may be under two site objects.
  const bySite = new Map<Site, Map<string, Tally>>();
  const byText = new Map<string, Tally>();
  for (let at = log.head; at !== undefined; at = at.next) {
    if (at.id <= log.since || (accounts !== undefined && !accounts(at))) continue;
    if (at.opened instanceof Error) at.read();
    const { kind } = at.family;
    const site = at.site;
    const { label, holder = "" } = at;
    const suppression = session?.suppression({ kind, label, holder, opened: site.text });
    if (suppression !== undefined) {
      left.set(suppression, (left.get(suppression) ?? 0) + 1);
      continue;
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

function blindSpots(log: Detector, left: ReadonlyMap<Suppression, number>): string[] {
  const spots: string[] = [];
  const { session, recording } = log;
  if (session === undefined || recording === undefined || recording.level === "count") {
    spots.push(
      recording === undefined
        ? "leak tracking is off: nothing but kinds with watch: true is recorded, and this is not a report of no leaks (call trackLeaks)"
        : 'leak tracking is at level "count": nothing but kinds with watch: true is recorded, and this is not a report of no leaks (ask for level "full")',
    );
    return spots;
  }
  if (recording.level === "sampled") {
    const percent = Number((recording.budget * 100).toPrecision(3));
    spots.push(
      `level sampled: one resource of ${recording.interval} is recorded now, so that stacks take at most ${percent} % of the time; what the counts stand for is extrapolated, and contexts are not recorded`,
    );
  }
  const { openedBefore = 0 } = recording;
  if (openedBefore > 0) {
    spots.push(`${count(openedBefore, "resource")} had been opened before tracking began and are not recorded`);
  }
  if (stackTrouble.lost > 0) spots.push(`${count(stackTrouble.lost, "stack")} could not be read`);
  if (stackTrouble.formatterFailed > 0) {
    spots.push(`Error.prepareStackTrace failed on ${count(stackTrouble.formatterFailed, "stack")}, printed unmapped`);
  }
  if (log.finds.forgotten > 0) spots.push(`${count(log.finds.forgotten, "older find")} are no longer kept`);
  for (const suppression of session.suppressions) {
    const { pattern } = suppression;
    const uses = suppression.uses + (left.get(suppression) ?? 0);
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
  readonly #asked: string;
  readonly #off: boolean;

  constructor(log: Detector, selection: Selection) {
    this.level = log.recording?.level ?? "count";
    const left = new Map<Suppression, number>();
    const finds =
      selection.finds ?? [...log.finds.groups.values()].map((group) => ({ ...group, examples: [...group.examples] }));
    this.groups = [...tallyLive(log, selection.accounts, left), ...finds].sort(compareGroups);
    this.total = this.level === "count" ? undefined : sumOf(this.groups, "count");
    this.cached = cachedNow();
    this.blindSpots = blindSpots(log, left);
    this.#asked = selection.asked ?? "leakReport()";
    this.#off = log.recording === undefined;
  }

  toString(): string {
    const { groups, level } = this;
    const nothing = this.#off ? "leak tracking is off" : 'leak tracking is at level "count"';
    const headline = level === "count" && groups.length === 0 ? nothing : `${found(groups)} (level ${level})`;
    const parts = [`lastref: ${headline}`];
    if (groups.length > 0) parts.push(printGroups(groups));
    const cached = this.cached.map(({ kind, count }) => `${count} ${kind}`).join(", ");
    const kept = cached === "" ? [] : [`cached by maps, held by nobody: ${cached}`];
    const remarks = [...kept, ...this.blindSpots.map((spot) => `not seen: ${spot}`)];
    if (remarks.length > 0) parts.push(remarks.join("\n"));
    if (groups.length > 0) parts.push(`more: ${moreWith(level, this.#asked)}`);
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

function sumOf(groups: readonly LeakGroup[], of: "count" | "estimate"): number {
  return groups.reduce((sum, group) => sum + group[of], 0);
}

/** `2 leaks and 1 misuse in 3 groups`: a wrong call leaves nothing open by itself. */
function found(groups: readonly LeakGroup[]): string {
  const leaks = groups.filter((group) => !isMisuse(group));
  const [seen, estimate] = [sumOf(leaks, "count"), sumOf(leaks, "estimate")];
  const misuses = sumOf(groups, "count") - seen;
  return [
    count(seen, "leak"),
    estimate > seen ? `, standing for about ${estimate},` : "",
    misuses > 0 ? ` and ${count(misuses, "misuse")}` : "",
    ` in ${count(groups.length, "group")}`,
  ].join("");
}

function moreWith(level: Level, asked: string): string {
  return level === "full"
    ? `write ${asked}.toHeapProfile() to a file leaks.heapprofile and open it in Chrome DevTools or VS Code`
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
