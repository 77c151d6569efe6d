import { setTimeout as wait } from "node:timers/promises";
import { createClient } from "redis";
import { type Checkouts, checkouts } from "../../src/kinds/checkouts";
import { fromNodeRedis, Leases } from "../../src/leases/index";
import { RawClient, startRedis } from "../support/redis";
import { until } from "../support/until";
import { type Incident, messageOf } from "./incident";

/** How long a caller waits for its answer, in milliseconds. */
const PATIENCE = 150;

function within<T>(promise: Promise<T>): Promise<T | "no answer"> {
  return Promise.race([promise, new Promise<"no answer">((resolve) => setTimeout(resolve, PATIENCE, "no answer"))]);
}

/** A pool as it is written in an afternoon. */
class Pool {
  readonly idle: RawClient[] = [];
  readonly all = new Set<RawClient>();
  readonly #port: number;
  constructor(port: number) {
    this.#port = port;
  }
  async acquire(): Promise<RawClient> {
    const client = this.idle.pop() ?? (await RawClient.connect(this.#port));
    this.all.add(client);
    return client;
  }
  release(client: RawClient): void {
    this.idle.push(client);
  }
  async destroy(client: RawClient): Promise<void> {
    this.all.delete(client);
    await client.close();
  }
  async end(): Promise<void> {
    for (const client of this.all) await client.close();
  }
}

function accounts(pool: Pool): Checkouts<RawClient> {
  return checkouts<RawClient>({
    acquire: () => pool.acquire(),
    release: (client) => pool.release(client),
    destroy: (client) => pool.destroy(client),
  });
}

/** Milliseconds. */
const RENEW_EVERY = 10;

export const incident: Incident = {
  title: "A connection goes back to the pool while it is blocked, and a renewal outlives its lock (rueidis)",
  damaged: "callers without an answer, and renewals of a lock that was released",
  async bug(say) {
    await using server = await startRedis();
    const pool = new Pool(server.port);
    const a = await pool.acquire();
    const popped = within(a.command("BLPOP", "queue", 0));
    say(`A pops from an empty queue: ${await popped}; it gives up and gives its connection back`);
    pool.release(a);
    const b = await pool.acquire();
    const answer = await within(b.command("PING"));
    say(`B is given that connection and sends PING: ${answer}`);
    let renewals = 0;
    let released = false;
    const admin = await pool.acquire();
    await admin.command("SET", "lock", "A", "PX", 60_000);
    const renewal = setInterval(() => {
      if (released) renewals++;
      void admin.command("PEXPIRE", "lock", 60_000);
    }, 5);
    // The early return after the lock was released: nobody stops the renewal.
    await admin.command("DEL", "lock");
    released = true;
    await until(() => renewals > 0, "a renewal after the release");
    clearInterval(renewal);
    say("A's lock is released, and is renewed again: the timer goes on");
    await pool.end();
    return (answer === "no answer" ? 1 : 0) + 1;
  },
  async told(say) {
    await using server = await startRedis();
    const pool = new Pool(server.port);
    const connections = accounts(pool);
    const a = await connections.acquire({ holder: "A" });
    const blocked = a.borrow((client) => client.command("BLPOP", "queue", 0)).catch(() => {});
    await a.decrRef();
    say(`A gives back while its command is under way: ${pool.idle.length} connections are idle in the pool`);
    const said = messageOf(() => a.value);
    await pool.end();
    await blocked;
    return said;
  },
  async cure(say) {
    await using server = await startRedis();
    const pool = new Pool(server.port);
    const connections = accounts(pool);
    await connections
      .use(async (client) => {
        const answer = await within(client.command("BLPOP", "queue", 0).catch(() => null));
        if (answer === "no answer") throw new Error("gave up");
      })
      .catch(() => {});
    const answer = await connections.use((client) => within(client.command("PING")));
    say(`A gave up, so its connection was closed; B is given another one and sends PING: ${answer}`);
    const info = await connections.use((client) => client.command("INFO", "clients"));
    const blocked = Number(/blocked_clients:(\d+)/.exec(String(info))?.[1]);
    say(`the server counts ${blocked} blocked connections`);

    // A renewal that belongs to the lease: it renews what is still held, and there is nothing that could go on after it.
    const redis = createClient({ socket: { host: "127.0.0.1", port: server.port } });
    await redis.connect();
    const send = fromNodeRedis(redis);
    let sent = 0;
    const leases = new Leases({
      nodes: [
        (args) => {
          sent++;
          return send(args);
        },
      ],
      ttl: 10_000,
      renewEvery: RENEW_EVERY,
    });
    const lease = await leases.acquire("lock");
    const before = sent;
    await until(() => sent >= before + 3, "three renewals");
    const { released } = lease.value;
    await lease.decrRef();
    say(`A's lock is renewed every ${RENEW_EVERY} ms, and given back: ${await released}`);
    const end = sent;
    await wait(10 * RENEW_EVERY);
    const late = sent - end;
    const stillThere = await redis.exists("lastref:{lock}");
    say(`${late} renewals in the ${10 * RENEW_EVERY} ms after it, the key exists ${stillThere} times`);
    await leases.close();
    await redis.close();
    await connections.close();
    await pool.end();
    return (answer === "PONG" ? 0 : 1) + blocked + late + stillThere;
  },
};
