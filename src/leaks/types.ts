/**
 * How much is recorded. `"count"`: plain counters only; `"sampled"`: as many resources as the budget allows, weighted;
 * `"full"`: every account, with the stacks of its opening and its closing.
 */
export type Level = "count" | "sampled" | "full";

/**
 * What was found. `dropped`: collected while it owed; `held`: still open at the end; `held-too-long`: open for longer than
 * `heldTooLong`; `two-owners`: one value under two live resources of an exclusive kind; `escaped`: still owed after its
 * context had paid; `over-released` and `use-after-free`: a refused call.
 */
export type Verdict =
  | "dropped"
  | "held"
  | "held-too-long"
  | "over-released"
  | "use-after-free"
  | "two-owners"
  | "escaped";

/** A last sign of life, written down by `touch`. */
export interface Touch {
  readonly hint: string;
  readonly site: string;
}

/** One account that is open now. */
export interface LiveHandle {
  readonly kind: string;
  readonly label: string;
  /** Numbers the resources in the order they were opened. */
  readonly id: number;
  /** The name that `dup` was given; empty for none. */
  readonly holder: string;
  /** References this account owes. */
  readonly owed: number;
  /** References on its resource that are recorded as open. */
  readonly refCount: number;
  /** References that were ever taken on its resource. */
  readonly taken: number;
  /** Where it was opened: user frames, one per line; empty if no stack was taken. */
  readonly opened: string;
  /** Where its resource was opened, as far as that is still known. */
  readonly created: string;
  /** Milliseconds since it was opened. */
  readonly age: number;
  readonly bytes: number;
  /** How many resources it stands for: more than 1 where they are sampled. */
  readonly weight: number;
  /** The first touch, the ones in between that were kept, and the last. */
  readonly touches: readonly Touch[];
  /** Touches that were not kept. */
  readonly touchesDropped: number;
}

/** What `onLeak` hears of. */
export interface Leak extends LiveHandle {
  readonly verdict: Verdict;
  /** What to do about it. */
  readonly hint: string;
  /** The other accounts of the resource that are still open, and under a dropped context the accounts it owned. */
  readonly handles: readonly LiveHandle[];
  /** Where the value's first owner was opened (`two-owners`), or the first close of another account on the resource. */
  readonly first: string;
  /** Where each `incrRef` was that nothing has paid for; each payment is for the newest that is not paid. */
  readonly unmatched: readonly string[];
  /** Of those, how many in the middle have no place kept. */
  readonly unmatchedDropped: number;
  /** The account was given back after it had been reported (`held-too-long`). */
  readonly givenBack: boolean;
  /** The report's text on this leak. */
  toString(): string;
}

/** Leaks of one verdict, one kind and one site. */
export interface LeakGroup {
  readonly verdict: Verdict;
  readonly kind: string;
  /** User frames, one per line; empty if no stack was taken. */
  readonly site: string;
  /** Accounts. */
  readonly count: number;
  /** What the count stands for where resources are sampled. */
  readonly estimate: number;
  /** References those accounts owe. */
  readonly owed: number;
  readonly bytes: number;
  /** Some of them, the oldest first. */
  readonly examples: readonly Leak[];
}

/** Resources of one kind that nobody holds, and that a map keeps for the next one who asks. */
export interface Cached {
  readonly kind: string;
  readonly count: number;
}

/** The facts of a report as JSON. */
export interface LeakReportJson {
  readonly version: 1;
  readonly level: Level;
  /** `null` while nothing is tracked: that is not "no leaks". */
  readonly total: number | null;
  readonly groups: readonly LeakGroup[];
  readonly cached: readonly Cached[];
  readonly blindSpots: readonly string[];
}

/** What is leaked or still held, grouped by kind and site. */
export interface LeakReport {
  readonly level: Level;
  /** Accounts in all groups; `undefined` while nothing is tracked: that is not "no leaks". */
  readonly total: number | undefined;
  /** Culprits before their victims, then the largest first. */
  readonly groups: readonly LeakGroup[];
  /** What the idle entries of maps keep open, in the whole realm: no leaks, in no group, and no reason to fail a test. */
  readonly cached: readonly Cached[];
  /** What this report cannot see. */
  readonly blindSpots: readonly string[];
  toString(): string;
  toJSON(): LeakReportJson;
  /**
   * The leaked and the live handles by call site as a `.heapprofile`, which Chrome DevTools and VS Code open as a flame
   * chart.
   *
   * @param unit What the widths show; in bytes, what has no known size is not to be seen. @default "bytes" where all sizes
   * are known, else "count"
   */
  toHeapProfile(unit?: "count" | "bytes"): HeapProfile;
}

/** The format of the V8 sampling heap profiler. */
export interface HeapProfile {
  readonly head: HeapProfileNode;
  readonly samples: readonly { readonly size: number; readonly nodeId: number; readonly ordinal: number }[];
}

export interface HeapProfileNode {
  readonly callFrame: {
    readonly functionName: string;
    readonly scriptId: string;
    readonly url: string;
    readonly lineNumber: number;
    readonly columnNumber: number;
  };
  readonly selfSize: number;
  readonly id: number;
  readonly children: readonly HeapProfileNode[];
}

/** What grew between two snapshots. */
export interface Growth {
  readonly kind: string;
  readonly site: string;
  /** Accounts more (or, below 0, fewer) than in the earlier snapshot. */
  readonly count: number;
  readonly bytes: number;
}

/** How many accounts are open, per kind and site. */
export interface Snapshot {
  /** `undefined` while nothing is tracked: that is not "none". */
  readonly total: number | undefined;
  /** What changed since `earlier`, the largest growth first. */
  diff(earlier: Snapshot): Growth[];
}

/** What {@link trackLeaks} takes. */
export interface TrackOptions {
  /** @default "full" */
  readonly level?: Level;
  /**
   * Hears of every leak once: of what was dropped or is held too long from a macrotask of its own, of `two-owners`,
   * `escaped` and what is given back after all inside the call that does it. Without it a warning with code `LASTREF_LEAK` is emitted, once per site with counts. What it throws or
   * rejects with is emitted as a warning. A refused call is in the report only.
   */
  readonly onLeak?: (leak: Leak) => void;
  /** Frames kept of a stack. @default 8 */
  readonly stackDepth?: number;
  /** The part of the elapsed time that stacks may take at level `sampled`. @default 0.005 */
  readonly budget?: number;
  /** Milliseconds after which an open account is reported, for all kinds or by kind. */
  readonly heldTooLong?: number | Readonly<Record<string, number>>;
  /** Also free what was dropped, for all kinds or for those named. A value that reaches its own handle is then never collected. */
  readonly freeLeaked?: boolean | readonly string[];
  /** Leaks that are not reported: part of a kind, a label, a holder or a site, or an expression that matches one. */
  readonly suppress?: readonly (string | RegExp)[];
  /**
   * Closed accounts whose sites are kept for the errors of later misuse; of those closed in one turn, the last 256.
   *
   * @default 1024
   */
  readonly quarantine?: number;
}
