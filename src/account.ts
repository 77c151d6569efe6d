import { AsyncFreeError, type LastrefError, type Refusal, suppress } from "./errors";
import { type AccountRecord, type ResourceFacts, type ResourceRecord, realm } from "./tracker";

// The same declarations as `lib: ["esnext.disposable"]` and @types/node: users who have neither still compile.
declare global {
  interface SymbolConstructor {
    readonly dispose: unique symbol;
    readonly asyncDispose: unique symbol;
  }
  interface Disposable {
    [Symbol.dispose](): void;
  }
  interface AsyncDisposable {
    [Symbol.asyncDispose](): PromiseLike<void>;
  }
}

/** What an account can owe beside some references. */
export enum Owed {
  /** It was moved: less than nothing, so that one comparison tells the accounts that can pay. */
  Moved = -1,
  Most = 2 ** 31 - 1,
}

/** The most references one resource can have. One more is refused, so a count never wraps into a special value. */
export const MAX_REFS: number = Owed.Most;

/** `Symbol.dispose`, or what esbuild uses where the realm has none. Read once, never written. */
export const DISPOSE: typeof Symbol.dispose = Symbol.dispose ?? Symbol.for("Symbol.dispose");
export const ASYNC_DISPOSE: typeof Symbol.asyncDispose = Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose");

/** How `console.log` and `util.inspect` are told what to print (Node, Deno and Bun read it). */
export const INSPECT = Symbol.for("nodejs.util.inspect.custom");

export function isObject(value: unknown): value is object {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return isObject(value) && typeof (value as { then?: unknown }).then === "function";
}

export const ignore = (): void => {};

/** Says something that no caller is left to hear. */
export function warn(error: unknown): void {
  const { process, console } = globalThis as {
    process?: { emitWarning?(warning: unknown, type?: string): void };
    console?: { warn(warning: unknown): void };
  };
  if (!process?.emitWarning) {
    console?.warn(error);
    return;
  }
  const warning = error instanceof Error ? error : new Error(String(error));
  try {
    process.emitWarning(warning);
  } catch {
    // Node refuses the errors of another realm, as a test runner's vm context has them.
    process.emitWarning(warning.message, warning.name);
  }
}

/** How a kind was defined, and the counts of its resources. */
export class Kind<T> {
  readonly name: string;
  readonly release: (value: T) => unknown;
  readonly exclusive: boolean;
  readonly watch: boolean;
  opened = 0;
  freed = 0;
  peak = 0;
  bytes = 0;
  /** Of those that are open: without holders, and kept by the map they are in. */
  cached = 0;
  /** Hears that a holder died and its account is settled for it: what it was doing with the value is not known. */
  settled: (() => void) | undefined = undefined;

  constructor(name: string, release: (value: T) => unknown, exclusive = false, watch = false) {
    this.name = name;
    this.release = release;
    this.exclusive = exclusive;
    this.watch = watch;
  }

  countOpened(): void {
    const live = ++this.opened - this.freed;
    if (live > this.peak) this.peak = live;
  }

  /** Ends a resource whose state says "freed" already. */
  end({ label }: Counted<T>, value: T): void {
    this.free(value, label);
  }

  /** Runs the free function of a synchronous kind. */
  free(value: T, label = ""): void {
    this.freed++;
    // Called unbound: some of the platform's functions refuse a receiver that is not theirs.
    const release = this.release;
    const returned = release(value);
    if (returned !== undefined && isThenable(returned)) throw refuseAsync(this.name, label, "free", returned);
  }
}

/** A synchronous function returned a promise: its rejection is heard, and the error says so. */
export function refuseAsync(kind: string, label: string, verb: string, returned: PromiseLike<unknown>): AsyncFreeError {
  const error = new AsyncFreeError(
    `Cannot ${verb} ${named(kind, label)} synchronously: its ${verb} function returned a promise; define the kind with defineAsyncResource`,
    { kind, label, refCount: 0, owed: 0 },
  );
  Promise.resolve(returned).then(ignore, (reason: unknown) => {
    error.cause = reason;
    warn(reason);
  });
  return error;
}

export function named(kind: string, label: string): string {
  return label === "" ? kind : `${kind} "${label}"`;
}

export function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

/**
 * The states of a resource. Open and immortal can be used; the two bits above make up the others.
 *
 * An enum, here and below, because the build writes its members as numbers, where a constant of another file is looked up.
 */
export enum State {
  Open = 0,
  Immortal = 1,
  Draining = 2,
  Freed = 4,
  Revoked = 8,
}

/**
 * A resource that more than one account, a borrow, a label or a tracker needs to know of.
 *
 * A handle that is alone on a plain resource keeps the value itself (see `HandleImpl`), and makes one of these when
 * that stops being enough.
 */
export class Counted<T> implements ResourceFacts {
  // These two on the prototype, where V8 takes them for constants: a file's bindings are looked up at each use.
  declare readonly realm: typeof realm;
  /** The ledger (see `HandleImpl`) of every account that has closed and kept nothing else. */
  declare readonly closed: object;
  readonly kind: Kind<T>;
  value: T | undefined;
  readonly label: string;
  readonly bytes: number;
  /** What all accounts owe together. */
  count: number;
  borrows = 0;
  state: number;
  /** An asynchronous free under way. */
  freeing: Promise<void> | undefined = undefined;
  record: ResourceRecord | undefined = undefined;

  constructor(kind: Kind<T>, value: T, label: string, bytes: number, owed: number, state: number) {
    this.kind = kind;
    this.value = value;
    this.label = label;
    this.bytes = bytes;
    this.count = owed;
    this.state = state;
  }

  get flat(): false {
    return false;
  }

  get usable(): boolean {
    return this.state <= State.Immortal;
  }

  /** One reference less. The last one frees, or leaves it to the last borrow. */
  decrement(): boolean {
    if (--this.count > 0 || this.state !== State.Open) return false;
    this.#end(0);
    return true;
  }

  /** The door closes for all accounts. */
  revoke(): void {
    if (this.state & (State.Revoked | State.Freed)) return;
    this.record?.revoked?.();
    this.#end(State.Revoked);
  }

  endBorrow(): void {
    if (--this.borrows === 0 && this.state & State.Draining) this.#free();
  }

  #end(revoked: number): void {
    this.state = State.Draining | revoked;
    if (this.borrows === 0) this.#free();
  }

  #free(): void {
    const { kind } = this;
    const value = this.value as T;
    this.state = State.Freed | (this.state & State.Revoked);
    this.value = undefined;
    kind.bytes -= this.bytes;
    this.record?.freed();
    kind.end(this, value);
  }

  /** The record of a new account, when anybody keeps one. */
  track(handle: object, holder?: string): AccountRecord | undefined {
    this.record ??= (realm.tracker ?? (this.kind.watch ? realm.watcher : undefined))?.opened(this);
    return this.record?.account(handle, holder);
  }

  settle(owed: number): Promise<void> | undefined {
    this.kind.settled?.();
    this.count -= owed - 1;
    this.decrement();
    return this.freeing;
  }
}

Object.defineProperty(Counted.prototype, "realm", { value: realm });

/** The state of an account in words, for the end of a message. */
export function standing<T>({ state, borrows, count: held }: Counted<T>): string {
  if (state & State.Revoked) return "it was revoked by its opener";
  if (state & State.Draining)
    return `its last reference was given back and ${count(borrows, "borrow")} must end before it is freed`;
  if (state & State.Freed) return "it was freed";
  return `this handle owes nothing, ${held === 1 ? "1 reference is held by another" : `${held} references are held by others`}`;
}

/** Makes the error of a refused call, with where the account was opened and closed if anybody wrote that down. */
export function refuse<T>(
  Refusal: Refusal,
  message: string,
  counted: Counted<T>,
  owed = 0,
  record?: AccountRecord,
): LastrefError {
  const facts = { kind: counted.kind.name, label: counted.label, refCount: refCountOf(counted), owed };
  return record === undefined ? new Refusal(message, facts) : record.refused(Refusal, message, facts);
}

/** What all accounts owe together, as the holders are told. */
export function refCountOf({ state, count }: { readonly state: number; readonly count: number }): number {
  return state === State.Immortal ? Infinity : count;
}

export function nameOf<T>({ kind, label }: Counted<T>): string {
  return named(kind.name, label);
}

/**
 * Calls `use`, and `end` once its result has settled: at once, or with the promise it returned. Of two failures the
 * newer carries the older, as in a `using` block.
 */
export function around<R>(use: () => R, end: () => void): R {
  const fail = (error: unknown): unknown => {
    try {
      end();
    } catch (newer) {
      return suppress(newer, error);
    }
    return error;
  };
  let result: R;
  try {
    result = use();
    if (isThenable(result)) {
      return Promise.resolve(result).then(
        (settled) => {
          end();
          return settled;
        },
        (error: unknown) => {
          throw fail(error);
        },
      ) as R;
    }
  } catch (error) {
    throw fail(error);
  }
  end();
  return result;
}
