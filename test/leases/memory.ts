import type { SendCommand } from "../../src/leases/index";
import * as scripts from "../../src/leases/scripts";

/**
 * A server in this process that does what the commands of leases do, at once and in the order in which they are sent.
 * When its replies arrive is the test's to say.
 */
export class MemoryServer {
  readonly values = new Map<string, string>();
  /** What was asked for: the script's own name where there is one. */
  readonly sent: string[] = [];
  /** Until when a key was asked for at most, in `performance.now()` time, by the word of each command. */
  readonly asked: { readonly word: string; readonly until: number }[] = [];
  /** Called after each command was carried out: its reply comes when the promise settles, and at once without one. */
  reply: (command: string, words: readonly string[]) => Promise<unknown> | undefined = () => undefined;
  /** Called before each command: what it returns is refused with that. */
  refuse: (command: string, words: readonly string[]) => Error | undefined = () => undefined;
  #fence = 100;

  readonly send: SendCommand = async (words) => {
    const command = nameOf(words);
    this.sent.push(command);
    const answer = this.refuse(command, words) ?? this.#run(command, words);
    await this.reply(command, words);
    if (answer instanceof Error) throw answer;
    return answer;
  };

  #run(command: string, words: readonly string[]): unknown {
    const { values } = this;
    const [key = "", token = ""] = command === "SET" || command === "PTTL" ? words.slice(1) : words.slice(3);
    const ours = values.get(key) === token;
    if (command === "ACQUIRE") {
      const [, , , lock = "", , own = "", ttl, , force] = words;
      this.#ask(words, ttl);
      if (values.has(lock) && force !== "1") return [0, 1000];
      values.set(lock, own);
      return [1, ++this.#fence];
    }
    if (command === "SET") {
      this.#ask(words, words[4]);
      if (words.includes("NX") && values.has(key)) return null;
      values.set(key, token);
      return "OK";
    }
    if (command === "RELEASE") return ours ? Number(values.delete(key)) : 0;
    if (command === "EXTEND") {
      this.#ask(words, words[5]);
      return ours ? 1 : 0;
    }
    if (command === "RAISE") return words[5] !== undefined && values.get(key) === words[5] ? 1 : 0;
    if (command === "LOOK" || command === "PTTL") return ours ? -3 : 1000;
    return "";
  }

  #ask([word = ""]: readonly string[], ttl: string | undefined): void {
    this.asked.push({ word, until: performance.now() + Number(ttl) });
  }
}

function nameOf([command = "", script]: readonly string[]): string {
  for (const [name, { sha, source }] of Object.entries(scripts)) if (script === sha || script === source) return name;
  return command;
}

/** A promise that the test settles. */
export function gate(): { readonly opened: Promise<void>; open(): void } {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

/** Lets everything run that waits for nothing but promises. */
export async function turns(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}
