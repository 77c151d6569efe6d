export const OWNED = Symbol("owned");
export const PAY = Symbol("pay");

/** What a context keeps of one thing it pays for. */
export interface Entry {
  /** Whether the list still owes this entry's payment. */
  [OWNED](list: OwnedList): boolean;
  /** Pays, and takes the entry out of the list first. Does nothing when the list no longer owns it. */
  [PAY](list: OwnedList): unknown;
}

/** Places in one piece of a list: a long list grows by pieces, so that growing never copies what is there. */
const PIECE = 64;

/**
 * What one context owns, in the order it came.
 *
 * An account that is closed early does not look for its place: it leaves the list (its own field says so) and is counted
 * in `#gone`, and once half of the places are gone the list is swept. So an early close is O(1) in any order, a place
 * costs 8 bytes, and the list holds at most twice the live entries.
 */
export class OwnedList {
  /** The newest piece; the older ones are full, or were when they were swept. */
  #newest: Entry[] = [];
  #older: Entry[][] | undefined = undefined;
  /** Places in the older pieces. */
  #places = 0;
  #gone = 0;
  /** Handles taken out alive: their stale places have to be swept before the same handle comes in again. */
  #kept: Set<Entry> | undefined = undefined;

  get size(): number {
    return this.#places + this.#newest.length - this.#gone;
  }

  add(entry: Entry): void {
    if (this.#kept?.has(entry)) this.#forget(entry);
    if (this.#newest.length >= PIECE) {
      this.#older ??= [];
      this.#older.push(this.#newest);
      this.#places += this.#newest.length;
      this.#newest = [];
    }
    this.#newest.push(entry);
  }

  /** An entry has left on its own. */
  left(): void {
    const gone = ++this.#gone;
    if (gone > 16 && gone * 2 > this.#places + this.#newest.length) this.#sweep();
  }

  /** A live entry was taken out; it may come back. */
  takenOut(entry: Entry): void {
    this.#kept ??= new Set();
    this.#kept.add(entry);
    this.left();
  }

  /** Hands over the newest piece for paying, from its end; entries that have left stand in it still. */
  takePiece(): Entry[] | undefined {
    const piece = this.#newest;
    const next = this.#older?.pop();
    if (next === undefined && piece.length === 0) return undefined;
    this.#newest = next ?? [];
    this.#places -= next === undefined ? 0 : next.length;
    return piece;
  }

  /** Takes out the newest entry that `matches` at once, for the rare ones that stand in several places or have no field. */
  remove(matches: (entry: Entry) => boolean): boolean {
    const pieces = [...(this.#older ?? []), this.#newest];
    for (const piece of pieces.reverse()) {
      const index = piece.findLastIndex(matches);
      if (index < 0) continue;
      piece.splice(index, 1);
      if (piece !== this.#newest) this.#places--;
      return true;
    }
    return false;
  }

  /** Takes out the stale place of an entry that comes back. One that goes out and in is among the newest. */
  #forget(entry: Entry): void {
    const index = this.#newest.lastIndexOf(entry);
    if (index < 0) this.#sweep();
    else {
      this.#newest.splice(index, 1);
      this.#gone--;
      this.#kept?.delete(entry);
    }
  }

  #sweep(): void {
    this.#older = this.#older?.filter((piece) => sweepPiece(piece, this) > 0);
    this.#places = this.#older?.reduce((sum, piece) => sum + piece.length, 0) ?? 0;
    sweepPiece(this.#newest, this);
    this.#gone = 0;
    this.#kept = undefined;
  }
}

function sweepPiece(piece: Entry[], list: OwnedList): number {
  let live = 0;
  for (const entry of piece) if (entry[OWNED](list)) piece[live++] = entry;
  piece.length = live;
  return live;
}

/** The lists that own one account: none, one (the rule), or several, the newest last. */
export type Owners = OwnedList | OwnedList[] | undefined;

export function owns(owners: Owners, list: OwnedList): boolean {
  return owners === list || (Array.isArray(owners) && owners.lastIndexOf(list) >= 0);
}

export function addOwner(owners: Owners, list: OwnedList): Owners {
  if (owners === undefined) return list;
  if (!Array.isArray(owners)) return [owners, list];
  owners.push(list);
  return owners;
}

/** The owners without the newest mention of `list`. */
export function removeOwner(owners: Owners, list: OwnedList): Owners {
  if (!Array.isArray(owners)) return undefined;
  owners.splice(owners.lastIndexOf(list), 1);
  return owners.length > 1 ? owners : owners[0];
}

/** Tells every owner that the account has left. */
export function leaveAll(owners: Owners): void {
  if (Array.isArray(owners)) for (const list of owners) list.left();
  else owners?.left();
}
