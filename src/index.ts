export { MAX_REFS } from "./account";
export { AsyncAutoMemory, type AsyncAutoMemoryConstructor } from "./async-auto-memory";
export type { AsyncHandle, AsyncLoan } from "./async-handle";
export { AutoMemory, type AutoMemoryConstructor } from "./auto-memory";
export {
  AcquireRefusedError,
  AcquireTimeoutError,
  AsyncFreeError,
  type ErrorFacts,
  type HolderFacts,
  LastrefError,
  type LastrefErrorClass,
  LeakError,
  type LeakFacts,
  LeaseLostError,
  type LeaseLostFacts,
  LeaseTimeoutError,
  type LeaseTimeoutFacts,
  LeaseUnsupportedError,
  LoanError,
  MapClosedError,
  MapCycleError,
  type MapErrorClass,
  type MapFacts,
  MapFullError,
  MovedError,
  RefCountError,
  RefOverflowError,
  RevokedError,
  SuppressedError,
  type SuppressedErrorConstructor,
  UseAfterFreeError,
} from "./errors";
export { Handle, type HandleOptions, type Loan, type WeakHandle } from "./handle";
export { HandleMap, type HandleMapConstructor } from "./handle-map";
export type { Signal } from "./host";
export type { AcquireOptions, CloseOptions, HandleMapOptions, HandleMapStats, OpenContext } from "./map-options";
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
