import { describe, expect, it } from "vitest";
import type { LeasesOptions } from "../../src/leases/index";
import { counting, keyOf, make, raw, send } from "./fixture";
import { watchLag } from "./servers";

describe("Leases.acquire()", () => {
  it("takes a free name, with its token as the value and its time to live on the key", async () => {
    await using leases = make();
    const before = performance.now();
    const handle = await leases.acquire("free");
    const lease = handle.value;
    const pttl = Number(await raw.do("PTTL", keyOf("free")));
    expect(await raw.do("GET", keyOf("free"))).toBe(lease.token);
    expect(pttl).toBeGreaterThan(2000 - 50 - (performance.now() - before));
    expect(pttl).toBeLessThanOrEqual(2000);
    expect(lease).toMatchObject({ name: "free", held: true });
    expect(lease.signal.aborted).toBe(false);
    expect(lease.deadline).toBeGreaterThanOrEqual(before + 2000 - 22);
    expect(lease.deadline).toBeLessThanOrEqual(performance.now() + 2000 - 22);
    expect(lease.remaining).toBeLessThanOrEqual(2000 - 22);
    expect([handle.kind, handle.label, handle.refCount]).toEqual(["lease", "free", 1]);
    expect(String(lease)).toMatch(/^Lease<"free", \d+ ms left>$/);
    expect(await handle.decrRef()).toBe(true);
    expect(await raw.do("EXISTS", keyOf("free"))).toBe(0);
    expect(await lease.released).toBe("released");
    expect(lease.signal.aborted).toBe(false);
    expect(String(lease)).toBe('Lease<"free", given back>');
  });

  it("is one command, and giving back is one", async () => {
    const { sent, send } = counting();
    await using leases = make({ nodes: [send] });
    await (await leases.acquire("count")).decrRef();
    sent.length = 0;
    await (await leases.acquire("count")).decrRef();
    expect(sent).toEqual(["EVALSHA", "EVALSHA"]);
    await using plain = make({ nodes: [send], fence: false });
    await (await plain.acquire("count")).decrRef();
    sent.length = 0;
    await (await plain.acquire("count")).decrRef();
    expect(sent).toEqual(["SET", "EVALSHA"]);
  });

  it.each([
    ["ttl", 0],
    ["ttl", -1],
    ["ttl", 1.5],
    ["ttl", Number.NaN],
    ["ttl", Infinity],
    ["ttl", "100"],
    ["ttl", 20],
    ["wait", -1],
    ["wait", Number.NaN],
    ["wait", "1"],
    ["signal", {}],
  ])("refuses %s %s before anything is sent", async (option, value) => {
    const { sent, send } = counting();
    await using leases = make({ nodes: [send] });
    const refused = leases.acquire("bad", { [option]: value });
    await expect(refused).rejects.toSatisfy((e) => e instanceof TypeError || e instanceof RangeError);
    expect(sent).toEqual([]);
  });

  it("refuses an empty name", async () => {
    await using leases = make();
    await expect(leases.acquire("")).rejects.toThrow('expected a name that is a non-empty string, received ""');
    await expect(leases.force("")).rejects.toThrow(TypeError);
  });

  it("keeps names and prefixes of any characters apart, in the slot of their fence", async () => {
    const odd = [
      "a b",
      "a:b",
      "{a}",
      "a}{b",
      "%7ba}",
      "{",
      "}",
      "\ud800",
      "\udfff",
      "\ufffd",
      "ключ",
      "a\r\nb",
      "%",
      "%25",
    ];
    const prefixes = ["", "p", "p:", "{p}", "p{"];
    await raw.do("FLUSHALL");
    const opened: AsyncDisposable[] = [];
    const all = prefixes.map((prefix) => make({ prefix }));
    for (const leases of all) {
      for (const name of odd) {
        const handle = await leases.tryAcquire(name);
        expect(handle?.value.name).toBe(name);
        if (handle) opened.push(handle);
      }
    }
    const keys = (await raw.do("KEYS", "*")) as string[];
    expect(keys.length).toBe(2 * odd.length * prefixes.length);
    const slots = new Set(await Promise.all(keys.map((key) => tagOf(key))));
    expect(slots.size).toBe(odd.length);
    await Promise.all(opened.map((handle) => handle[Symbol.asyncDispose]()));
    expect(((await raw.do("KEYS", "*")) as string[]).length).toBe(odd.length * prefixes.length);
    await Promise.all(all.map((leases) => leases.close()));
  });

  it("leaves a key of another type alone", async () => {
    await raw.do("RPUSH", keyOf("list"), "a", "b");
    await using leases = make();
    expect(await leases.tryAcquire("list")).toBeUndefined();
    await using plain = make({ fence: false });
    expect(await plain.tryAcquire("list")).toBeUndefined();
    expect(await raw.do("LRANGE", keyOf("list"), "0", "-1")).toEqual(["a", "b"]);
  });

  it("takes nothing when the counter of the name is no number", async () => {
    await raw.do("SET", `${keyOf("broken")}:fence`, "not a number");
    await using leases = make();
    await expect(leases.acquire("broken")).rejects.toThrow("not an integer");
    expect(await raw.do("EXISTS", keyOf("broken"))).toBe(0);
  });
});

describe("new Leases()", () => {
  it.each([
    [{ nodes: [] }, "expected nodes to be an array of at least one"],
    [{ nodes: [{}] }, "expected node 0 to be a function that sends a command"],
    [{ ttl: 0 }, "expected ttl to be a whole number of milliseconds from 1"],
    [{ ttl: 2 ** 31 }, "received 2147483648"],
    [{ ttl: 25 }, "a ttl of 25 ms leaves no time for a renewal every 8 ms"],
    [{ ttl: 1000, renewEvery: 990 }, "leaves no time for a renewal every 990 ms"],
    [{ renewEvery: 5 }, "expected renewEvery to be a whole number of milliseconds from 10"],
    [{ commandTimeout: Infinity }, "expected commandTimeout"],
    [{ commandTimeout: null }, "expected commandTimeout"],
    [{ maxHold: "1" }, "expected maxHold"],
    [{ fenceTtl: -1 }, "expected fenceTtl"],
    [{ fence: 1 }, "expected fence to be true or false"],
    [{ quorum: 2 }, "expected a quorum of 1 to 1 of 1 nodes, received number 2"],
    [{ prefix: 1 }, "expected a prefix that is a string"],
    [{ onLost: 1 }, "expected onLost to be a function"],
    [{ onReleaseFailed: "x" }, "expected onReleaseFailed to be a function"],
  ])("refuses %o", (options, message) => {
    expect(() => make(options as Partial<LeasesOptions>)).toThrow(message);
  });

  it("refuses one node given twice", () => {
    expect(() => make({ nodes: [send, send] })).toThrow("nodes 0 and 1 are the same");
  });
});

describe("Leases.tryAcquire()", () => {
  it("misses what is held, here and elsewhere, and changes nothing", async () => {
    const { sent, send } = counting();
    const lag = watchLag();
    await using here = make({ nodes: [send] });
    await using elsewhere = make({ nodes: [send] });
    const handle = await here.acquire("held");
    // Known here without asking; of another one the server is asked once.
    for (const [leases, asked] of [
      [here, 0],
      [elsewhere, 1],
    ] as const) {
      sent.length = 0;
      const began = performance.now();
      expect(await leases.tryAcquire("held")).toBeUndefined();
      expect(performance.now() - began).toBeLessThan(20 + lag.total);
      expect(sent.length).toBe(asked);
    }
    lag.stop();
    expect(await raw.do("GET", keyOf("held"))).toBe(handle.value.token);
    await handle.decrRef();
    const second = await elsewhere.tryAcquire("held");
    expect(second?.value.held).toBe(true);
    await second?.decrRef();
  });

  it("has the lock again right after it was given back, without waiting for that", async () => {
    await using leases = make();
    const handle = await leases.acquire("again");
    const given = handle.decrRef();
    const second = await leases.tryAcquire("again");
    expect(second?.value.held).toBe(true);
    await given;
    await second?.decrRef();
  });
});

describe("Leases.force()", () => {
  it("takes the lock from its holder, who hears of it at once in this process", async () => {
    const lost: string[] = [];
    await using leases = make({ onLost: (name, error) => lost.push(`${name} ${error.reason}`) });
    const first = await leases.acquire("forced");
    const fence = first.value.fence;
    const { signal } = first.value;
    const second = await leases.force("forced");
    expect(signal.reason).toMatchObject({ code: "ERR_LEASE_LOST", reason: "taken", label: "forced" });
    expect([first.value.held, second.value.held]).toEqual([false, true]);
    expect(second.value.fence).toBeGreaterThan(fence);
    await first.decrRef();
    expect(await raw.do("GET", keyOf("forced"))).toBe(second.value.token);
    expect(await leases.tryAcquire("forced")).toBeUndefined();
    const third = await leases.force("forced");
    expect([second.value.held, third.value.held]).toEqual([false, true]);
    await second.decrRef();
    await third.decrRef();
    expect(await raw.do("EXISTS", keyOf("forced"))).toBe(0);
    expect(lost).toEqual(["forced taken", "forced taken"]);
  });

  it("is heard of elsewhere at the next renewal", async () => {
    await using here = make({ ttl: 300 });
    await using elsewhere = make({ fence: false });
    const first = await here.acquire("forced2");
    const { signal } = first.value;
    const second = await elsewhere.force("forced2");
    await expect.poll(() => signal.aborted, { timeout: 5000 }).toBe(true);
    expect(signal.reason.reason).toBe("taken");
    await first.decrRef();
    expect(await raw.do("GET", keyOf("forced2"))).toBe(second.value.token);
    await second.decrRef();
  });
});

/** What a cluster hashes of a key. */
async function tagOf(key: string): Promise<string> {
  const open = key.indexOf("{");
  const close = key.indexOf("}", open + 1);
  return open >= 0 && close > open + 1 ? key.slice(open + 1, close) : key;
}
