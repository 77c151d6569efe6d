import { describe, expect, it } from "vitest";
import type { AsyncHandle } from "../src/async-handle";
import { LoanError, MovedError, RefCountError, RevokedError, UseAfterFreeError } from "../src/errors";
import type { Handle } from "../src/handle";
import { defineAsyncResource, defineResource } from "../src/resource";

// The two tables of the design, every cell, for handles of both kinds. A cell is the class of the error that the
// operation throws, or what it answers.

type AnyHandle = Handle<string> | AsyncHandle<string>;
interface AnyLoan {
  readonly value: string;
  dup(holder?: string): AnyHandle;
}

/** A resource in one of the states of the table, with every way to reach it. */
interface Stage {
  /** An account that owes, where the state has one. */
  readonly owing: AnyHandle;
  /** An account that owes nothing. */
  readonly spent: AnyHandle;
  readonly moved: AnyHandle;
  readonly weak: { readonly alive: boolean; upgrade(): AnyHandle | undefined };
  /** A loan whose borrow is under way in the states that have one, else a loan whose borrow is over. */
  readonly loan: AnyLoan;
  freed(): number;
}

const STATES = ["open", "draining", "revoked, draining", "freed", "freed after a revoke"] as const;
type State = (typeof STATES)[number];

interface Source {
  open(): Promise<AnyHandle>;
  revoke(handle: AnyHandle): unknown;
  freed(): number;
}

function source(async: boolean): Source {
  let freed = 0;
  if (async) {
    const Key = defineAsyncResource({ kind: "key", free: async (_: string) => void freed++, label: () => "a" });
    return { open: () => Key.open("v"), revoke: (h) => Key.revoke(h as AsyncHandle<string>), freed: () => freed };
  }
  const Key = defineResource({ kind: "key", free: (_: string) => void freed++, label: () => "a" });
  return { open: async () => Key.open("v"), revoke: (h) => Key.revoke(h as Handle<string>), freed: () => freed };
}

/** Brings a resource into a state and runs `use` while it is there. */
async function stage(async: boolean, state: State, use: (stage: Stage) => unknown): Promise<void> {
  const { open, revoke, freed } = source(async);
  const first = await open();
  const second = first.dup() as Handle<string>;
  const spent = first.dup() as Handle<string>;
  await spent.decrRef();
  const before = first.dup() as Handle<string>;
  const moved = before.move() as Handle<string>;
  await moved.decrRef();
  const weak = first.weak();
  const at = (loan: AnyLoan): unknown =>
    use({
      owing: second,
      spent: state.startsWith("revoked") || state === "freed after a revoke" || state === "open" ? spent : first,
      moved: before,
      weak,
      loan,
      freed,
    });
  const end = (): void => {
    if (state.includes("revoke")) void revoke(first);
    else if (state !== "open") {
      void second.decrRef();
      void first.decrRef();
    }
  };
  let loan: AnyLoan | undefined;
  if (state.startsWith("freed")) {
    await (first as Handle<string>).borrow((_, lent) => {
      loan = lent;
    });
    end();
    await at(loan as unknown as AnyLoan);
  } else {
    await (first as Handle<string>).borrow(async (_, lent) => {
      end();
      await at(lent);
    });
  }
}

type Answer = unknown;
type Cell = { throws: new (...args: never[]) => Error } | { is: Answer };

const refusal = (Refusal: new (...args: never[]) => Error): Cell => ({ throws: Refusal });
const answer = (is: Answer): Cell => ({ is });
const HANDLE = Symbol("a handle");

const [REVOKED, USED, COUNT, MOVED, LOAN] = [RevokedError, UseAfterFreeError, RefCountError, MovedError, LoanError].map(
  refusal,
) as [Cell, Cell, Cell, Cell, Cell];

/** Every operation, with its answer in each of the states (in the order of STATES). */
const TABLE: Record<string, { run: (stage: Stage) => unknown; cells: Record<State, Cell> }> = {};

function row(name: string, run: (stage: Stage) => unknown, ...cells: Cell[]): void {
  const inOrder = STATES.map((state, i) => [state, cells[i]] as const);
  TABLE[name] = { run, cells: Object.fromEntries(inOrder) as Record<State, Cell> };
}

row("refCount", (s) => s.owing.refCount, answer(2), answer(0), answer(2), answer(0), answer(2));
row("spent.refCount", (s) => s.spent.refCount, answer(2), answer(0), answer(2), answer(0), answer(2));
row("moved.refCount", (s) => s.moved.refCount, answer(2), answer(0), answer(2), answer(0), answer(2));
row("owed", (s) => s.owing.owed, answer(1), answer(0), answer(1), answer(0), answer(1));
row("spent.owed", (s) => s.spent.owed, answer(0), answer(0), answer(0), answer(0), answer(0));
row("moved.owed", (s) => s.moved.owed, answer(0), answer(0), answer(0), answer(0), answer(0));
for (const [name, get] of [
  ["value", (h: AnyHandle) => h.value],
  ["incrRef", (h: AnyHandle) => h.incrRef() === h && HANDLE],
  ["dup", (h: AnyHandle) => h.dup("holder") !== h && HANDLE],
  ["move", (h: AnyHandle) => h.move() !== h && HANDLE],
  ["weak", (h: AnyHandle) => h.weak().upgrade() !== undefined && HANDLE],
  ["borrow", (h: AnyHandle) => h.borrow((value: string) => value)],
] as const) {
  const open = answer(name === "value" || name === "borrow" ? "v" : HANDLE);
  row(name, (s) => get(s.owing), open, USED, REVOKED, USED, REVOKED);
  row(`spent.${name}`, (s) => get(s.spent), USED, USED, REVOKED, USED, REVOKED);
  row(`moved.${name}`, (s) => get(s.moved), MOVED, MOVED, MOVED, MOVED, MOVED);
}
const no = answer(false);
row("alive", (s) => s.owing.alive, answer(true), no, no, no, no);
row("spent.alive", (s) => s.spent.alive, no, no, no, no, no);
row("moved.alive", (s) => s.moved.alive, no, no, no, no, no);
row("isSole", (s) => s.owing.isSole(), no, no, no, no, no);
row("spent.isSole", (s) => s.spent.isSole(), no, no, no, no, no);
row("moved.isSole", (s) => s.moved.isSole(), MOVED, MOVED, MOVED, MOVED, MOVED);
row("decrRef", (s) => s.owing.decrRef(), no, COUNT, no, COUNT, no);
row("spent.decrRef", (s) => s.spent.decrRef(), COUNT, COUNT, COUNT, COUNT, COUNT);
row("moved.decrRef", (s) => s.moved.decrRef(), MOVED, MOVED, MOVED, MOVED, MOVED);
const none = answer(undefined);
row("upgrade", (s) => s.weak.upgrade() && HANDLE, answer(HANDLE), none, none, none, none);
row("weak.alive", (s) => s.weak.alive, answer(true), no, no, no, no);
row("loan.value", (s) => s.loan.value, answer("v"), answer("v"), answer("v"), USED, REVOKED);
row("loan.dup", (s) => s.loan.dup() && HANDLE, answer(HANDLE), USED, REVOKED, USED, REVOKED);
for (const verb of ["incrRef", "decrRef"] as const) {
  const count = (s: Stage): unknown => (s.loan as unknown as Handle<string>)[verb]();
  row(`loan.${verb}`, count, LOAN, LOAN, LOAN, LOAN, LOAN);
}

describe.each([
  ["Handle", false],
  ["AsyncHandle", true],
] as const)("the state table of %s", (_, async) => {
  for (const [name, { run, cells }] of Object.entries(TABLE)) {
    for (const state of STATES) {
      const cell = cells[state];
      const says = "throws" in cell ? cell.throws.name || cell.throws.prototype.name : String(cell.is);
      it(`${name} on a resource that is ${state}: ${says}`, async () => {
        let ran = false;
        await stage(async, state, async (at) => {
          ran = true;
          const counts = [at.owing.refCount, at.owing.owed, at.spent.owed, at.moved.owed, at.freed()];
          if ("is" in cell) {
            expect(await run(at)).toBe(cell.is);
            return;
          }
          const refused: unknown = await (async () => run(at))().catch((error: unknown) => error);
          expect(refused).toBeInstanceOf(cell.throws);
          expect([at.owing.refCount, at.owing.owed, at.spent.owed, at.moved.owed, at.freed()]).toEqual(counts);
        });
        expect(ran).toBe(true);
      });
    }
  }

  it("refuses by throwing at once, asynchronous or not, wherever a count would change", async () => {
    await stage(async, "freed", (at) => {
      expect(() => at.owing.decrRef()).toThrow(RefCountError);
      expect(() => at.owing.incrRef()).toThrow(UseAfterFreeError);
      expect(() => at.owing.dup()).toThrow(UseAfterFreeError);
      expect(() => at.moved.decrRef()).toThrow(MovedError);
    });
  });

  it.each(STATES)("frees exactly once when all that is owed on a resource that is %s has been paid", async (state) => {
    let freed = (): number => -1;
    let owing: AnyHandle | undefined;
    await stage(async, state, (at) => {
      ({ freed, owing } = at);
      expect(freed()).toBe(state.startsWith("freed") ? 1 : 0);
    });
    if (state === "open") {
      expect(freed()).toBe(0);
      expect(await (owing as AnyHandle).decrRef()).toBe(false);
      return;
    }
    expect(freed()).toBe(1);
    if ((owing as AnyHandle).owed > 0) expect(await (owing as AnyHandle).decrRef()).toBe(false);
    expect(freed()).toBe(1);
  });
});

describe("the order of the error table", () => {
  it("puts moved before the count, the count before revoked, and revoked before freed", () => {
    const Key = defineResource({ kind: "key", free: () => {} });
    const handle = Key.open("v");
    const spent = handle.dup();
    spent.decrRef();
    const moved = handle.dup();
    moved.move();
    Key.revoke(handle);
    expect(() => moved.decrRef()).toThrow(MovedError);
    expect(() => moved.value).toThrow(MovedError);
    expect(() => spent.decrRef()).toThrow(RefCountError);
    expect(() => spent.value).toThrow(RevokedError);
    expect(() => spent.value).not.toThrow(UseAfterFreeError);
  });

  it("puts a revoke or a use after the borrow before the loan's own verbs only where they are uses", async () => {
    const Key = defineResource({ kind: "key", free: () => {} });
    const handle = Key.open("v");
    handle.borrow((_, loan) => {
      Key.revoke(handle);
      expect(loan.value).toBe("v");
      expect(() => (loan as unknown as Handle<string>).decrRef()).toThrow(LoanError);
      expect(() => loan.dup()).toThrow(RevokedError);
    });
  });
});

describe("a handle without a label", () => {
  it.each([false, true])("answers like one with a label after a move (label: %s)", (labelled) => {
    const Key = defineResource({ kind: "key", free: () => {}, ...(labelled ? { label: () => "a" } : {}) });
    const handle = Key.open("v").incrRef();
    const moved = handle.move();
    expect([handle.refCount, handle.owed, handle.alive, moved.refCount, moved.owed]).toEqual([2, 0, false, 2, 2]);
    const error = (() => {
      try {
        return handle.value;
      } catch (caught) {
        return caught;
      }
    })();
    expect(error).toMatchObject({ code: "ERR_MOVED", refCount: 2, owed: 0 });
    moved.decrRef();
    moved.decrRef();
    expect(handle.refCount).toBe(0);
    expect(() => handle.value).toThrow(MovedError);
  });
});
