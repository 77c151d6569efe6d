import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LeaseTimeoutError } from "../../src/index";
import { Leases, type LeasesOptions, type SendCommand } from "../../src/leases/index";
import { keyOf, pause, type Raw, Relay, TestServer, until, watchLag } from "./servers";

/** Long enough for a server that runs to answer on a busy machine. */
const TIMEOUT = 500;

/** Servers of a test's own, to be hurt. */
async function several(count: number, options: Partial<LeasesOptions> = {}) {
  const servers = await TestServer.many(count);
  const nodes = await Promise.all(servers.map((server) => server.client()));
  const raws = await Promise.all(servers.map((server) => server.raw()));
  const leases = new Leases({ nodes, ttl: 2000, commandTimeout: TIMEOUT, ...options });
  const lag = watchLag();
  return {
    servers,
    nodes,
    raws,
    leases,
    lag,
    values: (name: string) => Promise.all(raws.map((raw) => raw.do("GET", keyOf(name)))),
    async end() {
      lag.stop();
      await leases.close();
      await Promise.all(servers.map((server) => server.stop()));
    },
  };
}

describe.concurrent("Leases on several nodes", () => {
  it("has the key on every node, and deletes it from every node", async ({ expect }) => {
    const { leases, values, end } = await several(3);
    const handle = await leases.acquire("all");
    const { token, released } = handle.value;
    await until("the last node has it", async () => (await values("all")).every((value) => value === token));
    const { deadline } = handle.value;
    await until("it is renewed", () => handle.value.deadline > deadline);
    await handle.decrRef();
    expect(await values("all")).toEqual([null, null, null]);
    expect(await released).toBe("released");
    await end();
  });

  it("is acquired while one of three has crashed, and stays held", async ({ expect }) => {
    const { leases, servers, lag, end } = await several(3);
    await servers[0]?.crash();
    const began = performance.now();
    const handle = await leases.acquire("crashed");
    expect(performance.now() - began).toBeLessThan(200 + 2 * lag.total);
    const { deadline, signal } = handle.value;
    await until("it is renewed", () => handle.value.deadline > deadline);
    expect(signal.aborted).toBe(false);
    await handle.decrRef();
    await end();
  });

  it("is acquired while two of five are frozen, in the time of one command at most", async ({ expect }) => {
    const { leases, servers, lag, end } = await several(5);
    for (const server of servers.slice(0, 2)) server.freeze();
    const began = performance.now();
    const handle = await leases.acquire("frozen");
    expect(performance.now() - began).toBeLessThan(TIMEOUT + 50 + lag.total);
    const released = performance.now();
    await handle.decrRef();
    expect(performance.now() - released).toBeLessThan(TIMEOUT + 50 + lag.total);
    expect(await handle.refCount).toBe(0);
    for (const server of servers) server.thaw();
    await end();
  });

  it("is not acquired while two of three are frozen, and no key is left", async ({ expect }) => {
    const { leases, servers, raws, lag, end } = await several(3);
    await (await leases.acquire("warm")).decrRef();
    for (const server of servers.slice(0, 2)) server.freeze();
    const began = performance.now();
    const error = await leases.acquire("refused", { wait: 0 }).catch((error) => error);
    expect(performance.now() - began).toBeLessThan(TIMEOUT + 50 + lag.total);
    expect(error).toBeInstanceOf(LeaseTimeoutError);
    expect(error.cause.message).toBe(`SET was not answered within ${TIMEOUT} ms`);
    expect(await raws[2]?.do("EXISTS", keyOf("refused"))).toBe(0);
    for (const server of servers) server.thaw();
    await until("no node has a key", async () => {
      const left = await Promise.all(raws.map((raw) => raw.do("EXISTS", keyOf("refused"))));
      return left.every((count) => count === 0);
    });
    await end();
  });

  it.each([2, 4])("is not acquired when somebody else has half of %d, and gives the other half back", async (count) => {
    const { leases, raws, values, end } = await several(count);
    const half = raws.slice(0, count / 2);
    await Promise.all(half.map((raw) => raw.do("SET", keyOf("half"), "other", "PX", "60000")));
    const error = await leases.acquire("half", { wait: 300 }).catch((error) => error);
    expect(error).toBeInstanceOf(LeaseTimeoutError);
    // Its wait may have ended in the middle of an attempt.
    await until("the other half is free", async () => {
      const rest = (await values("half")).slice(count / 2);
      return rest.every((value) => value === null);
    });
    expect(await leases.tryAcquire("half")).toBeUndefined();
    await end();
  });

  it("counts its time from the send, and refuses a majority that took longer than the ttl", async ({ expect }) => {
    const servers = await TestServer.many(3);
    const relays = await Promise.all(servers.map((server) => Relay.start(server.port)));
    const nodes = await Promise.all(servers.map((server, i) => server.client((relays[i] as Relay).port)));
    await using leases = new Leases({ nodes, ttl: 1000, commandTimeout: 4000 });
    await (await leases.acquire("slow")).decrRef();
    for (const relay of relays) relay.delay = 300;
    const lag = watchLag();
    const began = performance.now();
    const handle = await leases.acquire("slow");
    expect(handle.value.remaining).toBeGreaterThan(0);
    expect(handle.value.remaining).toBeLessThanOrEqual(1000 - 12 - 300);
    expect(handle.value.deadline).toBeLessThanOrEqual(began + 1000 + 20 + lag.total);
    for (const relay of relays) relay.delay = 0;
    await handle.decrRef();
    for (const relay of relays) relay.delay = 1200;
    const error = await leases.acquire("late", { wait: 0 }).catch((error) => error);
    expect(error).toMatchObject({ code: "ERR_LEASE_TIMEOUT" });
    for (const relay of relays) relay.delay = 0;
    for (const server of servers) expect(await (await server.raw()).do("EXISTS", keyOf("late"))).toBe(0);
    lag.stop();
    for (const relay of relays) relay.close();
    await Promise.all(servers.map((server) => server.stop()));
  });

  it("stays held when one of three forgot it, and is lost at the next renewal when two did", async ({ expect }) => {
    const { leases, raws, lag, end } = await several(3, { ttl: 3000, renewEvery: 300 });
    const handle = await leases.acquire("forgot");
    const { signal } = handle.value;
    // A majority is enough to be granted: the slowest node may be about to take it still.
    await until("the slowest node has it", async () => (await raws[0]?.do("EXISTS", keyOf("forgot"))) === 1);
    await raws[0]?.do("DEL", keyOf("forgot"));
    const { deadline } = handle.value;
    await until("it is renewed", () => handle.value.deadline > deadline);
    expect(signal.aborted).toBe(false);
    expect(await raws[0]?.do("EXISTS", keyOf("forgot"))).toBe(0);
    await raws[1]?.do("DEL", keyOf("forgot"));
    const began = performance.now();
    await until("the loss is heard of", () => signal.aborted);
    expect(performance.now() - began).toBeLessThan(300 + 50 + 2 * lag.total + 10);
    expect(signal.reason.reason).toBe("taken");
    await handle.decrRef();
    expect(await handle.refCount).toBe(0);
    expect(await raws[2]?.do("EXISTS", keyOf("forgot"))).toBe(0);
    await end();
  });

  it("is lost by its deadline when a majority does not answer", async ({ expect }) => {
    const { leases, servers, lag, end } = await several(3);
    const handle = await leases.acquire("silent");
    let abortedAt = Number.NaN;
    const { signal } = handle.value;
    signal.addEventListener("abort", () => {
      abortedAt = performance.now();
    });
    for (const server of servers.slice(0, 2)) server.freeze();
    await until("the loss is heard of", () => signal.aborted);
    expect(abortedAt - signal.reason.deadline).toBeLessThan(50 + lag.total);
    expect(signal.reason.reason).toBe("expired");
    for (const server of servers) server.thaw();
    await handle.decrRef();
    await end();
  });

  it("is given back although one of three is frozen, whose key goes by itself", async ({ expect }) => {
    const { leases, servers, raws, lag, end } = await several(3, { ttl: 1500 });
    const handle = await leases.acquire("back");
    const { released } = handle.value;
    servers[0]?.freeze();
    const began = performance.now();
    await handle.decrRef();
    expect(performance.now() - began).toBeLessThan(TIMEOUT + 50 + lag.total);
    expect(await released).toBe("released");
    servers[0]?.thaw();
    await until("its key is gone", async () => (await raws[0]?.do("EXISTS", keyOf("back"))) === 0, 3000);
    await end();
  });

  it.each([true, false])("leaves no key where its bid arrives late (fence: %s)", async (fence) => {
    const { leases: other, nodes, raws, end } = await several(3);
    const slow: SendCommand = async (args) => {
      // The bid is sent again with its whole script, or after a question, and that is when it is late.
      if (args[0] === "EVAL" || args[0] === "SET") await pause(150);
      return nodes[2]?.(args);
    };
    await Promise.all(raws.map((raw) => raw.do("SCRIPT", "FLUSH")));
    await using leases = new Leases({ nodes: [...nodes.slice(0, 2), slow], ttl: 5000, fence });
    const handle = await leases.acquire("late");
    const { released } = handle.value;
    await handle.decrRef();
    expect(await released).toBe("released");
    await pause(400);
    expect(await Promise.all(raws.map((raw) => raw.do("EXISTS", keyOf("late"))))).toEqual([0, 0, 0]);
    await other.close();
    await end();
  });

  it("may ask for more than a majority", async ({ expect }) => {
    const { leases, servers, end } = await several(3, { quorum: 3 });
    await (await leases.acquire("all")).decrRef();
    servers[0]?.freeze();
    await expect(leases.acquire("all", { wait: 0 })).rejects.toMatchObject({ code: "ERR_LEASE_TIMEOUT" });
    servers[0]?.thaw();
    await end();
  });

  it("refuses one server under two names", async ({ expect }) => {
    const { servers, nodes, raws, end } = await several(2);
    const again = (await servers[0]?.client()) as SendCommand;
    for (const send of [...nodes, again]) await send(["PING"]);
    await using twins = new Leases({ nodes: [...nodes, again], ttl: 1000 });
    await expect(twins.acquire("twins")).rejects.toThrow(
      /^Cannot lease from these nodes: nodes 0 and 2 are one server/,
    );
    await expect(twins.acquire("twins")).rejects.toBeInstanceOf(TypeError);
    const left = await Promise.all(raws.map((raw) => raw.do("EXISTS", keyOf("twins"))));
    expect(left).toEqual([0, 0]);
    await end();
  });

  it("has one winner at a time when several race, and every round ends", async ({ expect }) => {
    const { servers, end } = await several(3);
    const racers = await Promise.all(
      [0, 1, 2].map(async () => {
        const nodes = await Promise.all(servers.map((server) => server.client()));
        return new Leases({ nodes, ttl: 1000 });
      }),
    );
    let inside = 0;
    let most = 0;
    let slowest = 0;
    const lag = watchLag();
    for (let round = 0; round < 200; round++) {
      const began = performance.now();
      await Promise.all(
        racers.map(async (leases) => {
          const handle = await leases.acquire("race");
          most = Math.max(most, ++inside);
          await pause(1);
          inside--;
          await handle.decrRef();
        }),
      );
      slowest = Math.max(slowest, performance.now() - began);
    }
    expect(most).toBe(1);
    expect(slowest).toBeLessThan(2000 + lag.total);
    lag.stop();
    await Promise.all(racers.map((leases) => leases.close()));
    await end();
  });

  it("has no fence unless it was asked for one", async ({ expect }) => {
    const { leases, end } = await several(3);
    const handle = await leases.acquire("plain");
    expect(() => handle.value.fence).toThrow(expect.objectContaining({ code: "ERR_LEASE_UNSUPPORTED" }));
    await handle.decrRef();
    await end();
  });

  it("has a fence that goes up although counters were lost and majorities change", async ({ expect }) => {
    const { leases, servers, raws, end } = await several(3, { fence: true });
    const fences: number[] = [];
    for (let round = 0; round < 12; round++) {
      const out = servers[round % 3];
      if (round % 2) out?.freeze();
      const handle = await leases.acquire("fenced", { wait: 5000 });
      fences.push(handle.value.fence);
      await handle.decrRef();
      if (round % 2) out?.thaw();
      else await raws[round % 3]?.do("DEL", `${keyOf("fenced")}:fence`);
    }
    expect(fences).toEqual([...new Set(fences)].sort((a, b) => a - b));
    await end();
  });

  it("raises the counters of a majority to the highest fence before it resolves", async ({ expect }) => {
    const { leases, raws, end } = await several(3, { fence: true });
    const counters = (): Promise<number[]> =>
      Promise.all(raws.map(async (raw) => Number(await raw.do("GET", `${keyOf("raised")}:fence`))));
    await (raws[0] as Raw).do("SET", `${keyOf("raised")}:fence`, "9000000000000000");
    const handle = await leases.acquire("raised");
    const { fence } = handle.value;
    expect((await counters()).filter((counter) => counter >= fence).length).toBeGreaterThanOrEqual(2);
    await handle.decrRef();
    await end();
  });
});

describe("Leases.force() on several nodes", () => {
  let scene: Awaited<ReturnType<typeof several>>;
  beforeAll(async () => {
    scene = await several(3);
  });
  afterAll(() => scene.end());

  it("takes the lock from whoever has it", async () => {
    const { leases, raws, values } = scene;
    await Promise.all(raws.map((raw) => raw.do("SET", keyOf("forced"), "other", "PX", "60000")));
    expect(await leases.tryAcquire("forced")).toBeUndefined();
    const handle = await leases.force("forced");
    const { token } = handle.value;
    await until("all nodes have it", async () => (await values("forced")).every((value) => value === token));
    await handle.decrRef();
    expect(await values("forced")).toEqual([null, null, null]);
  });
});
