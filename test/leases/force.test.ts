import { describe, expect, it } from "vitest";
import { Leases } from "../../src/leases/index";
import { gate, MemoryServer, turns } from "./memory";
import { keyOf, pause } from "./servers";

/** Several servers, each of which answers the commands that take the lock in a turn of its own. */
function several() {
  const servers = [new MemoryServer(), new MemoryServer(), new MemoryServer()];
  return { servers, nodes: servers.map(({ send }) => send) };
}

describe("Leases.force() of two at once on several nodes", () => {
  it("gives both the lock, one after the other", async () => {
    const { servers, nodes } = several();
    const [here, there] = [0, 1].map(
      () => new Leases({ nodes: nodes.map((send) => (args) => send(args)), ttl: 10_000, fence: true }),
    ) as [Leases, Leases];
    for (const server of servers) server.reply = (command) => (command === "RAISE" ? pause(1) : undefined);
    for (let round = 0; round < 10; round++) {
      const handles = await Promise.all([here.force("x"), there.force("x")]);
      const tokens = servers.map(({ values }) => values.get(keyOf("x")));
      expect(handles.map((handle) => handle.value.token)).toContain(tokens[0]);
      expect(new Set(tokens).size).toBe(1);
      await Promise.all(handles.map((handle) => handle.decrRef()));
    }
    await Promise.all([here.close(), there.close()]);
  });

  it("says so if they stay in each other's way", async () => {
    const { servers, nodes } = several();
    // Whatever was taken is somebody else's a moment later.
    for (const server of servers) {
      server.reply = async (command) => {
        if (command === "ACQUIRE") server.values.set(keyOf("x"), "other");
      };
    }
    const leases = new Leases({ nodes, ttl: 10_000, fence: true, commandTimeout: 100 });
    const error = await leases.force("x").catch((error) => error);
    expect(error).toMatchObject({ code: "ERR_LEASE_TIMEOUT" });
    expect(error.message).toMatch(
      /^Cannot force lease "x": waited \d+ ms and somebody else forced it at the same time$/,
    );
    expect(error.waited).toBeGreaterThanOrEqual(99);
    expect(servers[0]?.sent.filter((command) => command === "ACQUIRE").length).toBeGreaterThan(1);
    await leases.close();
  });
});

describe("Leases.force() whose leases are closed before it tries again", () => {
  it("takes the lock from nobody any more", async () => {
    const { servers, nodes } = several();
    const split = gate();
    const bids = () => servers.map(({ sent }) => sent.filter((command) => command === "ACQUIRE").length);
    for (const server of servers) {
      server.reply = async (command) => {
        if (command === "ACQUIRE") server.values.set(keyOf("x"), "other");
        // The last command of an attempt that others were in the way of.
        if (command === "RELEASE") split.open();
      };
    }
    const leases = new Leases({ nodes, ttl: 10_000, fence: true });
    const forcing = leases.force("x").catch((error) => error);
    await split.opened;
    await leases.close();
    expect(await forcing).toMatchObject({ code: "ERR_LEASE_LOST", reason: "closed" });
    expect(bids()).toEqual([1, 1, 1]);
  });

  it("finds that scripts are forbidden, and takes it from nobody without", async () => {
    const server = new MemoryServer();
    const refused = gate();
    server.refuse = (command) => {
      if (command === "SET" || command === "DELEX" || command === "INFO") return undefined;
      return new Error("NOPERM User app has no permissions to run the 'evalsha' command");
    };
    server.reply = (command) => (command === "DELEX" ? refused.opened : undefined);
    const leases = new Leases({ nodes: [server.send], ttl: 10_000 });
    const forcing = leases.force("x").catch((error) => error);
    await turns();
    expect(server.sent).toContain("DELEX");
    const closing = leases.close();
    refused.open();
    await closing;
    expect(await forcing).toMatchObject({ reason: "closed" });
    // The one that found out what the server can do.
    expect(server.asked.filter(({ word }) => word === "SET").length).toBe(1);
  });
});

describe("Leases.force() of which no server knows", () => {
  it("says how long it waited for whom", async () => {
    const leases = new Leases({ nodes: [() => new Promise(() => {})], ttl: 10_000, commandTimeout: 60 });
    const error = await leases.force("x").catch((error) => error);
    expect(error.message).toMatch(/^Cannot force lease "x": waited \d+ ms and too few servers answered$/);
    expect(error.waited).toBeGreaterThanOrEqual(59);
    expect(error.cause.message).toBe("EVALSHA was not answered within 60 ms");
    await leases.close();
  });
});

describe("A lease that was taken by force while very many other names came and went", () => {
  it("is known to its leases like any other", async () => {
    const server = new MemoryServer();
    const { opened, open } = gate();
    server.reply = (command, words) => (command === "ACQUIRE" && words[3] === keyOf("x") ? opened : undefined);
    const leases = new Leases({ nodes: [server.send], ttl: 10_000 });
    const forcing = leases.force("x");
    for (let i = 0; i < 600; i++) await (await leases.acquire(`other${i}`)).decrRef();
    open();
    const handle = await forcing;
    server.sent.length = 0;
    expect(await leases.tryAcquire("x")).toBeUndefined();
    expect(server.sent).toEqual([]);
    await leases.close();
    expect(handle.value.signal.reason).toMatchObject({ reason: "closed" });
    expect(server.values.size).toBe(0);
  });
});
