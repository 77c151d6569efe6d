import { GlideClient, GlideClusterClient, Logger } from "@valkey/valkey-glide";
import { Redis as IORedis } from "ioredis";
import IOValkey from "iovalkey";
import { createClient, createClientPool, createCluster, createSentinel } from "redis";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fromGlide, fromIoredis, fromNodeRedis, Leases, type SendCommand } from "../../src/leases/index";
import { freePort, type Raw, TestServer, until } from "./servers";

let server: TestServer;
let cluster: TestServer;
let sentinel: TestServer;
let raw: Raw;
const closers: (() => unknown)[] = [];

beforeAll(async () => {
  // It logs every error reply, also those that are answered to.
  Logger.setLoggerConfig("off");
  // Its bus would be at a port 10,000 above its own, which may be past the last one.
  const bus = ["--cluster-port", String(await freePort())];
  [server, cluster] = await Promise.all([
    TestServer.start(),
    TestServer.start("--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1", ...bus),
  ]);
  sentinel = await server.sentinel();
  raw = await server.raw();
  const look = await cluster.raw();
  await look.do("CLUSTER", "ADDSLOTSRANGE", "0", "16383");
  await until("the cluster is up", async () => String(await look.do("CLUSTER", "INFO")).includes("cluster_state:ok"));
});
afterAll(async () => {
  for (const close of closers) await close();
  await Promise.all([server.stop(), cluster.stop(), sentinel.stop()]);
});

interface Client {
  readonly send: SendCommand;
  /** What the client puts before a key. */
  readonly prefix?: string;
  readonly on?: "cluster";
}

const clients: Record<string, () => Promise<Client>> = {
  "a node-redis client": async () => {
    const client = createClient({ socket: { port: server.port, host: "127.0.0.1" } });
    await client.connect();
    closers.push(() => client.destroy());
    return { send: fromNodeRedis(client) };
  },
  "a node-redis client on RESP2": async () => {
    const client = createClient({ RESP: 2, socket: { port: server.port, host: "127.0.0.1" } });
    await client.connect();
    closers.push(() => client.destroy());
    return { send: fromNodeRedis(client) };
  },
  "a node-redis client with a prefix, which is not put before these keys": async () => {
    const client = createClient({ keyPrefix: "app:", socket: { port: server.port, host: "127.0.0.1" } });
    await client.connect();
    closers.push(() => client.destroy());
    return { send: fromNodeRedis(client) };
  },
  "a node-redis pool": async () => {
    const pool = createClientPool({ socket: { port: server.port, host: "127.0.0.1" } }, { minimum: 2, maximum: 2 });
    await pool.connect();
    closers.push(() => pool.destroy());
    return { send: fromNodeRedis(pool) };
  },
  "a node-redis cluster": async () => {
    const client = createCluster({ rootNodes: [{ url: `redis://127.0.0.1:${cluster.port}` }] });
    await client.connect();
    closers.push(() => client.destroy());
    return { send: fromNodeRedis(client), on: "cluster" };
  },
  "a node-redis client of sentinels": async () => {
    const client = createSentinel({ name: "main", sentinelRootNodes: [{ port: sentinel.port, host: "127.0.0.1" }] });
    await client.connect();
    closers.push(() => client.destroy());
    return { send: fromNodeRedis(client) };
  },
  "an ioredis client": async () => {
    const client = new IORedis(server.port, "127.0.0.1");
    closers.push(() => client.disconnect());
    return { send: fromIoredis(client) };
  },
  "an ioredis client with a prefix": async () => {
    const client = new IORedis(server.port, "127.0.0.1", { keyPrefix: "app:" });
    closers.push(() => client.disconnect());
    return { send: fromIoredis(client), prefix: "app:" };
  },
  "an ioredis cluster": async () => {
    const client = new IORedis.Cluster([{ port: cluster.port, host: "127.0.0.1" }], { keyPrefix: "app:" });
    closers.push(() => client.disconnect());
    return { send: fromIoredis(client), prefix: "app:", on: "cluster" };
  },
  "an iovalkey client": async () => {
    const client = new IOValkey(server.port, "127.0.0.1", { keyPrefix: "app:" });
    closers.push(() => client.disconnect());
    return { send: fromIoredis(client), prefix: "app:" };
  },
  "a valkey-glide client": async () => {
    const client = await GlideClient.createClient({
      addresses: [{ port: server.port, host: "127.0.0.1" }],
      requestTimeout: 5000,
    });
    closers.push(() => client.close());
    return { send: fromGlide(client) };
  },
  "a valkey-glide cluster": async () => {
    const client = await GlideClusterClient.createClient({
      addresses: [{ port: cluster.port, host: "127.0.0.1" }],
      requestTimeout: 5000,
    });
    closers.push(() => client.close());
    return { send: fromGlide(client), on: "cluster" };
  },
};

describe.each(Object.entries(clients))("%s", (_, connect) => {
  it.each([true, false])("acquires, is refused, renews, loses and gives back (fence: %s)", async (fence) => {
    const { send, prefix = "", on } = await connect();
    const look = on === "cluster" ? await cluster.raw() : raw;
    await look.do("FLUSHALL");
    await look.do("SCRIPT", "FLUSH");
    const key = `${prefix}lastref:{matrix}`;
    await using here = new Leases({ nodes: [send], ttl: 3000, renewEvery: 200, fence });
    await using elsewhere = new Leases({ nodes: [send], ttl: 3000, renewEvery: 200, fence });
    const first = await here.acquire("matrix");
    expect(await look.do("GET", key)).toBe(first.value.token);
    expect(await look.do("DBSIZE")).toBe(fence ? 2 : 1);
    expect(await elsewhere.tryAcquire("matrix")).toBeUndefined();
    const error = await elsewhere.acquire("matrix", { wait: 60 }).catch((error) => error);
    expect(error.remaining).toBeGreaterThan(0);
    const { deadline, released } = first.value;
    await until("it is renewed", () => first.value.deadline > deadline);
    await first.decrRef();
    expect(await released).toBe("released");
    expect(await look.do("EXISTS", key)).toBe(0);
    const second = await elsewhere.acquire("matrix");
    await look.do("SET", key, "other");
    await until("it is lost", () => second.value.signal.aborted);
    await second.decrRef();
    expect(await second.refCount).toBe(0);
    expect(await look.do("GET", key)).toBe("other");
    const forced = await here.force("matrix");
    expect(await look.do("GET", key)).toBe(forced.value.token);
    await forced.decrRef();
    expect(await look.do("DBSIZE")).toBe(fence ? 1 : 0);
  });

  it("means one key by every command, whether or not the client knows it", async () => {
    const { send, prefix = "", on } = await connect();
    const look = on === "cluster" ? await cluster.raw() : raw;
    // This server knows neither; which key was meant is in its message.
    for (const command of ["DELEX", "DELIFEQ"]) {
      const error = (await send([command, "lastref:{matrix}", "IFEQ", "x"]).catch((error) => error)) as Error;
      expect(error.message).toMatch(/unknown command/);
      expect(error.message).toContain(`'${prefix}lastref:{matrix}'`);
    }
    await look.do("FLUSHALL");
    await send(["SET", "lastref:{matrix}", "x", "PX", "1000"]);
    expect(await look.do("GET", `${prefix}lastref:{matrix}`)).toBe("x");
  });
});

describe("fromNodeRedis()", () => {
  it.each([
    ["client", createClient()],
    ["pool", createClientPool()],
    ["cluster", createCluster({ rootNodes: [{}] })],
    ["client of sentinels", createSentinel({ name: "main", sentinelRootNodes: [{ host: "127.0.0.1", port: 1 }] })],
  ])("says at once that a %s was never connected", async (_, client) => {
    await using leases = new Leases({ nodes: [fromNodeRedis(client)] });
    await expect(leases.acquire("unconnected", { wait: 5000 })).rejects.toThrow(/^The client is closed$/);
  });
});

describe("fromIoredis()", () => {
  it("sends what one turn asks for together, after the first, and holds nothing back longer", async () => {
    const log: string[] = [];
    const stream = { cork: () => log.push("cork"), uncork: () => log.push("uncork") };
    const call = async (command: string, ...args: string[]): Promise<unknown> => log.push([command, ...args].join(" "));
    const client = { options: {}, stream: undefined as object | undefined, call, getBuiltinCommands: () => [] };
    const send = fromIoredis(client);
    const turn = async (): Promise<string[]> => {
      log.length = 0;
      await Promise.all([send(["SET", "a"]), send(["EVALSHA", "b"]), send(["PTTL", "c"])]);
      return [...log];
    };
    // Not connected yet: the client queues for itself.
    expect(await turn()).toEqual(["set a", "evalsha b", "pttl c"]);
    client.stream = stream;
    expect(await turn()).toEqual(["set a", "cork", "evalsha b", "pttl c", "uncork"]);
    log.length = 0;
    await send(["SET", "alone"]);
    await send(["SET", "alone"]);
    expect(log).toEqual(["set alone", "set alone"]);
  });

  it("sends a long turn in several writes, so that the server works while the rest is made", async () => {
    const writes: string[][] = [];
    let corked: string[] | undefined;
    const stream = {
      cork: () => {
        corked = [];
      },
      uncork: () => {
        writes.push(corked ?? ["uncorked twice"]);
        corked = undefined;
      },
    };
    const call = async (_: string, key = ""): Promise<void> => {
      if (corked === undefined) writes.push([key]);
      else corked.push(key);
    };
    const send = fromIoredis({ options: {}, stream, call, getBuiltinCommands: () => [] });
    const keys = Array.from({ length: 20 }, (_, i) => `k${i}`);
    await Promise.all(keys.map((key) => send(["SET", key])));
    expect(corked).toBeUndefined();
    expect(writes.flat()).toEqual(keys);
    expect(writes.map((write) => write.length)).toEqual([1, 6, 8, 5]);
  });
});

describe("fromGlide()", () => {
  it("says in its own words what the server refuses, and is understood", async () => {
    const client = await GlideClient.createClient({
      addresses: [{ port: server.port, host: "127.0.0.1" }],
      requestTimeout: 5000,
    });
    closers.push(() => client.close());
    await raw.do("ACL", "SETUSER", "bare", "on", "nopass", "~*", "&*", "+@all", "-@scripting");
    await using leases = new Leases({ nodes: [fromGlide(client)], ttl: 3000, renewEvery: 200 });
    await raw.do("SET", "lastref:{worded}:fence", "no number");
    await expect(leases.acquire("worded")).rejects.toThrow("value is not an integer");
    await client.customCommand(["AUTH", "bare", "any"]);
    await using forbidden = new Leases({ nodes: [fromGlide(client)], ttl: 3000, renewEvery: 200 });
    await expect(forbidden.acquire("forbidden")).rejects.toMatchObject({ code: "ERR_LEASE_UNSUPPORTED" });
    expect(await raw.do("EXISTS", "lastref:{worded}", "lastref:{forbidden}")).toBe(0);
  });
});

describe("An adapter", () => {
  it("refuses what is no client of its kind", async () => {
    expect(() => fromNodeRedis({} as never)).toThrow(
      "fromNodeRedis expected one that has sendCommand, received object",
    );
    expect(() => fromIoredis(undefined as never)).toThrow("fromIoredis expected one that has call, received undefined");
    expect(() => fromGlide(null as never)).toThrow("fromGlide expected one that has customCommand, received null");
    const other = new IORedis(server.port, "127.0.0.1", { lazyConnect: true });
    expect(() => fromNodeRedis(other as never)).toThrow("as ioredis and iovalkey have: use fromIoredis");
    const callable = Object.assign(() => {}, { sendCommand: async (args: string[]) => args });
    expect(await fromNodeRedis(callable)(["PING"])).toEqual(["PING"]);
    const odd = { options: { keyPrefix: new Uint8Array(1) }, call: async () => 1, getBuiltinCommands: () => [] };
    expect(() => fromIoredis(odd)).toThrow("expected a keyPrefix that is a string");
  });
});
