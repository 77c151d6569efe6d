import { type Counted, ignore, isThenable, warn } from "../account";
import { LeaseLostError, type LeaseLostFacts } from "../errors";
import type { AccountRecord } from "../tracker";
import type { Keys } from "./node";
import { cancel, later, now, type Timer } from "./platform";
import type { Quorum } from "./quorum";
import { factsOf, lossOf, withSites } from "./refusals";
import { drift, endOf, type Sent, sending, type Times } from "./times";
import { UnderWay } from "./under-way";
import * as young from "./young";

/** What became of the key when a lease was given back: deleted, not ours any more, or nobody answered. */
export type ReleaseOutcome = "released" | "not-held" | "unknown";

/** What a hold tells the leases that it belongs to. */
export interface Keeper {
  readonly quorum: Quorum;
  /** What its end waits for. */
  readonly underWay: UnderWay;
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
  /** What is written down of its first account. A record never reaches its handle. */
  record: AccountRecord | undefined;
  readonly #keeper: Keeper;
  readonly #times: Times;
  /** When it is over however often it was renewed. */
  readonly #endsAt: number;
  #renewedAt = 0;
  /** When the last renewal was sent, and when the next one is: at most one in an interval, whatever becomes of it. */
  #askedAt = 0;
  #renewAt = 0;
  /** Why the last renewal that has ended did not succeed. */
  #fault: unknown;
  #deadline = 0;
  /** Whether the end of the hold, and no longer the ttl, is what it ends by. */
  #last = false;
  /** The deadline on the clock that goes on while a machine sleeps, and that somebody may set. */
  #wallDeadline = 0;
  /** Its place among the young, -1 for none. */
  #age = -1;
  #end: LeaseLostError | "released" | undefined;
  /** A server has said that the key is not ours. */
  #gone = false;
  #timer: Timer | undefined;
  /** The renewals in flight; undefined until the first. */
  #renewing: UnderWay | undefined;
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
    this.#renewAt = sent.at + times.renewEvery;
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

  /** What its accounts owe. */
  get refCount(): number {
    return deref(this.#resource)?.count ?? 0;
  }

  get outcome(): ReleaseOutcome | undefined {
    return this.#outcome;
  }

  /** Renews from now on, for as long as the resource is reachable. */
  start(resource: Counted<unknown>, record: AccountRecord | undefined): void {
    this.#resource = resource;
    this.record = record;
    this.#age = young.begin(this);
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
    const sites = this.record?.sites();
    const bound = this.#endsAt < this.#times.until ? `for ${this.#times.maxHold} ms` : "until its deadline";
    this.#end = new LeaseLostError(withSites(lossOf(this.name, reason, bound), sites), {
      ...factsOf(this.name),
      ...sites,
      ...(reason === "expired" && this.#fault !== undefined && { cause: this.#fault }),
      refCount: this.refCount,
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
    cancel(this.#timer);
    this.#listeners = deref(this.#listeners);
    this.#resource = undefined;
    if (this.#age >= 0) young.end(this.#age);
    const { quorum, underWay } = this.#keeper;
    const { timeout } = quorum;
    const renewing = this.#renewing;
    underWay.begin();
    return new Promise((resolve) => {
      if (!renewing?.some) {
        this.#giveBack(timeout, resolve);
        return;
      }
      // The renewal in flight could still be carried out, but no new one is sent. What it takes is taken off.
      const by = now() + timeout;
      void renewing.over().then(() => this.#giveBack(Math.max(0, Math.min(timeout - 1, by - now())), resolve));
    });
  }

  #giveBack(within: number, done: () => void): void {
    const { quorum, onReleaseFailed, underWay } = this.#keeper;
    // One server has said that the key is not ours; of several, some may still have it.
    if (this.#gone && quorum.single) {
      this.#settled("not-held");
      done();
      underWay.end();
      return;
    }
    const free = quorum.single ? ignore : (): void => this.#keeper.vacated(this);
    quorum.release(this.keys, this.token, within, free, (verdict, error) => {
      this.#settled(verdict === "yes" ? "released" : verdict === "no" ? "not-held" : "unknown");
      if (verdict === "unknown") guarded(onReleaseFailed, this.name, error);
      done();
      underWay.end();
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
    if (this.#renewable && now() >= this.#renewAt) void this.#renew();
    this.#arm();
  }

  /** A resource that somebody still holds, while it may be held longer. */
  get #renewable(): boolean {
    return this.#deadline < this.#endsAt && deref(this.#resource) !== undefined;
  }

  async #renew(): Promise<void> {
    const { ttl, renewEvery } = this.#times;
    const sent = sending(this.#times, now(), this.#endsAt);
    this.#renewing ??= new UnderWay();
    const renewing = this.#renewing;
    renewing.begin();
    this.#askedAt = sent.at;
    // One at a time, unless its answer takes so long that the lease could be over before the next.
    this.#renewAt = sent.at + Math.max(renewEvery, ttl / 3);
    const { quorum } = this.#keeper;
    const { verdict, errors } = await quorum.extend(this.keys, this.token, sent.ttl, () => this.remaining);
    renewing.end();
    // It ended meanwhile: an answer that comes after the deadline does not bring it back.
    if (this.remaining === 0) return;
    if (verdict === "no") {
      this.#gone = true;
      this.lose("taken");
      return;
    }
    // No answer is no news: it neither extends the lease nor ends it.
    if (verdict === "unknown") this.#fault = errors[0];
    else if (sent.at > this.#renewedAt) {
      this.#fault = undefined;
      this.#renewed(sent);
    }
    if (!renewing.some) this.#renewAt = this.#askedAt + renewEvery;
    cancel(this.#timer);
    this.#arm();
  }

  #arm(): void {
    const next = this.#renewable ? Math.min(this.#renewAt, this.#deadline) : this.#deadline;
    this.#timer = later(Math.max(0, Math.ceil(next - now())), () => this.#tick());
  }
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
