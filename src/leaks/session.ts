import { elapsed } from "./clock";
import { Finds } from "./finds";
import { checkOptions } from "./options";
import { CLOSE_FRAMES, type Depths, DUP_FRAMES, END_FRAMES, OPEN_FRAMES } from "./stack";
import type { Leak, Level, TrackOptions } from "./types";

/** What a pattern of `suppress` is compared with. */
export interface Suppressible {
  readonly kind: string;
  readonly label: string;
  readonly holder: string;
  readonly opened: string;
}

/** A pattern of `suppress`, and how often it was of use. */
export interface Suppression {
  readonly pattern: string | RegExp;
  uses: number;
}

const LEVELS: readonly Level[] = ["count", "sampled", "full"];

/** The settings of one `trackLeaks`, from then until it is disposed of. */
export class Session implements Depths {
  readonly level: Level;
  /** Of a test helper or of `LASTREF_LEAKS`: what the program tracks meanwhile does not record less. */
  readonly firm: boolean;
  readonly onLeak: ((leak: Leak) => void) | undefined;
  readonly depth: number;
  readonly openLimit: number = 0;
  readonly dupLimit: number = 0;
  readonly closeLimit: number = 0;
  readonly endLimit: number = 0;
  readonly budgeted: boolean;
  readonly budget: number;
  readonly quarantine: number;
  readonly suppressions: readonly Suppression[];
  readonly finds = new Finds();
  /** Open resources of defined kinds that were opened before they would have been recorded, once it says how much is. */
  openedBefore: number | undefined = undefined;
  readonly #heldTooLong: TrackOptions["heldTooLong"];
  readonly #freeLeaked: TrackOptions["freeLeaked"];
  spent = 0;
  /** Of how many resources one is recorded at level `sampled`, lately. */
  interval = 1;

  constructor(options: TrackOptions, firm = false) {
    checkOptions(options);
    this.firm = firm;
    const { level = "full", stackDepth = 8, budget = 0.005, quarantine = 1024, suppress = [] } = options;
    // Without a budget nothing is ever sampled, and that is to be said.
    this.level = level === "sampled" && budget === 0 ? "count" : level;
    this.budgeted = level === "sampled";
    this.onLeak = options.onLeak;
    this.depth = stackDepth;
    if (this.level !== "count") {
      this.openLimit = stackDepth + OPEN_FRAMES;
      // Less deep: who shared or closed is told from fewer frames than how the program came to open.
      this.dupLimit = Math.ceil(stackDepth / 2) + DUP_FRAMES;
      this.closeLimit = Math.ceil(stackDepth / 3) + CLOSE_FRAMES;
      this.endLimit = Math.ceil(stackDepth / 3) + END_FRAMES;
    }
    this.budget = budget;
    this.quarantine = quarantine;
    this.suppressions = suppress.map((pattern) => ({ pattern: copyOf(pattern), uses: 0 }));
    this.#heldTooLong = options.heldTooLong;
    this.#freeLeaked = options.freeLeaked;
  }

  /** Runs what a stack costs, and adds up the time at the level that has a budget. */
  timed<T, R>(work: (input: T) => R, input: T): R {
    if (!this.budgeted) return work(input);
    const before = elapsed();
    const result = work(input);
    this.spent += elapsed() - before;
    return result;
  }

  frees(kind: string): boolean {
    const which = this.#freeLeaked;
    return which === true || (Array.isArray(which) && which.includes(kind));
  }

  /** Milliseconds after which an open account of the kind is reported; `Infinity` for never. */
  patience(kind: string): number {
    const limit = this.#heldTooLong;
    if (typeof limit !== "object") return limit ?? Infinity;
    // A kind may have the name of what every object inherits.
    return (Object.hasOwn(limit, kind) ? limit[kind] : undefined) ?? Infinity;
  }

  get leastPatience(): number {
    const limit = this.#heldTooLong;
    return typeof limit === "object" ? Math.min(...Object.values(limit)) : (limit ?? Infinity);
  }

  /** Whether this one records more than the other. */
  outranks(other: Session): boolean {
    return LEVELS.indexOf(this.level) > LEVELS.indexOf(other.level);
  }

  /** The first suppression that a leak falls under. */
  suppression({ kind, label, holder, opened }: Suppressible): Suppression | undefined {
    return this.suppressions.find(({ pattern }) =>
      [kind, label, holder, opened].some((text) =>
        typeof pattern === "string" ? text.includes(pattern) : text.search(pattern) >= 0,
      ),
    );
  }

  /** Whether a leak is suppressed, counting that. */
  suppresses(leak: Suppressible): boolean {
    const suppression = this.suppression(leak);
    if (suppression !== undefined) suppression.uses++;
    return suppression !== undefined;
  }
}

/** A search writes to the expression that it is made with, which may be frozen. */
function copyOf(pattern: string | RegExp): string | RegExp {
  return pattern instanceof RegExp ? new RegExp(pattern) : pattern;
}
