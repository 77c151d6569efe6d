import { DISPOSE } from "../account";
import { suppress } from "../errors";
import type { Handle } from "../handle";
import type { LogEntry } from "./log-entry";

// Lists of handles as callers of an `EntryLog` give them: anything may be in them.

/** Accounts of our own instead of the caller's; none if one of them is no live log entry. */
export function takeOver(given: readonly Handle<LogEntry>[]): Handle<LogEntry>[] {
  let taken: Handle<LogEntry>[] = [];
  try {
    try {
      if (given.every(isLive)) taken = dupAll(given, "memory");
    } finally {
      giveBack(given);
    }
  } catch (error) {
    giveBack(taken);
    throw error;
  }
  return taken;
}

/** Accounts for another holder; none is left if one of them cannot be opened. */
export function dupAll(entries: readonly Handle<LogEntry>[], holder: string): Handle<LogEntry>[] {
  const opened: Handle<LogEntry>[] = [];
  try {
    for (const entry of entries) opened.push(entry.dup(holder));
  } catch (error) {
    giveBack(opened);
    throw error;
  }
  return opened;
}

/** Gives back all, the last one first, also past one that fails. */
export function giveBack(entries: readonly Handle<LogEntry>[]): void {
  let failure: { readonly error: unknown } | undefined;
  for (let i = entries.length - 1; i >= 0; i--) {
    const entry = entries[i];
    try {
      if (isHandle(entry)) entry[DISPOSE]();
    } catch (error) {
      failure = { error: failure === undefined ? error : suppress(error, failure.error) };
    }
  }
  if (failure !== undefined) throw failure.error;
}

/** What throws when it is asked is no handle. */
function isHandle(value: unknown): value is Handle<LogEntry> {
  try {
    const { dup, [DISPOSE]: dispose } = value as Handle<LogEntry>;
    return typeof dup === "function" && typeof dispose === "function";
  } catch {
    return false;
  }
}

/** Whether it is a handle of a log entry that can be read. */
export function isLive(entry: Handle<LogEntry>): boolean {
  try {
    return isHandle(entry) && entry.alive && Number.isInteger(entry.value.index);
  } catch {
    return false;
  }
}
