import { type Counted, count, named } from "../account";
import { AcquireTimeoutError, type HolderFacts, MapClosedError } from "../errors";
import { holding } from "../map-entry";
import type { Out } from "./checkout";

/** What checkouts hold at the moment. */
interface Held<T> {
  readonly out: ReadonlyMap<Counted<T>, Out<T>>;
  /** On their way back. */
  readonly leaving: ReadonlySet<Out<T>>;
  /** Acquires whose callers wait. */
  readonly waiting: number;
  /** Acquires that the pool has not answered, also those whose callers have given up. */
  readonly asked: number;
}

/** The errors of checkouts, which say who holds what and what else is under way. */
export class CheckoutRefusals<T> {
  readonly #kind: string;
  readonly #held: () => Held<T>;

  constructor(kind: string, held: () => Held<T>) {
    this.#kind = kind;
    this.#held = held;
  }

  /** Who has not given his connection back yet. */
  holders(): HolderFacts[] {
    return [...this.#held().out.values()].flatMap((out) => out.holders());
  }

  /** Of an acquire that ran out of time. */
  timedOut(timeout: number): Error {
    const { out, leaving, waiting } = this.#held();
    const holders = this.holders();
    const drained = [...out.keys()].filter(({ count }) => count === 0).length;
    const who = [out.size === 0 ? "none is checked out" : `${out.size} checked out`];
    if (holders.length > 0) who.push(holding(holders));
    if (drained > 0) who.push(`${drained} whose last borrow goes on`);
    if (leaving.size > 0) who.push(`${leaving.size} on the way back`);
    const others = waiting - 1;
    const ahead = others > 0 ? `; ${count(others, "other")} wait${others === 1 ? "s" : ""}` : "";
    const message = `Cannot acquire ${this.#kind}: none came within ${timeout} ms; ${who.join(", ")}${ahead}`;
    return new AcquireTimeoutError(message, this.#facts(holders));
  }

  /** Of a close that ran out of time. */
  late(timeout: number): Error {
    const { out, leaving, asked } = this.#held();
    const lines = [...out].map(([{ label, count: owed }, one]) => {
      const why = owed === 0 ? "its last borrow goes on" : `${count(owed, "reference")}, ${holding(one.holders())}`;
      return `${named(this.#kind, label)}: ${why}`;
    });
    for (const { label } of leaving) lines.push(`${named(this.#kind, label)}: its release or its destroy goes on`);
    if (asked > 0) lines.push(`${count(asked, "acquire")} that the pool has not answered`);
    const what = `${out.size + leaving.size + asked} not given back after ${timeout} ms:\n  ${lines.join("\n  ")}`;
    const message = `Cannot close the checkouts of kind ${this.#kind}: ${what}`;
    return new MapClosedError(message, this.#facts(this.holders()));
  }

  /** Of an acquire from closed checkouts. */
  closed(): Error {
    return new MapClosedError(`Cannot acquire ${this.#kind}: the checkouts are closed`, this.#facts([]));
  }

  /** What tells whoever uses a connection that a forced close takes it away. */
  forced(label: string): Error {
    const message = `Cannot keep ${named(this.#kind, label)}: the checkouts were closed by force`;
    return new MapClosedError(message, this.#facts([]));
  }

  #facts(holders: HolderFacts[]) {
    const { out, leaving } = this.#held();
    const keys = [...out.values(), ...leaving].map(({ label }) => label);
    return { kind: this.#kind, label: "", refCount: holders.length, owed: 0, keys, holders };
  }
}
