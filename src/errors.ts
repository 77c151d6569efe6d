/** What every error of the library says of the resource it is about. */
export interface ErrorFacts {
  readonly kind: string;
  readonly label: string;
  /** References on the resource, all accounts together, when the error was made. */
  readonly refCount: number;
  /** References owed by the account the call was made on. */
  readonly owed: number;
  /** Where the account was opened, where sites are recorded. */
  readonly opened?: string | undefined;
  /** Where the account was closed first, where sites are recorded. */
  readonly closed?: string | undefined;
  /** The name of the holder that closed it, where sites are recorded. */
  readonly by?: string | undefined;
  readonly cause?: unknown;
}

/** The base of all errors of the library: a stable `code` and the facts of the resource. */
export class LastrefError extends Error implements ErrorFacts {
  declare readonly code: string;
  declare readonly kind: string;
  declare readonly label: string;
  declare readonly refCount: number;
  declare readonly owed: number;
  declare readonly opened?: string | undefined;
  declare readonly closed?: string | undefined;
  declare readonly by?: string | undefined;

  constructor(message: string, facts: ErrorFacts) {
    super(message, facts);
    Object.assign(this, facts);
  }
}

/** What makes an error of the library. */
export type Refusal = new (message: string, facts: ErrorFacts) => LastrefError;

/** An error class with its name and code as literals, which no minifier renames. */
export interface LastrefErrorClass<Name extends string, Code extends string, More extends object = object> {
  new (message: string, facts: ErrorFacts & More): LastrefError & { readonly name: Name; readonly code: Code } & More;
  readonly prototype: LastrefError & { readonly name: Name; readonly code: Code } & More;
}

/** `More` are the facts that an error of this class has beside those of every error. */
function errorClass<Name extends string, Code extends string, More extends object = object>(
  name: Name,
  code: Code,
): LastrefErrorClass<Name, Code, More> {
  class Refusal extends LastrefError {
    constructor(message: string, facts: ErrorFacts) {
      super(message, facts);
      Object.defineProperty(this, "code", { value: code, enumerable: true });
    }
  }
  // On the prototype, so that the stack's first line has it.
  for (const named of [Refusal, Refusal.prototype])
    Object.defineProperty(named, "name", { value: name, writable: true });
  return Refusal as unknown as LastrefErrorClass<Name, Code, More>;
}

/** `ERR_MOVED`: anything on a handle whose account was moved to another handle. */
export const MovedError = /* @__PURE__ */ errorClass("MovedError", "ERR_MOVED");
/** `ERR_REFCOUNT`: `decrRef` on an account that owes nothing. */
export const RefCountError = /* @__PURE__ */ errorClass("RefCountError", "ERR_REFCOUNT");
/** `ERR_REVOKED`: use of a resource that its opener revoked. */
export const RevokedError = /* @__PURE__ */ errorClass("RevokedError", "ERR_REVOKED");
/** `ERR_USE_AFTER_FREE`: use of a spent account, or of a loan after its borrow. */
export const UseAfterFreeError = /* @__PURE__ */ errorClass("UseAfterFreeError", "ERR_USE_AFTER_FREE");
/** `ERR_REF_OVERFLOW`: more than {@link MAX_REFS} references on one resource. */
export const RefOverflowError = /* @__PURE__ */ errorClass("RefOverflowError", "ERR_REF_OVERFLOW");
/** `ERR_LOAN`: giving back or counting a loan. */
export const LoanError = /* @__PURE__ */ errorClass("LoanError", "ERR_LOAN");
/** `ERR_ASYNC_FREE`: a synchronous free or open returned a promise. */
export const AsyncFreeError = /* @__PURE__ */ errorClass("AsyncFreeError", "ERR_ASYNC_FREE");
/** What a {@link LeakError} says more. In `lastref/testing` the report has its whole type. */
export interface LeakFacts {
  readonly report: { readonly total: number | undefined; toString(): string; toJSON(): unknown };
}

/** `ERR_LEAK`: a test helper found leaks; `report` is the whole report. */
export const LeakError = /* @__PURE__ */ errorClass<"LeakError", "ERR_LEAK", LeakFacts>("LeakError", "ERR_LEAK");

/** What a lease's errors say beside the facts of the resource: the lease's name is the `label`. */
export interface LeaseLostFacts {
  /**
   * Why it ended: its time ran out, somebody else has the key or deleted it, it was held for `maxHold`, or its
   * `Leases` were closed.
   */
  readonly reason: "expired" | "taken" | "max-hold" | "closed";
  /** When the lease could be relied on last, in `performance.now()` time; `undefined` if it was never held. */
  readonly deadline: number | undefined;
  /** When the last successful acquire or renewal was sent, in `performance.now()` time. */
  readonly lastRenewedAt: number | undefined;
}

/** What a {@link LeaseTimeoutError} says beside the facts of the resource. */
export interface LeaseTimeoutFacts {
  /** How long the caller waited, in milliseconds. */
  readonly waited: number;
  /** Milliseconds the holder had left when it was seen last; `Infinity` without an expiry, `undefined` if nobody was seen. */
  readonly remaining: number | undefined;
}

/** `ERR_LEASE_LOST`: a lease that is not held any more. */
export const LeaseLostError = /* @__PURE__ */ errorClass<"LeaseLostError", "ERR_LEASE_LOST", LeaseLostFacts>(
  "LeaseLostError",
  "ERR_LEASE_LOST",
);
/** `ERR_LEASE_TIMEOUT`: a lease that could not be had within the time its caller waits. */
export const LeaseTimeoutError = /* @__PURE__ */ errorClass<
  "LeaseTimeoutError",
  "ERR_LEASE_TIMEOUT",
  LeaseTimeoutFacts
>("LeaseTimeoutError", "ERR_LEASE_TIMEOUT");
/** `ERR_LEASE_UNSUPPORTED`: the server does not allow what the lease needs. */
export const LeaseUnsupportedError = /* @__PURE__ */ errorClass("LeaseUnsupportedError", "ERR_LEASE_UNSUPPORTED");

/** Who holds what, where an error lists it. */
export interface HolderFacts {
  /** The label of the resource that is held. */
  readonly label: string;
  /** The holder's name, if it gave one. */
  readonly holder?: string | undefined;
  /** How long it has been held, in milliseconds. */
  readonly heldFor: number;
  /** Where the account was opened, where sites are recorded. */
  readonly opened?: string | undefined;
}

/** What an error of a map or a pool says more: the keys it is about (for a cycle, the way round), and who holds them. */
export interface MapFacts extends ErrorFacts {
  readonly keys: readonly string[];
  readonly holders: readonly HolderFacts[];
}

/** An error class of maps and pools. */
export type MapErrorClass<Name extends string, Code extends string> = LastrefErrorClass<Name, Code, MapFacts>;

/** `ERR_MAP_CLOSED`: an acquire from a closed map or pool, or a close that ran out of time. */
export const MapClosedError = /* @__PURE__ */ errorClass<"MapClosedError", "ERR_MAP_CLOSED", MapFacts>(
  "MapClosedError",
  "ERR_MAP_CLOSED",
);
/** `ERR_MAP_CYCLE`: opening a key waits, through the keys it needs, for itself; `keys` is the way round. */
export const MapCycleError = /* @__PURE__ */ errorClass<"MapCycleError", "ERR_MAP_CYCLE", MapFacts>(
  "MapCycleError",
  "ERR_MAP_CYCLE",
);
/** `ERR_MAP_FULL`: a map has no room for another key, and may not or must not wait for it. */
export const MapFullError = /* @__PURE__ */ errorClass<"MapFullError", "ERR_MAP_FULL", MapFacts>(
  "MapFullError",
  "ERR_MAP_FULL",
);
/** `ERR_ACQUIRE_TIMEOUT`: nothing was given back in time; `holders` says who has it all. */
export const AcquireTimeoutError = /* @__PURE__ */ errorClass<"AcquireTimeoutError", "ERR_ACQUIRE_TIMEOUT", MapFacts>(
  "AcquireTimeoutError",
  "ERR_ACQUIRE_TIMEOUT",
);
/** `ERR_ACQUIRE_REFUSED`: all that a pool gave in a row was of no use; `cause` is what the last one failed with, if anything. */
export const AcquireRefusedError = /* @__PURE__ */ errorClass<"AcquireRefusedError", "ERR_ACQUIRE_REFUSED", MapFacts>(
  "AcquireRefusedError",
  "ERR_ACQUIRE_REFUSED",
);

export type MapClosedError = InstanceType<typeof MapClosedError>;
export type MapCycleError = InstanceType<typeof MapCycleError>;
export type MapFullError = InstanceType<typeof MapFullError>;
export type AcquireTimeoutError = InstanceType<typeof AcquireTimeoutError>;
export type AcquireRefusedError = InstanceType<typeof AcquireRefusedError>;
export type MovedError = InstanceType<typeof MovedError>;
export type RefCountError = InstanceType<typeof RefCountError>;
export type RevokedError = InstanceType<typeof RevokedError>;
export type UseAfterFreeError = InstanceType<typeof UseAfterFreeError>;
export type RefOverflowError = InstanceType<typeof RefOverflowError>;
export type LoanError = InstanceType<typeof LoanError>;
export type AsyncFreeError = InstanceType<typeof AsyncFreeError>;
export type LeakError = InstanceType<typeof LeakError>;
export type LeaseLostError = InstanceType<typeof LeaseLostError>;
export type LeaseTimeoutError = InstanceType<typeof LeaseTimeoutError>;
export type LeaseUnsupportedError = InstanceType<typeof LeaseUnsupportedError>;

/** The error of a failure that happened while another one was under way (ECMA-262 `SuppressedError`). */
export interface SuppressedError extends Error {
  /** The newer failure. */
  readonly error: unknown;
  /** The failure that was under way. */
  readonly suppressed: unknown;
}

/** The class of {@link SuppressedError}. */
export interface SuppressedErrorConstructor {
  new (error: unknown, suppressed: unknown, message?: string): SuppressedError;
  (error: unknown, suppressed: unknown, message?: string): SuppressedError;
  readonly prototype: SuppressedError;
}

/** The runtime's own `SuppressedError`, or the library's where the runtime has none. */
export const SuppressedError: SuppressedErrorConstructor =
  (globalThis as { SuppressedError?: SuppressedErrorConstructor }).SuppressedError ??
  /* @__PURE__ */ ownSuppressedError();

function ownSuppressedError(): SuppressedErrorConstructor {
  // A function, not a class: the language's own can be called without `new`.
  function Made(error: unknown, suppressed: unknown, message?: string): Error {
    const made = Reflect.construct(Error, message === undefined ? [] : [message], new.target ?? Made);
    return Object.defineProperties(made, { error: hidden(error), suppressed: hidden(suppressed) });
  }
  const name = "SuppressedError";
  Made.prototype = Object.create(Error.prototype, {
    constructor: hidden(Made),
    name: hidden(name),
    message: hidden(""),
  });
  return Object.setPrototypeOf(Object.defineProperty(Made, "name", { value: name }), Error);
}

export function hidden(value: unknown): PropertyDescriptor {
  return { value, writable: true, configurable: true };
}

/** Nests a newer failure over the one under way, as the language's `using` does. */
export function suppress(error: unknown, suppressed: unknown): SuppressedError {
  return new SuppressedError(error, suppressed, "A cleanup failed while another error was under way");
}

/** What an error says, whatever it is; nothing that is asked of it throws. */
export function reasonOf(error: unknown, otherwise: string): string {
  try {
    return error instanceof Error ? String(error.message) : otherwise;
  } catch {
    return otherwise;
  }
}

/** Whatever was given as a name, as a string; one that cannot be had says so. */
export function textOf(given: unknown, what: string): string {
  try {
    return String(given);
  } catch (error) {
    return `(no ${what}: ${reasonOf(error, "it could not be made a string")})`;
  }
}

/** The error of an argument that cannot be used: `Cannot listen: expected a function, received undefined`. */
export function unfit(action: string, wanted: string, given: unknown): TypeError {
  return new TypeError(`Cannot ${action}: expected ${wanted}, received ${received(given)}`);
}

/** Refuses what has no members to read. */
export function checkObject(action: string, given: unknown, wanted = "an object of options"): void {
  if (typeof given !== "object" || given === null) throw unfit(action, wanted, given);
}

/** What was received, as an argument mistake's message says it. Nothing is read of an object: it may be a trap. */
export function received(value: unknown): string {
  const type = typeof value;
  if (type === "string") return JSON.stringify(value);
  if (value === null) return "null";
  return type === "object" || type === "function" || type === "undefined" ? type : `${type} ${String(value)}`;
}
