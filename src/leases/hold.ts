import { type Counted, ignore, isThenable, warn } from "../account";
import { LeaseLostError, type LeaseLostFacts } from "../errors";
import type { Keys } from "./node";
import { cancel, later, now, type Timer } from "./platform";
import type { Quorum } from "./quorum";
import { drift, endOf, type Sent, sending, type Times } from "./times";

/** What became of the key when a lease was given back: deleted, not ours any more, or nobody answered. */
export type ReleaseOutcome = "released" | "not-held" | "unknown";

/** What a hold tells the leases that it belongs to. */
export interface Keeper {
  readonly quorum: Quorum;
  readonly onLost: ((name: string, error: LeaseLostError) => void) | undefined;
  readonly onReleaseFailed: ((name: string, error: unknown) => void) | undefined;
  /** The name is not held by this hold any more, as far as this process knows. May be told twice. */
  vacated(hold: Hold): void;
}

/** Who listens to a hold: made when the first one does, and kept by what the user has, never by the hold. */
export interface Listeners {
  lost(error: LeaseLostError): void;
  settled(outcome: ReleaseOutcome): void;
}

/**
 * One lock as this process knows it: its clock, its renewals and its release.
 *
 * A timer reaches this object, so from a moment after it was started this object reaches nothing that a user holds but
 * through a `WeakRef`: a lease whose handles were all dropped is collected, its renewals stop, and the server lets the
 * key expire.
 */
export class Hold {
  readonly name: string;
  readonly keys: Keys;
  readonly token: string;
  readonly fence: number | undefined;
  readonly #keeper: Keeper;
  readonly #times: Times;
  /** When it is over however often it was renewed. */
  readonly #endsAt: number;
  #renewedAt = 0;
  /** At most one command is sent in an interval, whatever becomes of it. */
  #renewAt = 0;
  #deadline = 0;
  /** Whether the end of the hold, and no longer the ttl, is what it ends by. */
  #last = false;
  /** The deadline on the clock that goes on while a machine sleeps, and that somebody may set. */
  #wallDeadline = 0;
  /** Its place among the young, -1 for none. */
  #age = -1;
  #end: LeaseLostError | "released" | undefined;
  #timer: Timer | undefined;
  #renewing: Promise<void> | undefined;
  #releasing: Promise<void> | undefined;
  #outcome: ReleaseOutcome | undefined;
  /** Strong until {@link settle}, weak from then on. */
  #resource: Counted<unknown> | WeakRef<Counted<unknown>> | undefined;
  #listeners: Listeners | WeakRef<Listeners> | undefined;

  constructor(
    keeper: Keeper,
    name: string,
    keys: Keys,
    token: string,
    fence: number | undefined,
    times: Times,
    sent: Sent,
  ) {
    this.#keeper = keeper;
    this.name = name;
    this.keys = keys;
    this.token = token;
    this.fence = fence;
    this.#times = times;
    this.#endsAt = endOf(times, sent.at);
    this.#renewed(sent);
  }

  get deadline(): number {
    return this.#deadline;
  }

  /** Milliseconds until the first of the two clocks says that it is over; 0 once it is. */
  get remaining(): number {
    if (this.#end !== undefined) return 0;
    const left = Math.min(this.#deadline - now(), this.#wallDeadline - Date.now());
    if (left > 0) return left;
    this.#expire();
    return 0;
  }

  get lost(): LeaseLostError | undefined {
    return this.#end === "released" ? undefined : this.#end;
  }

  get outcome(): ReleaseOutcome | undefined {
    return this.#outcome;
  }

  /** Renews from now on, for as long as the resource is reachable. */
  start(resource: Counted<unknown>): void {
    this.#resource = resource;
    this.#age = young.push(this) - 1;
    if (this.#age === 0) later(YOUNG, settle);
  }

  /** Called a moment after {@link start}. Most leases are short, and those need neither the timer nor the reference. */
  settle(): void {
    this.#age = -1;
    if (this.#end !== undefined) return;
    this.#resource = new WeakRef(this.#resource as Counted<unknown>);
    this.#arm();
  }

  /** Once it is being given back nothing is left to be collected for, so whoever listens is heard of for certain. */
  listen(listeners: Listeners): void {
    this.#listeners = this.#releasing === undefined ? new WeakRef(listeners) : listeners;
  }

  /** It is not held any more: the state first, then everybody who listens. */
  lose(reason: LeaseLostFacts["reason"]): void {
    if (this.#end !== undefined) return;
    this.#finish(reason);
    this.#announce();
  }

  /** Gives the key back, once. Never rejects: what failed is an outcome, and told to `onReleaseFailed`. */
  release(): Promise<void> {
    this.#releasing ??= this.#release();
    return this.#releasing;
  }

  #renewed(sent: Sent): void {
    const left = sent.ttl - drift(sent.ttl);
    this.#renewedAt = sent.at;
    this.#renewAt = sent.at + this.#times.renewEvery;
    this.#deadline = Math.min(sent.at + left, this.#endsAt);
    this.#last = sent.ttl < this.#times.ttl;
    // A wall clock tells whole milliseconds, so that one more has to pass.
    this.#wallDeadline = sent.wall + left + 1;
  }

  /** A clock says that it is over. Whoever asked finds that at once; whoever listens is told in the same turn. */
  #expire(): void {
    this.#finish(this.#last || now() >= this.#endsAt ? "max-hold" : "expired");
    Promise.resolve().then(() => this.#announce());
  }

  #finish(reason: LeaseLostFacts["reason"]): void {
    cancel(this.#timer);
    const what = {
      expired: "its time to live ran out before it was renewed",
      taken: "its key was deleted or is held by somebody else",
      "max-hold": `it was held ${this.#times.until === Infinity ? `for ${this.#times.maxHold} ms` : "until its deadline"}, the longest that was allowed`,
      closed: "its leases were closed",
    };
    this.#end = new LeaseLostError(`Cannot rely on lease "${this.name}": ${what[reason]}`, {
      kind: "lease",
      label: this.name,
      refCount: deref(this.#resource)?.count ?? 0,
      owed: 0,
      reason,
      deadline: this.#deadline,
      lastRenewedAt: this.#renewedAt,
    });
  }

  #announce(): void {
    const error = this.lost as LeaseLostError;
    // The longest hold is over while the key is still ours.
    if (error.reason === "max-hold") void this.release();
    else if (this.#releasing === undefined) this.#keeper.vacated(this);
    deref(this.#listeners)?.lost(error);
    guarded(this.#keeper.onLost, this.name, error);
  }

  #release(): Promise<void> {
    // One that was lost without anybody having noticed is lost all the same; one that nobody got is not.
    if (this.#end === undefined && (this.#resource === undefined || this.remaining > 0)) this.#end = "released";
    const { lost } = this;
    cancel(this.#timer);
    this.#listeners = deref(this.#listeners);
    this.#resource = undefined;
    if (this.#age >= 0) young[this.#age] = undefined;
    const { timeout } = this.#keeper.quorum;
    const renewing = this.#renewing;
    return new Promise((resolve) => {
      if (renewing === undefined) {
        this.#giveBack(lost, timeout, resolve);
        return;
      }
      // The renewal in flight could still be carried out, but no new one is sent. What it takes is taken off.
      const by = now() + timeout;
      void renewing.then(() => this.#giveBack(lost, Math.max(0, Math.min(timeout - 1, by - now())), resolve));
    });
  }

  #giveBack(lost: LeaseLostError | undefined, within: number, done: () => void): void {
    const { quorum, onReleaseFailed } = this.#keeper;
    // One server has said that the key is not ours; of several, some may still have it.
    if (lost?.reason === "taken" && quorum.single) {
      this.#settled("not-held");
      done();
      return;
    }
    quorum.release(this.keys, this.token, within, (verdict, error) => {
      this.#settled(verdict === "yes" ? "released" : verdict === "no" ? "not-held" : "unknown");
      if (verdict === "unknown") guarded(onReleaseFailed, this.name, error);
      done();
    });
  }

  #settled(outcome: ReleaseOutcome): void {
    this.#outcome = outcome;
    this.#keeper.vacated(this);
    deref(this.#listeners)?.settled(outcome);
    this.#listeners = undefined;
  }

  #tick(): void {
    if (this.remaining === 0) return;
    if (this.#renewable && now() >= this.#renewAt) this.#renewing = this.#renew();
    this.#arm();
  }

  /** One renewal at a time, for a resource that somebody still holds, while it may be held longer. */
  get #renewable(): boolean {
    return this.#renewing === undefined && this.#deadline < this.#endsAt && deref(this.#resource) !== undefined;
  }

  async #renew(): Promise<void> {
    const sent = sending(this.#times, now(), this.#endsAt);
    this.#renewAt = sent.at + this.#times.renewEvery;
    const { quorum } = this.#keeper;
    const verdict = await quorum.extend(this.keys, this.token, sent.ttl, () => this.remaining);
    this.#renewing = undefined;
    // It ended meanwhile: an answer that comes after the deadline does not bring it back.
    if (this.remaining === 0) return;
    if (verdict === "no") {
      this.lose("taken");
      return;
    }
    // No answer is no news: it neither extends the lease nor ends it.
    if (verdict === "yes") this.#renewed(sent);
    cancel(this.#timer);
    this.#arm();
  }

  #arm(): void {
    const next = this.#renewable ? Math.min(this.#renewAt, this.#deadline) : this.#deadline;
    this.#timer = later(Math.max(0, Math.ceil(next - now())), () => this.#tick());
  }
}

/** How long a lease counts as young, in milliseconds: less than the shortest interval of renewals. */
const YOUNG = 8;
/** Those that were started a moment ago. One timer serves all. */
let young: (Hold | undefined)[] = [];

function settle(): void {
  const holds = young;
  young = [];
  for (const hold of holds) hold?.settle();
}

function deref<T extends object>(reference: T | WeakRef<T> | undefined): T | undefined {
  return reference instanceof WeakRef ? reference.deref() : reference;
}

/** Calls a user's hook. One that throws, or that rejects, is reported and breaks nothing. */
export function guarded<A extends unknown[]>(hook: ((...args: A) => void) | undefined, ...args: A): void {
  try {
    const said: unknown = hook?.(...args);
    if (isThenable(said)) said.then(ignore, warn);
  } catch (error) {
    warn(error);
  }
}
