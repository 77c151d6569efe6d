import { ASYNC_DISPOSE, ignore } from "../account";
import { checkObject, suppress, unfit } from "../errors";
import type { Handle } from "../handle";
import { dupAll, giveBack, isLive, takeOver } from "./entry-handles";
import { checkIndex, type LogEntry } from "./log-entry";

/**
 * Where an {@link EntryLog} writes its entries.
 *
 * One call at a time. What a storage itself asks of its log runs after the call it is in, which must not wait for it: both
 * would wait for ever.
 */
export interface EntryStorage {
  /** Writes entries that follow the last one it has. If it fails, what it wrote of them is truncated again. */
  append(entries: readonly LogEntry[]): void | PromiseLike<void>;
  /**
   * Removes every entry outside of `first` to `last`, both included; all of them if `first` is greater. If it fails it is
   * called again before the next append writes, which fails with it: nothing is written after what the log does not have.
   */
  truncate(kept: { readonly first: number; readonly last: number }): void | PromiseLike<void>;
}

export interface EntryLogOptions {
  /** Without it the entries are in memory only. */
  readonly storage?: EntryStorage;
  /** The index of the first entry. @default 1 */
  readonly firstIndex?: number;
  /**
   * Whether memory keeps its account on an entry that was applied until the entry is truncated. Without it the account is
   * given back as soon as {@link EntryLog.appliedIndex} says so, and what is written already is freed: reading it again is
   * the storage's affair (BRaft `LogManager::set_applied_id`).
   *
   * @default true
   */
  readonly keepApplied?: boolean;
}

/**
 * What became of an {@link EntryLog.append}: `stored`, also what was there already; `gap`, the entries do not follow the
 * log or one another; `applied`, all are at or before the applied index; `conflict`, one at or before the applied index
 * has another term; `refused`, the log is read-only or has ended, or one of them is no live log entry.
 */
export type AppendOutcome = "stored" | "gap" | "applied" | "conflict" | "refused";

/**
 * A log that owns its entries. Memory and storage hold each an account of their own, which reports name "memory" and
 * "storage": the storage's until the write is done, the memory's until the entry is truncated, or applied where
 * `keepApplied` is off.
 *
 * @example Whatever becomes of an append, the caller owes nothing after it
 * ```ts
 * await using log = new EntryLog();
 * const entries = [logEntry({ index: 1, term: 1, data: "a" }), logEntry({ index: 2, term: 1, data: "b" })];
 * console.log(await log.append(entries), entries.length); // stored 0
 * console.log(await log.append([logEntry({ index: 9, term: 1 })])); // gap
 * using second = log.get(2);
 * console.log(second?.value.data, second?.refCount); // b 2
 * ```
 */
export interface EntryLog extends AsyncDisposable {
  /** The index of the first entry, or of the next one if there is none. */
  readonly firstIndex: number;
  /** The index of the last entry; one less than {@link firstIndex} if there is none. */
  readonly lastIndex: number;
  /** Entries in memory. */
  readonly size: number;
  /** Refuses every append while it is set. */
  readonly: boolean;
  /**
   * The last index that was applied: an append cannot overwrite entries up to it, and with `keepApplied` off they leave
   * memory. In a new log, and after a {@link reset}, it is one less than {@link firstIndex}. {@link truncateSuffix} sets it
   * back to the new end if it removes what was applied, which can then be appended anew.
   *
   * @throws {RangeError} When it is set back by hand, or beyond the last entry.
   */
  appliedIndex: number;
  /**
   * Takes over the caller's references, in every outcome and before it returns, and empties the array. One append
   * runs after the other; entries that conflict with later ones in the log, not applied yet, replace them.
   *
   * @returns A promise that rejects with what the storage failed with; none of the entries is in the log then.
   * @throws {TypeError} Synchronously, if `entries` is no array.
   */
  append(entries: Handle<LogEntry>[]): Promise<AppendOutcome>;
  /** A new account on an entry, which the caller owes, or `undefined` if it is not in memory. */
  get(index: number, holder?: string): Handle<LogEntry> | undefined;
  /**
   * Gives back the entries before `firstKept`.
   *
   * @returns A promise that rejects with what the storage failed with, or with a `ReferenceError` if the log has ended.
   */
  truncatePrefix(firstKept: number): Promise<void>;
  /** Gives back the entries after `lastKept`, applied or not. @returns As {@link truncatePrefix}. */
  truncateSuffix(lastKept: number): Promise<void>;
  /** Gives back all entries; the next one has the index `next`. @returns As {@link truncatePrefix}. */
  reset(next: number): Promise<void>;
  /**
   * Ends the log: it takes nothing more, does all that was asked of it before, and gives back all entries. The storage
   * keeps what it has. Further calls return the same promise.
   */
  [Symbol.asyncDispose](): Promise<void>;
}

/** The class of {@link EntryLog}. */
export interface EntryLogConstructor {
  new (options?: EntryLogOptions): EntryLog;
  readonly prototype: EntryLog;
}

export const EntryLog: EntryLogConstructor = class implements EntryLog {
  readonly #storage: EntryStorage | undefined;
  readonly #keepApplied: boolean;
  /** The memory's accounts, without holes. */
  #entries: Handle<LogEntry>[] = [];
  #first: number;
  /** The index of the first entry in memory: what is before it in the log was applied, and not kept. */
  #kept: number;
  #applied: number;
  /** A truncation failed: the storage has entries that the log has not. */
  #behind = false;
  /** What runs now; `undefined` when nothing does. */
  #running: Promise<unknown> | undefined = undefined;
  #ended: Promise<void> | undefined = undefined;
  readonly = false;

  constructor(options: EntryLogOptions = {}) {
    checkObject("make an EntryLog", options);
    const { storage, firstIndex = 1, keepApplied = true } = options;
    for (const name of ["append", "truncate"] as const) {
      if (storage === undefined || typeof storage?.[name] === "function") continue;
      throw unfit("make an EntryLog", `a storage with ${name}()`, storage);
    }
    checkIndex("make an EntryLog", "firstIndex", firstIndex);
    this.#storage = storage;
    this.#keepApplied = keepApplied;
    this.#first = firstIndex;
    this.#kept = firstIndex;
    this.#applied = firstIndex - 1;
  }

  get firstIndex(): number {
    return this.#first;
  }

  get lastIndex(): number {
    return this.#kept + this.#entries.length - 1;
  }

  get size(): number {
    return this.#entries.length;
  }

  get appliedIndex(): number {
    return this.#applied;
  }

  set appliedIndex(index: number) {
    if (!Number.isInteger(index) || index < this.#applied || index > this.lastIndex) {
      throw new RangeError(
        `Cannot apply up to ${index}: the log was applied up to ${this.#applied} and ends at ${this.lastIndex}`,
      );
    }
    this.#applied = index;
    if (!this.#keepApplied) giveBack(this.#forget(index + 1));
  }

  append(entries: Handle<LogEntry>[]): Promise<AppendOutcome> {
    if (!Array.isArray(entries)) throw unfit("append", "an array", entries);
    // Spread, so that holes are what they look like.
    return this.#take([...entries.splice(0)]);
  }

  get(index: number, holder?: string): Handle<LogEntry> | undefined {
    return this.#entries[index - this.#kept]?.dup(holder);
  }

  truncatePrefix(firstKept: number): Promise<void> {
    checkIndex("truncate", "index", firstKept);
    return this.#whileOpen("truncate", async () => {
      const removed = this.#forget(firstKept);
      // A prefix that ends after the log leaves an empty log there.
      if (firstKept > this.#first) this.#first = firstKept;
      await this.#truncated(removed);
    });
  }

  truncateSuffix(lastKept: number): Promise<void> {
    checkIndex("truncate", "index", lastKept);
    return this.#whileOpen("truncate", async () => {
      await this.#truncated(this.#cut(lastKept));
    });
  }

  reset(next: number): Promise<void> {
    checkIndex("reset", "index", next);
    return this.#whileOpen("reset", async () => {
      const removed = this.#entries;
      this.#entries = [];
      this.#first = next;
      this.#kept = next;
      this.#applied = next - 1;
      await this.#truncated(removed);
    });
  }

  [ASYNC_DISPOSE](): Promise<void> {
    this.#ended ??= (async () => {
      try {
        await this.#running;
      } finally {
        const removed = this.#entries;
        this.#entries = [];
        giveBack(removed);
      }
    })();
    return this.#ended;
  }

  /** Runs a step that was asked for before the end: what comes later would tell the storage of a log that is empty. */
  #whileOpen(verb: string, step: () => Promise<void>): Promise<void> {
    if (this.#ended === undefined) return this.#serially(step);
    return Promise.reject(new ReferenceError(`Cannot ${verb} the log: it has ended`));
  }

  /** Begins at once if nothing runs, so that what it changes in memory is changed when the call returns. */
  #serially<R>(step: () => Promise<R>): Promise<R> {
    const before = this.#running;
    let finish = ignore;
    const done = new Promise<void>((resolve) => {
      finish = resolve;
    });
    // First of all: a storage may ask for the next step in the synchronous part of this one.
    this.#running = done;
    const over = (): void => {
      if (this.#running === done) this.#running = undefined;
      finish();
    };
    const result = before === undefined ? step() : before.then(step);
    result.then(over, over);
    return result;
  }

  /** Takes over before anything waits or is refused: the caller's context may end meanwhile. */
  async #take(given: Handle<LogEntry>[]): Promise<AppendOutcome> {
    const taken = takeOver(given);
    if (this.#ended !== undefined || taken.length < given.length) {
      giveBack(taken);
      return "refused";
    }
    return this.#serially(async () => {
      try {
        return await this.#append(taken);
      } finally {
        giveBack(taken);
      }
    });
  }

  /** @param taken Accounts of our own: what gets into the log is taken out of this array, the rest is its caller's to give back. */
  async #append(taken: Handle<LogEntry>[]): Promise<AppendOutcome> {
    if (this.readonly || !taken.every(isLive)) return "refused";
    const refusal = this.#check(taken.map(({ value }) => value));
    if (refusal !== undefined) return refusal;
    const differs = taken.findIndex(
      ({ value }) => value.index >= this.#kept && this.#termOf(value.index) !== value.term,
    );
    if (differs < 0) return "stored";
    const first = (taken[differs] as Handle<LogEntry>).value.index;
    // All that follow as well: what comes after it in the log is cut off with it, of whatever term.
    const stored = dupAll(taken.slice(differs), "storage");
    const replaced = this.#cut(first - 1);
    for (const entry of taken.splice(differs)) this.#entries.push(entry);
    try {
      if (replaced.length > 0 || this.#behind) await this.#truncated(replaced, first - 1);
      await this.#storage?.append(stored.map(({ value }) => value));
    } catch (error) {
      const removed = [...stored, ...this.#cut(first - 1)];
      try {
        // Where a truncation failed nothing was written after it, and the next append begins with another.
        if (this.#behind) giveBack(removed);
        else await this.#truncated(removed);
      } catch (failed) {
        throw suppress(failed, error);
      }
      throw error;
    }
    giveBack(stored);
    return "stored";
  }

  #check(entries: readonly LogEntry[]): AppendOutcome | undefined {
    const [head] = entries;
    if (head === undefined) return "stored";
    if (head.index > this.lastIndex + 1) return "gap";
    if (entries.some(({ index }, i) => index !== head.index + i)) return "gap";
    // What has left memory at the front was applied before.
    const applied = Math.max(this.#applied, this.#kept - 1);
    const settled = entries.filter(({ index }) => index <= applied);
    if (settled.some(({ index, term }) => index >= this.#kept && this.#termOf(index) !== term)) return "conflict";
    if (settled.length === entries.length) return "applied";
    return undefined;
  }

  #termOf(index: number): number | undefined {
    return this.#entries[index - this.#kept]?.value.term;
  }

  /** Takes the entries before `first` out of memory. */
  #forget(first: number): Handle<LogEntry>[] {
    if (first <= this.#kept) return [];
    const removed = this.#entries.splice(0, first - this.#kept);
    this.#kept = first;
    return removed;
  }

  /** Takes the entries after `last` out of memory. */
  #cut(last: number): Handle<LogEntry>[] {
    const removed = this.#entries.splice(Math.max(0, last + 1 - this.#kept));
    // The log ends before what memory has kept, but not before its own beginning.
    if (last + 1 < this.#kept) this.#kept = Math.max(last + 1, this.#first);
    if (this.#applied > this.lastIndex) this.#applied = this.lastIndex;
    return removed;
  }

  /** Memory no longer reaches these: gives them back, and has the storage follow. */
  async #truncated(removed: Handle<LogEntry>[], last = this.lastIndex): Promise<void> {
    this.#behind = this.#storage !== undefined;
    giveBack(removed);
    await this.#storage?.truncate({ first: this.#first, last });
    this.#behind = false;
  }
};
