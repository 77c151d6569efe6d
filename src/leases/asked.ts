import { NoAnswer } from "./command";
import { cancel, later, now, type Timer } from "./platform";

/** How late a timer is, in milliseconds, when the process did not come to read. */
const STALLED = 10;

/** One command that waits for its answer. */
export interface Question {
  readonly command: string;
  /** When the answer counts as unknown. */
  readonly due: number;
  /** Undefined once it was answered or is overdue. */
  reject: ((error: unknown) => void) | undefined;
}

/**
 * The commands that one server has not answered yet, in the order in which they are due.
 *
 * All have the same time, so a queue and one timer serve all of them. It is an array and no `Set`: those make a new
 * table every few changes, each reachable from the one before, which the collector then follows.
 */
export class Asked {
  readonly #timeout: number;
  #queue: (Question | undefined)[] = [];
  #head = 0;
  #timer: Timer | undefined;

  constructor(timeout: number) {
    this.#timeout = timeout;
  }

  add(command: string, reject: (error: unknown) => void): Question {
    const question = { command, due: now() + this.#timeout, reject };
    this.#queue.push(question);
    if (this.#timer === undefined) this.#watch(this.#timeout);
    return question;
  }

  /** Whether it was answered too late. */
  answered(question: Question): boolean {
    if (question.reject === undefined) return true;
    question.reject = undefined;
    this.#first();
    return false;
  }

  /** Leaves no timer behind, unless somebody still waits. */
  close(): void {
    if (this.#first() !== undefined) return;
    cancel(this.#timer);
    this.#timer = undefined;
  }

  /** The first one that still waits. Servers answer in order, so that the queue is short however it is looked through. */
  #first(): Question | undefined {
    const queue = this.#queue;
    for (; this.#head < queue.length; this.#head++) {
      const question = queue[this.#head];
      if (question?.reject !== undefined) {
        if (this.#head < 1000) return question;
        this.#queue = queue.slice(this.#head);
        this.#head = 0;
        return question;
      }
      queue[this.#head] = undefined;
    }
    queue.length = 0;
    this.#head = 0;
    return undefined;
  }

  /** It is left to run out when all are answered: the next command is not far, and it keeps no process alive. */
  #watch(ms: number, stalled = false): void {
    this.#timer = later(Math.ceil(ms), () => {
      this.#timer = undefined;
      const time = now();
      for (let question = this.#first(); question !== undefined; question = this.#first()) {
        if (question.due > time) {
          this.#watch(question.due - time);
          return;
        }
        // A process that stood still finds its timers due before it reads what has arrived meanwhile.
        if (!stalled && time - question.due > STALLED) {
          this.#watch(0, true);
          return;
        }
        const { command, reject } = question;
        question.reject = undefined;
        reject?.(new NoAnswer(command, this.#timeout));
      }
    });
  }
}
