export { LeaseLostError, LeaseTimeoutError, LeaseUnsupportedError } from "../errors";
export {
  fromGlide,
  fromIoredis,
  fromNodeRedis,
  type GlideClient,
  type IoredisClient,
  type NodeRedisClient,
  type NodeRedisCluster,
  type NodeRedisSentinel,
} from "./adapters";
export type { SendCommand } from "./command";
export type { ReleaseOutcome } from "./hold";
export type { Lease } from "./lease";
export { Leases, type LeasesConstructor } from "./leases";
export type { AcquireOptions, ForceOptions, LeasesOptions, TryAcquireOptions } from "./options";
export type { AbortSignalLike, Signal } from "./platform";
