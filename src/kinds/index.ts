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
