import { Redis } from "ioredis";
import { Pool } from "tarn";
import { describe, expect, it } from "vitest";
import { checkouts } from "../../src/kinds/checkouts";
import { ConnectionMap } from "../../src/kinds/connection-map";
import { TestServer } from "../leases/servers";
import { freePort, RawClient, type Reply } from "../support/redis";
import { TinyPool } from "../support/tiny-pool";
import { until } from "../support/until";

/** Connections that a server knows of, without the one that asks. */
async function clientsOf(admin: RawClient): Promise<number> {
  return (
    String(await admin.command("CLIENT", "LIST"))
      .trim()
      .split("\n").length - 1
  );
}

const RANGES = 16;
const WIDTH = 16_384 / RANGES;

interface Cluster extends AsyncDisposable {
  readonly servers: readonly TestServer[];
  readonly admins: readonly RawClient[];
}

/** Two nodes that call themselves localhost, with every second range of slots each. */
async function startCluster(): Promise<Cluster> {
  const start = async () =>
    TestServer.start(
      ...["--cluster-enabled", "yes", "--cluster-port", String(await freePort())],
      ...["--cluster-announce-hostname", "localhost", "--cluster-preferred-endpoint-type", "hostname"],
    );
  const servers = [await start(), await start()];
  const admins = await Promise.all(servers.map(({ port }) => RawClient.connect(port)));
  for (const [i, admin] of admins.entries()) {
    const slots = Array.from({ length: RANGES / 2 }, (_, nr) => {
      const from = (2 * nr + i) * WIDTH;
      return [from, from + WIDTH - 1];
    });
    await admin.command("CLUSTER", "ADDSLOTSRANGE", ...slots.flat());
  }
  const [first, second] = admins as [RawClient, RawClient];
  const bus = String(((await second.command("CONFIG", "GET", "cluster-port")) as Reply[])[1]);
  await first.command("CLUSTER", "MEET", "127.0.0.1", (servers[1] as TestServer).port, bus);
  await until(
    async () => {
      for (const admin of admins) {
        if (!String(await admin.command("CLUSTER", "INFO")).includes("cluster_state:ok")) return false;
        const ranges = (await admin.command("CLUSTER", "SLOTS")) as Reply[][];
        if (ranges.length !== RANGES || ranges.some(([, , node]) => (node as Reply[])[0] !== "localhost")) return false;
      }
      return true;
    },
    "the cluster to be up",
    20_000,
  );
  return {
    servers,
    admins,
    async [Symbol.asyncDispose]() {
      for (const admin of admins) await admin.close();
      for (const server of servers) await server.stop();
    },
  };
}

/** Where the slot of a key is, as the cluster says. */
async function nodeOf(seed: RawClient, key: string): Promise<{ host: string; port: number }> {
  const slot = Number(await seed.command("CLUSTER", "KEYSLOT", key));
  const ranges = (await seed.command("CLUSTER", "SLOTS")) as [number, number, [string, number]][];
  const range = ranges.find(([from, to]) => from <= slot && slot <= to);
  const [host, port] = (range as [number, number, [string, number]])[2];
  return { host, port };
}

const keys = Array.from({ length: 100 }, (_, i) => `key ${i}`);

describe("a cluster of two nodes that announces localhost", () => {
  it("is given a connection per call by a table that stores addresses and looks up names", async () => {
    await using cluster = await startCluster();
    const nodes = new Map<string, RawClient>();
    const opened: RawClient[] = [];
    for (const key of keys.slice(0, 20)) {
      const { host, port } = await nodeOf(cluster.admins[0] as RawClient, key);
      let client = nodes.get(`${host}:${port}`);
      if (client === undefined) {
        client = await RawClient.connect(port);
        opened.push(client);
        nodes.set(`${client.socket.remoteAddress}:${port}`, client);
      }
      expect(await client.command("SET", key, "x")).toBe("OK");
    }
    expect(opened.length).toBe(20);
    for (const client of opened) await client.close();
  }, 60_000);

  it("is used through one connection per node, and through none after the close", async () => {
    await using cluster = await startCluster();
    const dialled: string[] = [];
    const map = new ConnectionMap<RawClient>({
      open: (name, { endpoint }) => {
        dialled.push(name);
        return RawClient.connect(endpoint.port ?? 0, endpoint.host);
      },
      free: (client) => client.close(),
      loopback: "127.0.0.1",
      idle: Infinity,
    });
    const [first] = cluster.servers as [TestServer];
    const seed = await map.acquire({ host: "127.0.0.1", port: first.port }, { holder: "topology" });
    const used = new Set<number>();
    await Promise.all(
      keys.map(async (key) => {
        const node = await nodeOf(seed.value, key);
        used.add(node.port);
        expect(node.host).toBe("localhost");
        await using connection = await map.acquire(node, { holder: key });
        expect(await connection.value.command("SET", key, "x")).toBe("OK");
      }),
    );
    const counts = () => Promise.all(cluster.admins.map(clientsOf));
    expect([used.size, await counts(), dialled.length, map.size]).toEqual([2, [1, 1], 2, 2]);
    expect(map.stats).toMatchObject({ open: 1, idle: 1 });
    await seed.decrRef();
    await map.close();
    await until(async () => String(await counts()) === "0,0", "all connections to be gone");
  }, 60_000);
});

describe("a server that crashes and comes back on its port", () => {
  it("fails what is checked out, is refused while it is down, and is dialled anew after", async () => {
    const server = await TestServer.start();
    try {
      const base = new Pool<RawClient>({
        create: () => RawClient.connect(server.port),
        destroy: (client) => client.close(),
        validate: (client) => !client.closed,
        min: 0,
        max: 3,
        propagateCreateError: true,
      });
      const destroyed: RawClient[] = [];
      const pool = checkouts<RawClient>({
        acquire: () => base.acquire().promise,
        release: (client) => void base.release(client),
        destroy: async (client) => {
          destroyed.push(client);
          await client.close();
          base.release(client);
        },
      });
      const out = [await pool.acquire(), await pool.acquire()];
      const idle = await pool.use((client) => client);
      // Expected before it happens: a rejection that nobody listens to yet is an unhandled one.
      const blocked = out.map((handle) =>
        expect(handle.borrow((client) => client.command("BLPOP", "queue", 0))).rejects.toThrow(
          "The connection was closed",
        ),
      );
      await server.crash();
      await Promise.all(blocked);
      expect([pool.size, pool.waiting]).toEqual([2, 0]);
      for (const handle of out) await handle.decrRef();
      expect([pool.size, destroyed.length, destroyed.includes(idle)]).toEqual([0, 2, false]);
      await expect(pool.acquire()).rejects.toThrow("ECONNREFUSED");
      expect([pool.size, pool.waiting, base.numUsed()]).toEqual([0, 0, 0]);

      await server.boot();
      const admin = await RawClient.connect(server.port);
      const again = await Promise.all([pool.acquire(), pool.acquire(), pool.acquire()]);
      for (const handle of again) {
        expect([...destroyed, idle]).not.toContain(handle.value);
        expect(await handle.value.command("PING")).toBe("PONG");
      }
      expect([pool.size, base.numUsed(), await clientsOf(admin)]).toEqual([3, 3, 3]);
      for (const handle of again) await handle.decrRef();
      await pool.close();
      await base.destroy();
      await until(async () => (await clientsOf(admin)) === 0, "all connections to be gone");
      await admin.close();
    } finally {
      await server.stop();
    }
  }, 60_000);

  it("is dialled once for all who share it, and not before the dead connection was found out", async () => {
    const server = await TestServer.start();
    try {
      let dials = 0;
      const map = new ConnectionMap<RawClient>({
        open: (_, { endpoint }) => {
          dials++;
          return RawClient.connect(endpoint.port ?? 0, endpoint.host);
        },
        free: (client) => client.close(),
        validate: (client) => !client.closed,
        idle: Infinity,
      });
      const where = `127.0.0.1:${server.port}`;
      const held = await map.acquire(where);
      const refused = expect(held.borrow((client) => client.command("BLPOP", "queue", 0))).rejects.toThrow(
        "The connection was closed",
      );
      await server.crash();
      await refused;
      await expect(map.acquire(where)).rejects.toThrow("ECONNREFUSED");
      expect([held.value.closed, map.size, map.stats.leaving]).toEqual([true, 0, 1]);
      await server.boot();
      const shared = await Promise.all([map.acquire(where), map.acquire(where)]);
      expect(new Set(shared.map(({ value }) => value)).size).toBe(1);
      expect(await shared[0]?.value.command("PING")).toBe("PONG");
      await held.decrRef();
      expect([dials, map.size, map.stats.leaving, shared[0]?.refCount]).toEqual([3, 1, 0, 2]);
      for (const handle of shared) await handle.decrRef();
      await map.close();
    } finally {
      await server.stop();
    }
  }, 60_000);
});

describe("a server that kills clients of ioredis", () => {
  /** A client that stays dead: whoever has it is told, instead of being given another connection behind its back. */
  async function dial(port: number): Promise<Redis> {
    const client = new Redis({ port, host: "127.0.0.1", lazyConnect: true, retryStrategy: () => null });
    await client.connect();
    return client;
  }

  function lost(client: Redis, lost: (error?: unknown) => void): () => void {
    client.on("error", lost).on("end", lost);
    return () => client.off("error", lost).off("end", lost);
  }

  it("aborts the signal of the checkout, and the connection is destroyed and replaced", async () => {
    const server = await TestServer.start();
    try {
      const admin = await RawClient.connect(server.port);
      const base = new TinyPool<Redis>(
        () => dial(server.port),
        (client) => client.disconnect(),
      );
      const pool = checkouts<Redis>({
        acquire: () => base.acquire(),
        release: (client) => base.release(client),
        destroy: (client) => base.destroy(client),
        lost,
        validate: (client) => client.status === "ready",
      });
      const outcome = pool.use(async (client, { signal }) => {
        await admin.command("CLIENT", "KILL", "ID", await client.client("ID"));
        await until(() => signal.aborted, "the signal");
        return String(signal.reason);
      });
      expect(await outcome).toBe("Error: Cannot rely on connection: it was lost");
      expect([pool.size, base.size, await clientsOf(admin)]).toEqual([0, 0, 0]);
      const idle = await pool.acquire();
      const client = idle.value;
      const id = await client.client("ID");
      await idle.decrRef();
      await admin.command("CLIENT", "KILL", "ID", id);
      await until(() => client.status === "end", "the client to hear of it");
      expect(base.size).toBe(1);
      const again = await pool.acquire();
      expect([await again.value.ping(), base.size, await clientsOf(admin)]).toEqual(["PONG", 1, 1]);
      await again.decrRef();
      await pool.close();
      base.end();
      await until(async () => (await clientsOf(admin)) === 0, "all connections to be gone");
      await admin.close();
    } finally {
      await server.stop();
    }
  }, 60_000);

  it("has the shared connection of a map replaced, idle or in use", async () => {
    const server = await TestServer.start();
    try {
      const admin = await RawClient.connect(server.port);
      const map = new ConnectionMap<Redis>({
        open: (_, { endpoint }) => dial(endpoint.port ?? 0),
        free: (client) => client.disconnect(),
        lost,
        idle: Infinity,
      });
      const where = `redis://127.0.0.1:${server.port}`;
      const kill = async (client: Redis): Promise<void> => {
        await admin.command("CLIENT", "KILL", "ID", await client.client("ID"));
        await until(() => map.size === 0, "the entry to be gone");
      };
      const held = await map.acquire(where);
      await kill(held.value);
      const next = await map.acquire(where);
      expect([await next.value.ping(), held.alive, map.stats.leaving]).toEqual(["PONG", true, 1]);
      await held.decrRef();
      const client = next.value;
      await next.decrRef();
      expect(map.stats).toMatchObject({ open: 0, idle: 1, leaving: 0 });
      await kill(client);
      expect(map.stats).toMatchObject({ idle: 0, leaving: 0 });
      await map.close();
      await until(async () => (await clientsOf(admin)) === 0, "all connections to be gone");
      await admin.close();
    } finally {
      await server.stop();
    }
  }, 60_000);
});
