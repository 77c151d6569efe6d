import { describe, expect, it } from "vitest";
import { Leases, type LeasesOptions, type SendCommand } from "../../src/leases/index";
import * as scripts from "../../src/leases/scripts";
import { keyOf, pause, TestServer, until, watchLag } from "./servers";

const RENEW = 200;

async function three(options: Partial<LeasesOptions> = {}) {
  const servers = await TestServer.many(3);
  const nodes = await Promise.all(servers.map((server) => server.client()));
  const raws = await Promise.all(servers.map((server) => server.raw()));
  const leases = new Leases({ nodes, ttl: 4000, renewEvery: RENEW, commandTimeout: 500, ...options });
  return {
    servers,
    raws,
    leases,
    values: (name: string) => Promise.all(raws.map((raw) => raw.do("GET", keyOf(name)))),
    async end() {
      await leases.close();
      await Promise.all(servers.map((server) => server.stop()));
    },
  };
}

describe.concurrent("The heal option", () => {
  it("gives the key back to one of three that has lost it, with the same token and a time to live", async ({
    expect,
  }) => {
    const { raws, leases, values, end } = await three({ heal: true });
    const handle = await leases.acquire("healed");
    const { token, signal, released } = handle.value;
    await until("all have it", async () => (await values("healed")).every((value) => value === token));
    const lag = watchLag();
    await raws[0]?.do("DEL", keyOf("healed"));
    const began = performance.now();
    await until("it is back", async () => (await raws[0]?.do("GET", keyOf("healed"))) === token);
    expect(performance.now() - began).toBeLessThan(RENEW + 50 + 2 * lag.total + 10);
    lag.stop();
    expect(Number(await raws[0]?.do("PTTL", keyOf("healed")))).toBeLessThanOrEqual(4000);
    // And the next one may be lost as well.
    await raws[1]?.do("DEL", keyOf("healed"));
    await until("that is back too", async () => (await raws[1]?.do("GET", keyOf("healed"))) === token);
    expect(signal.aborted).toBe(false);
    await handle.decrRef();
    expect(await released).toBe("released");
    expect(await values("healed")).toEqual([null, null, null]);
    await end();
  });

  it("gives it back to one that was restarted", async ({ expect }) => {
    const { servers, raws, leases, end } = await three({ heal: true });
    const handle = await leases.acquire("restarted");
    const { token } = handle.value;
    await servers[2]?.crash();
    await servers[2]?.boot();
    const look = await servers[2]?.raw();
    await until("it is back", async () => (await look?.do("GET", keyOf("restarted"))) === token);
    expect(handle.value.held).toBe(true);
    await handle.decrRef();
    // The connection that looked at it went with the old process.
    for (const raw of [...raws.slice(0, 2), look]) expect(await raw?.do("EXISTS", keyOf("restarted"))).toBe(0);
    await end();
  });

  it("takes it from nobody who has it there", async ({ expect }) => {
    const { raws, leases, end } = await three({ heal: true });
    const handle = await leases.acquire("foreign");
    await raws[0]?.do("SET", keyOf("foreign"), "other", "PX", "60000");
    for (let i = 0; i < 2; i++) {
      const { deadline } = handle.value;
      await until("it is renewed", () => handle.value.deadline > deadline);
    }
    expect(await raws[0]?.do("GET", keyOf("foreign"))).toBe("other");
    await handle.decrRef();
    expect(await raws[0]?.do("GET", keyOf("foreign"))).toBe("other");
    await end();
  });

  it("never makes again what a majority has lost", async ({ expect }) => {
    const { raws, leases, values, end } = await three({ heal: true });
    const handle = await leases.acquire("gone");
    const { token, signal } = handle.value;
    await until("all have it", async () => (await values("gone")).every((value) => value === token));
    const lag = watchLag();
    await Promise.all([raws[0]?.do("DEL", keyOf("gone")), raws[1]?.do("DEL", keyOf("gone"))]);
    const began = performance.now();
    await until("the loss is heard of", () => signal.aborted);
    expect(performance.now() - began).toBeLessThan(RENEW + 50 + 2 * lag.total + 10);
    lag.stop();
    expect(signal.reason.reason).toBe("taken");
    expect((await values("gone")).slice(0, 2)).toEqual([null, null]);
    await handle.decrRef();
    expect(await values("gone")).toEqual([null, null, null]);
    await end();
  });

  it("is off unless it was asked for", async ({ expect }) => {
    const { raws, leases, values, end } = await three();
    const handle = await leases.acquire("off");
    const { token } = handle.value;
    await until("all have it", async () => (await values("off")).every((value) => value === token));
    await raws[0]?.do("DEL", keyOf("off"));
    for (let i = 0; i < 2; i++) {
      const { deadline } = handle.value;
      await until("it is renewed", () => handle.value.deadline > deadline);
    }
    expect(await raws[0]?.do("EXISTS", keyOf("off"))).toBe(0);
    await handle.decrRef();
    await end();
  });
});

describe("A node that says late that it has lost its key", () => {
  it("gets it back for what is left, and not past the deadline of whoever asked", async () => {
    const servers = await TestServer.many(3);
    const nodes = await Promise.all(servers.map((server) => server.client()));
    const asked: { ms: number; left: number }[] = [];
    let late = false;
    const deadline = performance.now() + 1500;
    const last: SendCommand = async (args) => {
      if (args[0] === "SET" && late) asked.push({ ms: Number(args[4]), left: deadline - performance.now() });
      const reply = await (nodes[2] as SendCommand)(args);
      if (args[1] === scripts.EXTEND.sha && late) await pause(300);
      return reply;
    };
    const times = { ttl: 4000, renewEvery: 200, commandTimeout: 1000 };
    const leases = new Leases({ nodes: [...nodes.slice(0, 2), last], heal: true, ...times });
    const handle = await leases.acquire("late", { deadline });
    const look = await servers[2]?.raw();
    await until("all have it", async () => (await look?.do("GET", keyOf("late"))) === handle.value.token);
    late = true;
    await look?.do("DEL", keyOf("late"));
    await until("it was given back", () => asked.length > 0);
    for (const { ms, left } of asked) expect(ms).toBeLessThanOrEqual(left);
    await handle.decrRef();
    await leases.close();
    await Promise.all(servers.map((server) => server.stop()));
  });
});

// It stands still, which would hold up the others.
describe("The heal option of a process that stood still", () => {
  it("gives nothing back that is over by the clock, although nobody has noticed", async () => {
    const servers = await TestServer.many(3);
    const nodes = await Promise.all(servers.map((server) => server.client()));
    let answer: ((missing: number) => void) | undefined;
    const sent: (string | undefined)[] = [];
    const last: SendCommand = (args) => {
      sent.push(args[0]);
      if (args[1] !== scripts.EXTEND.sha) return (nodes[2] as SendCommand)(args);
      return new Promise((resolve) => {
        answer = resolve;
      });
    };
    const times = { ttl: 600, renewEvery: 100, commandTimeout: 5000 };
    const leases = new Leases({ nodes: [...nodes.slice(0, 2), last], heal: true, ...times });
    const handle = await leases.acquire("overslept");
    const { deadline } = handle.value;
    await until("a majority has renewed it", () => handle.value.deadline > deadline && answer !== undefined);
    sent.length = 0;
    const end = performance.now() + 700;
    while (performance.now() < end);
    answer?.(0);
    for (let turn = 0; turn < 20; turn++) await undefined;
    expect(sent).toEqual([]);
    expect(handle.value.held).toBe(false);
    await leases.close();
    await Promise.all(servers.map((server) => server.stop()));
  });
});
