import { createClient } from "redis";
import { fromNodeRedis, Leases, type SendCommand } from "../../src/leases/index";
import { RawClient, startRedis } from "../support/redis";
import { deferred, until } from "../support/until";
import { type Incident, messageOf, type Say } from "./incident";

/** Milliseconds. Short, so that it expires while its owner is cut off. */
const TTL = 1_000;
/** Only A loses its lock to the clock; the others can lose theirs to A alone. */
const ttlOf = (name: string): number => (name === "A" ? TTL : 60_000);

/** A lock as the three workers see it. */
interface Lock {
  /** The key it has on the server. */
  readonly key: string;
  /** Takes it, and gives what gives it back; `undefined` if somebody else has it. */
  take(name: string): Promise<(() => Promise<unknown>) | undefined>;
  /** A hears nothing from the server any more, and the server nothing from A, until it is `over`. */
  cutOff?(): Promise<{ over(): void }>;
}

/** Three workers take one lock; the first is cut off. Returns how many of them worked while another one did. */
async function workers(client: RawClient, lock: Lock, say: Say): Promise<number> {
  const inside = new Set<string>();
  let most = 0;
  const enter = (name: string): void => {
    inside.add(name);
    most = Math.max(most, inside.size);
  };
  const releaseA = await lock.take("A");
  if (releaseA === undefined) throw new Error("A did not get the lock");
  enter("A");
  const outage = await lock.cutOff?.();
  await until(async () => (await client.command("EXISTS", lock.key)) === 0, "the lock to expire");
  // A is not working by now, it waits for an answer; B takes the lock that has expired.
  inside.delete("A");
  const releaseB = await lock.take("B");
  if (releaseB === undefined) throw new Error("B did not get the lock");
  enter("B");
  say("A was cut off for longer than its lock lived; B holds the lock now");
  outage?.over();
  await releaseA();
  const releaseC = await lock.take("C");
  if (releaseC !== undefined) enter("C");
  say(
    `A is back and releases: ${releaseC === undefined ? "B still has its lock" : "it was B's lock, and C got it too"}`,
  );
  await releaseC?.();
  await releaseB();
  return most - 1;
}

/** A worker's own client and leases. What it sends can be held up, as a paused process or a broken link does. */
async function worker(port: number, ttl: number) {
  const client = createClient({ socket: { host: "127.0.0.1", port } });
  await client.connect();
  const send = fromNodeRedis(client);
  let open: Promise<void> | undefined;
  const gated: SendCommand = async (args) => {
    await open;
    return send(args);
  };
  const leases = new Leases({ nodes: [gated], ttl });
  return {
    leases,
    cutOff(): { over(): void } {
      const gate = deferred();
      open = gate.promise;
      return { over: gate.resolve };
    },
    async [Symbol.asyncDispose]() {
      await leases.close();
      await client.close();
    },
  };
}

export const incident: Incident = {
  title: "A lock expires while its owner works, and the owner then releases somebody else's (Redis SET NX PX + DEL)",
  damaged: "workers inside the lock beyond the one",
  async bug(say) {
    await using server = await startRedis();
    const client = await RawClient.connect(server.port);
    const lock: Lock = {
      key: "lock",
      async take(name) {
        const taken = await client.command("SET", "lock", "locked", "NX", "PX", ttlOf(name));
        return taken === "OK" ? () => client.command("DEL", "lock") : undefined;
      },
    };
    const damage = await workers(client, lock, say);
    await client.close();
    return damage;
  },
  async told(say) {
    await using server = await startRedis();
    await using a = await worker(server.port, TTL);
    const lease = await a.leases.acquire("lock");
    const outage = a.cutOff();
    await until(() => !lease.value.held, "the lease to be lost");
    say("A is cut off, and its lease knows by its own clock when it is over; A goes on regardless:");
    const said = messageOf(() => lease.value.assertHeld());
    outage.over();
    await lease.decrRef();
    return said;
  },
  async cure(say) {
    await using server = await startRedis();
    const client = await RawClient.connect(server.port);
    await using a = await worker(server.port, ttlOf("A"));
    await using b = await worker(server.port, ttlOf("B"));
    await using c = await worker(server.port, ttlOf("C"));
    const all: Record<string, typeof a> = { A: a, B: b, C: c };
    const lock: Lock = {
      key: "lastref:{lock}",
      async take(name) {
        const lease = await all[name]?.leases.tryAcquire("lock");
        if (lease === undefined) return undefined;
        const { value } = lease;
        return async () => {
          const { fence, released } = value;
          await lease.decrRef();
          say(`${name} gives its lease back (fence ${fence}): ${await released}`);
        };
      },
      async cutOff() {
        let lowest = Infinity;
        await until(async () => {
          const left = Number(await client.command("PTTL", "lastref:{lock}"));
          if (left > lowest) return true;
          lowest = left;
          return false;
        }, "a renewal");
        say("A's lock is renewed for as long as A holds it and reaches the server");
        return a.cutOff();
      },
    };
    const damage = await workers(client, lock, say);
    await client.close();
    return damage;
  },
};
