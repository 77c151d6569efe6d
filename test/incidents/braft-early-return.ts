import type { Handle } from "../../src/handle";
import { EntryLog } from "../../src/kinds/entry-log";
import { type LogEntry, logEntry } from "../../src/kinds/log-entry";
import { withoutLeaks } from "../../src/testing/index";
import { expectNoWayOutToLeak, type Fault } from "../support/faults";
import { type Incident, messageOf, rejectionOf } from "./incident";

const EREADONLY = 30;

/** An entry as BRaft counts it. */
class NaiveEntry {
  refs = 1;
  readonly index: number;
  constructor(index: number) {
    this.index = index;
  }
}

/** The shape of the replicator's prepare_entry: the reference is taken above, and given back on all paths but one. */
function prepareNaive(entry: NaiveEntry, readonlyIndex: number): number {
  entry.refs++;
  if (entry.index > readonlyIndex) {
    // The entry is not sent while the node is read-only: early return, and the reference stays.
    return EREADONLY;
  }
  entry.refs--;
  return 0;
}

/** The same function over handles, with the same mistake. */
function prepareForgetful(entry: Handle<LogEntry>, readonlyIndex: number, fault?: Fault): number {
  const held = entry.dup("prepare_entry");
  if (fault?.point("read-only") || entry.value.index > readonlyIndex) return EREADONLY;
  held.decrRef();
  return 0;
}

/** And without it: whatever way the function is left, the account is paid. */
export function prepare(entry: Handle<LogEntry>, readonlyIndex: number, fault?: Fault): number {
  using held = entry.dup("prepare_entry");
  if (fault?.point("read-only") || held.value.index > readonlyIndex) return EREADONLY;
  fault?.point("send");
  return 0;
}

export function trial(prepare: (entry: Handle<LogEntry>, readonlyIndex: number, fault?: Fault) => number) {
  return {
    setup: () => logEntry({ index: 7, term: 1, data: "x" }),
    run: (entry: Handle<LogEntry>, fault: Fault) => prepare(entry, 100, fault),
    count: (entry: Handle<LogEntry>) => entry.refCount,
    ways: ["throw", "return"] as const,
  };
}

export const incident: Incident = {
  title: "A read-only node returns early and keeps the entry, once per retry (BRaft, replicator)",
  damaged: "references left on one entry after 1,000 retries",
  async bug(say) {
    const entry = new NaiveEntry(7);
    for (let i = 0; i < 1_000; i++) prepareNaive(entry, 5);
    say("1,000 retries against a read-only node, each returns EREADONLY");
    entry.refs--;
    say(`its owner gives the entry back: count ${entry.refs}, so it is never freed`);
    return entry.refs;
  },
  async told(say) {
    say("every way out of the function is forced, and the references are compared:");
    const ways = await rejectionOf(expectNoWayOutToLeak(trial(prepareForgetful)));
    say("and a test that only runs the retries is told what they left, and where they took it:");
    const report = messageOf(() =>
      withoutLeaks(() => {
        const entry = logEntry({ index: 7, term: 1, data: "x" });
        for (let i = 0; i < 1_000; i++) prepareForgetful(entry, 5);
        entry.decrRef();
      }),
    );
    return `${ways}\n\n${report}`;
  },
  async cure(say) {
    const ways = await expectNoWayOutToLeak(trial(prepare));
    say(`${ways} ways out of the function are forced, none leaks`);
    const live = logEntry.stats.live;
    await using log = new EntryLog();
    await log.append([logEntry({ index: 1, term: 1, data: "x" })]);
    const entry = log.get(1);
    if (entry === undefined) throw new Error("The log has lost its entry");
    for (let i = 0; i < 1_000; i++) prepare(entry, 0);
    say(`after 1,000 retries the entry has ${entry.refCount} references: the log's and the caller's`);
    entry.decrRef();
    await log.truncatePrefix(2);
    return logEntry.stats.live - live;
  },
};
