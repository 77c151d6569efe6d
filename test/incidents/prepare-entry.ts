import type { Handle } from "../../src/handle";
import type { LogEntry } from "../../src/kinds/log-entry";

export const EREADONLY = 30;

/** An entry as BRaft counts it. */
export class NaiveEntry {
  refs = 1;
  readonly index: number;
  constructor(index: number) {
    this.index = index;
  }
}

/** The shape of the replicator's prepare_entry: the reference is taken above, and given back on all paths but one. */
export function prepareNaive(entry: NaiveEntry, readonlyIndex: number): number {
  entry.refs++;
  if (entry.index > readonlyIndex) {
    // The entry is not sent while the node is read-only: early return, and the reference stays.
    return EREADONLY;
  }
  entry.refs--;
  return 0;
}

/** The same function over handles, with the same mistake. */
export function prepareForgetful(entry: Handle<LogEntry>, readonlyIndex: number): number {
  const held = entry.dup("prepare_entry");
  if (held.value.index > readonlyIndex) return EREADONLY;
  held.decrRef();
  return 0;
}

/** And without it: whatever way the function is left, the account is paid. */
export function prepare(entry: Handle<LogEntry>, readonlyIndex: number): number {
  using held = entry.dup("prepare_entry");
  if (held.value.index > readonlyIndex) return EREADONLY;
  return 0;
}
