export { MAX_REFS } from "./account";
export { AsyncAutoMemory, type AsyncAutoMemoryConstructor } from "./async-auto-memory";
export type { AsyncHandle, AsyncLoan } from "./async-handle";
export { AutoMemory, type AutoMemoryConstructor } from "./auto-memory";
export {
  AsyncFreeError,
  type ErrorFacts,
  LastrefError,
  type LastrefErrorClass,
  LeakError,
  LoanError,
  MovedError,
  RefCountError,
  RefOverflowError,
  RevokedError,
  SuppressedError,
  type SuppressedErrorConstructor,
  UseAfterFreeError,
} from "./errors";
export { Handle, type HandleOptions, type Loan, type WeakHandle } from "./handle";
export { type Panic, setPanic } from "./panic";
export {
  type AsyncResource,
  type AsyncResourceDefinition,
  defineAsyncResource,
  defineResource,
  type Resource,
  type ResourceDefinition,
  type ResourceStats,
  type WrapOptions,
} from "./resource";
