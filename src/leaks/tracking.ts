import { realm } from "../tracker";
import type { Account } from "./account-record";
import { definedKinds } from "./cached";
import { every, ticks } from "./clock";
import { type Detector, detector } from "./detector";
import { accountsOf, leakOf } from "./leak";
import { Session } from "./session";
import { FullTracker, SampledTracker, WatchTracker } from "./trackers";
import type { TrackOptions } from "./types";

/**
 * Switches leak tracking on, until what it returns is disposed of; then what was before goes on.
 *
 * Accounts keep the record they were opened with. What was opened before tracking began is not recorded, and every report
 * says so.
 *
 * @throws {TypeError | RangeError} If an option is of the wrong type, or out of range.
 * @example Who forgot
 * ```ts
 * import { leakReport, trackLeaks } from "lastref/leaks";
 *
 * const tracking = trackLeaks({ level: "full" });
 * const forgotten = Handle.of("a socket", () => {}, { kind: "socket", label: "db:5432" });
 * console.log(leakReport().total); // 1
 * forgotten.decrRef();
 * tracking[Symbol.dispose]();
 * ```
 */
export function trackLeaks(options: TrackOptions = {}): Disposable {
  return track(options);
}

/** @param firm Nothing that is tracked meanwhile records less; see {@link Session.firm}. */
export function track(options: TrackOptions, firm = false): Disposable {
  const log = detector();
  const session = new Session(options, firm);
  log.sessions.push(session);
  activate(log);
  let over = false;
  const stop = (): void => {
    if (over) return;
    over = true;
    log.sessions = log.sessions.filter((other) => other !== session);
    activate(log);
  };
  return { [Symbol.dispose ?? Symbol.for("Symbol.dispose")]: stop } as unknown as Disposable;
}

let sweeping: Session | undefined;
let stopSweeping: (() => void) | undefined;

/** Makes the settings of the program's newest session those that count; what is recorded is what the most thorough asks for. */
function activate(log: Detector): void {
  const session = log.sessions.findLast(({ firm }) => !firm) ?? log.sessions.at(-1);
  let recording = session;
  for (const other of log.sessions) {
    if (recording !== undefined && other.firm && other.outranks(recording)) recording = other;
  }
  const before = log.recording;
  if (log.session !== undefined && log.session.quarantine !== session?.quarantine) log.captures.reset();
  if (before === undefined) {
    log.since = log.lastId;
    if (recording !== undefined) recording.openedBefore = openNow();
  } else if (recording !== undefined && recording !== before) {
    if (recording.outranks(before)) recording.openedBefore = Math.max(0, openNow() - recordedNow(log));
    else recording.openedBefore ??= before.openedBefore;
  }
  if (session === undefined) log.since = 0;
  log.captures.readAll();
  log.session = session;
  if (recording !== before) {
    log.recording = recording;
    if (recording === undefined || recording.level === "count") realm.tracker = undefined;
    else realm.tracker = recording.level === "full" ? new FullTracker(log) : new SampledTracker(log, recording);
  }
  // Whoever comes and goes meanwhile must not put the sweeps off.
  if (session === sweeping) return;
  sweeping = session;
  stopSweeping?.();
  stopSweeping = undefined;
  const least = session?.leastPatience ?? Infinity;
  if (least < Infinity) stopSweeping = every(Math.min(10_000, Math.max(5, least / 4)), () => sweep(log));
}

// A watched kind is recorded at every level, so as soon as there is a detector.
realm.watcher ??= new WatchTracker(detector());

/** Open resources of defined kinds, without those that nobody holds. */
function openNow(): number {
  let open = 0;
  for (const { opened, freed, cached } of definedKinds()) open += opened - freed - cached;
  return open;
}

/** Those of them that are recorded. */
function recordedNow(log: Detector): number {
  const names = new Set(definedKinds().map(({ name }) => name));
  const resources = new Set<Account>();
  for (let at = log.head; at !== undefined; at = at.next) {
    if (names.has(at.family.kind) && !at.first.more?.freed) resources.add(at.first);
  }
  return resources.size;
}

/** Reports the accounts that have been open for too long, the oldest first. */
function sweep(log: Detector): void {
  const { session } = log;
  if (session === undefined) return;
  const now = ticks();
  const least = session.leastPatience;
  const late: Account[] = [];
  for (let at = log.head; at !== undefined && now - at.at >= least; at = at.next) {
    if (at.more?.heldTooLong || now - at.at < session.patience(at.family.kind)) continue;
    at.rich().heldTooLong = true;
    late.push(at);
  }
  if (late.length === 0) return;
  const accounts = accountsOf(log, late);
  log.report(late.map((account) => leakOf("held-too-long", account, { accounts: accounts.get(account.first) ?? [] })));
}
