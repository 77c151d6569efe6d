import { type OpenedThere, type ResourceFacts, realm, type Tracker } from "../tracker";
import { Account, Context } from "./account-record";
import { definedKinds } from "./cached";
import { elapsed, every, ticks } from "./clock";
import { type Detector, detector } from "./detector";
import { Finds } from "./finds";
import { leakOf } from "./leak";
import { checkOptions } from "./options";
import { CLOSE_FRAMES, capture, type Depths, DUP_FRAMES, OPEN_FRAMES } from "./stack";
import type { Leak, Level, TrackOptions } from "./types";

/** A pattern of `suppress`, and how often it was of use. */
export interface Suppression {
  readonly pattern: string | RegExp;
  uses: number;
}

/** The largest interval between samples, in resources. */
const RAREST = 2 ** 24;

/** The settings of one `trackLeaks`, from then until it is disposed of. */
export class Session implements Depths {
  readonly level: Level;
  readonly onLeak: ((leak: Leak) => void) | undefined;
  readonly depth: number;
  readonly openLimit: number = 0;
  readonly dupLimit: number = 0;
  readonly closeLimit: number = 0;
  readonly budgeted: boolean;
  readonly budget: number;
  readonly quarantine: number;
  readonly suppressions: readonly Suppression[];
  readonly finds = new Finds();
  readonly #heldTooLong: TrackOptions["heldTooLong"];
  readonly #freeLeaked: TrackOptions["freeLeaked"];
  spent = 0;

  constructor(options: TrackOptions) {
    checkOptions(options);
    const { level = "full", stackDepth = 8, budget = 0.005, quarantine = 1024, suppress = [] } = options;
    this.level = level;
    this.budgeted = level === "sampled";
    this.onLeak = options.onLeak;
    this.depth = stackDepth;
    if (level !== "count") {
      this.openLimit = stackDepth + OPEN_FRAMES;
      // Less deep: who shared or closed is told from fewer frames than how the program came to open.
      this.dupLimit = Math.ceil(stackDepth / 2) + DUP_FRAMES;
      this.closeLimit = Math.ceil(stackDepth / 3) + CLOSE_FRAMES;
    }
    this.budget = budget;
    this.quarantine = quarantine;
    this.suppressions = suppress.map((pattern) => ({ pattern, uses: 0 }));
    this.#heldTooLong = options.heldTooLong;
    this.#freeLeaked = options.freeLeaked;
  }

  /** Runs what a stack costs, and adds up the time at the level that has a budget. */
  timed<T, R>(work: (input: T) => R, input: T): R {
    if (!this.budgeted) return work(input);
    const before = elapsed();
    const result = work(input);
    this.spent += elapsed() - before;
    return result;
  }

  frees(kind: string): boolean {
    const which = this.#freeLeaked;
    return which === true || (Array.isArray(which) && which.includes(kind));
  }

  /** Milliseconds after which an open account of the kind is reported; `Infinity` for never. */
  patience(kind: string): number {
    const limit = this.#heldTooLong;
    if (typeof limit !== "object") return limit ?? Infinity;
    // A kind may have the name of what every object inherits.
    return (Object.hasOwn(limit, kind) ? limit[kind] : undefined) ?? Infinity;
  }

  get leastPatience(): number {
    const limit = this.#heldTooLong;
    return typeof limit === "object" ? Math.min(...Object.values(limit)) : (limit ?? Infinity);
  }

  suppresses(leak: { kind: string; label: string; holder: string; opened: string }): boolean {
    for (const suppression of this.suppressions) {
      const { pattern } = suppression;
      const texts = [leak.kind, leak.label, leak.holder, leak.opened];
      const matches = texts.some((text) =>
        typeof pattern === "string" ? text.includes(pattern) : text.search(pattern) >= 0,
      );
      if (!matches) continue;
      suppression.uses++;
      return true;
    }
    return false;
  }
}

/** Records everything. */
class FullTracker implements Tracker {
  readonly adopts = true;
  readonly #log: Detector;
  readonly #session: Session;

  constructor(log: Detector, session: Session) {
    this.#log = log;
    this.#session = session;
  }

  wants(): boolean {
    return true;
  }

  opened(facts: ResourceFacts): Account {
    return begin(this.#log, this.#session, facts, 1);
  }

  here(): OpenedThere {
    return openedAt(this.#log, capture(this.#session, "openLimit"));
  }

  patience(kind: string): number {
    return this.#session.patience(kind);
  }

  context(context: object): Context {
    const record = new Context(this.#log, ++this.#log.lastId);
    this.#log.registry.register(context, record, record);
    return record;
  }
}

/**
 * Records as many resources as the budget of time allows, each weighted by how many it stands for.
 *
 * The distance to the next sample is drawn evenly from 1 to twice the interval less 1, so that its mean is the interval
 * and no rhythm of the program is in step with it.
 */
class SampledTracker implements Tracker {
  readonly adopts = false;
  readonly #log: Detector;
  readonly #session: Session;
  readonly #random: () => number;
  #left = 1;
  #interval = 1;
  #weight = 1;
  #drawn = 0;
  #at = elapsed();
  #spent = 0;
  /** The weight of what is being opened, if that was decided when it was asked for. */
  #decided: number | undefined = undefined;
  readonly #weights = new WeakMap<OpenedThere, number>();

  constructor(log: Detector, session: Session, random: () => number = Math.random) {
    this.#log = log;
    this.#session = session;
    this.#random = random;
  }

  wants(): boolean {
    return --this.#left > 0 ? false : this.#draw();
  }

  here(account?: "first" | "another" | OpenedThere): OpenedThere | undefined {
    if (account === undefined || account === this.#unrecorded) return account;
    if (account === "first" && !this.wants()) return this.#unrecorded;
    const weight = typeof account === "function" ? (this.#weights.get(account) ?? 0) : this.#drawn;
    const there = openedAt(this.#log, capture(this.#session, "openLimit"));
    const decided: OpenedThere = (open) => this.#decide(weight, () => there(open));
    this.#weights.set(decided, weight);
    return decided;
  }

  patience(kind: string): number {
    return this.#session.patience(kind);
  }

  /** Opens something of which it was decided before whether it is recorded, and for how many it stands. */
  #decide<R>(weight: number, open: () => R): R {
    const left = this.#left;
    // Asked at once, so that the many who ask for themselves need not look at it.
    this.#left = 1;
    this.#decided = weight;
    try {
      return open();
    } finally {
      this.#left = left;
      this.#decided = undefined;
    }
  }

  readonly #unrecorded: OpenedThere = (open) => this.#decide(0, open);

  #draw(): boolean {
    if (this.#decided !== undefined) {
      this.#drawn = this.#decided;
      return this.#drawn > 0;
    }
    this.#drawn = this.#weight;
    const { budget, spent } = this.#session;
    const now = elapsed();
    const cost = spent - this.#spent;
    const allowed = (now - this.#at) * budget;
    // Doubled or halved until the costs of the last sample fit the time since: the average settles on the budget.
    if (cost > allowed) this.#interval = Math.min(RAREST, this.#interval * 2);
    else if (cost * 2 < allowed) this.#interval = Math.max(1, this.#interval / 2);
    this.#at = now;
    this.#spent = spent;
    this.#weight = this.#interval;
    this.#left = 1 + Math.floor(this.#random() * (2 * this.#interval - 1));
    return budget > 0;
  }

  opened(facts: ResourceFacts): Account {
    const weight = this.#drawn;
    this.#drawn = 0;
    return begin(this.#log, this.#session, facts, facts.watch ? 1 : weight);
  }

  context(): undefined {
    return undefined;
  }
}

/** Records what is opened as opened where a stack was taken. */
function openedAt(log: Detector, taken: Error | undefined): OpenedThere {
  // Read at once: whoever waits may wait for long, and an unread stack keeps what is on it.
  const place = log.read(taken);
  return (open) => {
    const before = log.tail;
    const opened = open();
    const account = log.tail;
    if (account !== undefined && account !== before) account.opened = place;
    return opened;
  };
}

/** Records the watched kinds, without stacks, while nothing else is recorded. */
class WatchTracker implements Tracker {
  readonly adopts = false;
  readonly #log: Detector;

  constructor(log: Detector) {
    this.#log = log;
  }

  wants(): boolean {
    return false;
  }

  opened(facts: ResourceFacts): Account {
    return begin(this.#log, this.#log.session, facts, 1);
  }

  context(): undefined {
    return undefined;
  }
}

function begin(log: Detector, session: Session | undefined, facts: ResourceFacts, weight: number): Account {
  const family = log.family(facts.kind);
  const account = new Account(family, facts.label, ++log.lastId);
  const { bytes, count, value, exclusive } = facts;
  if (bytes > 0) account.rich().bytes = bytes;
  if (weight !== 1) account.rich().weight = weight;
  if (count > 1) {
    const more = account.rich();
    more.refs += count - 1;
    more.taken += count - 1;
  }
  if (session?.frees(facts.kind)) account.rich().settle = (owed) => facts.settle(owed);
  if (exclusive && session?.level === "full") claim(account, value);
  return account;
}

function claim(account: Account, value: unknown): void {
  const { family } = account;
  const isObject = (typeof value === "object" && value !== null) || typeof value === "function";
  const owners: Pick<Map<unknown, Account[]>, "get" | "set"> = isObject
    ? (family.owners as unknown as Map<unknown, Account[]>)
    : family.primitiveOwners;
  const others = (owners.get(value) ?? []).filter((owner) => owner.refs > 0 && !owner.more?.freed);
  if (others.length > 0) account.rich().firstOwner = others[0];
  // Each of them: whoever of them is left has the value under whoever comes next.
  owners.set(value, [...others, account]);
  if (!isObject) account.rich().value = value;
}

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
