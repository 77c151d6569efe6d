import type { AutoMemory as AutoMemoryType } from "../../src/auto-memory";
import type { Handle as HandleType, Loan, WeakHandle } from "../../src/handle";
import type { Resource } from "../../src/resource";

/** What the model is run against: the library, or a copy that is broken on purpose. */
export interface Implementation {
  Key: Resource<number, [n: number]>;
  AutoMemory: new () => AutoMemoryType;
}

export type Implement = (free: (n: number) => void, labelled: boolean) => Implementation;

/** One random step: what to do, and on which of the things there are (taken modulo their number). */
export interface Step {
  readonly op: (typeof OPS)[number];
  readonly a: number;
  readonly b: number;
}

export const OPS = [
  "open",
  "openIn",
  "incrRef",
  "decrRef",
  "dispose",
  "dup",
  "move",
  "weak",
  "upgrade",
  "use",
  "keep",
  "useAgain",
  "hold",
  "freeAll",
  "moveContext",
  "endContext",
  "newContext",
  "revoke",
  "borrow",
  "borrowLong",
  "endBorrow",
  "loanDup",
  "borrowThrow",
  "breakFree",
] as const;

// The model: what each law says, in the plainest form, without any of the library's data structures.

interface ModelResource {
  readonly id: number;
  borrows: number;
  revoked: boolean;
  draining: boolean;
  freed: number;
  frees: boolean;
}

interface ModelAccount {
  readonly resource: ModelResource;
  owed: number;
  moved: boolean;
  /** The contexts that own it, oldest first. */
  owners: ModelContext[];
}

interface ModelContext {
  /** Accounts in the order they came; one that is owned twice is in it twice. */
  accounts: ModelAccount[];
  ended: boolean;
}

interface Account {
  readonly model: ModelAccount;
  readonly handle: HandleType<number>;
}

interface Context {
  readonly model: ModelContext;
  readonly memory: AutoMemoryType;
}

class Mismatch extends Error {
  override readonly name = "Mismatch";
}

/** Runs random steps against an implementation and the model side by side; throws where they differ. */
export class Walk {
  readonly #implementation: Implementation;
  readonly #resources: ModelResource[] = [];
  readonly #accounts: Account[] = [];
  readonly #weaks: { model: ModelResource; weak: WeakHandle<HandleType<number>> }[] = [];
  readonly #contexts: Context[] = [];
  readonly #borrows: { model: ModelResource; loan: Loan<number>; end: () => void; result: Promise<unknown> }[] = [];
  readonly #log: number[] = [];
  readonly #expected: number[] = [];
  #failures: number[] = [];
  /** The account that was kept last. */
  #kept: ModelAccount | undefined;
  /** What has to settle before the next step. */
  pending: Promise<void> | undefined;
  #borrowFailures = 0;

  constructor(implement: Implement, labelled: boolean) {
    this.#implementation = implement((n) => {
      this.#log.push(n);
      if (this.#resources[n]?.frees === false) throw new Error(`free ${n}`);
    }, labelled);
    this.#newContext();
  }

  #newContext(): void {
    this.#contexts.push({ model: { accounts: [], ended: false }, memory: new this.#implementation.AutoMemory() });
  }

  // What the model does.

  #free(resource: ModelResource): void {
    resource.draining = false;
    resource.freed++;
    this.#expected.push(resource.id);
    if (!resource.frees) this.#failures.push(resource.id);
  }

  #count(resource: ModelResource): number {
    let sum = 0;
    for (const { model } of this.#accounts) if (model.resource === resource) sum += model.owed;
    return sum;
  }

  #usable(account: ModelAccount): boolean {
    return account.owed > 0 && !account.resource.revoked && account.resource.freed === 0;
  }

  /** The name of the error that a use is refused with, if it is. */
  #refusal(account: ModelAccount): string | undefined {
    if (account.moved) return "MovedError";
    if (account.resource.revoked) return "RevokedError";
    return this.#usable(account) ? undefined : "UseAfterFreeError";
  }

  #leave(account: ModelAccount): void {
    for (const context of account.owners) context.accounts = context.accounts.filter((one) => one !== account);
    account.owners = [];
  }

  /** One reference less; whether this was the last. */
  #pay(account: ModelAccount): boolean {
    account.owed--;
    if (account.owed === 0) this.#leave(account);
    const { resource } = account;
    if (resource.revoked || this.#count(resource) > 0) return false;
    if (resource.borrows > 0) resource.draining = true;
    else this.#free(resource);
    return true;
  }

  #payAll(context: ModelContext): void {
    const { accounts } = context;
    context.accounts = [];
    for (const account of accounts.toReversed()) {
      const at = account.owners.lastIndexOf(context);
      if (at === -1) continue;
      account.owners.splice(at, 1);
      if (account.owed > 0) this.#pay(account);
    }
  }

  // Comparing.

  #same(what: string, got: unknown, want: unknown): void {
    if (!Object.is(got, want)) throw new Mismatch(`${what}: got ${String(got)}, expected ${String(want)}`);
  }

  /** Runs a call of the implementation and says what came of it, as the model names it. */
  #outcome(call: () => unknown): { threw: string | undefined; result: unknown } {
    try {
      return { threw: undefined, result: call() };
    } catch (error) {
      const { name, message } = error as Error;
      return { threw: name === "Error" ? message : name, result: undefined };
    }
  }

  /** The failures that the frees of this step would be reported with. */
  #failed(): string | undefined {
    const failures = this.#failures;
    this.#failures = [];
    if (failures.length === 0) return undefined;
    return failures.length === 1 ? `free ${failures[0]}` : "SuppressedError";
  }

  #check(what: string, call: () => unknown, refused: string | undefined, model: () => unknown): unknown {
    const { threw, result } = this.#outcome(call);
    if (refused !== undefined) {
      this.#same(`${what} is refused`, threw, refused);
      return undefined;
    }
    const want = model();
    const failed = this.#failed();
    this.#same(`${what} throws`, threw, failed);
    if (failed === undefined && want !== undefined) this.#same(`${what} returns`, result, want);
    return result;
  }

  /** Every observable fact, compared after every step. */
  compare(): void {
    this.#same("frees", this.#log.join(), this.#expected.join());
    for (const { model, handle } of this.#accounts) {
      this.#same(`owed of ${model.resource.id}`, handle.owed, model.owed);
      this.#same(`refCount of ${model.resource.id}`, handle.refCount, this.#count(model.resource));
      this.#same(`alive of ${model.resource.id}`, handle.alive, this.#usable(model));
    }
    for (const { model, weak } of this.#weaks) {
      this.#same("weak.alive", weak.alive, model.freed === 0 && !model.revoked && !model.draining);
    }
    for (const { model, memory } of this.#contexts) {
      this.#same("context.size", memory.size, model.accounts.length);
      this.#same("context.disposed", memory.disposed, model.ended);
    }
    const { stats } = this.#implementation.Key;
    const freed = this.#resources.filter((resource) => resource.freed > 0).length;
    this.#same("stats.opened", stats.opened, this.#resources.length);
    this.#same("stats.freed", stats.freed, freed);
    this.#same("stats.live", stats.live, this.#resources.length - freed);
    for (const resource of this.#resources) if (resource.freed > 1) throw new Mismatch("the model freed twice");
  }

  #resource(): ModelResource {
    const id = this.#resources.length;
    const made = { id, borrows: 0, revoked: false, draining: false, freed: 0, frees: true };
    this.#resources.push(made);
    return made;
  }

  #account(resource: ModelResource, handle: unknown, owed = 1): ModelAccount {
    const model = { resource, owed, moved: false, owners: [] };
    this.#accounts.push({ model, handle: handle as HandleType<number> });
    return model;
  }

  #own(context: ModelContext, account: ModelAccount): void {
    if (account.owed === 0) return;
    context.accounts.push(account);
    account.owners.push(context);
  }

  /** The account that a step is about: any, but mostly one that the context owns to keep, and one just kept to use again. */
  #pick(op: Step["op"], a: number, { accounts }: ModelContext): Account {
    const wanted =
      op === "useAgain" ? this.#kept : op === "keep" && a % 4 > 0 ? accounts[a % accounts.length] : undefined;
    const found = wanted && this.#accounts.find(({ model }) => model === wanted);
    return found ?? (this.#accounts[a % this.#accounts.length] as Account);
  }

  step({ op, a, b }: Step): unknown {
    const { Key } = this.#implementation;
    const context = this.#contexts[b % this.#contexts.length] as Context;
    const ended = context.model.ended ? "ReferenceError" : undefined;
    if (op === "newContext") return this.#newContext();
    if (op === "open" || this.#accounts.length === 0) {
      const id = this.#resources.length;
      this.#account(this.#resource(), Key.open(id));
      return;
    }
    if (op === "openIn") {
      const id = this.#resources.length;
      const handle = this.#check(
        "open into a context",
        () => context.memory.open(Key, id),
        ended,
        () => undefined,
      );
      if (ended === undefined) this.#own(context.model, this.#account(this.#resource(), handle));
      return;
    }
    if (op === "freeAll") {
      return this.#check(
        op,
        () => context.memory.freeAll(),
        ended,
        () => this.#payAll(context.model),
      );
    }
    if (op === "endContext") {
      return this.#check(
        op,
        () => context.memory.dispose(),
        undefined,
        () => {
          context.model.ended = true;
          this.#payAll(context.model);
        },
      );
    }
    if (op === "moveContext") {
      const memory = this.#check(
        op,
        () => context.memory.move(),
        ended,
        () => undefined,
      ) as AutoMemoryType;
      if (ended !== undefined) return;
      const model = { accounts: context.model.accounts, ended: false };
      for (const { owners } of model.accounts) {
        for (const [i, owner] of owners.entries()) if (owner === context.model) owners[i] = model;
      }
      Object.assign(context.model, { accounts: [], ended: true });
      this.#contexts.push({ model, memory });
      return;
    }
    if (op === "upgrade") return this.#upgrade(a);
    if (op === "endBorrow") return this.#endBorrow(a);
    if (op === "loanDup") return this.#loanDup(a);
    const { model, handle } = this.#pick(op, a, context.model);
    const refused = this.#refusal(model);
    const { resource } = model;
    switch (op) {
      case "incrRef":
        return this.#check(
          op,
          () => handle.incrRef(),
          refused,
          () => {
            model.owed++;
            return handle;
          },
        );
      case "decrRef": {
        const overdrawn = model.moved ? "MovedError" : model.owed === 0 ? "RefCountError" : undefined;
        return this.#check(
          op,
          () => handle.decrRef(),
          overdrawn,
          () => this.#pay(model),
        );
      }
      case "dispose":
        return this.#check(
          op,
          () => handle[Symbol.dispose](),
          undefined,
          () => {
            if (model.owed > 0) this.#pay(model);
          },
        );
      case "dup": {
        const dup = this.#check(
          op,
          () => handle.dup(),
          refused,
          () => undefined,
        );
        if (refused === undefined) this.#account(resource, dup);
        return;
      }
      case "move": {
        const moved = this.#check(
          op,
          () => handle.move(),
          refused,
          () => undefined,
        );
        if (refused !== undefined) return;
        this.#leave(model);
        this.#account(resource, moved, model.owed);
        Object.assign(model, { owed: 0, moved: true });
        return;
      }
      case "weak": {
        const weak = this.#check(
          op,
          () => handle.weak(),
          refused,
          () => undefined,
        );
        if (refused === undefined) this.#weaks.push({ model: resource, weak: weak as WeakHandle<HandleType<number>> });
        return;
      }
      case "use":
      case "useAgain":
        return this.#check(
          op,
          () => context.memory.use(handle),
          ended,
          () => {
            this.#own(context.model, model);
            return handle;
          },
        );
      case "keep": {
        const at = context.model.accounts.lastIndexOf(model);
        const unowned = at === -1 ? "TypeError" : undefined;
        return this.#check(
          op,
          () => context.memory.keep(handle),
          ended ?? unowned,
          () => {
            context.model.accounts.splice(at, 1);
            model.owners.splice(model.owners.lastIndexOf(context.model), 1);
            return handle;
          },
        );
      }
      case "hold": {
        const held = this.#check(
          op,
          () => context.memory.hold(handle),
          ended ?? refused,
          () => undefined,
        );
        if ((ended ?? refused) === undefined) this.#own(context.model, this.#account(resource, held));
        return;
      }
      case "revoke":
        return this.#check(
          op,
          () => Key.revoke(handle),
          model.moved ? "MovedError" : undefined,
          () => {
            if (resource.freed > 0 || resource.revoked) return;
            resource.revoked = true;
            if (resource.borrows > 0) resource.draining = true;
            else this.#free(resource);
          },
        );
      case "breakFree":
        if (resource.freed === 0) resource.frees = false;
        return;
      case "borrow":
        return this.#check(
          op,
          () => handle.borrow((n, loan) => n + loan.value),
          refused,
          () => resource.id * 2,
        );
      case "borrowThrow": {
        const { threw } = this.#outcome(() =>
          handle.borrow(() => {
            throw new Error("own");
          }),
        );
        this.#same(`${op} throws`, threw, refused ?? "own");
        return;
      }
      case "borrowLong":
        return this.#borrowLong(handle, resource, refused);
    }
  }

  #borrowLong(handle: HandleType<number>, resource: ModelResource, refused: string | undefined): void {
    let end = (): void => {};
    let lent: Loan<number> | undefined;
    const result = this.#check(
      "borrow",
      () =>
        handle.borrow((_, loan) => {
          lent = loan;
          return new Promise<void>((resolve) => {
            end = resolve;
          });
        }),
      refused,
      () => undefined,
    ) as Promise<unknown>;
    if (refused !== undefined) return;
    resource.borrows++;
    result.catch(() => this.#borrowFailures++);
    this.#borrows.push({ model: resource, loan: lent as Loan<number>, end, result });
  }

  #upgrade(a: number): void {
    const one = this.#weaks[a % this.#weaks.length];
    if (one === undefined) return;
    const gone = one.model.freed > 0 || one.model.revoked || one.model.draining;
    const up = this.#check(
      "upgrade",
      () => one.weak.upgrade(),
      undefined,
      () => undefined,
    );
    this.#same("upgrade gives a handle", up !== undefined, !gone);
    if (!gone) this.#account(one.model, up);
  }

  #loanDup(a: number): void {
    const one = this.#borrows[a % this.#borrows.length];
    if (one === undefined) return;
    this.#same("loan.value", one.loan.value, one.model.id);
    const refused = one.model.revoked ? "RevokedError" : one.model.draining ? "UseAfterFreeError" : undefined;
    const dup = this.#check(
      "loan.dup",
      () => one.loan.dup(),
      refused,
      () => undefined,
    );
    if (refused === undefined) this.#account(one.model, dup);
  }

  /** A long borrow ends when its promise settles: the steps in between wait for it. */
  #endBorrow(a: number): void {
    const at = a % this.#borrows.length;
    const one = this.#borrows[at];
    if (one === undefined) return;
    this.#borrows.splice(at, 1);
    one.end();
    this.pending = one.result
      .catch(() => {})
      .then(() => {
        one.model.borrows--;
        if (one.model.borrows === 0 && one.model.draining) this.#free(one.model);
        const failed = this.#failures.length;
        this.#failures = [];
        this.#same("borrows that failed", this.#borrowFailures, failed);
        this.#borrowFailures = 0;
      });
  }

  /** Ends everything that is still there: afterwards every resource was freed exactly once. */
  async finish(): Promise<void> {
    while (this.#borrows.length > 0) {
      this.#endBorrow(0);
      await this.pending;
      this.compare();
    }
    for (const context of this.#contexts.keys()) {
      this.step({ op: "endContext", a: 0, b: context });
      this.compare();
    }
    for (const { model, handle } of this.#accounts) {
      while (model.owed > 0)
        this.#check(
          "decrRef",
          () => handle.decrRef(),
          undefined,
          () => this.#pay(model),
        );
    }
    this.compare();
    const unfreed = this.#resources.filter((resource) => resource.freed !== 1);
    this.#same("resources that were not freed exactly once", unfreed.length, 0);
  }
}
