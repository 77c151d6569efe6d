export type { Checkout, CheckoutLoan } from "./checkout";
export { type Checkouts, checkouts } from "./checkouts";
export {
  type ConnectContext,
  ConnectionMap,
  type ConnectionMapConstructor,
  type ConnectionMapOptions,
} from "./connection-map";
export {
  canonicalEndpoint,
  type Endpoint,
  type EndpointOptions,
  type EndpointParts,
  type EndpointRead,
} from "./endpoint";
export {
  type AppendOutcome,
  EntryLog,
  type EntryLogConstructor,
  type EntryLogOptions,
  type EntryStorage,
} from "./entry-log";
export type { Key, KeyStore, TypeOf } from "./key";
export {
  type KeyOptions,
  Keyspace,
  type KeyspaceConstructor,
  type KeyspaceOptions,
  type KeyVisitor,
  type ModifiedListener,
} from "./keyspace";
export { type LogEntry, type LogEntryOpener, logEntry } from "./log-entry";
export type { PoolDriver } from "./pool-driver";
