import { ignore } from "../account";
import { Asked, type Question, type Told } from "./asked";
import {
  BadReply,
  integer,
  isForbidden,
  isNoScript,
  isUnknown,
  isWrongType,
  list,
  type SendCommand,
  text,
} from "./command";
import { randomToken } from "./platform";
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

/** One node's answer to a bid. */
export interface Grab {
  readonly taken: boolean;
  /** Undefined when the bid was not fenced, or the key is somebody else's. */
  readonly fence: number | undefined;
  /** What the holder has left there, in milliseconds; undefined where it was not said. */
  readonly left: number | undefined;
}

/** What {@link LOOK} says of a key that is ours after all. */
const OURS = -3;

/** How a node compares and deletes: by script, or by a command of its own where scripts are forbidden. */
type Means = "script" | "DELEX" | "DELIFEQ";

/** Reads a reply; `undefined` if it makes no sense. */
type Read<T> = (reply: unknown) => T | undefined;

/** The server forbids scripts and has no commands that do the same. */
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
      if (isForbidden(error) || isUnknown(error)) this.runId = "";
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
      return asking((told: Told<Grab>) => this.#acquirePlainly(bid, told));
    }
    try {
      const grab = await asking((told: Told<Grab>) => this.#acquireByScript(bid, told));
      this.#means = "script";
      return grab;
    } catch (error) {
      if (isForbidden(error)) await this.#learn(bid.keys.lock);
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
    try {
      await asking((told: Told<boolean>) => this.#run(RELEASE, ["1", key, nothing], isOne, told));
      this.#means = "script";
      return;
    } catch (error) {
      if (!isForbidden(error)) throw error;
    }
    const has = async (words: string[]): Promise<boolean> => {
      try {
        await asking((told: Told<boolean>) => this.#ask(words, isOk, told));
        return true;
      } catch (error) {
        if (isWrongType(error)) return true;
        if (isForbidden(error) || isUnknown(error)) return false;
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
    throw new CannotCompare("its user may not run scripts, and it has no commands that compare and delete");
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
        if (script !== undefined && question.told !== undefined && isNoScript(error)) {
          // The same question still: both commands together have the time of one.
          this.#put(["EVAL", script.source, ...words.slice(2)], read, question, undefined, bid);
        } else {
          this.#asked.answered(question)?.(undefined, error ?? new Error(`${words[0]} failed for no reason given`));
        }
      },
    );
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

/** The answer as a promise. */
export function asking<T>(ask: (told: Told<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    ask((answer, error) => {
      if (answer === undefined) reject(error);
      else resolve(answer);
    });
  });
}

function untold<T>(told: Told<T>): (error: unknown) => void {
  return (error) => told(undefined, error);
}

const TAKEN: Grab = { taken: true, fence: undefined, left: undefined };

function grabbed(reply: unknown): Grab | undefined {
  const [first, second] = list(reply);
  const taken = integer(first);
  const said = integer(second);
  if (Number.isNaN(taken) || Number.isNaN(said)) return undefined;
  return taken === 1 ? { taken: true, fence: said, left: undefined } : { taken: false, fence: undefined, left: said };
}

/** What a look at a key that was not to be had says. */
function seen(reply: unknown): Grab | undefined {
  const left = integer(reply);
  return Number.isNaN(left) ? undefined : { taken: left === OURS, fence: undefined, left };
}

function isOne(reply: unknown): boolean | undefined {
  const said = integer(reply);
  return Number.isNaN(said) ? undefined : said === 1;
}

function isOk(reply: unknown): boolean {
  return text(reply) === "OK";
}
