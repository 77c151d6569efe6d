import { randomUUID } from "node:crypto";
import type { AsyncHandle } from "../../src/async-handle";
import { type AsyncResource, defineAsyncResource } from "../../src/resource";
import { RawClient, type RedisServer, startRedis } from "../support/redis";
import { until } from "../support/until";
import { type Incident, messageOf } from "./incident";

/** Milliseconds. Short, so that it expires while its owner is busy. */
const TTL = 100;
/** Only A loses its lock to the clock; the others can lose theirs to A alone. */
const ttlOf = (name: string): number => (name === "A" ? TTL : 60_000);
const DELETE_OWN = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";

async function withServer(body: (client: RawClient, server: RedisServer) => Promise<number>): Promise<number> {
  await using server = await startRedis();
  const client = await RawClient.connect(server.port);
  try {
    return await body(client, server);
  } finally {
    await client.close();
  }
}

/** Three workers take one lock; the first is slow. Returns how many of them worked while another one did. */
async function workers(
  client: RawClient,
  lock: (name: string) => Promise<(() => Promise<unknown>) | undefined>,
  say: (line: string) => void,
): Promise<number> {
  const inside = new Set<string>();
  let most = 0;
  const enter = (name: string): void => {
    inside.add(name);
    most = Math.max(most, inside.size);
  };
  const releaseA = await lock("A");
  if (releaseA === undefined) throw new Error("A did not get the lock");
  enter("A");
  await until(async () => (await client.command("EXISTS", "lock")) === 0, "the lock to expire");
  // A has stopped working by now, it was paused; B takes the lock that has expired.
  inside.delete("A");
  const releaseB = await lock("B");
  if (releaseB === undefined) throw new Error("B did not get the lock");
  enter("B");
  say("A was paused for longer than its lock lived; B holds the lock now");
  await releaseA();
  const releaseC = await lock("C");
  if (releaseC !== undefined) enter("C");
  say(
    `A woke up and released: ${releaseC === undefined ? "B still has its lock" : "it was B's lock, and C got it too"}`,
  );
  await releaseC?.();
  await releaseB();
  return most - 1;
}

interface Lock {
  readonly name: string;
  readonly token: string;
}

/** A lock as a resource: an account that is revoked when the lock has expired, and gives back only what is its own. */
function locks(client: RawClient): AsyncResource<Lock, [name: string, ttl: number]> {
  return defineAsyncResource({
    kind: "lock",
    label: ({ name }) => name,
    open: async (name: string, ttl: number): Promise<Lock> => {
      const token = randomUUID();
      if ((await client.command("SET", "lock", token, "NX", "PX", ttl)) !== "OK") throw new Error("The lock is taken");
      return { name, token };
    },
    free: async ({ token }) => {
      await client.command("EVAL", DELETE_OWN, 1, "lock", token);
    },
  });
}

export const incident: Incident = {
  title: "A lock expires while its owner works, and the owner then releases somebody else's (Redis SET NX PX + DEL)",
  damaged: "workers inside the lock beyond the one",
  bug: (say) =>
    withServer((client) => {
      return workers(
        client,
        async (name) => {
          const taken = await client.command("SET", "lock", "locked", "NX", "PX", ttlOf(name));
          return taken === "OK" ? () => client.command("DEL", "lock") : undefined;
        },
        say,
      );
    }),
  async told(say) {
    let said = "";
    await withServer(async (client) => {
      const Locks = locks(client);
      const lock = await Locks.open("A", TTL);
      const sent = performance.now();
      await until(async () => performance.now() - sent > TTL && (await client.command("EXISTS", "lock")) === 0);
      await Locks.revoke(lock);
      say("the lock has run out, and its opener has closed the door for every holder; A goes on regardless:");
      said = messageOf(() => lock.value);
      return 0;
    });
    return said;
  },
  cure: (say) =>
    withServer((client) => {
      const Locks = locks(client);
      return workers(
        client,
        async (name) => {
          const lock: AsyncHandle<Lock> | undefined = await Locks.open(name, ttlOf(name)).catch(() => undefined);
          return lock && (() => lock.decrRef());
        },
        say,
      );
    }),
};
