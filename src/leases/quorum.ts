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
  /** The nodes that had not answered when a majority had, by the token of the bid. */
  readonly #stragglers = new Map<string, Map<LeaseNode, Promise<boolean>>>();
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

  /** Gives the key back everywhere, and waits until every node has answered or had its time. Never rejects. */
  release(keys: Keys, token: string): Promise<Tally> {
    const [only] = this.#nodes;
    if (this.single && only !== undefined) return only.release(keys.lock, token).then(told, untold);
    const late = this.#stragglers.get(token);
    const votes = this.#nodes.map((node) => {
      const release = (): Promise<boolean> => node.release(keys.lock, token);
      // A bid may be sent twice, for want of a script: a deletion must not come between.
      return (
        late?.get(node)?.then(release, (error: unknown) => {
          this.#undo(node, keys, token);
          throw error;
        }) ?? release()
      );
    });
    return Promise.allSettled(votes).then(() => this.#tally(votes));
  }

  /** Settles when every deletion has been answered, or has had its time. */
  async close(): Promise<void> {
    await Promise.all(this.#undoing);
    for (const node of this.#nodes) node.close();
  }

  #acquireOne(node: LeaseNode, bid: Bid): Promise<Attempt> {
    return node.acquire(bid, this.#fenceTtl).then(
      ({ taken, fence, left }) => ({ won: taken, fence, left, split: false, fault: undefined, final: false }),
      (fault: unknown) => {
        // No attempt waits for this: it is behind the bid on its connection, and on another one the key still expires.
        if (!(fault instanceof CannotCompare)) this.#undo(node, bid.keys, bid.token);
        return { won: false, fence: undefined, left: undefined, split: false, fault, final: isHopeless(fault) };
      },
    );
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
      this.#remember(bid.token, votes, grabs);
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

  /** Keeps in mind who has still to answer a bid that was won. */
  #remember(token: string, votes: readonly Promise<boolean>[], grabs: ReadonlyMap<LeaseNode, Grab>): void {
    const late = new Map(this.#nodes.map((node, i) => [node, votes[i] as Promise<boolean>]));
    for (const node of grabs.keys()) late.delete(node);
    if (late.size === 0) return;
    this.#stragglers.set(token, late);
    void Promise.allSettled(late.values()).then(() => this.#stragglers.delete(token));
  }

  /** Waits for the nodes that answered the bid; the others are told as well, and again if they answer late. */
  async #clean(bid: Bid, votes: readonly Promise<boolean>[], grabs: ReadonlyMap<LeaseNode, Grab>): Promise<void> {
    const answered = new Set(grabs.keys());
    const cleaning = this.#nodes.map((node, i): Promise<unknown> | undefined => {
      const undone = this.#undo(node, bid.keys, bid.token);
      if (answered.has(node)) return undone;
      votes[i]?.then((taken) => taken && this.#undo(node, bid.keys, bid.token), ignore);
      return undefined;
    });
    await Promise.all(cleaning);
  }

  #undo(node: LeaseNode, keys: Keys, token: string): Promise<unknown> {
    const undoing = node
      .release(keys.lock, token)
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

function told(said: boolean): Tally {
  return { verdict: said ? "yes" : "no", errors: [] };
}

function untold(error: unknown): Tally {
  return { verdict: "unknown", errors: [error] };
}

function isHopeless(error: unknown): boolean {
  return error instanceof CannotCompare || isFinal(error);
}
