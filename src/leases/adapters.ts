import { received, unfit } from "../errors";
import type { SendCommand } from "./command";

/** A node-redis client or pool, as far as leases use it. */
export interface NodeRedisClient {
  sendCommand(args: string[]): Promise<unknown>;
}

/** A node-redis cluster, as far as leases use it: it wants to know the first key of a command. */
export interface NodeRedisCluster {
  readonly masters: unknown;
  sendCommand(firstKey: string | undefined, isReadonly: boolean, args: string[]): Promise<unknown>;
}

/** A node-redis client of sentinels, as far as leases use it: it wants to know whether a replica will do. */
export interface NodeRedisSentinel {
  readonly isOpen: boolean;
  getSentinelNode(): unknown;
  sendCommand(isReadonly: boolean, args: string[]): Promise<unknown>;
}

/** An ioredis or iovalkey client or cluster, as far as leases use it. */
export interface IoredisClient {
  /** Its connection; a cluster has none of its own. */
  readonly stream?: { cork?(): void; uncork?(): void } | undefined;
  readonly options: { readonly keyPrefix?: string | Uint8Array | undefined };
  call(command: string, ...args: string[]): Promise<unknown>;
  getBuiltinCommands(): readonly string[];
}

/** A valkey-glide client, as far as leases use it. */
export interface GlideClient {
  customCommand(args: string[], options?: object): Promise<unknown>;
}

/**
 * Sends through a node-redis client, pool, cluster or client of sentinels.
 *
 * Its `keyPrefix` is put before the keys of its own methods only, so not before those of leases: give the leases a
 * `prefix`.
 *
 * @throws {TypeError} If the client has no `sendCommand`, or is one of ioredis or iovalkey, whose `sendCommand` is something else.
 * @example One server
 * ```ts
 * const sent: string[][] = [];
 * const send = fromNodeRedis({ sendCommand: async (args: string[]) => sent.push(args) });
 * await send(["PING"]);
 * ```
 */
export function fromNodeRedis(client: NodeRedisClient | NodeRedisCluster | NodeRedisSentinel): SendCommand {
  need("fromNodeRedis", client, "sendCommand");
  // Not by its `call`: every function has one, and a client may be a function.
  if ("getBuiltinCommands" in client) {
    throw new TypeError(
      "Cannot send through this client: fromNodeRedis expected one of node-redis, received one that has getBuiltinCommands too, as ioredis and iovalkey have: use fromIoredis",
    );
  }
  if ("masters" in client) return (args) => client.sendCommand(firstKey(args), false, args as string[]);
  if ("getSentinelNode" in client) {
    return async (args) => {
      // The others say so themselves; this one stumbles over what it has not made yet.
      if (!client.isOpen) throw new Error("The client is closed");
      return client.sendCommand(false, args as string[]);
    };
  }
  return (args) => client.sendCommand(args as string[]);
}

/**
 * Sends through an ioredis or iovalkey client or cluster. (Its `sendCommand` is something else.)
 *
 * A client's `keyPrefix` is put before keys by the client itself, but only in commands it knows; for the others it is
 * put there here, so that every command of a lease means one and the same key.
 *
 * @throws {TypeError} If the client has no `call`.
 */
export function fromIoredis(client: IoredisClient): SendCommand {
  need("fromIoredis", client, "call");
  const together = corking(client);
  const keyPrefix = client.options?.keyPrefix;
  if (keyPrefix === undefined || keyPrefix.length === 0) {
    return (args) => {
      together();
      const words = args.slice() as [string, ...string[]];
      words[0] = small(words[0]);
      return client.call(...words);
    };
  }
  if (typeof keyPrefix !== "string") {
    throw unfit("send through this client", "a keyPrefix that is a string", keyPrefix);
  }
  const known = new Set(client.getBuiltinCommands());
  return ([command = "", ...args]) => {
    together();
    const name = small(command);
    if (!known.has(name) && args[0] !== undefined) args[0] = keyPrefix + args[0];
    return client.call(name, ...args);
  };
}

/**
 * Sends through a valkey-glide client, standalone or cluster, which routes a custom command by its keys.
 *
 * @throws {TypeError} If the client has no `customCommand`.
 */
export function fromGlide(client: GlideClient): SendCommand {
  need("fromGlide", client, "customCommand");
  return (args) => client.customCommand(args as string[]);
}

/** iovalkey knows its commands by their names in small letters only. Constants are looked up faster than what is made anew. */
function small(command: string): string {
  if (command === "EVALSHA") return "evalsha";
  return command === "SET" ? "set" : command.toLowerCase();
}

const TURN = /* @__PURE__ */ Promise.resolve();
/** Commands in one write: enough to be worth it, and few enough that the server works on them while the next are made. */
const TOGETHER = 8;

/**
 * Has the commands of one turn sent together, some at a time: this client writes each to its socket by itself, and that
 * is most of what a command costs. To be called before each.
 */
function corking(client: IoredisClient): () => void {
  let sent = 0;
  let corked: IoredisClient["stream"];
  const flush = (): void => {
    corked?.uncork?.();
    corked = undefined;
  };
  const over = (): void => {
    sent = 0;
    flush();
  };
  return () => {
    if (++sent === 1) {
      TURN.then(over);
      return;
    }
    if (sent % TOGETHER === 0) flush();
    if (corked !== undefined) return;
    corked = client.stream;
    corked?.cork?.();
  };
}

/** The first key among the words of a command that leases send. */
function firstKey(args: readonly string[]): string | undefined {
  const command = args[0];
  if (command === "INFO") return undefined;
  return command === "EVALSHA" || command === "EVAL" ? args[3] : args[1];
}

function need(adapter: string, client: unknown, method: string): void {
  const found = (client as Record<string, unknown> | null | undefined)?.[method];
  if (typeof found !== "function") {
    throw new TypeError(
      `Cannot send through this client: ${adapter} expected one that has ${method}, received ${received(client)}`,
    );
  }
}
