import { ignore } from "../account";
import { isFinal, type SendCommand } from "./command";
import { type Bid, CannotCompare, type Grab, type Keys, LeaseNode } from "./node";
import { later } from "./platform";

/** What the nodes together say: a majority did it, too many did not, or too few answered to know. */
export type Verdict = "yes" | "no" | "unknown";

/** How an attempt on all nodes ended. */
export interface Attempt {
  readonly won: boolean;
  readonly fence: number | undefined;
  /** What the holder has left, in milliseconds, where that is known. */
  readonly left: number | undefined;
  /** Lost, and yet some nodes were had: several try at once. */
  readonly split: boolean;
  /** Why too few nodes answered to say who holds it. */
  readonly fault: unknown;
  /** Asking again will not help. */
  readonly final: boolean;
}

interface Tally {
  readonly verdict: Verdict;
  readonly errors: unknown[];
}

/** How long the first attempt waits for servers that have not said who they are, once its vote is decided. */
const IDENTIFY_GRACE = 100;

/** All nodes of a set of leases, spoken to in parallel. */
export class Quorum {
  readonly #nodes: readonly LeaseNode[];
  readonly #need: number;
  readonly #fenceTtl: number;
  /** Every server has said who it is, and no two are the same. */
  #distinct: boolean;
  #graced = false;
  /** Deletions that no attempt waits for. */
  readonly #undoing = new Set<Promise<unknown>>();

  constructor(nodes: readonly SendCommand[], need: number, timeout: number, fenceTtl: number) {
    this.#nodes = nodes.map((send) => new LeaseNode(send, timeout));
    this.#need = need;
    this.#fenceTtl = fenceTtl;
    this.#distinct = nodes.length === 1;
  }

  /** Whether every node runs scripts, as far as that is known. */
  get scripted(): boolean {
    return this.#nodes.every((node) => node.scripted);
  }

  get single(): boolean {
    return this.#nodes.length === 1;
  }

  /**
   * Bids everywhere. Whatever a lost bid took, or may have taken, is given back.
   *
   * @throws {TypeError} If two nodes are the same server.
   */
  acquire(bid: Bid): Promise<Attempt> {
    const [only] = this.#nodes;
    return this.single && only !== undefined ? this.#acquireOne(only, bid) : this.#acquireMost(bid);
  }

  async extend(keys: Keys, token: string, ttl: number): Promise<Verdict> {
    return (await this.#tally(this.#nodes.map((node) => node.extend(keys.lock, token, ttl)))).verdict;
  }

  /** Gives the key back everywhere, and waits until every node has answered or had its time. */
  async release(keys: Keys, token: string): Promise<Tally> {
    const votes = this.#nodes.map((node) => node.release(keys.lock, token));
    const tally = await this.#tally(votes);
    if (!this.single) await Promise.allSettled(votes);
    return tally;
  }

  /** Every deletion has been answered, or has had its time. */
  async quiet(): Promise<void> {
    await Promise.all(this.#undoing);
  }

  async #acquireOne(node: LeaseNode, bid: Bid): Promise<Attempt> {
    try {
      const { taken, fence, left } = await node.acquire(bid, this.#fenceTtl);
      return { won: taken, fence, left, split: false, fault: undefined, final: false };
    } catch (error) {
      // No attempt waits for this: it is behind the bid on its connection, and on another one the key still expires.
      if (!(error instanceof CannotCompare)) this.#undo(node, bid);
      return { won: false, fence: undefined, left: undefined, split: false, fault: error, final: isHopeless(error) };
    }
  }

  async #acquireMost(bid: Bid): Promise<Attempt> {
    const grabs = new Map<LeaseNode, Grab>();
    const identified: Promise<void>[] = [];
    const votes = this.#nodes.map(async (node) => {
      const naming = node.runId === undefined ? node.identify() : undefined;
      if (naming !== undefined) identified.push(naming);
      const grab = await node.acquire(bid, this.#fenceTtl);
      grabs.set(node, grab);
      return grab.taken;
    });
    const { verdict, errors } = await this.#tally(votes);
    const twins = await this.#twins(identified);
    const fence = Math.max(...[...grabs.values()].map((grab) => grab.fence ?? 0));
    if (verdict === "yes" && twins === undefined) {
      const won = { won: true, left: undefined, split: false, fault: undefined, final: false };
      if (!bid.fenced) return { ...won, fence: undefined };
      // The next majority shares a node with this one, so its fence is higher.
      const raised = await this.#tally(this.#nodes.map((n) => n.raise(bid.keys, bid.token, fence, this.#fenceTtl)));
      if (raised.verdict === "yes") return { ...won, fence };
      errors.push(...raised.errors);
    }
    const held = [...grabs.values()].filter((grab) => !grab.taken);
    // A node that answered "not you" was asked for our token too, so if all did nothing is left to give back.
    if (held.length < this.#nodes.length) await this.#clean(bid, votes, grabs);
    if (twins !== undefined) throw twins;
    const spare = this.#nodes.length - this.#need;
    const known = held.map((grab) => grab.left).filter((left) => left !== undefined);
    return {
      won: false,
      fence: undefined,
      left: known.length > 0 ? Math.max(...known) : undefined,
      split: held.length < grabs.size,
      fault: held.length > spare ? undefined : (errors.find(isHopeless) ?? errors[0]),
      final: errors.filter(isHopeless).length > spare,
    };
  }

  /** Waits for the nodes that answered the bid; the others are told as well, and again if they answer late. */
  async #clean(bid: Bid, votes: readonly Promise<boolean>[], grabs: ReadonlyMap<LeaseNode, Grab>): Promise<void> {
    const answered = new Set(grabs.keys());
    const cleaning = this.#nodes.map((node, i): Promise<unknown> | undefined => {
      const undone = this.#undo(node, bid);
      if (answered.has(node)) return undone;
      votes[i]?.then((taken) => taken && this.#undo(node, bid), ignore);
      return undefined;
    });
    await Promise.all(cleaning);
  }

  #undo(node: LeaseNode, bid: Bid): Promise<unknown> {
    const undoing = node
      .release(bid.keys.lock, bid.token)
      .catch(ignore)
      .finally(() => this.#undoing.delete(undoing));
    this.#undoing.add(undoing);
    return undoing;
  }

  /** The refusal of one server under two names, once both have said who they are. */
  async #twins(identified: readonly Promise<void>[]): Promise<TypeError | undefined> {
    if (this.#distinct) return undefined;
    if (!this.#graced) {
      this.#graced = true;
      await Promise.race([
        Promise.all(identified),
        new Promise<void>((over) => {
          later(IDENTIFY_GRACE, over);
        }),
      ]);
    }
    const seen = new Map<string, number>();
    for (const [i, { runId }] of this.#nodes.entries()) {
      if (!runId) continue;
      const twin = seen.get(runId);
      if (twin !== undefined) {
        return new TypeError(`Cannot lease from these nodes: nodes ${twin} and ${i} are one server, run_id ${runId}`);
      }
      seen.set(runId, i);
    }
    this.#distinct = this.#nodes.every((node) => node.runId !== undefined);
    return undefined;
  }

  /** Settles as soon as the answers still to come cannot change the verdict. */
  #tally(votes: readonly Promise<boolean>[]): Promise<Tally> {
    return new Promise((resolve) => {
      const errors: unknown[] = [];
      let yes = 0;
      let no = 0;
      const spare = votes.length - this.#need;
      const count = (): void => {
        if (yes >= this.#need) resolve({ verdict: "yes", errors });
        else if (no > spare) resolve({ verdict: "no", errors });
        else if (yes + no + errors.length === votes.length) resolve({ verdict: "unknown", errors });
      };
      for (const vote of votes) {
        vote.then(
          (said) => {
            if (said) yes++;
            else no++;
            count();
          },
          (error: unknown) => {
            errors.push(error);
            count();
          },
        );
      }
    });
  }
}

function isHopeless(error: unknown): boolean {
  return error instanceof CannotCompare || isFinal(error);
}
