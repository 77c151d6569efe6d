import { INSPECT } from "../account";
import { type AsyncHandle, AsyncHandleImpl } from "../async-handle";
import { type LeaseLostError, LeaseUnsupportedError, UseAfterFreeError } from "../errors";
import { HandleImpl, openHandle } from "../handle";
import { defineAsyncResource, type Family, familyOf } from "../resource";
import type { Hold, Listeners, ReleaseOutcome } from "./hold";
import { type Controller, platform, type Signal } from "./platform";
import { factsOf } from "./refusals";

/**
 * A lock on a server, for as long as its time to live is renewed: what the handle of a lease holds.
 *
 * It is kept by its handles, not by this object: when the last one is given back the key is deleted, and when all of
 * them were dropped the renewals stop.
 */
export interface Lease {
  /** What is locked. */
  readonly name: string;
  /** The value of the key: 128 random bits, new for every attempt to acquire. */
  readonly token: string;
  /**
   * A number that goes up with every acquire of this name. Send it with every write, and let what is written to refuse
   * a lower one than it has seen: that, and not the lock, stops a holder that was paused past its deadline.
   *
   * @throws {LeaseUnsupportedError} If this lease has none: on several nodes unless the `fence` option asked for it, and
   * where scripts are forbidden.
   */
  readonly fence: number;
  /** Until when the lease can be relied on unless it is renewed, in `performance.now()` time. */
  readonly deadline: number;
  /** Milliseconds left until the deadline, by whichever clock says less; 0 once it is not held. */
  readonly remaining: number;
  /** Whether the lease can be relied on now: computed from the clocks whenever it is read. Once `false`, always `false`. */
  readonly held: boolean;
  /** Aborts when the lease is lost, and only then, with the {@link LeaseLostError} as its reason. */
  readonly signal: Signal;
  /**
   * What became of the key, once the lease was given back: `"released"`, `"not-held"` when it was not ours any more, or
   * `"unknown"` when too few servers answered in time. Never rejects, and never settles for a lease that is not given back.
   */
  readonly released: Promise<ReleaseOutcome>;
  /**
   * Returns if the lease is {@link held}.
   *
   * @throws {LeaseLostError} If it was lost.
   * @throws {UseAfterFreeError} If it was given back.
   */
  assertHeld(): void;
}

/** What the user listens to. The lease keeps it, and so does the signal, for whoever kept nothing else. */
class Audience implements Listeners {
  controller: Controller | undefined;
  resolve: ((outcome: ReleaseOutcome) => void) | undefined;
  promise: Promise<ReleaseOutcome> | undefined;

  lost(error: LeaseLostError): void {
    this.controller?.abort(error);
  }

  settled(outcome: ReleaseOutcome): void {
    this.resolve?.(outcome);
  }
}

const audiences = /* @__PURE__ */ new WeakMap<object, Audience>();

class LeaseImpl implements Lease {
  readonly #hold: Hold;
  #audience: Audience | undefined;

  constructor(hold: Hold) {
    this.#hold = hold;
  }

  get name(): string {
    return this.#hold.name;
  }

  get token(): string {
    return this.#hold.token;
  }

  get fence(): number {
    const { fence } = this.#hold;
    if (fence !== undefined) return fence;
    throw new LeaseUnsupportedError(
      `Cannot read the fence of lease "${this.name}": it was acquired without one; see the fence option`,
      factsOf(this.name),
    );
  }

  get deadline(): number {
    return this.#hold.deadline;
  }

  get remaining(): number {
    return this.#hold.remaining;
  }

  get held(): boolean {
    return this.#hold.remaining > 0;
  }

  get signal(): Signal {
    const audience = this.#listen();
    if (audience.controller === undefined) {
      audience.controller = new platform.AbortController();
      audiences.set(audience.controller.signal, audience);
      if (this.#hold.lost !== undefined) audience.controller.abort(this.#hold.lost);
    }
    return audience.controller.signal;
  }

  get released(): Promise<ReleaseOutcome> {
    const audience = this.#listen();
    audience.promise ??= new Promise((resolve) => {
      audience.resolve = resolve;
      if (this.#hold.outcome !== undefined) resolve(this.#hold.outcome);
    });
    return audience.promise;
  }

  assertHeld(): void {
    if (this.held) return;
    if (this.#hold.lost !== undefined) throw this.#hold.lost;
    const message = `Cannot rely on lease "${this.name}": it was given back`;
    const { record } = this.#hold;
    const facts = factsOf(this.name);
    throw record === undefined
      ? new UseAfterFreeError(message, facts)
      : record.refused(UseAfterFreeError, message, facts);
  }

  toString(): string {
    const state = this.held ? `${Math.round(this.remaining)} ms left` : (this.#hold.lost?.reason ?? "given back");
    return `Lease<"${this.name}", ${state}>`;
  }

  [INSPECT](): string {
    return this.toString();
  }

  static release(lease: Lease): Promise<void> {
    return (lease as LeaseImpl).#hold.release();
  }

  #listen(): Audience {
    if (this.#audience === undefined) {
      this.#audience = new Audience();
      this.#hold.listen(this.#audience);
    }
    return this.#audience;
  }
}

/** Leases are watched: one that is dropped without being given back is reported at every tracking level. */
const LeaseKind = /* @__PURE__ */ defineAsyncResource<Lease>({ kind: "lease", watch: true, free: LeaseImpl.release });
/** Straight from the definition: what it checks of others' values and labels needs no check here. */
const leaseKind = /* @__PURE__ */ (familyOf<Lease>(LeaseKind) as Family<Lease, readonly unknown[]>).kind;

/** The first account on a lock that was just taken, which renews it from now on. */
export function openLease(hold: Hold): AsyncHandle<Lease> {
  const account = openHandle<Lease>(leaseKind, new LeaseImpl(hold), hold.name, 0);
  hold.start(HandleImpl.counted(account as HandleImpl<unknown>), HandleImpl.record(account));
  return new AsyncHandleImpl(account);
}
