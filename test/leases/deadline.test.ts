import { describe, expect, it } from "vitest";
import { LeaseTimeoutError } from "../../src/index";
import { type ForceOptions, Leases } from "../../src/leases/index";
import { counting, keyOf, make, raw } from "./fixture";
import { gate, MemoryServer, turns } from "./memory";
import { pause, until, watchLag } from "./servers";

describe("The deadline option", () => {
  it("bounds the key and the lease, however long the ttl is", async () => {
    await using leases = make({ ttl: 5000 });
    const lag = watchLag();
    const deadline = performance.now() + 400;
    const handle = await leases.acquire("bounded", { deadline });
    const { signal, released } = handle.value;
    const pttl = Number(await raw.do("PTTL", keyOf("bounded")));
    expect(pttl).toBeLessThanOrEqual(400);
    expect(pttl).toBeGreaterThan(0);
    expect(handle.value.deadline).toBeLessThanOrEqual(deadline);
    expect(handle.value.deadline).toBeGreaterThan(deadline - 10);
    await until("the end", () => signal.aborted);
    expect(performance.now()).toBeLessThan(deadline + 50 + 2 * lag.total);
    lag.stop();
    expect(signal.reason).toMatchObject({ code: "ERR_LEASE_LOST", reason: "max-hold" });
    expect(signal.reason.message).toBe(
      'Cannot rely on lease "bounded": it was held until its deadline, the longest that was allowed',
    );
    expect(["released", "not-held"]).toContain(await released);
    expect(await raw.do("EXISTS", keyOf("bounded"))).toBe(0);
    await handle.decrRef();
  });

  it("bounds every renewal too", async () => {
    await using leases = make({ ttl: 300 });
    const deadline = performance.now() + 900;
    const handle = await leases.acquire("renewed", { deadline });
    const { signal } = handle.value;
    const lag = watchLag();
    let renewals = 0;
    let last = handle.value.deadline;
    while (handle.value.held) {
      const before = performance.now();
      const pttl = Number(await raw.do("PTTL", keyOf("renewed")));
      // A key lives from when the server was told; one that is gone by now says so by a number below 0.
      expect(before + pttl).toBeLessThan(deadline + 50 + lag.total);
      if (handle.value.deadline > last) renewals++;
      last = handle.value.deadline;
      await pause(10);
    }
    expect(renewals).toBeGreaterThanOrEqual(3);
    expect(last).toBeLessThanOrEqual(deadline);
    expect(last).toBeGreaterThan(deadline - 110);
    lag.stop();
    await until("the end is heard of", () => signal.aborted);
    expect(signal.reason.reason).toBe("max-hold");
    await handle.decrRef();
  });

  it("bounds the waiting, and leaves the key of whoever has it", async () => {
    await using leases = make();
    await raw.do("SET", keyOf("waited"), "other", "PX", "60000");
    const lag = watchLag();
    const deadline = performance.now() + 300;
    const error = await leases.acquire("waited", { deadline }).catch((error) => error);
    expect(error).toBeInstanceOf(LeaseTimeoutError);
    expect(error.message).toMatch(/^Cannot acquire lease "waited": waited \d+ ms and it is held/);
    expect(performance.now()).toBeGreaterThan(deadline - 2);
    expect(performance.now()).toBeLessThan(deadline + 50 + lag.total);
    lag.stop();
    expect(await raw.do("GET", keyOf("waited"))).toBe("other");
  });

  it("sends nothing when it is over", async () => {
    const { sent, send } = counting();
    await using leases = make({ nodes: [send] });
    const deadline = performance.now() - 1;
    for (const verb of ["acquire", "tryAcquire"] as const) {
      await expect(leases[verb]("over", { deadline })).rejects.toMatchObject({
        code: "ERR_LEASE_TIMEOUT",
        message: 'Cannot acquire lease "over": its deadline is over',
      });
    }
    await expect(leases.force("over", { deadline })).rejects.toMatchObject({ code: "ERR_LEASE_TIMEOUT" });
    expect(sent).toEqual([]);
    // Nobody is in the way of the next.
    await (await leases.acquire("over", { deadline: performance.now() + 5000 })).decrRef();
  });

  it("may be far away, or never", async () => {
    await using leases = make();
    for (const deadline of [Infinity, performance.now() + 2 ** 33]) {
      const handle = await leases.acquire("far", { deadline });
      expect(handle.value.remaining).toBeGreaterThan(1000);
      await handle.decrRef();
    }
  });

  it.each([Number.NaN, "1", null, Number.NEGATIVE_INFINITY])("refuses %s before anything is sent", async (deadline) => {
    const { sent, send } = counting();
    await using leases = make({ nodes: [send] });
    const refused = leases.acquire("bad", { deadline: deadline as number });
    await expect(refused).rejects.toThrow("expected deadline to be a time of performance.now()");
    expect(sent).toEqual([]);
  });
});

describe("The deadline of who asks once", () => {
  const asks: [string, string, (leases: Leases, options: ForceOptions) => Promise<unknown>][] = [
    ["tryAcquire", "acquire", (leases, options) => leases.tryAcquire("x", options)],
    ["acquire", "acquire", (leases, options) => leases.acquire("x", { ...options, wait: 0 })],
    ["force", "force", (leases, options) => leases.force("x", options)],
  ];

  it.each(asks)("bounds the wait for an answer, and what comes after it is given back (%s)", async (_, verb, ask) => {
    const server = new MemoryServer();
    const { opened, open } = gate();
    server.reply = (command) => (command === "ACQUIRE" ? opened : undefined);
    const leases = new Leases({ nodes: [server.send], ttl: 60_000, commandTimeout: 30_000 });
    const deadline = performance.now() + 60;
    const error = (await ask(leases, { deadline }).catch((error) => error)) as LeaseTimeoutError;
    expect(error).toBeInstanceOf(LeaseTimeoutError);
    expect(error.message).toMatch(new RegExp(`^Cannot ${verb} lease "x": waited \\d+ ms and `));
    expect(error.waited).toBeGreaterThanOrEqual(58);
    expect(performance.now()).toBeGreaterThan(deadline - 2);
    expect(performance.now()).toBeLessThan(deadline + 10_000);
    expect(server.values.has(keyOf("x"))).toBe(true);
    open();
    await turns();
    expect(server.values.has(keyOf("x"))).toBe(false);
    await leases.close();
  });

  it.each(asks)("is over before anything is sent (%s)", async (_, verb, ask) => {
    const server = new MemoryServer();
    const leases = new Leases({ nodes: [server.send] });
    await expect(ask(leases, { deadline: performance.now() - 1 })).rejects.toThrow(
      new RegExp(`^Cannot ${verb} lease "x": its deadline is over$`),
    );
    expect(server.sent).toEqual([]);
    await leases.close();
  });
});

describe("The time that a server is asked for", () => {
  /** A server without scripts, that takes its time to say so, or to answer who asks what it can. */
  function slow(): MemoryServer {
    const server = new MemoryServer();
    server.refuse = (_, words) => (words[0] === "EVALSHA" ? new Error("NOSCRIPT No matching script") : undefined);
    server.reply = (_, words) => (words[0] === "EVAL" ? undefined : pause(60));
    return server;
  }

  it.each([true, false])("ends by the deadline, also where it is asked twice (fence: %s)", async (fence) => {
    const server = slow();
    const leases = new Leases({ nodes: [server.send], ttl: 60_000, fence });
    const deadline = performance.now() + 600;
    for (const verb of ["acquire", "force"] as const) {
      await (await leases[verb](verb, { deadline })).decrRef();
    }
    expect(server.asked.map(({ word }) => word)).toEqual(fence ? ["EVAL", "EVAL"] : ["SET", "SET"]);
    // One that was not asked anew would be 60 ms later; the server reads the clock a moment after who asks.
    for (const { until } of server.asked) expect(until).toBeLessThan(deadline + 30);
    await leases.close();
  });

  it("ends by the deadline in a renewal, also where its script is missing", async () => {
    const server = slow();
    const leases = new Leases({ nodes: [server.send], ttl: 300 });
    const deadline = performance.now() + 600;
    const handle = await leases.acquire("x", { deadline });
    await until("the end", () => !handle.value.held);
    expect(server.sent).toContain("EXTEND");
    // One that was not asked anew would be 60 ms later; the server reads the clock a moment after who asks.
    for (const { until } of server.asked) expect(until).toBeLessThan(deadline + 30);
    await handle.decrRef();
    await leases.close();
  });

  it("is asked for no more when nothing is left of it", async () => {
    for (const fence of [true, false]) {
      const server = slow();
      const { opened, open } = gate();
      server.reply = () => opened;
      const leases = new Leases({ nodes: [server.send], ttl: 60_000, commandTimeout: 30_000, fence });
      const deadline = performance.now() + 60;
      await expect(leases.tryAcquire("x", { deadline })).rejects.toMatchObject({ code: "ERR_LEASE_TIMEOUT" });
      open();
      await turns();
      expect(server.asked).toEqual([]);
      await leases.close();
    }
  });
});

describe("A lease that was held for as long as it may be", () => {
  it("says by which bound", async () => {
    const server = new MemoryServer();
    const leases = new Leases({ nodes: [server.send], ttl: 200, maxHold: 150 });
    const handle = await leases.acquire("x", { deadline: performance.now() + 60_000 });
    const { signal } = handle.value;
    await until("the end", () => signal.aborted);
    expect(signal.reason.message).toBe(
      'Cannot rely on lease "x": it was held for 150 ms, the longest that was allowed',
    );
    await handle.decrRef();
    await leases.close();
  });
});
