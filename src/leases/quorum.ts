import { ignore } from "../account";
import { asking, type Told } from "./asked";
import { NoAnswer, type SendCommand } from "./command";
import { type Bid, CannotCompare, type Keys, LeaseNode } from "./node";
import { cancel, later, type Timer } from "./platform";
import type { Grab } from "./replies";
import { type Decision, isHopeless, Tally, type Verdict } from "./tally";

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

/** How long the first attempt waits for servers that have not said who they are, once its vote is decided. */
const IDENTIFY_GRACE = 100;

/** All nodes of a set of leases, spoken to in parallel. */
export class Quorum {
  readonly #nodes: readonly LeaseNode[];
  /** The only one, which is spared what it takes to count votes. */
  readonly #only: LeaseNode | undefined;
  readonly #need: number;
  /** How long a node may take to answer. */
  readonly timeout: number;
  readonly #heal: boolean;
  /** Every server has said who it is, and no two are the same. */
  #distinct: boolean;
  #graced = false;
  /** The nodes that have still to answer what a majority has, by the token. */
  readonly #stragglers = new Map<string, Map<LeaseNode, Promise<unknown>>>();
  /** Deletions that no attempt waits for. */
  readonly #undoing = new Set<Promise<unknown>>();

  constructor(nodes: readonly SendCommand[], need: number, timeout: number, fenceTtl: number, heal: boolean) {
    this.#nodes = nodes.map((send) => new LeaseNode(send, timeout, fenceTtl));
    this.#only = nodes.length === 1 ? this.#nodes[0] : undefined;
    this.#need = need;
    this.timeout = timeout;
    this.#heal = heal;
    this.#distinct = nodes.length === 1;
  }

  /** Whether every node runs scripts, as far as that is known. */
  get scripted(): boolean {
    return this.#only === undefined ? this.#nodes.every((node) => node.scripted) : this.#only.scripted;
  }

  get single(): boolean {
    return this.#only !== undefined;
  }

  /**
   * Bids everywhere, and tells how it ended. Whatever a lost bid took, or may have taken, is given back.
   *
   * The only error is a `TypeError`, if two nodes are the same server.
   */
  acquire(bid: Bid, told: Told<Attempt>): void {
    const node = this.#only;
    if (node === undefined) {
      this.#acquireMost(bid).then(
        (attempt) => told(attempt, undefined),
        (error: unknown) => told(undefined, error),
      );
      return;
    }
    node.acquire(bid, (grab, fault) => {
      if (grab !== undefined) {
        const { taken, fence, left } = grab;
        told({ won: taken, fence, left, split: false, fault: undefined, final: false }, undefined);
        return;
      }
      // No attempt waits for this: it is behind the bid on its connection, and on another one the key still expires.
      if (!(fault instanceof CannotCompare)) this.#undo(node, bid.keys, bid.token);
      told({ won: false, fence: undefined, left: undefined, split: false, fault, final: isHopeless(fault) }, undefined);
    });
  }

  /**
   * Gives the keys their time again.
   *
   * Where it was asked for, a node that has lost its key gets it back for what the lease has left then, if a majority has
   * answered in this very round that it still has its own: nobody else can have won one meanwhile.
   */
  async extend(keys: Keys, token: string, ttl: number, left: () => number): Promise<Decision> {
    const votes = this.#nodes.map((node) => asking((told: Told<boolean>) => node.extend(keys.lock, token, ttl, told)));
    const decision = await Tally.of(votes, this.#need).decided;
    if (decision.verdict === "yes" && this.#heal) {
      const healing = votes.map(async (vote, i): Promise<boolean> => {
        const node = this.#nodes[i] as LeaseNode;
        if (await vote) return true;
        const ms = Math.ceil(left());
        return ms === 0 || asking((told: Told<boolean>) => node.heal(keys.lock, token, ms, told));
      });
      this.#remember(token, healing);
    }
    return decision;
  }

  /**
   * Gives the key back everywhere, and tells what became of it when every node has answered or had its time, which is
   * `within` milliseconds at most. `free` hears of several nodes as soon as a majority has deleted it: the next holder
   * needs no more.
   */
  release(
    keys: Keys,
    token: string,
    within: number,
    free: () => void,
    told: (verdict: Verdict, error: unknown) => void,
  ): void {
    const node = this.#only;
    if (node !== undefined && within === this.timeout) {
      node.release(keys.lock, token, (said, error) => {
        told(said === undefined ? "unknown" : said ? "yes" : "no", error);
      });
      return;
    }
    const late = this.#stragglers.get(token);
    const votes = this.#nodes.map((node) => {
      const release = (): Promise<boolean> => asking((told: Told<boolean>) => node.release(keys.lock, token, told));
      // A bid may be sent twice, for want of a script: a deletion must not come between.
      return (
        late?.get(node)?.then(release, (error: unknown) => {
          this.#undo(node, keys, token);
          throw error;
        }) ?? release()
      );
    });
    const tally = Tally.of(votes, this.#need);
    void tally.decided.then(({ verdict }) => verdict === "yes" && free());
    let waiting: Timer | undefined;
    const over = new Promise<void>((resolve) => {
      waiting = later(within, resolve);
    });
    void Promise.race([Promise.allSettled(votes), over]).then(() => {
      cancel(waiting);
      told(tally.verdict ?? "unknown", tally.errors[0] ?? new NoAnswer("Release", within));
    });
  }

  /** Settles when every deletion has been answered, or has had its time. */
  async close(): Promise<void> {
    await Promise.all(this.#undoing);
    for (const node of this.#nodes) node.close();
  }

  async #acquireMost(bid: Bid): Promise<Attempt> {
    const grabs = new Map<LeaseNode, Grab>();
    const identified: Promise<void>[] = [];
    const votes = this.#nodes.map(async (node) => {
      const naming = node.runId === undefined ? node.identify() : undefined;
      if (naming !== undefined) identified.push(naming);
      const grab = await asking((told: Told<Grab>) => node.acquire(bid, told));
      grabs.set(node, grab);
      return grab.taken;
    });
    const { verdict, errors } = await Tally.of(votes, this.#need).decided;
    const twins = await this.#twins(identified);
    const fence = Math.max(...[...grabs.values()].map((grab) => grab.fence ?? 0));
    if (verdict === "yes" && twins === undefined) {
      this.#remember(bid.token, votes);
      const won = { won: true, left: undefined, split: false, fault: undefined, final: false };
      if (!bid.fenced) return { ...won, fence: undefined };
      // The next majority shares a node with this one, so its fence is higher.
      const raising = this.#nodes.map((node) =>
        asking((told: Told<boolean>) => node.raise(bid.keys, bid.token, fence, told)),
      );
      const raised = await Tally.of(raising, this.#need).decided;
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
      // Until so many have let go of it that what is left is a minority.
      left: known.sort((a, b) => a - b)[Math.max(0, Math.min(held.length - spare, known.length) - 1)],
      split: held.length < grabs.size,
      fault: held.length > spare ? undefined : (errors.find(isHopeless) ?? errors[0]),
      final: errors.filter(isHopeless).length > spare,
    };
  }

  /** Keeps in mind, for the release, what nodes have still to answer. */
  #remember(token: string, answers: readonly Promise<boolean>[]): void {
    const late = this.#stragglers.get(token) ?? new Map<LeaseNode, Promise<unknown>>();
    this.#stragglers.set(token, late);
    for (const [i, node] of this.#nodes.entries()) {
      const answer = answers[i] as Promise<boolean>;
      const before = late.get(node);
      const both = before === undefined ? answer : Promise.all([before, answer]);
      late.set(node, both);
      const answered = (): void => {
        if (late.get(node) === both) late.delete(node);
        if (late.size === 0) this.#stragglers.delete(token);
      };
      both.then(answered, answered);
    }
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
    const undoing = new Promise<void>((resolve) => {
      node.release(keys.lock, token, () => {
        this.#undoing.delete(undoing);
        resolve();
      });
    });
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
}
