/**
 * The seam between the core and a leak detector.
 *
 * The core tells a tracker what happens to resources and accounts; it never asks anything of it but the errors of refused
 * calls. Without a tracker the whole seam is one null check. Nothing a tracker is given may be kept so that it
 * reaches a handle: the handle object is a target for a `FinalizationRegistry`, the value is for comparing at once.
 */

/** What is known of a resource. To be read the moment it is opened. */
export interface ResourceFacts {
  readonly kind: { readonly name: string; readonly exclusive: boolean; readonly watch: boolean };
  readonly label: string;
  /** Size of the resource in bytes, 0 if unknown. */
  readonly bytes: number;
  /** References that are owed, the new account's among them: more than 1 when it was opened before tracking began. */
  readonly count: number;
  /** For comparing with the values of other live resources, never to be kept alive. */
  readonly value: unknown;
  /**
   * Frees the resource as if `owed` references had been given back. It reaches the value, and through it perhaps the handle.
   *
   * @returns An asynchronous free under way. No holder is left to hear of its failure.
   */
  settle(owed: number): Promise<void> | undefined;
}

/** Where an account was opened and closed, as far as the tracker recorded it. */
export interface Sites {
  readonly opened?: string | undefined;
  /** The first close of this account. */
  readonly closed?: string | undefined;
  /** The name of the holder that closed it. */
  readonly by?: string | undefined;
}

/** One account's side of the records. */
export interface AccountRecord {
  /** The account took (+1) or gave back (-1) a reference and is still open. */
  counted(delta: 1 | -1): void;
  /** The account owes nothing any more; called before the resource's free function. */
  closed(): void;
  /** The account goes on under another handle. */
  moved(to: object): void;
  /** A context owns the account from now on (`undefined`: no longer). */
  owned(context: ContextRecord | undefined): void;
  /** A context paid for the account, which still owes. */
  escaped(): void;
  /**
   * A call was refused: an over-release or a use after free. Makes the error, which says where the account was opened and
   * closed.
   */
  refused<F extends object, E extends Error>(
    Refusal: new (message: string, facts: F) => E,
    message: string,
    facts: F,
  ): E;
  sites(): Sites;
}

/** One resource's side of the records. */
export interface ResourceRecord {
  account(handle: object, holder: string | undefined): AccountRecord;
  /** The opener closes the door for all accounts. */
  revoked?(): void;
  freed(): void;
}

/** One context's side of the records: the culprit when a context is dropped whole. */
export interface ContextRecord {
  /** The context pays for everything from now on. */
  end(): void;
  /** What it owned belongs to another context from now on, and this one has ended. */
  moved(to: ContextRecord | undefined): void;
}

/** Runs what opens an account that is to be recorded as opened elsewhere. */
export type OpenedThere = <R>(open: () => R) => R;

/** A leak detector. */
export interface Tracker {
  /** Whether the resource that is opened next is to be recorded: asked before anything is made for it. */
  wants(): boolean;
  /** Whether a new account on a resource without a record begins one. */
  readonly adopts: boolean;
  opened(facts: ResourceFacts): ResourceRecord | undefined;
  context(context: object): ContextRecord | undefined;
  /**
   * For an account that is asked for now and opened later, when the caller is no longer on the stack, or too far up it:
   * what opens it as if from here, and was decided here to be recorded or not.
   *
   * @param account The first one of a resource, another one of a resource that is recorded, or one that comes together
   * with that of an earlier call. Without it, whichever it turns out to be: a tracker that records some resources only
   * cannot tell then.
   */
  here?(account?: "first" | "another" | OpenedThere): OpenedThere | undefined;
  /** Milliseconds after which an open account of the kind is reported as held for too long; `Infinity` for never. */
  patience?(kind: string): number;
}

/** How many resources of a kind were opened and freed. */
export interface KindCounts {
  readonly name: string;
  readonly opened: number;
  readonly freed: number;
  /** Of those that are open: without holders, and kept by the map they are in. */
  readonly cached: number;
}

/** A `WeakRef`, by what is asked of it: the name is not in every user's `lib`. */
interface Weak<T> {
  deref(): T | undefined;
}

/** The state that is one per realm however many copies of the library are loaded. */
interface Realm {
  /** Hears of every resource; `undefined` while tracking is off. */
  tracker: Tracker | undefined;
  /** Hears of the kinds made with `watch: true` while `tracker` is off. */
  watcher: Tracker | undefined;
  /** Hears of overdrawn accounts; `undefined`: they throw. */
  panic: ((error: Error) => void) | undefined;
  /** The kinds that were defined, for counting what was opened before tracking began. Whoever reads it, or adds to it, takes out the dead. */
  kinds: Weak<KindCounts>[];
  /** The detector's own state, so that two copies of it share one registry. */
  detector: unknown;
}

const SLOT = Symbol.for("lastref.realm.v1");
const globals = globalThis as { [SLOT]?: () => Realm };
const own: Realm = { tracker: undefined, watcher: undefined, panic: undefined, kinds: [], detector: undefined };

/**
 * The realm's one state, under a versioned slot that is neither enumerable nor writable: the only global ever written.
 *
 * Behind a function: a test runner that empties the objects on its global object (Jest) cannot reach it.
 */
export const realm: Realm = (
  globals[SLOT] ?? (Object.defineProperty(globals, SLOT, { value: () => own }) as { [SLOT]: () => Realm })[SLOT]
)();
