import { type Frame, printFrame, readStack, UNTOLD, userFrames } from "./stack";

/** A place in the program: what is left of a stack, shared by all records that were made there. */
export class Site {
  readonly frames: readonly Frame[];
  /** One frame per line. It tells sites apart. */
  readonly text: string;

  constructor(frames: readonly Frame[]) {
    this.frames = frames;
    this.text = frames.map(printFrame).join("\n");
  }

  /** The first frames, as an error or a record prints them. */
  get brief(): string {
    const frames = this.frames.slice(0, 3 + UNTOLD);
    return frames.length === 0 ? UNKNOWN : frames.map(printFrame).join("\n      from ");
  }
}

const UNKNOWN = "(not recorded)";

/** Of what was recorded without a stack. */
export const NOWHERE = new Site([]);

/** What a record keeps of a place: a capture until it is read, then the site; nothing where no stacks are taken. */
export type Place = Site | Error | undefined;

/** The site of a place that has been read. Sites of another copy of the library are none of this one's class. */
export function siteOf(place: Place): Site | undefined {
  return place instanceof Error ? undefined : place;
}

const RAW_KEPT = 1024;
const SITES_KEPT = 4096;

/**
 * The sites by their text. Bounded: a site that drops out lives on in the records that have it, and one that comes back
 * is made anew, so records are grouped by the text.
 */
export class SiteTable {
  readonly #byStack = new Map<string, Site>();
  readonly #byText = new Map<string, Site>();

  get size(): number {
    return this.#byText.size;
  }

  /** Reads a capture. */
  site(taken: Error, depth: number): Site {
    const stack = readStack(taken);
    let site = this.#byStack.get(stack);
    if (site !== undefined) return site;
    const made = new Site(userFrames(stack, depth));
    site = this.#byText.get(made.text) ?? made;
    put(this.#byStack, stack, site, RAW_KEPT);
    if (site === made) put(this.#byText, made.text, made, SITES_KEPT);
    return site;
  }
}

function put<K, V>(table: Map<K, V>, key: K, value: V, bound: number): void {
  if (table.size >= bound)
    for (const oldest of table.keys()) return void (table.delete(oldest) && table.set(key, value));
  table.set(key, value);
}
