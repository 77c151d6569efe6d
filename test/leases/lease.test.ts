import { describe, expect, it } from "vitest";
import { AsyncAutoMemory, RefCountError, UseAfterFreeError } from "../../src/index";
import type { SendCommand } from "../../src/leases/index";
import * as scripts from "../../src/leases/scripts";
import { counting, keyOf, make, raw, send } from "./fixture";

describe("Lease.token", () => {
  it("has 128 random bits, different every time", async () => {
    const answer: SendCommand = async () => [1, 1];
    await using leases = make({ nodes: [answer] });
    const tokens = new Set<string>();
    for (let i = 0; i < 10_000; i++) {
      const handle = await leases.acquire("t");
      tokens.add(handle.value.token);
      await handle.decrRef();
    }
    expect(tokens.size).toBe(10_000);
    for (const token of tokens) expect(token).toMatch(/^[0-9a-f]{32}$/);
  });
});

describe("AsyncHandle<Lease>", () => {
  it("deletes the key when the last account is closed, and asserts on the second close", async () => {
    await using leases = make();
    const handle = await leases.acquire("counted");
    const other = handle.dup("other");
    handle.incrRef();
    expect(await handle.decrRef()).toBe(false);
    expect(await handle.decrRef()).toBe(false);
    expect(await raw.do("EXISTS", keyOf("counted"))).toBe(1);
    expect(other.value.held).toBe(true);
    expect(await other.decrRef()).toBe(true);
    expect(await raw.do("EXISTS", keyOf("counted"))).toBe(0);
    expect(() => other.decrRef()).toThrow(RefCountError);
    expect(() => other.value).toThrow(UseAfterFreeError);
  });

  it("sends one deletion however often it is disposed of", async () => {
    const { sent, send } = counting();
    await using leases = make({ nodes: [send] });
    const handle = await leases.acquire("disposed");
    sent.length = 0;
    await Promise.all([handle[Symbol.asyncDispose](), handle[Symbol.asyncDispose]()]);
    await handle[Symbol.asyncDispose]();
    expect(sent).toEqual(["EVALSHA"]);
  });

  it("leaves the key of whoever took it", async () => {
    await using leases = make();
    for (const [name, ...command] of [
      ["stolen", "SET", keyOf("stolen"), "other"],
      ["relisted", "RPUSH", keyOf("relisted"), "other"],
    ]) {
      const handle = await leases.acquire(name as string);
      const { released, signal } = handle.value;
      if (command[0] === "RPUSH") await raw.do("DEL", keyOf(name as string));
      await raw.do(...command);
      await handle.decrRef();
      expect(await released).toBe("not-held");
      expect(signal.aborted).toBe(false);
      expect(await raw.do("EXISTS", keyOf(name as string))).toBe(1);
      await raw.do("DEL", keyOf(name as string));
    }
  });

  it("says that it was given back", async () => {
    await using leases = make();
    const handle = await leases.acquire("back");
    const lease = handle.value;
    lease.assertHeld();
    await handle.decrRef();
    expect([lease.held, lease.remaining]).toEqual([false, 0]);
    expect(() => lease.assertHeld()).toThrow('Cannot rely on lease "back": it was given back');
  });

  it("belongs to a context, which gives back in reverse", async () => {
    const deleted: string[] = [];
    const spy: SendCommand = (args) => {
      if (args[1] === scripts.RELEASE.sha) deleted.push(args[3] as string);
      return send(args);
    };
    await using leases = make({ nodes: [spy] });
    await AsyncAutoMemory.run(async (memory) => {
      for (const name of ["a", "b", "c", "d", "e"]) memory.use(await leases.acquire(name));
      await raw.do("SET", keyOf("c"), "other");
    });
    expect(deleted).toEqual(["e", "d", "c", "b", "a"].map(keyOf));
    expect(await raw.do("EXISTS", ...["a", "b", "d", "e"].map(keyOf))).toBe(0);
  });

  it("stays renewed while it is borrowed, also after its last account", async () => {
    await using leases = make({ ttl: 600 });
    const handle = await leases.acquire("borrowed");
    await handle.borrow(async (lease) => {
      await handle.decrRef();
      const end = performance.now() + 1400;
      while (performance.now() < end) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        expect(lease.held).toBe(true);
      }
    });
    expect(await raw.do("EXISTS", keyOf("borrowed"))).toBe(0);
  });
});

describe("Lease.fence", () => {
  it("still goes up after the server has forgotten everything", async () => {
    await using leases = make();
    const fences: number[] = [];
    for (let i = 0; i < 5; i++) {
      const handle = await leases.acquire("forgotten");
      fences.push(handle.value.fence);
      await handle.decrRef();
      await raw.do("FLUSHALL");
    }
    expect(fences).toEqual([...new Set(fences)].sort((a, b) => a - b));
  });

  it("stops a holder that was paused past its deadline", async () => {
    await using here = make({ ttl: 600 });
    await using elsewhere = make();
    let seen = 0;
    const write = (fence: number): boolean => {
      if (fence < seen) return false;
      seen = fence;
      return true;
    };
    const paused = await here.acquire("paused");
    await raw.do("DEL", keyOf("paused"));
    const other = await elsewhere.acquire("paused");
    expect(write(other.value.fence)).toBe(true);
    expect(write(paused.value.fence)).toBe(false);
    await paused.decrRef();
    await other.decrRef();
  });

  it("has a counter that is forgotten after fenceTtl", async () => {
    await using leases = make({ fenceTtl: 60_000 });
    await (await leases.acquire("bounded")).decrRef();
    const pttl = Number(await raw.do("PTTL", `${keyOf("bounded")}:fence`));
    expect(pttl).toBeGreaterThan(50_000);
    expect(pttl).toBeLessThanOrEqual(60_000);
  });

  it("is none where it was not asked for", async () => {
    await using leases = make({ fence: false });
    const handle = await leases.acquire("plain");
    expect(() => handle.value.fence).toThrow(
      expect.objectContaining({ name: "LeaseUnsupportedError", code: "ERR_LEASE_UNSUPPORTED", label: "plain" }),
    );
    expect(await raw.do("EXISTS", `${keyOf("plain")}:fence`)).toBe(0);
    await handle.decrRef();
  });
});
