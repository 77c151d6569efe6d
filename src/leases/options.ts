import { checkObject, type LeaseLostError, received, unfit } from "../errors";
import type { SendCommand } from "./command";
import type { Keys } from "./node";
import type { Signal } from "./platform";
import type { Times } from "./times";

/** What {@link Leases} are made of. All times are whole milliseconds. */
export interface LeasesOptions {
  /**
   * One way to send commands per server: one, or several that know nothing of each other (not replicas of one another),
   * of which a majority decides.
   */
  readonly nodes: readonly SendCommand[];
  /**
   * What all keys begin with.
   *
   * @default "lastref"
   */
  readonly prefix?: string;
  /**
   * How long a key lives on the server after the last renewal, and so how long others wait for a holder that died.
   *
   * @default 10_000
   */
  readonly ttl?: number;
  /**
   * How often a lease is renewed.
   *
   * @default a third of the ttl
   */
  readonly renewEvery?: number;
  /**
   * How long one command may take before its answer counts as unknown. A release settles within it too, with a renewal
   * in flight that it has to wait for. A renewal that has no answer after a third of its lease's own ttl is sent again,
   * however long that is.
   *
   * @default a third of the ttl, 1000 at most
   */
  readonly commandTimeout?: number;
  /**
   * How long a lease may be held, renewals included.
   *
   * @default no bound
   */
  readonly maxHold?: number;
  /**
   * How many nodes have to agree.
   *
   * @default a majority
   */
  readonly quorum?: number;
  /**
   * Whether a lease has a {@link Lease.fence}. On several nodes it costs a second round trip.
   *
   * @default `true` on one node (none where scripts are forbidden), `false` on several
   */
  readonly fence?: boolean;
  /**
   * After how long without an acquire the counter of a name is forgotten. Its fences go on from the server's clock then,
   * so they still go up unless that clock was set back. Without it one small key per name stays.
   *
   * @default never
   */
  readonly fenceTtl?: number;
  /**
   * Whether a renewal that a majority of several nodes has confirmed gives the key back to a node that has lost it (it was
   * restarted, or its key deleted), so that the next node may be lost as well. A key that a majority has lost stays lost.
   *
   * @default false
   */
  readonly heal?: boolean;
  /** Hears of every lease that was lost, after its signal was aborted. */
  readonly onLost?: (name: string, error: LeaseLostError) => void;
  /** Hears of every lease whose release was not answered: its key stays until its time to live is over. */
  readonly onReleaseFailed?: (name: string, error: unknown) => void;
}

/** What {@link Leases.force} takes. */
export interface ForceOptions {
  /**
   * The time to live of this lease instead of that of its {@link Leases}.
   */
  readonly ttl?: number;
  /**
   * When everything has to be over, in `performance.now()` time: by then who waits has given up, and the lease has ended
   * (reason `max-hold`). No server is asked to keep the key for longer than what is left until then.
   *
   * @default never
   */
  readonly deadline?: number;
}

/** What {@link Leases.tryAcquire} takes. */
export interface TryAcquireOptions extends ForceOptions {
  /** Gives up when it aborts, with its reason. Once the lease is acquired it means nothing any more. */
  readonly signal?: Signal;
}

/** What {@link Leases.acquire} takes. */
export interface AcquireOptions extends TryAcquireOptions {
  /**
   * How long to wait for a lock that somebody else holds, or for servers that do not answer, in milliseconds; 0 for one attempt.
   *
   * @default Infinity
   */
  readonly wait?: number;
}

const LONGEST = 2 ** 31 - 1;
const SHORTEST_INTERVAL = 10;

/** The options with everything said, and refused if they make no sense. */
export class Settings {
  readonly nodes: readonly SendCommand[];
  readonly quorum: number;
  readonly commandTimeout: number;
  readonly fence: boolean | undefined;
  readonly fenceTtl: number;
  readonly heal: boolean;
  readonly times: Times;
  readonly #prefix: string;
  readonly #renewEvery: number | undefined;

  constructor(options: LeasesOptions) {
    checkObject("make leases", options);
    const { nodes, prefix = "lastref", ttl = 10_000, renewEvery, maxHold, fence, fenceTtl, heal } = options;
    if (!Array.isArray(nodes) || nodes.length === 0) {
      throw unfit("make leases", "nodes to be an array of at least one", nodes);
    }
    for (const [i, node] of nodes.entries()) {
      if (typeof node !== "function") {
        throw new TypeError(
          `Cannot make leases: expected node ${i} to be a function that sends a command, as an adapter makes it; received ${received(node)}`,
        );
      }
      const twin = nodes.indexOf(node);
      if (twin !== i) throw new TypeError(`Cannot make leases: nodes ${twin} and ${i} are the same`);
    }
    const majority = Math.floor(nodes.length / 2) + 1;
    const { quorum = majority } = options;
    if (!Number.isInteger(quorum) || quorum < majority || quorum > nodes.length) {
      throw new RangeError(
        `Cannot make leases: expected a quorum of ${majority} to ${nodes.length} of ${nodes.length} nodes, received ${received(quorum)}`,
      );
    }
    if (typeof prefix !== "string") {
      throw unfit("make leases", "a prefix that is a string", prefix);
    }
    for (const [option, value] of Object.entries({ fence, heal })) {
      if (value !== undefined && typeof value !== "boolean") {
        throw unfit("make leases", `${option} to be true or false`, value);
      }
    }
    for (const hook of ["onLost", "onReleaseFailed"] as const) {
      if (options[hook] !== undefined && typeof options[hook] !== "function") {
        throw unfit("make leases", `${hook} to be a function`, options[hook]);
      }
    }
    this.nodes = [...nodes];
    this.quorum = quorum;
    this.fence = fence;
    this.heal = heal === true;
    this.#prefix = encode(prefix);
    this.#renewEvery = renewEvery === undefined ? undefined : whole("renewEvery", renewEvery, SHORTEST_INTERVAL);
    this.fenceTtl = fenceTtl === undefined ? 0 : whole("fenceTtl", fenceTtl);
    this.times = this.#timesOf(ttl, maxHold === undefined ? Infinity : whole("maxHold", maxHold));
    const { commandTimeout = Math.min(1000, Math.floor(ttl / 3)) } = options;
    this.commandTimeout = whole("commandTimeout", commandTimeout);
  }

  /** The times of one lease, which may have a time to live or a deadline of its own. */
  timesFor(options: ForceOptions): Times {
    checkObject("acquire a lease", options);
    const { ttl, deadline } = options;
    const times = ttl === undefined ? this.times : this.#timesOf(ttl, this.times.maxHold);
    return deadline === undefined ? times : { ...times, until: checkDeadline(deadline) };
  }

  /**
   * The two keys of a name. Their hash tag is the name alone, so a cluster keeps them in one slot, and no two prefixes
   * and names have a key in common whatever characters they are made of.
   */
  keysOf(name: string): Keys {
    if (typeof name !== "string" || name === "") {
      throw unfit("acquire a lease", "a name that is a non-empty string", name);
    }
    const lock = `${this.#prefix}:{${encode(name)}}`;
    return { lock, fence: `${lock}:fence` };
  }

  #timesOf(ttl: number, maxHold: number): Times {
    whole("ttl", ttl);
    const renewEvery = this.#renewEvery ?? Math.floor(ttl / 3);
    if (renewEvery < SHORTEST_INTERVAL || renewEvery >= ttl - ttl / 100 - 2) {
      throw new RangeError(
        `Cannot renew a lease: a ttl of ${ttl} ms leaves no time for a renewal every ${renewEvery} ms, of which ${SHORTEST_INTERVAL} ms is the least`,
      );
    }
    return { ttl, renewEvery, maxHold, until: Infinity };
  }
}

/** How long an acquire waits, `Infinity` for as long as it takes. */
export function checkWait(wait: unknown): number {
  return wait === undefined || wait === Infinity ? Infinity : whole("wait", wait, 0);
}

function checkDeadline(deadline: unknown): number {
  if (typeof deadline === "number" && deadline > Number.NEGATIVE_INFINITY) return deadline;
  const Mistake = typeof deadline === "number" ? RangeError : TypeError;
  throw new Mistake(
    `Cannot acquire a lease: expected deadline to be a time of performance.now(), received ${typeof deadline === "number" ? deadline : received(deadline)}`,
  );
}

function whole(option: string, value: unknown, least = 1): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < least || value > LONGEST) {
    const what = typeof value === "number" ? String(value) : received(value);
    const Mistake = typeof value === "number" ? RangeError : TypeError;
    throw new Mistake(
      `Cannot lease: expected ${option} to be a whole number of milliseconds from ${least} to ${LONGEST}, received ${what}`,
    );
  }
  return value;
}

/** Braces would end the hash tag, and a lone surrogate is sent like any other: both are written out, as is what they are written with. */
function encode(text: string): string {
  if (!/[%{}\ud800-\udfff]/.test(text)) return text;
  return text.replace(/[%{}]|\p{Surrogate}/gu, (char) => `%${char.charCodeAt(0).toString(16)}`);
}
