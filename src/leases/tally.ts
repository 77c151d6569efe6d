import { isFinal } from "./command";
import { CannotCompare } from "./node";

/** What the nodes together say: a majority did it, too many did not, or too few answered to know. */
export type Verdict = "yes" | "no" | "unknown";

/** A verdict, and what went wrong on the way to it. */
export interface Decision {
  readonly verdict: Verdict;
  readonly errors: unknown[];
}

/** The votes of several nodes, counted as they come. */
export class Tally {
  readonly errors: unknown[] = [];
  /** Undefined until the answers still to come cannot change it. */
  verdict: Verdict | undefined;
  /** Settles with the verdict. */
  readonly decided: Promise<Decision>;
  #yes = 0;
  #no = 0;

  private constructor(votes: readonly Promise<boolean>[], need: number) {
    this.decided = new Promise((resolve) => {
      const count = (): void => {
        const { verdict } = this;
        this.verdict ??= this.#read(votes.length, need);
        if (verdict === undefined && this.verdict !== undefined)
          resolve({ verdict: this.verdict, errors: this.errors });
      };
      for (const vote of votes) {
        vote.then(
          (said) => {
            if (said) this.#yes++;
            else this.#no++;
            count();
          },
          (error: unknown) => {
            this.errors.push(error);
            count();
          },
        );
      }
    });
  }

  /** Counts from now on. `need` is how many make a majority. */
  static of(votes: readonly Promise<boolean>[], need: number): Tally {
    return new Tally(votes, need);
  }

  #read(voters: number, need: number): Verdict | undefined {
    if (this.#yes >= need) return "yes";
    if (this.#no > voters - need) return "no";
    return this.#yes + this.#no + this.errors.length === voters ? "unknown" : undefined;
  }
}

/** Asking again will not help. */
export function isHopeless(error: unknown): boolean {
  return error instanceof CannotCompare || isFinal(error);
}
