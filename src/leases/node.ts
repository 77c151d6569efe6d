import { ignore } from "../account";
import { Asked, asking, type Question, type Told, untold } from "./asked";
import { BadReply, isDenied, isNoScript, isWrongType, NoAnswer, type SendCommand, text } from "./command";
import { now, randomToken } from "./platform";
import { type Grab, grabbed, isOk, isOne, type Read, seen, TAKEN } from "./replies";
import { ACQUIRE, EXTEND, LOOK, RAISE, RELEASE, type Script } from "./scripts";

/** The keys of one name: the lock itself, and the counter that its fences come from. */
export interface Keys {
  readonly lock: string;
  readonly fence: string;
}

/** What one attempt asks of every node. */
export interface Bid {
  readonly keys: Keys;
  readonly token: string;
  /** When it is made, in `performance.now()` time. */
  readonly at: number;
  /** Milliseconds. */
  readonly ttl: number;
  readonly fenced: boolean;
  /** Takes the key from whoever has it. */
  readonly force: boolean;
}

/** How a node compares and deletes: by script, or by a command of its own where scripts are forbidden. */
type Means = "script" | "DELEX" | "DELIFEQ";

/** The server forbids scripts, or does not know them, and has no commands that do the same. */
export class CannotCompare extends Error {
  override readonly name = "CannotCompare";
}

/**
 * One server (or cluster), and how it is spoken to. An answer that is unknown or an error is told as an error.
 *
 * A lease is two commands, and everything here is measured against those: no promise but the client's own, and one timer
 * for all commands that wait.
 */
export class LeaseNode {
  readonly #send: SendCommand;
  readonly #asked: Asked;
  readonly #fenceTtl: string;
  #means: Means | undefined;
  /** The server's own name for itself; empty where it keeps that to itself, undefined until it was asked. */
  runId: string | undefined;

  constructor(send: SendCommand, timeout: number, fenceTtl: number) {
    this.#send = send;
    this.#asked = new Asked(timeout);
    this.#fenceTtl = String(fenceTtl);
  }

  /** Whether fences can be had, as far as that is known. */
  get scripted(): boolean {
    return this.#means === undefined || this.#means === "script";
  }

  acquire(bid: Bid, told: Told<Grab>): void {
    if (this.#means === undefined) this.#acquireFirst(bid).then(told as (grab: Grab) => void, untold(told));
    else if (bid.fenced) this.#acquireByScript(bid, told);
    else this.#acquirePlainly(bid, told);
  }

  /** Whether the key was still ours and has its time again. */
  extend(key: string, token: string, ttl: number, told: Told<boolean>): void {
    if (this.scripted) this.#run(EXTEND, ["1", key, token, String(ttl)], isOne, told);
    else this.#native(["SET", key, token, "IFEQ", token, "PX", String(ttl)], isOk, told);
  }

  /** Whether the key was missing; it is ours again. */
  heal(key: string, token: string, ttl: number, told: Told<boolean>): void {
    this.#ask(["SET", key, token, "PX", String(ttl), "NX"], isOk, told);
  }

  /** Whether the key was still ours; it is gone. */
  release(key: string, token: string, told: Told<boolean>): void {
    if (this.scripted) this.#ask(["EVALSHA", RELEASE.sha, "1", key, token], isOne, told, RELEASE);
    else this.#native(this.#deletion(this.#means, key, token), isOne, told);
  }

  /** Whether the key was still ours and no later fence from this node is below this one. */
  raise(keys: Keys, token: string, fence: number, told: Told<boolean>): void {
    this.#run(RAISE, ["2", keys.lock, keys.fence, token, String(fence), this.#fenceTtl], isOne, told);
  }

  /** Asks the server for its name. Never rejects: a server that does not answer is asked again the next time. */
  async identify(): Promise<void> {
    try {
      const info = await asking((told: Told<string>) =>
        this.#ask(["INFO", "server"], (reply) => text(reply) ?? "", told),
      );
      this.runId = /^run_id:(\w+)/m.exec(info)?.[1] ?? "";
    } catch (error) {
      if (isDenied(error)) this.runId = "";
    }
  }

  /** Leaves no timer behind, unless somebody still waits for an answer. */
  close(): void {
    this.#asked.close();
  }

  /** Nothing is taken before it is known how it can be given back. */
  async #acquireFirst(bid: Bid): Promise<Grab> {
    if (!bid.fenced) {
      await this.#learn(bid.keys.lock);
      const ttl = leftFor(bid.ttl, bid.at);
      if (ttl < 1) throw new NoAnswer("SET", bid.ttl);
      return asking((told: Told<Grab>) => this.#acquirePlainly({ ...bid, ttl }, told));
    }
    try {
      const grab = await asking((told: Told<Grab>) => this.#acquireByScript(bid, told));
      this.#means = "script";
      return grab;
    } catch (error) {
      if (isDenied(error)) await this.#learn(bid.keys.lock);
      throw error;
    }
  }

  #acquireByScript(bid: Bid, told: Told<Grab>): void {
    const { keys, token, ttl, force } = bid;
    const words = ["EVALSHA", ACQUIRE.sha, "2", keys.lock, keys.fence, token, String(ttl)];
    if (force) words.push(this.#fenceTtl, "1");
    else if (this.#fenceTtl !== "0") words.push(this.#fenceTtl);
    this.#ask(words, grabbed, told, ACQUIRE, bid, bid.at);
  }

  #acquirePlainly(bid: Bid, told: Told<Grab>): void {
    const { keys, token, ttl } = bid;
    const words = ["SET", keys.lock, token, "PX", String(ttl)];
    if (!bid.force) words.push("NX");
    const took: Told<boolean> = (taken, error) => {
      if (taken) told(TAKEN, undefined);
      else if (taken === undefined) told(undefined, error);
      else if (this.scripted) this.#run(LOOK, ["1", keys.lock, token], seen, told);
      else this.#ask(["PTTL", keys.lock], seen, told);
    };
    this.#ask(words, isOk, took, undefined, bid, bid.at);
  }

  /**
   * Finds out how this server compares and deletes. The probes compare with a value that nothing has, so they change
   * nothing, whatever is at the key.
   */
  async #learn(key: string): Promise<void> {
    const nothing = randomToken();
    let forbidden: unknown;
    try {
      await asking((told: Told<boolean>) => this.#run(RELEASE, ["1", key, nothing], isOne, told));
      this.#means = "script";
      return;
    } catch (error) {
      if (!isDenied(error)) throw error;
      forbidden = error;
    }
    const has = async (words: string[]): Promise<boolean> => {
      try {
        await asking((told: Told<boolean>) => this.#ask(words, isOk, told));
        return true;
      } catch (error) {
        if (isWrongType(error)) return true;
        if (isDenied(error)) return false;
        throw error;
      }
    };
    if (await has(["SET", key, nothing, "IFEQ", nothing, "PX", "1"])) {
      for (const means of ["DELEX", "DELIFEQ"] as const) {
        if (await has(this.#deletion(means, key, nothing))) {
          this.#means = means;
          return;
        }
      }
    }
    const why = `its server runs no script for this user that compares and deletes ${key}, and has no commands that do`;
    throw new CannotCompare(why, { cause: forbidden });
  }

  #deletion(means: Means | undefined, key: string, token: string): string[] {
    return means === "DELIFEQ" ? ["DELIFEQ", key, token] : ["DELEX", key, "IFEQ", token];
  }

  /** A key of another type is not ours. */
  #native(words: string[], ours: Read<boolean>, told: Told<boolean>): void {
    this.#ask(words, ours, (answer, error) => {
      if (answer === undefined && isWrongType(error)) told(false, undefined);
      else told(answer, error);
    });
  }

  #run<T>(script: Script, args: string[], read: Read<T>, told: Told<T>): void {
    this.#ask(["EVALSHA", script.sha, ...args], read, told, script);
  }

  /**
   * One command with a bound on its answer, which most clients do not have of their own.
   *
   * A script that the server does not have is sent whole. What a bid took that was answered too late is given back.
   */
  #ask<T>(words: string[], read: Read<T>, told: Told<T>, script?: Script, bid?: Bid, at?: number): void {
    this.#put(words, read, this.#asked.add(words[0] as string, told, at), script, bid);
  }

  #put<T>(words: string[], read: Read<T>, question: Question<T>, script: Script | undefined, bid?: Bid): void {
    this.#sent(words).then(
      (reply) => {
        const waits = this.#asked.answered(question);
        const answer = read(reply);
        if (waits !== undefined) {
          waits(answer, answer === undefined ? new BadReply(words[0] as string, reply) : undefined);
        } else if (bid !== undefined && (answer === true || (answer as Grab | undefined)?.taken)) {
          this.release(bid.keys.lock, bid.token, ignore);
        }
      },
      (error: unknown) => {
        const missing = script !== undefined && question.told !== undefined && isNoScript(error);
        const whole = missing ? this.#whole(words, script, question) : undefined;
        // The same question still: both commands together have the time of one.
        if (whole !== undefined) this.#put(whole, read, question, undefined, bid);
        else {
          this.#asked.answered(question)?.(undefined, error ?? new Error(`${words[0]} failed for no reason given`));
        }
      },
    );
  }

  /** A script that was sent by its name, with its source; not if what it asks for would be over by now. */
  #whole(words: string[], { source, ttlAt }: Script, { due }: Question<never>): string[] | undefined {
    const whole = ["EVAL", source, ...words.slice(2)];
    if (ttlAt !== undefined) {
      const left = leftFor(Number(words[ttlAt]), due - this.#asked.timeout);
      if (left < 1) return undefined;
      whole[ttlAt] = String(left);
    }
    return whole;
  }

  /** A client that throws has failed like any other. */
  #sent(words: string[]): Promise<unknown> {
    try {
      return Promise.resolve(this.#send(words));
    } catch (error) {
      return Promise.reject(error);
    }
  }
}

/** What is left of a time to live that was asked for then. */
function leftFor(ttl: number, at: number): number {
  return Math.floor(ttl - (now() - at));
}
