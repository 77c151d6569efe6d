import type { Account } from "./account-record";
import { detector } from "./detector";
import type { Growth, Snapshot } from "./types";

interface Count {
  readonly kind: string;
  readonly site: string;
  count: number;
  bytes: number;
}

/** Where a snapshot keeps its counts, of whichever copy of the library it is. */
const COUNTS = Symbol.for("lastref.counts.v1");

class Counts implements Snapshot {
  declare readonly [COUNTS]: ReadonlyMap<string, Count>;
  readonly total: number | undefined;

  constructor(counts: ReadonlyMap<string, Count>, tracked: boolean) {
    Object.defineProperty(this, COUNTS, { value: counts });
    let total = 0;
    for (const { count } of counts.values()) total += count;
    this.total = tracked ? total : undefined;
  }

  diff(earlier: Snapshot): Growth[] {
    const before = (earlier as Partial<Counts> | null | undefined)?.[COUNTS];
    if (before === undefined) throw new TypeError("Cannot compare: expected a snapshot made by takeSnapshot");
    const grown: Growth[] = [];
    for (const key of new Set([...this[COUNTS].keys(), ...before.keys()])) {
      const now = this[COUNTS].get(key);
      const then = before.get(key);
      const { kind, site } = (now ?? then) as Count;
      const count = (now?.count ?? 0) - (then?.count ?? 0);
      const bytes = (now?.bytes ?? 0) - (then?.bytes ?? 0);
      if (count !== 0 || bytes !== 0) grown.push({ kind, site, count, bytes });
    }
    return grown.sort((a, b) => b.count - a.count || b.bytes - a.bytes || (a.kind + a.site < b.kind + b.site ? -1 : 1));
  }
}

/**
 * Counts the open accounts per kind and site, to be compared with a later count.
 *
 * @example What a request leaves behind
 * ```ts
 * import { takeSnapshot, trackLeaks } from "lastref/leaks";
 *
 * using tracking = trackLeaks();
 * const before = takeSnapshot();
 * const kept = Handle.of("a row", () => {}, { kind: "row" });
 * const [growth] = takeSnapshot().diff(before);
 * console.log(growth?.kind, growth?.count); // row 1
 * kept.decrRef();
 * ```
 */
export function takeSnapshot(): Snapshot {
  return snapshotOf(() => true);
}

/** A snapshot of some of the accounts. */
export function snapshotOf(accounts: (account: Account) => boolean): Snapshot {
  const log = detector();
  const counts = new Map<string, Count>();
  const add = (kind: string, site: string, more: number, bytes: number): void => {
    const key = `${kind}\n${site}`;
    const count = counts.get(key);
    if (count === undefined) counts.set(key, { kind, site, count: more, bytes });
    else {
      count.count += more;
      count.bytes += bytes;
    }
  };
  for (let at = log.head; at !== undefined; at = at.next) {
    if (!accounts(at)) continue;
    if (at.opened instanceof Error) at.read();
    const { more } = at.first;
    add(at.family.kind, at.site.text, more?.weight ?? 1, more?.bytes ?? 0);
  }
  return new Counts(counts, (log.recording?.level ?? "count") !== "count");
}
