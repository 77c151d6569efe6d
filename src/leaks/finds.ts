import type { Site } from "./sites";
import type { Leak, LeakGroup, Verdict } from "./types";

const EXAMPLES = 3;
const GROUPS_KEPT = 1000;

/** Leaks of one verdict, kind and site, added up. */
export class Tally implements LeakGroup {
  readonly verdict: Verdict;
  readonly kind: string;
  readonly site: string;
  count = 0;
  estimate = 0;
  owed = 0;
  bytes = 0;
  readonly examples: Leak[] = [];

  constructor(verdict: Verdict, kind: string, site: string) {
    this.verdict = verdict;
    this.kind = kind;
    this.site = site;
  }

  /** @param make Called for the first few only. */
  add(owed: number, bytes: number, weight: number, make: () => Leak): void {
    this.count++;
    this.estimate += weight;
    this.owed += owed;
    this.bytes += bytes;
    if (this.examples.length < EXAMPLES) this.examples.push(make());
  }
}

/** What was found since tracking began, in a bounded number of groups. */
export class Finds {
  readonly groups = new Map<string, Tally>();
  /** Leaks in groups that were given up. */
  forgotten = 0;
  /** Every leak ever added. */
  total = 0;

  add(leak: Leak, site?: Site): void {
    this.total++;
    const text = site?.text ?? leak.opened;
    const key = `${leak.verdict}\n${leak.kind}\n${text}`;
    let tally = this.groups.get(key);
    if (tally === undefined) {
      if (this.groups.size >= GROUPS_KEPT) {
        for (const [oldest, { count }] of this.groups) {
          this.forgotten += count;
          this.groups.delete(oldest);
          break;
        }
      }
      tally = new Tally(leak.verdict, leak.kind, text);
      this.groups.set(key, tally);
    }
    tally.add(leak.owed, leak.bytes, leak.weight, () => leak);
  }
}

const MISUSE: readonly Verdict[] = ["over-released", "use-after-free", "two-owners"];

/** Whether it is a wrong call, which leaves nothing open by itself. */
export function isMisuse({ verdict }: { readonly verdict: Verdict }): boolean {
  return MISUSE.includes(verdict);
}

/** The kind under which a dropped context is reported. */
export const CONTEXT = "context";
