import { type KindCounts, realm } from "../tracker";
import type { Cached } from "./types";

/** The kinds that were defined and are still in use. */
export function definedKinds(): KindCounts[] {
  const kinds: KindCounts[] = [];
  realm.kinds = realm.kinds.filter((reference) => {
    const kind = reference.deref();
    if (kind !== undefined) kinds.push(kind);
    return kind !== undefined;
  });
  return kinds;
}

/** What nobody holds and a map keeps, by kind, the most first: listed, because it is open, and never a leak. */
export function cachedNow(): Cached[] {
  const counts = new Map<string, number>();
  for (const { name, cached } of definedKinds()) {
    if (cached > 0) counts.set(name, (counts.get(name) ?? 0) + cached);
  }
  const all = [...counts].map(([kind, count]) => ({ kind, count }));
  return all.sort((a, b) => b.count - a.count || (a.kind < b.kind ? -1 : 1));
}
