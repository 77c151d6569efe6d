import { describe, expect, it } from "vitest";
import { LeaseTimeoutError } from "../../src/index";
import { counting, keyOf, make, raw } from "./fixture";
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
    expect(performance.now()).toBeLessThan(deadline + 50 + 2 * lag.worst);
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
      expect(before + pttl).toBeLessThan(deadline + 50 + lag.worst);
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
    expect(performance.now()).toBeLessThan(deadline + 50 + lag.worst);
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
