import type { Handle } from "../../src/handle";
import { EntryLog } from "../../src/kinds/entry-log";
import { type LogEntry, logEntry } from "../../src/kinds/log-entry";
import { withoutLeaks } from "../../src/testing/index";
import { expectNoWayOutToLeak, type Trial } from "../support/faults";
import { type Injected, inject } from "../support/inject";
import { type Incident, messageOf, rejectionOf } from "./incident";
import type * as functions from "./prepare-entry";
import { NaiveEntry, prepare, prepareForgetful, prepareNaive } from "./prepare-entry";

const file = "test/incidents/prepare-entry.ts";
const library = "src/kinds/log-entry.ts";

/** The module with a point at everything that one of its functions does. */
export function forced(name: string): Promise<Injected<typeof functions & { logEntry: typeof logEntry }>> {
  return inject([file, library], [{ file, functions: [name], at: "everywhere" }]);
}

/** What the function under test does to the count of an entry that somebody else holds. */
export function trial(name: "prepare" | "prepareForgetful", readonlyIndex: number): ForgetfulTrial {
  return {
    setup: ({ logEntry, [name]: prepare }) => ({ entry: logEntry({ index: 7, term: 1, data: "x" }), prepare }),
    run: ({ entry, prepare }) => prepare(entry, readonlyIndex),
    count: ({ entry }) => entry.refCount,
    end: ({ entry }) => entry.decrRef(),
  };
}

type ForgetfulTrial = Trial<
  typeof functions & { logEntry: typeof logEntry },
  { entry: Handle<LogEntry>; prepare: typeof prepare }
>;

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
    const readWrite = expectNoWayOutToLeak(await forced("prepareForgetful"), trial("prepareForgetful", 100));
    const ways = await rejectionOf(readWrite);
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
    const { ways } = await expectNoWayOutToLeak(await forced("prepare"), trial("prepare", 100));
    say(`${ways.length} ways out of the function are forced, none leaks`);
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
