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

/** An error class with its name and code as literals, which no minifier renames. */
export interface LastrefErrorClass<Name extends string, Code extends string> {
  new (message: string, facts: ErrorFacts): LastrefError & { readonly name: Name; readonly code: Code };
  readonly prototype: LastrefError & { readonly name: Name; readonly code: Code };
}

function errorClass<Name extends string, Code extends string>(name: Name, code: Code): LastrefErrorClass<Name, Code> {
  class Refusal extends LastrefError {
    constructor(message: string, facts: ErrorFacts) {
      super(message, facts);
      Object.defineProperty(this, "code", { value: code, enumerable: true });
    }
  }
  // On the prototype, so that the stack's first line has it.
  for (const named of [Refusal, Refusal.prototype])
    Object.defineProperty(named, "name", { value: name, writable: true });
  return Refusal as unknown as LastrefErrorClass<Name, Code>;
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
/** `ERR_LEAK`: a test helper found leaks; `report` is the whole report. */
export const LeakError = /* @__PURE__ */ errorClass("LeakError", "ERR_LEAK");

export type MovedError = InstanceType<typeof MovedError>;
export type RefCountError = InstanceType<typeof RefCountError>;
export type RevokedError = InstanceType<typeof RevokedError>;
export type UseAfterFreeError = InstanceType<typeof UseAfterFreeError>;
export type RefOverflowError = InstanceType<typeof RefOverflowError>;
export type LoanError = InstanceType<typeof LoanError>;
export type AsyncFreeError = InstanceType<typeof AsyncFreeError>;
export type LeakError = InstanceType<typeof LeakError>;

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
  function SuppressedError(error: unknown, suppressed: unknown, message?: string): Error {
    const made = Reflect.construct(Error, message === undefined ? [] : [message], new.target ?? SuppressedError);
    return Object.defineProperties(made, { error: hidden(error), suppressed: hidden(suppressed) });
  }
  SuppressedError.prototype = Object.create(Error.prototype, {
    constructor: hidden(SuppressedError),
    name: hidden("SuppressedError"),
    message: hidden(""),
  });
  return Object.setPrototypeOf(SuppressedError, Error);
}

function hidden(value: unknown): PropertyDescriptor {
  return { value, writable: true, configurable: true };
}

/** Nests a newer failure over the one under way, as the language's `using` does. */
export function suppress(error: unknown, suppressed: unknown): SuppressedError {
  return new SuppressedError(error, suppressed, "A cleanup failed while another error was under way");
}

/** What was received, as an argument mistake's message says it. Nothing is read of an object: it may be a trap. */
export function received(value: unknown): string {
  const type = typeof value;
  if (type === "string") return JSON.stringify(value);
  if (value === null) return "null";
  return type === "object" || type === "function" || type === "undefined" ? type : `${type} ${String(value)}`;
}
