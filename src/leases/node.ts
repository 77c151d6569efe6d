import { ignore } from "../account";
import { Asked } from "./asked";
import { integer, isForbidden, isNoScript, isUnknown, isWrongType, list, type SendCommand, text } from "./command";
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

/** The server forbids scripts and has no commands that do the same. */
export class CannotCompare extends Error {
  override readonly name = "CannotCompare";
}

/**
 * One server (or cluster), and how it is spoken to. Every call rejects when its answer is unknown or an error.
 *
 * A lease is two commands, and everything here is measured against those: one promise a command, and one timer for all
 * commands that wait.
 */
export class LeaseNode {
  readonly #send: SendCommand;
  readonly #asked: Asked;
  #means: Means | undefined;
  /** The server's own name for itself; empty where it keeps that to itself, undefined until it was asked. */
  runId: string | undefined;

  constructor(send: SendCommand, timeout: number) {
    this.#send = send;
    this.#asked = new Asked(timeout);
  }

  /** Whether fences can be had, as far as that is known. */
  get scripted(): boolean {
    return this.#means === undefined || this.#means === "script";
  }

  acquire(bid: Bid, fenceTtl: number): Promise<Grab> {
    if (this.#means === undefined) return this.#acquireFirst(bid, fenceTtl);
    return bid.fenced ? this.#acquireByScript(bid, fenceTtl) : this.#acquirePlainly(bid);
  }

  /** Whether the key was still ours and has its time again. */
  extend(key: string, token: string, ttl: number): Promise<boolean> {
    if (this.scripted) return this.#run(EXTEND, ["1", key, token, String(ttl)], isOne);
    return this.#native(["SET", key, token, "IFEQ", token, "PX", String(ttl)], isOk);
  }

  /** Whether the key was still ours; it is gone. */
  release(key: string, token: string): Promise<boolean> {
    if (this.scripted) return this.#run(RELEASE, ["1", key, token], isOne);
    return this.#native(this.#deletion(this.#means, key, token), isOne);
  }

  /** Whether the key was still ours and no later fence from this node is below this one. */
  raise(keys: Keys, token: string, fence: number, fenceTtl: number): Promise<boolean> {
    return this.#run(RAISE, ["2", keys.lock, keys.fence, token, String(fence), String(fenceTtl)], isOne);
  }

  /** Asks the server for its name. Never rejects: a server that does not answer is asked again the next time. */
  async identify(): Promise<void> {
    try {
      const info = (await this.#ask(["INFO", "server"], text)) ?? "";
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
  async #acquireFirst(bid: Bid, fenceTtl: number): Promise<Grab> {
    if (!bid.fenced) {
      await this.#learn(bid.keys.lock);
      return this.#acquirePlainly(bid);
    }
    try {
      const grab = await this.#acquireByScript(bid, fenceTtl);
      this.#means = "script";
      return grab;
    } catch (error) {
      if (isForbidden(error)) await this.#learn(bid.keys.lock);
      throw error;
    }
  }

  #acquireByScript(bid: Bid, fenceTtl: number): Promise<Grab> {
    const { keys, token, ttl, force } = bid;
    const args = ["2", keys.lock, keys.fence, token, String(ttl), String(fenceTtl), force ? "1" : "0"];
    return this.#run(ACQUIRE, args, grabbed, bid);
  }

  async #acquirePlainly(bid: Bid): Promise<Grab> {
    const { keys, token, ttl } = bid;
    const words = ["SET", keys.lock, token, "PX", String(ttl)];
    if (!bid.force) words.push("NX");
    if (await this.#ask(words, isOk, undefined, bid)) return TAKEN;
    const look = ["1", keys.lock, token];
    const left = await (this.scripted ? this.#run(LOOK, look, integer) : this.#ask(["PTTL", keys.lock], integer));
    return { taken: left === OURS, fence: undefined, left };
  }

  /**
   * Finds out how this server compares and deletes. The probes compare with a value that nothing has, so they change
   * nothing, whatever is at the key.
   */
  async #learn(key: string): Promise<void> {
    const nothing = randomToken();
    try {
      await this.#run(RELEASE, ["1", key, nothing], isOne);
      this.#means = "script";
      return;
    } catch (error) {
      if (!isForbidden(error)) throw error;
    }
    const has = async (words: string[]): Promise<boolean> => {
      try {
        await this.#ask(words, isOk);
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
  #native(words: string[], ours: (reply: unknown) => boolean): Promise<boolean> {
    return this.#ask(words, ours).catch((error: unknown) => {
      if (isWrongType(error)) return false;
      throw error;
    });
  }

  #run<T>(script: Script, args: string[], read: (reply: unknown) => T, bid?: Bid): Promise<T> {
    return this.#ask(["EVALSHA", script.sha, ...args], read, script, bid);
  }

  /**
   * One command with a bound on its answer, which most clients do not have of their own.
   *
   * A script that the server does not have is sent whole. What a bid took that was answered too late is given back.
   */
  #ask<T>(words: string[], read: (reply: unknown) => T, script?: Script, bid?: Bid): Promise<T> {
    return new Promise((resolve, reject) => {
      const question = this.#asked.add(words[0] as string, reject);
      this.#sent(words).then(
        (reply) => {
          const late = this.#asked.answered(question);
          const answer = read(reply);
          resolve(answer);
          if (late && bid !== undefined && (answer === true || (answer as Grab).taken)) {
            this.release(bid.keys.lock, bid.token).catch(ignore);
          }
        },
        (error: unknown) => {
          const late = this.#asked.answered(question);
          if (late || script === undefined || !isNoScript(error)) reject(error);
          else resolve(this.#ask(["EVAL", script.source, ...words.slice(2)], read, undefined, bid));
        },
      );
    });
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

const TAKEN: Grab = { taken: true, fence: undefined, left: undefined };

function grabbed(reply: unknown): Grab {
  const [taken, said] = list(reply);
  return integer(taken) === 1
    ? { taken: true, fence: integer(said), left: undefined }
    : { taken: false, fence: undefined, left: integer(said) };
}

function isOne(reply: unknown): boolean {
  return integer(reply) === 1;
}

function isOk(reply: unknown): boolean {
  return text(reply) === "OK";
}
