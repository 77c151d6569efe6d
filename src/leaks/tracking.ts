import { realm } from "../tracker";
import { definedKinds } from "./cached";
import { every, ticks } from "./clock";
import { type Detector, detector } from "./detector";
import { leakOf } from "./leak";
import { Session } from "./session";
import { FullTracker, SampledTracker, WatchTracker } from "./trackers";
import type { Leak, TrackOptions } from "./types";

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
  const log = detector();
  const session = new Session(options);
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

let stopSweeping: (() => void) | undefined;

/** Makes the newest session the one that counts. */
function activate(log: Detector): void {
  const session = log.sessions.at(-1);
  const before = log.session;
  if (before !== undefined && before.quarantine !== session?.quarantine) log.resetQuarantine();
  if (before === undefined) {
    log.since = log.lastId;
    log.openedBefore = openNow();
  } else if (before.level === "count") log.openedBefore = Math.max(0, openNow() - log.live);
  if (session === undefined) log.since = 0;
  log.readAll();
  log.session = session;
  if (session === undefined || session.level === "count") realm.tracker = undefined;
  else realm.tracker = session.level === "full" ? new FullTracker(log, session) : new SampledTracker(log, session);
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

/** Reports the accounts that have been open for too long, the oldest first. */
function sweep(log: Detector): void {
  const { session } = log;
  if (session === undefined) return;
  const now = ticks();
  const least = session.leastPatience;
  const late: Leak[] = [];
  for (let at = log.head; at !== undefined && now - at.at >= least; at = at.next) {
    if (at.more?.heldTooLong || now - at.at < session.patience(at.family.kind)) continue;
    at.rich().heldTooLong = true;
    late.push(leakOf("held-too-long", at));
  }
  if (late.length > 0) log.report(late);
}
