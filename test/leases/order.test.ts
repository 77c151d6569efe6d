import { describe, expect, it } from "vitest";
import { Leases, type LeasesOptions } from "../../src/leases/index";
import { gate, MemoryServer, turns } from "./memory";
import { keyOf, until } from "./servers";

const KEY = keyOf("x");

/** A server whose reply to the n-th command that takes the lock is held back until its gate is opened. */
function ordered(options: Partial<LeasesOptions> = {}) {
  const server = new MemoryServer();
  const gates = [gate(), gate()] as const;
  const lost: string[] = [];
  let takes = 0;
  const leases = new Leases({
    nodes: [server.send],
    ttl: 5000,
    onLost: (name, error) => lost.push(`${name} ${error.reason}`),
    ...options,
  });
  server.reply = (command) => {
    return command === "ACQUIRE" || command === "SET" ? gates[takes++]?.opened : undefined;
  };
  return { server, leases, gates, lost };
}

describe.each([true, false])("A lease whose answer comes after that of a later force (fence: %s)", (fence) => {
  it("is not given to who acquires, who waits until the forced one is given back", async () => {
    const { server, leases, gates, lost } = ordered({ fence });
    // Its first command finds out what the server can do.
    const acquiring = leases.acquire("x");
    await turns();
    const forcing = leases.force("x");
    await turns();
    gates[1].open();
    const forced = await forcing;
    gates[0].open();
    await turns();
    expect(server.values.get(KEY)).toBe(forced.value.token);
    expect(forced.value.held).toBe(true);
    expect(await leases.tryAcquire("x")).toBeUndefined();
    await forced.decrRef();
    const acquired = await acquiring;
    expect(server.values.get(KEY)).toBe(acquired.value.token);
    await acquired.decrRef();
    expect(lost).toEqual([]);
    await leases.close();
  });

  it("is not given to who acquires although the forced one was given back by then", async () => {
    const { server, leases, gates } = ordered({ fence });
    const acquiring = leases.acquire("x");
    await turns();
    const forcing = leases.force("x");
    await turns();
    gates[1].open();
    await (await forcing).decrRef();
    expect(server.values.has(KEY)).toBe(false);
    gates[0].open();
    const acquired = await acquiring;
    expect(server.values.get(KEY)).toBe(acquired.value.token);
    await leases.close();
  });

  it("is lost at once if it was taken by force as well", async () => {
    const { server, leases, gates, lost } = ordered({ fence });
    const first = leases.force("x");
    await turns();
    const second = leases.force("x");
    await turns();
    gates[1].open();
    const later = await second;
    gates[0].open();
    const earlier = await first;
    expect([earlier.value.held, later.value.held]).toEqual([false, true]);
    expect(server.values.get(KEY)).toBe(later.value.token);
    expect(earlier.value.signal.reason).toMatchObject({ code: "ERR_LEASE_LOST", reason: "taken" });
    expect(lost).toEqual(["x taken"]);
    // It is in nobody's way, and its own key is deleted if a server should still have it.
    server.sent.length = 0;
    const { released } = earlier.value;
    await earlier.decrRef();
    expect(server.sent).toEqual(["RELEASE"]);
    expect(await released).toBe("not-held");
    expect(await leases.tryAcquire("x")).toBeUndefined();
    await leases.close();
    expect(later.value.signal.reason).toMatchObject({ reason: "closed" });
    expect(server.values.has(KEY)).toBe(false);
  });

  it("leaves nothing on the server when all is closed meanwhile", async () => {
    const { server, leases, gates } = ordered({ fence });
    const acquiring = leases.acquire("x").catch((error) => error);
    await turns();
    const forcing = leases.force("x");
    await turns();
    gates[1].open();
    const forced = await forcing;
    const closing = leases.close();
    gates[0].open();
    await closing;
    expect(await acquiring).toMatchObject({ reason: "closed" });
    expect(forced.value.held).toBe(false);
    expect(server.values.has(KEY)).toBe(false);
  });
});

describe("A lease that was acquired after a force was asked for", () => {
  it("has the lock if its fence is the higher one", async () => {
    const { server, leases, gates, lost } = ordered();
    const forcing = leases.force("x");
    await turns();
    // Somebody else deletes the key before the answer comes.
    server.values.delete(KEY);
    const acquiring = leases.acquire("x");
    await turns();
    gates[1].open();
    const acquired = await acquiring;
    gates[0].open();
    const forced = await forcing;
    expect(acquired.value.fence).toBeGreaterThan(forced.value.fence);
    expect([acquired.value.held, forced.value.held]).toEqual([true, false]);
    expect(lost).toEqual(["x taken"]);
    await leases.close();
  });

  it("has it too if the force was answered before, although its fence is a lower one", async () => {
    const fences = [7, 6];
    const leases = new Leases({ nodes: [async (words) => (words[2] === "2" ? [1, fences.shift()] : 1)] });
    await (await leases.force("x")).decrRef();
    const acquired = await leases.acquire("x", { wait: 1000 });
    expect([acquired.value.held, acquired.value.fence]).toEqual([true, 6]);
    await leases.close();
  });
});

describe("Leases on several nodes, of which one is silent at first", () => {
  it("believe in the force that overtook an acquire, and let go of everything at the end", async () => {
    const servers = [new MemoryServer(), new MemoryServer()];
    const nodes = [...servers.map(({ send }) => send), () => new Promise<never>(() => {})];
    const leases = new Leases({ nodes, ttl: 5000, commandTimeout: 300 });
    // It has won, and waits for the silent one to say who it is, which the force does not.
    let over = 0;
    const acquiring = leases.acquire("x").finally(() => over++);
    await turns();
    expect(servers.map(({ values }) => values.size)).toEqual([1, 1]);
    const asked = servers.map(({ sent }) => sent.length);
    const forced = await leases.force("x");
    for (const { values } of servers) expect(values.get(KEY)).toBe(forced.value.token);
    const waiting = acquiring.catch((error) => error);
    // Beside the force itself: what was acquired is given back.
    await until(
      "the other one is over",
      () => over || servers.every(({ sent }, i) => sent.length > (asked[i] ?? 0) + 1),
    );
    expect(over).toBe(0);
    expect(forced.value.held).toBe(true);
    for (const { values } of servers) expect(values.get(KEY)).toBe(forced.value.token);
    await leases.close();
    expect(await waiting).toMatchObject({ reason: "closed" });
    expect(forced.value.held).toBe(false);
    expect(servers.map(({ values }) => values.size)).toEqual([0, 0]);
  });
});
