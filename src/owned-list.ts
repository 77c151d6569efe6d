import type { Flat } from "./flat";

export const OWNED = Symbol("owned");
export const PAY = Symbol("pay");
/** Names the way to open a resource straight into a list. */
export const OPEN_INTO = Symbol("open into");

/** What a context keeps of one thing it pays for. */
export interface Entry {
  /** Whether the list still owes this entry's payment. */
  [OWNED](list: OwnedList): boolean;
  /** Pays, and takes the entry out of the list first. Does nothing when the list no longer owns it. */
  [PAY](list: OwnedList): unknown;
}

/** Stands in the place of what was taken out alive: the list must not reach that any more. */
const VACANT: Entry = {
  [OWNED]: () => false,
  [PAY]: () => {},
};

/** What is taken out is mostly among the newest. */
const NEAR = 32;

/**
 * What one context owns, in the order it came.
 *
 * An account that is closed early does not look for its place: it leaves the list (its own field says so) and is counted
 * in `gone`, and once half of the places are gone the list is swept. So an early close is O(1) in any order, a place
 * costs 8 bytes, and the list holds at most twice the live entries.
 *
 * Its fields are private to the compiler only: V8 is slower at making and reading `#` fields, and every context has a list.
 */
export class OwnedList {
  /** Whose list this is, if that is recorded: who has a handle of a forgotten context reaches it, so it is not lost before them. */
  context: object | undefined = undefined;
  /** The one of the flat accounts that it owns, of the kind that came last. */
  private flat: Flat<unknown> | undefined = undefined;
  private entries: Entry[] = [];
  private gone = 0;
  /** Where each entry stands, once one was taken out that was not among the newest, until the next sweep. */
  private places: Map<Entry, number> | undefined = undefined;

  get size(): number {
    return this.entries.length - this.gone;
  }

  add(entry: Entry): void {
    if (this.places !== undefined) this.places.set(entry, this.entries.length);
    this.entries.push(entry);
  }

  /** An entry has left on its own. */
  left(): void {
    const gone = ++this.gone;
    if (gone > 16 && gone * 2 > this.entries.length) this.sweep();
  }

  /** A live entry was taken out. */
  takenOut(entry: Entry): void {
    const entries = this.entries;
    let place = entries.length - 1;
    const near = place - NEAR;
    while (place > near && entries[place] !== entry) place--;
    if (place === near) {
      this.places ??= new Map(entries.map((other, at) => [other, at]));
      place = this.places.get(entry) as number;
    }
    entries[place] = VACANT;
    this.places?.delete(entry);
    this.left();
  }

  /** What a flat account has when this list owns it. */
  flatOf<T>(core: Flat<T>): Flat<T> {
    let flat = this.flat;
    if (flat?.kind !== core.kind) this.flat = flat = core.ownedBy(this) as Flat<unknown>;
    return flat as Flat<T>;
  }

  /** Hands over everything for paying, from its end, and is done; entries that have left stand in it still. */
  takeAll(): Entry[] {
    // It is being walked through: never swept again.
    this.gone = -(2 ** 30);
    return this.entries;
  }

  /** Takes out the newest entry that `matches` at once, for the rare ones that stand in several places or have no field. */
  remove(matches: (entry: Entry) => boolean): boolean {
    const index = this.entries.findLastIndex(matches);
    if (index < 0) return false;
    this.entries.splice(index, 1);
    this.places = undefined;
    return true;
  }

  private sweep(): void {
    let live = 0;
    for (const entry of this.entries) if (entry[OWNED](this)) this.entries[live++] = entry;
    // Not to 0: what stands in several places is swept from all of them before the last is counted.
    this.gone -= this.entries.length - live;
    this.entries.length = live;
    this.places = undefined;
  }
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
