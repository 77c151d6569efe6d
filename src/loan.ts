import { type Counted, INSPECT, named, REVOKED, refuse, standing } from "./account";
import { LoanError, RevokedError, UseAfterFreeError } from "./errors";

/** A loan of whichever handles `open` makes. */
export class LoanImpl<T, H> {
  readonly #counted: Counted<T>;
  readonly #open: (counted: Counted<T>, holder?: string) => H;
  #over = false;

  constructor(counted: Counted<T>, open: (counted: Counted<T>, holder?: string) => H) {
    this.#counted = counted;
    this.#open = open;
  }

  get value(): T {
    if (this.#over) throw this.#refuse("read");
    return this.#counted.value as T;
  }

  get label(): string {
    return this.#counted.label;
  }

  dup(holder?: string): H {
    if (this.#over || !this.#counted.usable) throw this.#refuse("dup");
    return this.#open(this.#counted, holder);
  }

  incrRef(): never {
    throw this.#refuse("count", LoanError);
  }

  decrRef(): never {
    throw this.#refuse("give back", LoanError);
  }

  /** Ends the borrow. The last one out frees a resource that was waiting for it. Static: the borrower has no such right. */
  static end<T, H>(loan: LoanImpl<T, H>): void {
    loan.#over = true;
    loan.#counted.endBorrow();
  }

  toString(): string {
    return `Loan<${named(this.#counted.kind.name, this.label)}${this.#over ? ", over" : ""}>`;
  }

  [INSPECT](): string {
    return this.toString();
  }

  #refuse(verb: string, Refusal?: typeof LoanError): Error {
    const { kind, label, count, state, borrows } = this.#counted;
    const of = { kind: kind.name, label, refCount: count, owed: 0, state, borrows, record: undefined };
    const what = `Cannot ${verb} ${named(kind.name, label)}`;
    if (Refusal)
      return refuse(
        Refusal,
        of,
        `${what}: a loan is no account, it has nothing to give back; dup() it to keep the resource`,
      );
    const why = this.#over && !(state & REVOKED) ? "the borrow of this loan has ended" : standing(of);
    return refuse(state & REVOKED ? RevokedError : UseAfterFreeError, of, `${what}: ${why}`);
  }
}
