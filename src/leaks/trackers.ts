import type { OpenedThere, ResourceFacts, Tracker } from "../tracker";
import { Account } from "./account-record";
import { elapsed } from "./clock";
import { Context } from "./context-record";
import type { Detector } from "./detector";
import type { Session } from "./session";
import { capture } from "./stack";

/** The largest interval between samples, in resources. */
const RAREST = 2 ** 24;

/** Records everything. */
export class FullTracker implements Tracker {
  readonly adopts = true;
  readonly #log: Detector;

  constructor(log: Detector) {
    this.#log = log;
  }

  wants(): boolean {
    return true;
  }

  opened(facts: ResourceFacts): Account {
    return begin(this.#log, facts, 1);
  }

  here(): OpenedThere {
    return openedAt(this.#log, capture(this.#log.recording, "openLimit"));
  }

  patience(kind: string): number {
    return this.#log.patience(kind);
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
export class SampledTracker implements Tracker {
  readonly adopts = false;
  readonly #log: Detector;
  readonly #session: Session;
  readonly #random: () => number;
  #left = 1;
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
    return this.#log.patience(kind);
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
    let { interval } = this.#session;
    if (cost > allowed) interval = Math.min(RAREST, interval * 2);
    else if (cost * 2 < allowed) interval = Math.max(1, interval / 2);
    this.#session.interval = interval;
    this.#at = now;
    this.#spent = spent;
    this.#weight = interval;
    this.#left = 1 + Math.floor(this.#random() * (2 * interval - 1));
    return true;
  }

  opened(facts: ResourceFacts): Account {
    const weight = this.#drawn;
    this.#drawn = 0;
    return begin(this.#log, facts, facts.kind.watch ? 1 : weight);
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
export class WatchTracker implements Tracker {
  readonly adopts = false;
  readonly #log: Detector;

  constructor(log: Detector) {
    this.#log = log;
  }

  wants(): boolean {
    return false;
  }

  opened(facts: ResourceFacts): Account {
    return begin(this.#log, facts, 1);
  }

  context(): undefined {
    return undefined;
  }
}

function begin(log: Detector, facts: ResourceFacts, weight: number): Account {
  const { kind, bytes, count, value } = facts;
  const family = log.families.of(kind.name);
  const account = new Account(family, facts.label, ++log.lastId);
  if (bytes > 0) account.rich().bytes = bytes;
  if (weight !== 1) account.rich().weight = weight;
  if (count > 1) {
    const more = account.rich();
    more.refs += count - 1;
    more.taken += count - 1;
  }
  if (log.session?.frees(kind.name)) account.rich().settle = (owed) => facts.settle(owed);
  if (kind.exclusive && log.recording?.level === "full") claim(account, value);
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
