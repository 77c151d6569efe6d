import { ignore } from "../account";
import {
  integer,
  isForbidden,
  isNoScript,
  isUnknown,
  isWrongType,
  list,
  NoAnswer,
  type SendCommand,
  text,
} from "./command";
import { cancel, later, randomToken } from "./platform";
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

/** One server (or cluster), and how it is spoken to. Every call rejects when its answer is unknown or an error. */
export class LeaseNode {
  readonly #send: SendCommand;
  readonly #timeout: number;
  #means: Means | undefined;
  /** The server's own name for itself; empty where it keeps that to itself, undefined until it was asked. */
  runId: string | undefined;

  constructor(send: SendCommand, timeout: number) {
    this.#send = send;
    this.#timeout = timeout;
  }

  /** Whether fences can be had, as far as that is known. */
  get scripted(): boolean {
    return this.#means === undefined || this.#means === "script";
  }

  acquire(bid: Bid, fenceTtl: number): Promise<Grab> {
    if (this.#means === undefined || !bid.fenced) return this.#acquireWithCare(bid, fenceTtl);
    return this.#acquireByScript(bid, fenceTtl);
  }

  /** Whether the key was still ours and has its time again. */
  extend(key: string, token: string, ttl: number): Promise<boolean> {
    if (this.scripted) return this.#compare(EXTEND, [key], [token, String(ttl)]);
    return this.#native(["SET", key, token, "IFEQ", token, "PX", String(ttl)], (reply) => text(reply) === "OK");
  }

  /** Whether the key was still ours; it is gone. */
  release(key: string, token: string): Promise<boolean> {
    if (this.scripted) return this.#compare(RELEASE, [key], [token]);
    return this.#native(this.#deletion(this.#means, key, token), (reply) => integer(reply) === 1);
  }

  /** Whether the key was still ours and no later fence from this node is below this one. */
  raise(keys: Keys, token: string, fence: number, fenceTtl: number): Promise<boolean> {
    return this.#compare(RAISE, [keys.lock, keys.fence], [token, String(fence), String(fenceTtl)]);
  }

  /** Asks the server for its name. Never rejects: a server that does not answer is asked again the next time. */
  async identify(): Promise<void> {
    try {
      const info = text(await this.#ask(["INFO", "server"])) ?? "";
      this.runId = /^run_id:(\w+)/m.exec(info)?.[1] ?? "";
    } catch (error) {
      if (isForbidden(error) || isUnknown(error)) this.runId = "";
    }
  }

  async #acquireByScript(bid: Bid, fenceTtl: number): Promise<Grab> {
    const { keys, token, ttl, force } = bid;
    const args = [token, String(ttl), String(fenceTtl), force ? "1" : "0"];
    const reply = list(await this.#run(ACQUIRE, [keys.lock, keys.fence], args, this.#undo(bid)));
    const taken = integer(reply[0]) === 1;
    const second = integer(reply[1]);
    return { taken, fence: taken ? second : undefined, left: taken ? undefined : second };
  }

  async #acquireWithCare(bid: Bid, fenceTtl: number): Promise<Grab> {
    if (bid.fenced) {
      try {
        const grab = await this.#acquireByScript(bid, fenceTtl);
        this.#means = "script";
        return grab;
      } catch (error) {
        if (!isForbidden(error)) throw error;
        await this.#learn(bid.keys.lock);
        throw error;
      }
    }
    // Nothing is taken before it is known how it can be given back.
    if (this.#means === undefined) await this.#learn(bid.keys.lock);
    const { keys, token, ttl } = bid;
    const words = ["SET", keys.lock, token, "PX", String(ttl)];
    if (!bid.force) words.push("NX");
    if (text(await this.#ask(words, this.#undo(bid))) === "OK") {
      return { taken: true, fence: undefined, left: undefined };
    }
    const left = integer(
      await (this.scripted ? this.#run(LOOK, [keys.lock], [token]) : this.#ask(["PTTL", keys.lock])),
    );
    return { taken: left === OURS, fence: undefined, left };
  }

  /**
   * Finds out how this server compares and deletes. The probes compare with a value that nothing has, so they change
   * nothing, whatever is at the key.
   */
  async #learn(key: string): Promise<void> {
    const nothing = randomToken();
    try {
      await this.#run(RELEASE, [key], [nothing]);
      this.#means = "script";
      return;
    } catch (error) {
      if (!isForbidden(error)) throw error;
    }
    const has = async (words: string[]): Promise<boolean> => {
      try {
        await this.#ask(words);
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

  /** What becomes of a bid that is answered after nobody waits any more: whatever it took is given back. */
  #undo(bid: Bid): (reply: unknown) => void {
    return (reply) => {
      const taken = Array.isArray(reply) ? integer(reply[0]) === 1 : text(reply) === "OK";
      if (taken) this.release(bid.keys.lock, bid.token).catch(ignore);
    };
  }

  async #compare(script: Script, keys: string[], args: string[]): Promise<boolean> {
    return integer(await this.#run(script, keys, args)) === 1;
  }

  /** A key of another type is not ours. */
  async #native(words: string[], ours: (reply: unknown) => boolean): Promise<boolean> {
    try {
      return ours(await this.#ask(words));
    } catch (error) {
      if (isWrongType(error)) return false;
      throw error;
    }
  }

  async #run(script: Script, keys: string[], args: string[], late?: (reply: unknown) => void): Promise<unknown> {
    const rest = [String(keys.length), ...keys, ...args];
    try {
      return await this.#ask(["EVALSHA", script.sha, ...rest], late);
    } catch (error) {
      if (!isNoScript(error)) throw error;
      return await this.#ask(["EVAL", script.source, ...rest], late);
    }
  }

  /** One command with a bound on its answer, which most clients do not have of their own. */
  #ask(words: string[], late?: (reply: unknown) => void): Promise<unknown> {
    return new Promise((resolve, reject) => {
      let over = false;
      const timer = later(this.#timeout, () => {
        over = true;
        reject(new NoAnswer(words[0] as string, this.#timeout));
      });
      // A client that throws rejects here like any other.
      const answer = new Promise<unknown>((answered) => answered(this.#send(words)));
      answer.then(
        (reply) => {
          if (over) late?.(reply);
          else cancel(timer);
          resolve(reply);
        },
        (error: unknown) => {
          cancel(timer);
          reject(error);
        },
      );
    });
  }
}
