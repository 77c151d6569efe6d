import type { AsyncAutoMemory as AsyncAutoMemoryType } from "../../src/async-auto-memory";
import type { AsyncHandle } from "../../src/async-handle";
import type { AsyncResource } from "../../src/resource";

export interface AsyncImplementation {
  Key: AsyncResource<number, [n: number]>;
  AsyncAutoMemory: new () => AsyncAutoMemoryType;
}

/** `free` is the asynchronous free function: it settles when a step says so. */
export type AsyncImplement = (free: (n: number) => Promise<void>) => AsyncImplementation;

export const ASYNC_OPS = [
  "open",
  "incrRef",
  "decrRef",
  "dispose",
  "dup",
  "move",
  "upgrade",
  "revoke",
  "borrow",
  "endBorrow",
  "finishFree",
  "failFree",
  "use",
  "keep",
  "hold",
  "freeAll",
  "endContext",
  "newContext",
] as const;

export interface AsyncStep {
  readonly op: (typeof ASYNC_OPS)[number];
  readonly a: number;
  readonly b: number;
}

type State = "open" | "draining" | "freeing" | "freed";

interface ModelResource {
  readonly id: number;
  state: State;
  revoked: boolean;
  borrows: number;
  failed: boolean;
}

/** What a context owns until it pays: the places, oldest first. */
interface ModelList {
  places: ModelAccount[];
}

interface ModelAccount {
  readonly resource: ModelResource;
  owed: number;
  moved: boolean;
}

/** A promise of the implementation, and what the model says of it. */
interface Awaited {
  readonly what: string;
  settled: string | undefined;
  /** How it has to have settled by now; `undefined` while it has to be pending. */
  readonly expected: () => string | undefined;
}

/** A context's payment under way: one place after the other, the newest first. */
interface Payer {
  readonly list: ModelList;
  readonly queue: ModelAccount[];
  waiting: ModelResource | undefined;
  readonly failures: number[];
  done: boolean;
}

interface Account {
  readonly model: ModelAccount;
  readonly handle: AsyncHandle<number>;
}

interface Context {
  list: ModelList | undefined;
  readonly memory: AsyncAutoMemoryType;
}

interface Borrow {
  readonly resource: ModelResource;
  end(): void;
  /** Whether the end of the borrow caused the free; `undefined` while it is under way. */
  ended: { readonly caused: boolean } | undefined;
}

export class AsyncMismatch extends Error {
  override readonly name = "Mismatch";
}

const fine = (value: unknown): string => `resolved ${String(value)}`;

/** As `Walk`, for frees that settle when a step says so. */
export class AsyncWalk {
  readonly #implementation: AsyncImplementation;
  readonly #resources: ModelResource[] = [];
  readonly #accounts: Account[] = [];
  readonly #contexts: Context[] = [];
  readonly #borrows: Borrow[] = [];
  readonly #gates = new Map<number, { resolve(): void; reject(error: Error): void }>();
  readonly #promises: Awaited[] = [];
  readonly #payers: Payer[] = [];
  readonly #begun: number[] = [];
  readonly #expected: number[] = [];

  constructor(implement: AsyncImplement) {
    this.#implementation = implement((n) => {
      this.#begun.push(n);
      return new Promise((resolve, reject) => this.#gates.set(n, { resolve, reject }));
    });
    this.#newContext();
  }

  #newContext(): void {
    this.#contexts.push({ list: { places: [] }, memory: new this.#implementation.AsyncAutoMemory() });
  }

  #same(what: string, got: unknown, want: unknown): void {
    if (!Object.is(got, want)) throw new AsyncMismatch(`${what}: got ${String(got)}, expected ${String(want)}`);
  }

  #count(resource: ModelResource): number {
    return this.#accounts.reduce((sum, { model }) => sum + (model.resource === resource ? model.owed : 0), 0);
  }

  #refusal(account: ModelAccount): string | undefined {
    if (account.moved) return "MovedError";
    if (account.resource.revoked) return "RevokedError";
    return account.owed > 0 ? undefined : "UseAfterFreeError";
  }

  #lists(): ModelList[] {
    const owned = this.#contexts.flatMap(({ list }) => (list === undefined ? [] : [list]));
    return [...owned, ...this.#payers.filter(({ done }) => !done).map(({ list }) => list)];
  }

  #leave(account: ModelAccount): void {
    for (const list of this.#lists()) list.places = list.places.filter((one) => one !== account);
  }

  /** The free begins; whoever asks from now on waits for it. */
  #free(resource: ModelResource): void {
    resource.state = "freeing";
    this.#expected.push(resource.id);
  }

  #end(resource: ModelResource): void {
    if (resource.borrows > 0) resource.state = "draining";
    else this.#free(resource);
  }

  #pay(account: ModelAccount): boolean {
    const { resource } = account;
    account.owed--;
    const last = !resource.revoked && this.#count(resource) === 0;
    if (last) this.#end(resource);
    this.#leaveIfSpent(account);
    return last;
  }

  #leaveIfSpent(account: ModelAccount): void {
    if (account.owed === 0 && account.resource.state !== "freeing") this.#leave(account);
  }

  /** Goes on with every payment as far as it gets. */
  #advance(payer: Payer): void {
    while (!payer.done) {
      if (payer.waiting?.state === "freeing") return;
      if (payer.waiting?.failed) payer.failures.push(payer.waiting.id);
      payer.waiting = undefined;
      const account = payer.queue.pop();
      if (account === undefined) {
        payer.done = true;
        return;
      }
      const at = payer.list.places.lastIndexOf(account);
      if (at === -1) continue;
      payer.list.places.splice(at, 1);
      if (account.owed > 0) this.#pay(account);
      payer.waiting = account.resource;
      if (payer.waiting.state !== "freeing") payer.waiting = undefined;
    }
  }

  #watch(what: string, promise: PromiseLike<unknown>, expected: () => string | undefined): void {
    const one: Awaited = { what, settled: undefined, expected };
    this.#promises.push(one);
    promise.then(
      (value) => {
        one.settled = fine(value);
      },
      (error: Error) => {
        one.settled = error.name === "Error" ? error.message : error.name;
      },
    );
  }

  /** How a call has to settle that waits for a free if one is under way now. */
  #waits(resource: ModelResource, value: unknown): () => string | undefined {
    if (resource.state !== "freeing") return () => fine(value);
    return () => {
      if (resource.state === "freeing") return undefined;
      return resource.failed ? `free ${resource.id}` : fine(value);
    };
  }

  #call<R>(what: string, call: () => R, refused: string | undefined): R | undefined {
    let threw: string | undefined;
    let result: R | undefined;
    try {
      result = call();
    } catch (error) {
      threw = (error as Error).name;
    }
    this.#same(`${what} throws`, threw, refused);
    return result;
  }

  #account(resource: ModelResource, handle: unknown, owed = 1): ModelAccount {
    const model = { resource, owed, moved: false };
    this.#accounts.push({ model, handle: handle as AsyncHandle<number> });
    return model;
  }

  #settleFree(a: number, failed: boolean): void {
    const freeing = this.#resources.filter(({ state }) => state === "freeing");
    const resource = freeing[a % freeing.length];
    if (resource === undefined) return;
    const gate = this.#gates.get(resource.id);
    this.#same(`free ${resource.id} has begun`, gate !== undefined, true);
    resource.state = "freed";
    resource.failed = failed;
    if (failed) gate?.reject(new Error(`free ${resource.id}`));
    else gate?.resolve();
    for (const { model } of this.#accounts) if (model.resource === resource) this.#leaveIfSpent(model);
  }

  #startPayer(list: ModelList): () => string | undefined {
    const payer: Payer = { list, queue: [...list.places], waiting: undefined, failures: [], done: false };
    this.#payers.push(payer);
    this.#advance(payer);
    return () => {
      if (!payer.done) return undefined;
      const { failures } = payer;
      if (failures.length === 0) return fine(undefined);
      return failures.length === 1 ? `free ${failures[0]}` : "SuppressedError";
    };
  }

  async step({ op, a, b }: AsyncStep): Promise<void> {
    const { Key } = this.#implementation;
    if (op === "newContext") this.#newContext();
    else if (op === "finishFree" || op === "failFree") this.#settleFree(a, op === "failFree");
    else if (op === "endBorrow") this.#endBorrow(a);
    else if (op === "open" || this.#accounts.length === 0) {
      const id = this.#resources.length;
      const resource: ModelResource = { id, state: "open", revoked: false, borrows: 0, failed: false };
      this.#resources.push(resource);
      this.#account(resource, Key.wrap(id));
    } else this.#on(op, a, b);
    for (const payer of this.#payers) this.#advance(payer);
    await new Promise((resolve) => setImmediate(resolve));
    this.compare();
  }

  #on(op: AsyncStep["op"], a: number, b: number): void {
    const { Key } = this.#implementation;
    const { model, handle } = this.#accounts[a % this.#accounts.length] as Account;
    const context = this.#contexts[b % this.#contexts.length] as Context;
    const { resource } = model;
    const refused = this.#refusal(model);
    const ended = context.list === undefined ? "ReferenceError" : undefined;
    if (op === "incrRef") {
      this.#call(op, () => handle.incrRef(), refused);
      if (refused === undefined) model.owed++;
    } else if (op === "decrRef") {
      const overdrawn = model.moved ? "MovedError" : model.owed === 0 ? "RefCountError" : undefined;
      const promise = this.#call(op, () => handle.decrRef(), overdrawn);
      if (overdrawn !== undefined || promise === undefined) return;
      const last = this.#pay(model);
      this.#watch(op, promise, last ? this.#waits(resource, true) : () => fine(false));
    } else if (op === "dispose") {
      const promise = handle[Symbol.asyncDispose]();
      if (model.owed > 0) this.#pay(model);
      else this.#leaveIfSpent(model);
      this.#watch(op, promise, this.#waits(resource, undefined));
    } else if (op === "dup") {
      const dup = this.#call(op, () => handle.dup(), refused);
      if (refused === undefined) this.#account(resource, dup);
    } else if (op === "move") {
      const moved = this.#call(op, () => handle.move(), refused);
      if (refused !== undefined) return;
      this.#leave(model);
      this.#account(resource, moved, model.owed);
      Object.assign(model, { owed: 0, moved: true });
    } else if (op === "upgrade") {
      const weak = this.#call(op, () => handle.weak(), refused);
      const up = weak?.upgrade();
      if (up !== undefined) this.#account(resource, up);
      this.#same("upgrade gives a handle", up !== undefined, refused === undefined);
    } else if (op === "revoke") {
      const promise = this.#call(op, () => Key.revoke(handle), model.moved ? "MovedError" : undefined);
      if (promise === undefined) return;
      if (!resource.revoked && (resource.state === "open" || resource.state === "draining")) {
        resource.revoked = true;
        this.#end(resource);
      }
      this.#watch(op, promise, this.#waits(resource, undefined));
    } else if (op === "borrow") this.#borrow(handle, resource, refused);
    else if (op === "use") {
      this.#call(op, () => context.memory.use(handle), ended);
      if (model.owed > 0 || resource.state === "freeing") context.list?.places.push(model);
    } else if (op === "keep") {
      const at = context.list?.places.lastIndexOf(model) ?? -1;
      this.#call(op, () => context.memory.keep(handle), ended ?? (at === -1 ? "TypeError" : undefined));
      if (at !== -1) context.list?.places.splice(at, 1);
    } else if (op === "hold") {
      const held = this.#call(op, () => context.memory.hold(handle), ended ?? refused);
      if (held !== undefined) context.list?.places.push(this.#account(resource, held));
    } else if (op === "freeAll") {
      const promise = this.#call(op, () => context.memory.freeAll(), ended);
      if (promise === undefined || context.list === undefined) return;
      const { list } = context;
      context.list = { places: [] };
      this.#watch(op, promise, this.#startPayer(list));
    } else {
      const promise = context.memory.disposeAsync();
      const { list } = context;
      context.list = undefined;
      this.#watch(op, promise, list === undefined ? () => fine(undefined) : this.#startPayer(list));
    }
  }

  #borrow(handle: AsyncHandle<number>, resource: ModelResource, refused: string | undefined): void {
    let end = (): void => {};
    const promise = handle.borrow((value, loan) => {
      this.#same("the borrowed value", value === resource.id && loan.value === resource.id, true);
      return new Promise<void>((resolve) => {
        end = resolve;
      });
    });
    if (refused !== undefined) {
      this.#watch("a refused borrow", promise, () => refused);
      return;
    }
    resource.borrows++;
    const borrow: Borrow = { resource, end: () => end(), ended: undefined };
    this.#borrows.push(borrow);
    this.#watch("borrow", promise, () => {
      if (borrow.ended === undefined) return undefined;
      if (borrow.ended.caused && resource.state === "freeing") return undefined;
      return borrow.ended.caused && resource.failed ? `free ${resource.id}` : fine(undefined);
    });
  }

  #endBorrow(a: number): void {
    const open = this.#borrows.filter(({ ended }) => ended === undefined);
    const borrow = open[a % open.length];
    if (borrow === undefined) return;
    const { resource } = borrow;
    resource.borrows--;
    const caused = resource.borrows === 0 && resource.state === "draining";
    if (caused) this.#free(resource);
    borrow.ended = { caused };
    borrow.end();
  }

  /** Every observable fact, compared after every step, when everything that can settle has settled. */
  compare(): void {
    this.#same("frees", this.#begun.join(), this.#expected.join());
    for (const { model, handle } of this.#accounts) {
      const { id } = model.resource;
      this.#same(`owed of ${id}`, handle.owed, model.owed);
      this.#same(`refCount of ${id}`, handle.refCount, this.#count(model.resource));
      this.#same(`alive of ${id}`, handle.alive, this.#refusal(model) === undefined);
    }
    for (const { list, memory } of this.#contexts) {
      this.#same("context.size", memory.size, list?.places.length ?? 0);
      this.#same("context.disposed", memory.disposed, list === undefined);
    }
    for (const one of this.#promises) this.#same(`${one.what} settles`, one.settled, one.expected());
  }

  /** Ends everything: afterwards nothing is pending and every resource was freed exactly once. */
  async finish(): Promise<void> {
    const settle = async (): Promise<void> => {
      while (this.#resources.some(({ state }) => state === "freeing"))
        await this.step({ op: "finishFree", a: 0, b: 0 });
    };
    while (this.#borrows.some(({ ended }) => ended === undefined)) await this.step({ op: "endBorrow", a: 0, b: 0 });
    await settle();
    for (const b of this.#contexts.keys()) {
      if (this.#accounts.length > 0) await this.step({ op: "endContext", a: 0, b });
      await settle();
    }
    for (const [a, { model }] of this.#accounts.entries()) {
      while (model.owed > 0) await this.step({ op: "decrRef", a, b: 0 });
      await settle();
    }
    this.#same("frees of one resource", new Set(this.#begun).size, this.#resources.length);
    this.#same("all frees", this.#begun.length, this.#resources.length);
  }
}
