import type { Account } from "./account-record";
import type { Detector } from "./detector";

/** What all records of a kind share. */
export interface Family {
  readonly kind: string;
  readonly detector: Detector;
  /** Its open accounts. */
  live: number;
  /** Who owns a value of an exclusive kind, the first first; objects are held weakly. */
  readonly owners: WeakMap<object, Account[]>;
  readonly primitiveOwners: Map<unknown, Account[]>;
}

const KEPT = 10_000;

/** The families by kind: those without open accounts are given up once there are very many. */
export class Families {
  readonly #byKind = new Map<string, Family>();
  readonly #detector: Detector;
  #most = KEPT;

  constructor(detector: Detector) {
    this.#detector = detector;
  }

  of(kind: string): Family {
    let family = this.#byKind.get(kind);
    if (family === undefined) {
      family = { kind, detector: this.#detector, live: 0, owners: new WeakMap(), primitiveOwners: new Map() };
      if (this.#byKind.size >= this.#most) this.#forget();
      this.#byKind.set(kind, family);
    }
    return family;
  }

  /** Those with open accounts stay: they know who owns what. */
  #forget(): void {
    for (const [kind, { live }] of this.#byKind) if (live === 0) this.#byKind.delete(kind);
    this.#most = Math.max(KEPT, 2 * this.#byKind.size);
  }
}
