import { NoAnswer } from "./command";
import { cancel, later, now, platform, type Timer } from "./platform";

/** How late a timer is, in milliseconds, when the process did not come to read. */
const STALLED = 10;

/** Hears how one command ended: with an answer, or with `undefined` and why there is none. It must not throw. */
export type Told<T> = (answer: T | undefined, error: unknown) => void;

/** One command that waits for its answer. */
export interface Question<T> {
  readonly command: string;
  /** When the answer counts as unknown. */
  readonly due: number;
  /** Undefined once it was answered or is overdue. */
  told: Told<T> | undefined;
  next: Question<never> | undefined;
}

/**
 * The commands that one server has not answered yet, in the order in which they are due.
 *
 * All have the same time, so one line and one timer serve all of them. What leaves the line lets go of what is behind
 * it: else one that has grown old would keep all that came later, until the next full collection.
 */
export class Asked {
  readonly timeout: number;
  #head: Question<never> | undefined;
  #tail: Question<never> | undefined;
  #timer: Timer | undefined;
  /** When it is due, and who made it: under a clock that a test had put there and has taken away again it never comes. */
  #dueAt = 0;
  #setBy: unknown;

  constructor(timeout: number) {
    this.timeout = timeout;
  }

  /** One that is sent now, which whoever has just read the clock may say; or one whose time began earlier. */
  add<T>(command: string, told: Told<T>, at = now()): Question<T> {
    const question: Question<T> = { command, due: at + this.timeout, told, next: undefined };
    const tail = this.#tail;
    if (tail !== undefined && tail.due > question.due) {
      this.#squeeze(question);
      return question;
    }
    if (tail === undefined) this.#head = question;
    else tail.next = question;
    this.#tail = question;
    if (this.#timer === undefined) this.#watch(this.timeout);
    else if (this.#setBy !== platform.setTimeout || at > this.#dueAt + this.timeout) {
      this.#watch(Math.max(0, (this.#head as Question<never>).due - at));
    }
    return question;
  }

  /** Before the first that is due later. That is rare: a server's first bid, behind what found out how to make it. */
  #squeeze(question: Question<never>): void {
    let before: Question<never> | undefined;
    let after = this.#head;
    while (after !== undefined && after.due <= question.due) {
      before = after;
      after = after.next;
    }
    question.next = after;
    if (before === undefined) {
      this.#head = question;
      cancel(this.#timer);
      this.#watch(Math.max(0, question.due - now()));
    } else before.next = question;
  }

  /** Who is to be told; `undefined` if that was told already that no answer came. */
  answered<T>(question: Question<T>): Told<T> | undefined {
    const { told } = question;
    if (told === undefined) return undefined;
    question.told = undefined;
    if (question === this.#head) this.#first();
    return told;
  }

  /** Leaves no timer behind, unless somebody still waits. */
  close(): void {
    if (this.#head !== undefined) return;
    cancel(this.#timer);
    this.#timer = undefined;
  }

  /** The first one that still waits. */
  #first(): Question<never> | undefined {
    let head = this.#head;
    while (head !== undefined && head.told === undefined) {
      const { next } = head;
      head.next = undefined;
      head = next;
    }
    this.#head = head;
    if (head === undefined) this.#tail = undefined;
    return head;
  }

  /** It is left to run out when all are answered: the next command is not far, and it keeps no process alive. */
  #watch(ms: number, stalled = false): void {
    this.#dueAt = now() + ms;
    this.#setBy = platform.setTimeout;
    const timer = later(Math.ceil(ms), () => {
      // Another one has taken its place.
      if (timer !== this.#timer) return;
      // It stands for itself until all are looked at, so that a command sent meanwhile starts no other.
      const time = now();
      for (let question = this.#head; question !== undefined; question = this.#first()) {
        if (question.due > time) {
          this.#watch(question.due - time);
          return;
        }
        // A process that stood still finds its timers due before it reads what has arrived meanwhile.
        if (!stalled && time - question.due > STALLED) {
          this.#watch(0, true);
          return;
        }
        const { command, told } = question;
        question.told = undefined;
        told?.(undefined, new NoAnswer(command, this.timeout));
      }
      this.#timer = undefined;
    });
    this.#timer = timer;
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

export function untold<T>(told: Told<T>): (error: unknown) => void {
  return (error) => told(undefined, error);
}
