import { Counted, type Kind, State } from "./account";

/** Hears that an account it owns has closed early. */
interface Owner {
  left(): void;
}

/**
 * What a handle that is alone on a plain resource (no label, no size, nobody tracks) has in the place of a {@link Counted}.
 *
 * Accounts that owe one reference share theirs: there is one for all of a kind, and one for those of a kind that come to
 * a context one after another, so that whose they are costs the handle no field.
 */
export class Flat<T> {
  readonly kind: Kind<T>;
  /** The context that owns the account. */
  readonly owner: Owner | undefined;
  /** What every freed one has instead. */
  readonly gone: Counted<T>;
  /** References beyond the first, counted for one account; -1 if it is shared. */
  extra: number;

  constructor(kind: Kind<T>, owner: Owner | undefined, gone: Counted<T>, extra = -1) {
    this.kind = kind;
    this.owner = owner;
    this.gone = gone;
    this.extra = extra;
  }

  /** The one for all of a kind. */
  static of<T>(kind: Kind<T>): Flat<T> {
    return new Flat<T>(kind, undefined, new Counted<T>(kind, undefined as T, "", 0, 0, State.Freed));
  }

  get flat(): true {
    return true;
  }

  /** No {@link Counted.state}: one check tells an open, shared resource from everything else. */
  get state(): -1 {
    return -1;
  }

  /** What the account owes. */
  get count(): number {
    return this.extra > 0 ? this.extra + 1 : 1;
  }

  /** The one for all that `owner` owns. */
  ownedBy(owner: Owner): Flat<T> {
    return new Flat(this.kind, owner, this.gone);
  }

  /** One for an account that takes its second reference. */
  counting(): Flat<T> {
    return new Flat(this.kind, this.owner, this.gone, 1);
  }
}
