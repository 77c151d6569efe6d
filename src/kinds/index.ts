export { type CheckoutOptions, type Checkouts, checkouts, type PoolDriver } from "./checkouts";
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
  type LogEntry,
  type LogEntryOpener,
  logEntry,
} from "./entry-log";
export {
  type Key,
  type KeyOptions,
  type KeyStore,
  Keyspace,
  type KeyspaceConstructor,
  type KeyspaceOptions,
  type ModifiedListener,
} from "./keyspace";
