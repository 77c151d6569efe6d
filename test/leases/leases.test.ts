import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { AsyncAutoMemory, LeaseTimeoutError, RefCountError, UseAfterFreeError } from "../../src/index";
import { Leases, type LeasesOptions, type SendCommand } from "../../src/leases/index";
import * as scripts from "../../src/leases/scripts";
import { type Raw, TestServer } from "./servers";

let server: TestServer;
let send: SendCommand;
let raw: Raw;

beforeAll(async () => {
  server = await TestServer.start();
  send = await server.client();
  raw = await server.raw();
});
afterAll(() => server.stop());

const make = (options: Partial<LeasesOptions> = {}): Leases => new Leases({ nodes: [send], ttl: 2000, ...options });
/** Counts what is sent, by command. */
function counting(): { sent: string[]; send: SendCommand } {
  const sent: string[] = [];
  return {
    sent,
    send: (args) => {
      sent.push(args[0] as string);
      return send(args);
    },
  };
}
const keyOf = (name: string): string => `lastref:{${name}}`;

describe("Leases.acquire()", () => {
  it("takes a free name, with its token as the value and its time to live on the key", async () => {
    await using leases = make();
    const before = performance.now();
    const handle = await leases.acquire("free");
    const lease = handle.value;
    const pttl = Number(await raw.do("PTTL", keyOf("free")));
    expect(await raw.do("GET", keyOf("free"))).toBe(lease.token);
    expect(pttl).toBeGreaterThan(1500);
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
    await using here = make();
    await using elsewhere = make();
    const handle = await here.acquire("held");
    for (const leases of [here, elsewhere]) {
      const began = performance.now();
      expect(await leases.tryAcquire("held")).toBeUndefined();
      expect(performance.now() - began).toBeLessThan(200);
    }
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
    await using leases = make({ ttl: 300 });
    const handle = await leases.acquire("borrowed");
    await handle.borrow(async (lease) => {
      await handle.decrRef();
      const end = performance.now() + 700;
      while (performance.now() < end) {
        await new Promise((resolve) => setTimeout(resolve, 20));
        expect(lease.held).toBe(true);
      }
    });
    expect(await raw.do("EXISTS", keyOf("borrowed"))).toBe(0);
  });
});

describe("Lease.fence", () => {
  it("goes up with every acquire, whoever acquires, and stays on renewal", async () => {
    const clients = await Promise.all([server.client(), server.client(), server.client()]);
    const all = clients.map((send) => make({ nodes: [send], ttl: 300 }));
    const fences: number[] = [];
    for (let i = 0; i < 100; i++) {
      const handle = await (all[i % 3] as Leases).acquire("fenced");
      fences.push(handle.value.fence);
      if (i % 10 === 0) await raw.do("DEL", keyOf("fenced"));
      await handle.decrRef();
    }
    expect(fences).toEqual([...new Set(fences)].sort((a, b) => a - b));
    expect(fences.every(Number.isSafeInteger)).toBe(true);
    expect(await raw.do("PTTL", `${keyOf("fenced")}:fence`)).toBe(-1);
    await Promise.all(all.map((leases) => leases.close()));
  });

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
    await using here = make({ ttl: 300 });
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

describe("scripts", () => {
  it.each(Object.entries(scripts))("%s is known by the SHA-1 of its source", (_, script) => {
    expect(createHash("sha1").update(script.source).digest("hex")).toBe(script.sha);
  });

  it("are loaded again whenever the server has flushed them", async () => {
    await using leases = make({ ttl: 300 });
    for (const fence of [true, false]) {
      await using leases = make({ ttl: 300, fence });
      await raw.do("SCRIPT", "FLUSH");
      const handle = await leases.acquire("flushed");
      await raw.do("SCRIPT", "FLUSH");
      const { deadline } = handle.value;
      await expect.poll(() => handle.value.deadline).toBeGreaterThan(deadline);
      await raw.do("SCRIPT", "FLUSH");
      const { released } = handle.value;
      await handle.decrRef();
      expect(await released).toBe("released");
    }
    await leases.close();
  });

  it("are loaded when a client says so in its own words", async () => {
    const worded: SendCommand = async (args) => {
      try {
        return await send(args);
      } catch (error) {
        if (!(error as Error).message.startsWith("NOSCRIPT")) throw error;
        throw new Error("An error was signalled by the server: - NoScriptError: No matching script.");
      }
    };
    await raw.do("SCRIPT", "FLUSH");
    await using leases = make({ nodes: [worded] });
    expect(await (await leases.acquire("worded")).decrRef()).toBe(true);
  });
});

describe("SendCommand", () => {
  const encodings: Record<string, (reply: unknown) => unknown> = {
    "string numbers": (reply) => (typeof reply === "number" ? String(reply) : reply),
    bigints: (reply) => (typeof reply === "number" ? BigInt(reply) : reply),
    Buffers: (reply) => (typeof reply === "string" || typeof reply === "number" ? Buffer.from(String(reply)) : reply),
  };
  it.each(Object.entries(encodings))("may answer in %s", async (_, encode) => {
    const deep = (reply: unknown): unknown => (Array.isArray(reply) ? reply.map(deep) : encode(reply));
    for (const fence of [true, false]) {
      await using leases = make({ nodes: [async (args) => deep(await send(args))], ttl: 300, fence });
      const handle = await leases.acquire("encoded");
      if (fence) expect(Number.isSafeInteger(handle.value.fence)).toBe(true);
      await using elsewhere = make({ nodes: [async (args) => deep(await send(args))], fence });
      await expect(elsewhere.acquire("encoded", { wait: 0 })).rejects.toSatisfy(
        (error) =>
          error instanceof LeaseTimeoutError && (error.remaining as number) > 0 && (error.remaining as number) <= 300,
      );
      const { deadline, released } = handle.value;
      await expect.poll(() => handle.value.deadline).toBeGreaterThan(deadline);
      await handle.decrRef();
      expect(await released).toBe("released");
    }
  });

  it("may throw at once: that is a fault like any other", async () => {
    const broken: SendCommand = () => {
      throw new Error("broken");
    };
    await using leases = make({ nodes: [broken] });
    await expect(leases.acquire("thrown", { wait: 0 })).rejects.toMatchObject({
      code: "ERR_LEASE_TIMEOUT",
      cause: { message: "broken" },
    });
    await expect(leases.tryAcquire("thrown")).rejects.toMatchObject({ code: "ERR_LEASE_TIMEOUT" });
    await expect(leases.force("thrown")).rejects.toMatchObject({ code: "ERR_LEASE_TIMEOUT" });
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
    await expect.poll(() => signal.aborted).toBe(true);
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
