import { ASYNC_DISPOSE, INSPECT } from "../account";
import type { AsyncHandle } from "../async-handle";
import { checkSignal } from "../host";
import { realm } from "../tracker";
import { Bids } from "./bids";
import { force } from "./force";
import type { Hold } from "./hold";
import type { Lease } from "./lease";
import { Lines, refused } from "./lines";
import {
  type AcquireOptions,
  checkWait,
  type ForceOptions,
  type LeasesOptions,
  Settings,
  type TryAcquireOptions,
} from "./options";
import { now } from "./platform";
import { Quorum } from "./quorum";
import { closed } from "./refusals";
import { timeLeft } from "./times";
import { UnderWay } from "./under-way";
import { Waiter } from "./waiter";

/**
 * Locks on one Valkey or Redis server, or on a majority of several.
 *
 * A lease is a reference that is held on a server, with an expiry: its handle is counted like any other, the key is
 * deleted when its last account is closed, and whoever is lost or stops renewing loses it within the time to live. Its
 * holder is told no later than the deadline, because it is the holder's own clocks that tell it.
 *
 * What a lock with a time to live cannot do: stop a holder that was paused between asking `held` and acting on it. Where
 * that matters, the resource itself must refuse a {@link Lease.fence} lower than the highest it has seen. It also relies
 * on clocks that run equally fast up to 1 %, and on servers that remember: a failover to a replica that had not heard of
 * the key, a server that restarts without it sooner than its time to live, and one that evicts it let a second holder
 * in. Several nodes outvote one that forgot (restart it no sooner than the longest ttl); for work that is only done
 * twice, at a cost, one node is enough.
 *
 * @example One holder at a time
 * ```ts
 * // A server that agrees to everything; yours is fromNodeRedis(client), fromIoredis(client) or fromGlide(client).
 * const send: SendCommand = async ([, , keys]) => (keys === "2" ? [1, 1] : 1);
 * const leases = new Leases({ nodes: [send], ttl: 5000 });
 * const lease = await leases.acquire("reports/daily", { wait: 1000 });
 * console.log(lease.value.held, lease.value.fence); // true 1
 * await lease.decrRef();
 * await leases.close();
 * ```
 */
export interface Leases extends AsyncDisposable {
  /**
   * Waits until the lock is free and takes it; who comes first to these leases is served first. The caller owes the
   * handle's one reference.
   *
   * It is not re-entrant: who has the lease and acquires it again waits for itself.
   *
   * @returns A promise that never resolves without the lock. It rejects with a {@link LeaseTimeoutError} after `wait`, with
   * the signal's reason, with what the server said if asking again will not help, and with a {@link LeaseLostError}
   * (`closed`) if the leases were closed. Wrong arguments reject with a `TypeError` or `RangeError` before anything is sent.
   */
  acquire(name: string, options?: AcquireOptions): Promise<AsyncHandle<Lease>>;
  /**
   * Takes the lock if it is free now.
   *
   * @returns A promise of the handle, whose one reference the caller owes, or of `undefined` if somebody holds the lock
   * or waits for it with these leases. What is being given back here is waited for. If too few servers answer to know, or
   * none does before the deadline, it rejects with a {@link LeaseTimeoutError}.
   */
  tryAcquire(name: string, options?: TryAcquireOptions): Promise<AsyncHandle<Lease> | undefined>;
  /**
   * Takes the lock from whoever has it, who hears of it at the next renewal (if it came from these leases, at once). The
   * caller owes the handle's one reference. Of two that force it at once, one may find its lease lost when it gets it.
   *
   * @returns A promise of the handle, which rejects with a {@link LeaseTimeoutError} if too few servers answered, none did
   * before the deadline, or others forced it at the same time again and again, and with a {@link LeaseLostError} (`closed`)
   * if the leases were closed meanwhile.
   */
  force(name: string, options?: ForceOptions): Promise<AsyncHandle<Lease>>;
  /**
   * Ends everything: callers that wait are refused, leases are lost with reason `closed`, and their keys are deleted.
   * The clients can be closed when it has settled. A second call gives the same promise.
   */
  close(): Promise<void>;
  /** The same as {@link close}. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** The class of {@link Leases}. */
export interface LeasesConstructor {
  /**
   * @throws {TypeError} If an option is of the wrong type, or a node is given twice.
   * @throws {RangeError} If a number makes no sense: not whole, not positive, or a ttl too short to renew.
   */
  new (options: LeasesOptions): Leases;
  readonly prototype: Leases;
}

export const Leases: LeasesConstructor = class implements Leases {
  readonly #settings: Settings;
  readonly #quorum: Quorum;
  readonly #bids: Bids;
  readonly #underWay = new UnderWay();
  readonly #lines: Lines;
  readonly #forcing = new Set<Promise<unknown>>();
  #closing: Promise<void> | undefined;

  constructor(options: LeasesOptions) {
    this.#settings = new Settings(options);
    const { nodes, quorum, commandTimeout, fence, fenceTtl, heal } = this.#settings;
    this.#quorum = new Quorum(nodes, quorum, commandTimeout, fenceTtl, heal);
    const keeper = {
      quorum: this.#quorum,
      underWay: this.#underWay,
      onLost: options.onLost,
      onReleaseFailed: options.onReleaseFailed,
      vacated: (hold: Hold) => this.#lines.vacated(hold),
    };
    this.#bids = new Bids(keeper, fence);
    this.#lines = new Lines(this.#bids);
  }

  acquire(name: string, options: AcquireOptions = {}): Promise<AsyncHandle<Lease>> {
    return this.#enter(name, options, false) as Promise<AsyncHandle<Lease>>;
  }

  tryAcquire(name: string, options: TryAcquireOptions = {}): Promise<AsyncHandle<Lease> | undefined> {
    return this.#enter(name, options, true);
  }

  async force(name: string, options: ForceOptions = {}): Promise<AsyncHandle<Lease>> {
    const times = this.#settings.timesFor(options);
    const keys = this.#settings.keysOf(name);
    if (this.#closing !== undefined) throw closed(name);
    const line = this.#lines.of(name, keys);
    const here = realm.tracker?.here?.();
    const forcing = force(this.#bids, line, times, this.#settings.commandTimeout, async (hold, attempt) => {
      if (this.#closing === undefined) return this.#lines.grant(line, hold, attempt, true, here);
      await hold.release();
      throw closed(name);
    });
    this.#forcing.add(forcing);
    try {
      return await forcing;
    } finally {
      this.#forcing.delete(forcing);
    }
  }

  close(): Promise<void> {
    if (this.#closing === undefined) {
      let settle!: (closed: Promise<void>) => void;
      // Closed first: whoever hears that his lease is lost may well ask for it again, or close these leases himself.
      this.#closing = new Promise((resolve) => {
        settle = resolve;
      });
      settle(this.#close());
    }
    return this.#closing;
  }

  [ASYNC_DISPOSE](): Promise<void> {
    return this.close();
  }

  [INSPECT](): string {
    return `Leases<${this.#closing === undefined ? `${this.#held} held` : "closed"}>`;
  }

  get #held(): number {
    let held = 0;
    for (const line of this.#lines.all) if (line.hold !== undefined) held++;
    return held;
  }

  #enter(name: string, options: AcquireOptions, trying: boolean): Promise<AsyncHandle<Lease> | undefined> {
    // What is thrown in here rejects.
    return new Promise((resolve, reject) => {
      const times = this.#settings.timesFor(options);
      const wait = trying ? 0 : checkWait(options.wait);
      const left = timeLeft(times.until);
      const known = this.#lines.find(name);
      const keys = known?.keys ?? this.#settings.keysOf(name);
      const { signal } = options;
      checkSignal("acquire a lease", signal);
      if (signal?.aborted) throw signal.reason;
      if (this.#closing !== undefined) throw closed(name);
      const line = known ?? this.#lines.of(name, keys);
      const at = now();
      const once = wait === 0 || left === 0;
      const waiter = new Waiter(
        line,
        at,
        times,
        once,
        once ? left : Math.min(wait, left),
        trying,
        signal,
        resolve,
        reject,
      );
      const taken = line.hold !== undefined && line.hold.remaining > 0;
      // What is being given back, by its holder or by who asked and has left, is waited for.
      if (once && waiter.waits && (taken || line.first !== waiter)) waiter.miss();
      else this.#lines.advance(line, at);
    });
  }

  async #close(): Promise<void> {
    this.#bids.close();
    for (const line of this.#lines.all) {
      const { hold } = line;
      refused(line, closed(line.name));
      hold?.lose("closed");
      void hold?.release();
    }
    await Promise.allSettled([...this.#forcing, this.#underWay.over()]);
    await this.#quorum.close();
  }
};
