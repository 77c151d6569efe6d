import { later, now, platform } from "./platform";

/** What began a moment ago. Most of it is over again before it has grown up. */
export interface Young {
  /** It has grown up. */
  settle(): void;
}

/** How long something counts as young, in milliseconds: less than the shortest interval of renewals. */
const YOUNG = 8;
/** One timer serves all. */
let young: (Young | undefined)[] = [];
/** When that timer is due; long ago where there is none. */
let due = Number.NEGATIVE_INFINITY;
/** Who made it: under a clock that a test had put there and has taken away again it never comes. */
let setBy: unknown;

/** Tells it when it has grown up. Returns its place, to be given to {@link end} before that. */
export function begin(one: Young): number {
  const place = young.push(one) - 1;
  const at = now();
  if (Math.abs(at - due) > YOUNG || setBy !== platform.setTimeout) {
    const mine = at + YOUNG;
    due = mine;
    setBy = platform.setTimeout;
    later(YOUNG, () => {
      // An older one that comes after all leaves the newer one its turn.
      if (due === mine) due = Number.NEGATIVE_INFINITY;
      grow();
    });
  }
  return place;
}

/** It is over before it has grown up. */
export function end(place: number): void {
  young[place] = undefined;
}

function grow(): void {
  const grown = young;
  young = [];
  for (const one of grown) one?.settle();
}
