import { type Counted, INSPECT, nameOf, refuse, State, standing } from "./account";
import { LoanError, RevokedError, UseAfterFreeError } from "./errors";
import type { AccountRecord } from "./tracker";

/** A loan of whichever handles `open` makes. */
export class LoanImpl<T, H> {
  readonly #counted: Counted<T>;
  readonly #open: (counted: Counted<T>, holder?: string) => H;
  /** The record of the account that lent it, for the sites in errors. */
  readonly #record: AccountRecord | undefined;
  #over = false;

  constructor(counted: Counted<T>, open: (counted: Counted<T>, holder?: string) => H, record?: AccountRecord) {
    this.#counted = counted;
    this.#open = open;
    this.#record = record;
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
    throw this.#noAccount("count");
  }

  decrRef(): never {
    throw this.#noAccount("give back");
  }

  /** Ends the borrow. The last one out frees a resource that was waiting for it. Static: the borrower has no such right. */
  static end<T, H>(loan: LoanImpl<T, H>): void {
    loan.#over = true;
    loan.#counted.endBorrow();
  }

  toString(): string {
    return `Loan<${nameOf(this.#counted)}${this.#over ? ", over" : ""}>`;
  }

  [INSPECT](): string {
    return this.toString();
  }

  #refuse(verb: string): Error {
    const counted = this.#counted;
    const revoked = counted.state & State.Revoked;
    const why = this.#over && !revoked ? "the borrow of this loan has ended" : standing(counted);
    const Refusal = revoked ? RevokedError : UseAfterFreeError;
    return refuse(Refusal, `Cannot ${verb} ${nameOf(counted)}: ${why}`, counted, 0, this.#record);
  }

  #noAccount(verb: string): Error {
    const counted = this.#counted;
    const why = "a loan is no account, it has nothing to give back; dup() it to keep the resource";
    return refuse(LoanError, `Cannot ${verb} ${nameOf(counted)}: ${why}`, counted, 0, this.#record);
  }
}
