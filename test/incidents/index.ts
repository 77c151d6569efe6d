import { incident as braftEarlyReturn } from "./braft-early-return";
import type { Incident } from "./incident";
import { incident as redisLockExpiry } from "./redis-lock-expiry";
import { incident as redisPyLocalhost } from "./redis-py-localhost";
import { incident as rueidisConnectionLeak } from "./rueidis-connection-leak";
import { incident as valkeyDoubleClose } from "./valkey-double-close";

export const incidents: Readonly<Record<string, Incident>> = {
  "valkey-double-close": valkeyDoubleClose,
  "braft-early-return": braftEarlyReturn,
  "redis-lock-expiry": redisLockExpiry,
  "rueidis-connection-leak": rueidisConnectionLeak,
  "redis-py-localhost": redisPyLocalhost,
};
