export const OWNED = Symbol("owned");
export const PAY = Symbol("pay");
export const THING = Symbol("thing");

/** What a context keeps of one thing it pays for. */
export interface Entry {
  /** Whether the list still owes this entry's payment. */
  [OWNED](list: OwnedList): boolean;
  /** Pays, and takes the entry out of the list first. Does nothing when the list no longer owns it. */
  [PAY](list: OwnedList): unknown;
  /** The value that `keep` is asked for by. */
  readonly [THING]: unknown;
}

/**
 * What one context owns, in the order it came.
 *
 * An account that is closed early does not look for its place: it leaves the list (its own field says so) and is counted
 * in `gone`, and once half of the places are gone the list is swept. So an early close is O(1) in any order, a place
 * costs 8 bytes, and the list holds at most twice the live entries.
 */
export class OwnedList {
  items: Entry[] = [];
  #gone = 0;
  /** Handles taken out alive: their stale places have to be swept before the same handle comes in again. */
  #kept: Set<Entry> | undefined;

  get size(): number {
    return this.items.length - this.#gone;
  }

  add(entry: Entry): void {
    if (this.#kept !== undefined && this.#kept.has(entry)) this.#sweep();
    this.items.push(entry);
  }

  /** An entry has left on its own. */
  left(): void {
    if (++this.#gone > 16 && this.#gone * 2 > this.items.length) this.#sweep();
  }

  /** A live entry was taken out; it may come back. */
  takenOut(entry: Entry): void {
    this.#kept ??= new Set();
    this.#kept.add(entry);
    this.left();
  }

  /** Removes the newest place of an entry at once, for the rare one that stands in several. */
  remove(entry: Entry): void {
    this.items.splice(this.items.lastIndexOf(entry), 1);
  }

  /** Hands over all places for paying. The list is at its end: what leaves from now on sweeps nothing. */
  take(): Entry[] {
    this.#gone = -(2 ** 30);
    return this.items;
  }

  #sweep(): void {
    const { items } = this;
    let live = 0;
    for (const entry of items) if (entry[OWNED](this)) items[live++] = entry;
    items.length = live;
    this.#gone = 0;
    this.#kept = undefined;
  }
}

/** The lists that own one account: none, one (the rule), or several, the newest last. */
export type Owners = OwnedList | OwnedList[] | undefined;

export function owns(owners: Owners, list: OwnedList): boolean {
  return owners === list || (Array.isArray(owners) && owners.includes(list));
}

export function addOwner(owners: Owners, list: OwnedList): Owners {
  if (owners === undefined) return list;
  return Array.isArray(owners) ? [...owners, list] : [owners, list];
}

/** The owners without the newest mention of `list`. */
export function removeOwner(owners: Owners, list: OwnedList): Owners {
  if (!Array.isArray(owners)) return undefined;
  const index = owners.lastIndexOf(list);
  const rest = owners.filter((_, i) => i !== index);
  return rest.length > 1 ? rest : rest[0];
}

/** Tells every owner that the account has left. */
export function leaveAll(owners: Owners): void {
  if (Array.isArray(owners)) for (const list of owners) list.left();
  else owners?.left();
}
