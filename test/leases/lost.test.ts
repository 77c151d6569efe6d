import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { LeaseLostError } from "../../src/index";
import { Leases, type LeasesOptions, type SendCommand } from "../../src/leases/index";
import * as scripts from "../../src/leases/scripts";
import { keyOf, make as makeLeases, raw, send, server } from "./fixture";
import { pause, Relay, TestServer, until, watchLag } from "./servers";

// Every scenario has a server of its own where it hurts one, so that they can run side by side.
const faults: unknown[] = [];
const fault = (error: unknown): unknown => faults.push(error);

beforeAll(() => {
  process.on("unhandledRejection", fault);
  process.on("uncaughtException", fault);
});
afterAll(() => {
  process.off("unhandledRejection", fault);
  process.off("uncaughtException", fault);
  expect(faults).toEqual([]);
});

const make = (options: Partial<LeasesOptions> = {}): Leases => makeLeases({ ttl: 600, ...options });

/** A server to hurt, its lease, and when the loss was heard of. */
async function doomed(options: Partial<LeasesOptions> = {}) {
  const own = await TestServer.start();
  const failed: string[] = [];
  const leases = new Leases({
    nodes: [await own.client()],
    ttl: 1000,
    onReleaseFailed: (name) => failed.push(name),
    ...options,
  });
  const lag = watchLag();
  const handle = await leases.acquire("doomed");
  let abortedAt = Number.NaN;
  handle.value.signal.addEventListener("abort", () => {
    abortedAt = performance.now();
  });
  return {
    own,
    leases,
    handle,
    failed,
    lag,
    get abortedAt() {
      return abortedAt;
    },
    async end() {
      lag.stop();
      await leases.close();
      await own.stop();
    },
  };
}

describe.concurrent("A lease", () => {
  it("is renewed for as long as it is held, with few commands", async ({ expect }) => {
    let commands = 0;
    const counted: SendCommand = (args) => {
      commands++;
      return send(args);
    };
    await using leases = make({ nodes: [counted], ttl: 900 });
    const handle = await leases.acquire("long");
    commands = 0;
    let least = Infinity;
    const end = performance.now() + 2700;
    while (performance.now() < end) {
      least = Math.min(least, Number(await raw.do("PTTL", keyOf("long"))));
      await pause(20);
    }
    expect(handle.value.held).toBe(true);
    expect(handle.value.signal.aborted).toBe(false);
    expect(least).toBeGreaterThan(300);
    // The first renewal had to load its script.
    expect(commands).toBeLessThanOrEqual(11);
    expect(commands).toBeGreaterThanOrEqual(5);
    await handle.decrRef();
    await pause(1000);
    expect(await raw.do("EXISTS", keyOf("long"))).toBe(0);
  });

  it.each([
    ["deleted", (key: string) => raw.do("DEL", key)],
    ["overwritten", (key: string) => raw.do("SET", key, "other", "PX", "60000")],
    ["made a list", (key: string) => raw.do("DEL", key).then(() => raw.do("RPUSH", key, "x"))],
  ])("whose key was %s is lost at the next renewal, and not made again", async (how, hurt) => {
    const lost: unknown[] = [];
    await using leases = make({ ttl: 3000, renewEvery: 200, onLost: (...args) => lost.push(args) });
    const handle = await leases.acquire(how);
    const lease = handle.value;
    const { signal } = lease;
    const lag = watchLag();
    await hurt(keyOf(how));
    const began = performance.now();
    await until("the loss is heard of", () => signal.aborted);
    expect(performance.now() - began).toBeLessThan(200 + 50 + 2 * lag.total + 10);
    lag.stop();
    const error = signal.reason as LeaseLostError;
    expect(error).toBeInstanceOf(LeaseLostError);
    expect(error).toMatchObject({ name: "LeaseLostError", code: "ERR_LEASE_LOST", reason: "taken", label: how });
    expect(error.lastRenewedAt).toBeLessThan(error.deadline as number);
    expect(error.message).toBe(`Cannot rely on lease "${how}": its key was deleted or is held by somebody else`);
    expect(lease.held).toBe(false);
    expect(() => lease.assertHeld()).toThrow(error);
    expect(lost).toEqual([[how, error]]);
    const left = how === "deleted" ? 0 : 1;
    expect(await raw.do("EXISTS", keyOf(how))).toBe(left);
    await handle.decrRef();
    expect(await lease.released).toBe("not-held");
    expect(await raw.do("EXISTS", keyOf(how))).toBe(left);
    await raw.do("DEL", keyOf(how));
  });

  it("survives a renewal whose answer is lost with its connection, which moves no deadline", async () => {
    const relay = await Relay.start(server.port);
    const through = await server.client(relay.port);
    const sent: number[] = [];
    const spied: SendCommand = (args) => {
      sent.push(performance.now());
      return through(args);
    };
    await using leases = make({ nodes: [spied], ttl: 1800, commandTimeout: 500 });
    const handle = await leases.acquire("dropped");
    const { deadline } = handle.value;
    sent.length = 0;
    relay.drop = 1;
    await until("a renewal was answered", () => handle.value.deadline > deadline);
    expect(relay.drop).toBe(0);
    expect(sent.length).toBeGreaterThanOrEqual(2);
    expect(handle.value.deadline).toBeGreaterThan((sent[0] as number) + 1800);
    expect(handle.value.signal.aborted).toBe(false);
    await handle.decrRef();
    relay.close();
  });

  it("counts its time from when a renewal was sent, not from when it was answered", async () => {
    const relay = await Relay.start(server.port);
    const extended: number[] = [];
    const through = await server.client(relay.port);
    const spied: SendCommand = (args) => {
      extended.push(performance.now());
      return through(args);
    };
    await using leases = make({ nodes: [spied], ttl: 1000, commandTimeout: 900 });
    const handle = await leases.acquire("slow");
    const { deadline } = handle.value;
    extended.length = 0;
    relay.delay = 400;
    await until("a renewal was answered", () => handle.value.deadline > deadline);
    expect(handle.value.deadline).toBeLessThanOrEqual((extended[0] as number) + 1000 - 12);
    expect(handle.value.deadline).toBeGreaterThan((extended[0] as number) + 1000 - 12 - 50);
    relay.delay = 0;
    await handle.decrRef();
    relay.close();
  });

  it("on a server that freezes is lost by its deadline, and stays lost", async () => {
    const scene = await doomed();
    const { handle, own, lag } = scene;
    const lease = handle.value;
    await pause(100);
    own.freeze();
    while (lease.held) await pause(1);
    // Read in this turn: the deadline is no later than now.
    const { deadline } = lease;
    expect(performance.now()).toBeGreaterThanOrEqual(deadline);
    await until("the loss is heard of", () => lease.signal.aborted);
    expect(scene.abortedAt).toBeGreaterThanOrEqual(deadline);
    expect(scene.abortedAt - deadline).toBeLessThan(50 + lag.total);
    expect(lease.signal.reason.reason).toBe("expired");
    const began = performance.now();
    await handle.decrRef();
    expect(performance.now() - began).toBeLessThan(333 + 50 + lag.total);
    expect(await lease.released).toBe("unknown");
    expect(scene.failed).toEqual(["doomed"]);
    own.thaw();
    const look = await own.raw();
    await until("the key is gone", async () => (await look.do("EXISTS", keyOf("doomed"))) === 0, 1500);
    expect(lease.held).toBe(false);
    await scene.end();
  });

  it("on a server that crashes is lost by its deadline", async () => {
    const scene = await doomed();
    const { handle, own, lag } = scene;
    const { signal } = handle.value;
    await own.crash();
    await until("the loss is heard of", () => signal.aborted);
    expect(scene.abortedAt - signal.reason.deadline).toBeLessThan(50 + lag.total);
    await handle.decrRef();
    expect(scene.failed).toEqual(["doomed"]);
    await scene.end();
  });

  it("on a server that forgets everything is lost, and another name can be had at once", async () => {
    const scene = await doomed({ ttl: 300 });
    const { handle, own, leases } = scene;
    await (await own.raw()).do("FLUSHALL");
    const other = await leases.acquire("other", { wait: 200 });
    await until("the loss is heard of", () => handle.value.signal.aborted);
    expect(handle.value.signal.reason.reason).toBe("taken");
    await handle.decrRef();
    await other.decrRef();
    await scene.end();
  });

  it("on a server that restarts without it is lost, and not made again", async () => {
    const scene = await doomed();
    const { handle, own } = scene;
    await own.crash();
    await own.boot();
    await until("the loss is heard of", () => handle.value.signal.aborted);
    expect(["taken", "expired"]).toContain(handle.value.signal.reason.reason);
    expect(await (await own.raw()).do("EXISTS", keyOf("doomed"))).toBe(0);
    await handle.decrRef();
    await scene.end();
  });

  it("whose server is frozen is given back within the bound, with an unknown outcome", async () => {
    const scene = await doomed({ commandTimeout: 200 });
    const { handle, own, lag } = scene;
    own.freeze();
    const { released } = handle.value;
    const began = performance.now();
    await handle[Symbol.asyncDispose]();
    expect(performance.now() - began).toBeLessThan(200 + 50 + lag.total);
    expect(await released).toBe("unknown");
    expect(scene.failed).toEqual(["doomed"]);
    own.thaw();
    const look = await own.raw();
    await until("the key is gone", async () => (await look.do("EXISTS", keyOf("doomed"))) === 0, 1500);
    await scene.end();
  });

  it("whose renewal is not answered either is given back within one command timeout", async () => {
    const sent: string[] = [];
    const own = await TestServer.start();
    const send = await own.client();
    const spied: SendCommand = (args) => {
      sent.push(args[1] as string);
      return send(args);
    };
    const failed: string[] = [];
    const leases = new Leases({
      nodes: [spied],
      ttl: 5000,
      renewEvery: 100,
      commandTimeout: 600,
      onReleaseFailed: (name) => failed.push(name),
    });
    const lag = watchLag();
    const handle = await leases.acquire("both");
    const { released, deadline } = handle.value;
    // Its scripts are known before it is hurt.
    await until("it is renewed", () => handle.value.deadline > deadline);
    own.freeze();
    sent.length = 0;
    await until("a renewal is on its way", () => sent.length === 1);
    const began = performance.now();
    await handle.decrRef();
    const took = performance.now() - began;
    expect(took).toBeLessThan(600 + 50 + 2 * lag.total);
    lag.stop();
    expect(await released).toBe("unknown");
    expect(failed).toEqual(["both"]);
    // The deletion was sent all the same, behind the renewal.
    expect(sent).toEqual([scripts.EXTEND.sha, scripts.RELEASE.sha]);
    own.thaw();
    const look = await own.raw();
    await until("the key is gone", async () => (await look.do("EXISTS", keyOf("both"))) === 0);
    await leases.close();
    await own.stop();
  });

  it("is given back within one command timeout although its script has to be sent again", async () => {
    const own = await TestServer.start();
    const send = await own.client();
    let slow = false;
    const slowly: SendCommand = async (args) => {
      if (slow) await (args[0] === "EVALSHA" ? pause(480) : new Promise(() => {}));
      return send(args);
    };
    const leases = new Leases({ nodes: [slowly], ttl: 10_000, commandTimeout: 600 });
    const handle = await leases.acquire("again");
    const { released } = handle.value;
    await (await own.raw()).do("SCRIPT", "FLUSH");
    slow = true;
    const lag = watchLag();
    const began = performance.now();
    await handle.decrRef();
    expect(performance.now() - began).toBeLessThan(600 + 50 + 2 * lag.total);
    lag.stop();
    expect(await released).toBe("unknown");
    await leases.close();
    await own.stop();
  });

  it("waits with its release for a renewal in flight, and is then given back", async () => {
    const relay = await Relay.start(server.port);
    const through = await server.client(relay.port);
    const sent: string[] = [];
    const spied: SendCommand = (args) => {
      sent.push(args[1] as string);
      return through(args);
    };
    await using leases = make({ nodes: [spied], ttl: 5000, renewEvery: 100, commandTimeout: 2000 });
    // Its scripts are known before it is slowed down.
    await (await leases.acquire("in flight")).decrRef();
    const handle = await leases.acquire("in flight");
    const { released, deadline } = handle.value;
    await until("it is renewed", () => handle.value.deadline > deadline);
    relay.delay = 150;
    sent.length = 0;
    await until("a renewal is on its way", () => sent.length === 1);
    const giving = handle.decrRef();
    expect(sent.length).toBe(1);
    await giving;
    expect(await released).toBe("released");
    expect(sent).toEqual([scripts.EXTEND.sha, scripts.RELEASE.sha]);
    expect(await raw.do("EXISTS", keyOf("in flight"))).toBe(0);
    relay.close();
  });

  it("over a pool, whose answers come out of order, is not made again by a renewal in flight", async () => {
    const relay = await Relay.start(server.port);
    const [slow, fast] = [await server.client(relay.port), await server.client()];
    let calls = 0;
    const pooled: SendCommand = (args) => (args[1] === scripts.EXTEND.sha ? slow : fast)(args);
    const counted: SendCommand = (args) => {
      calls++;
      return pooled(args);
    };
    await using leases = make({ nodes: [counted], ttl: 3000, renewEvery: 100, commandTimeout: 150 });
    // Its scripts are known before it is slowed down.
    await (await leases.acquire("pooled")).decrRef();
    const handle = await leases.acquire("pooled");
    const { released, deadline } = handle.value;
    await until("it is renewed", () => handle.value.deadline > deadline);
    // It is carried out after the release has given it up, and been answered itself.
    relay.delayCommands = 400;
    calls = 0;
    await until("a renewal is on its way", () => calls === 1);
    await handle.decrRef();
    expect(["released", "unknown"]).toContain(await released);
    await until("the key is gone", async () => (await raw.do("EXISTS", keyOf("pooled"))) === 0);
    await pause(500);
    expect(calls).toBe(2);
    expect(await raw.do("EXISTS", keyOf("pooled"))).toBe(0);
    relay.close();
  });

  it("with the shortest ttl there is asks no more often than every 10 ms", async () => {
    let commands = 0;
    const counted: SendCommand = (args) => {
      commands++;
      return send(args);
    };
    await using leases = make({ nodes: [counted], ttl: 50, renewEvery: 10 });
    await (await leases.acquire("hasty")).decrRef();
    commands = 0;
    const began = performance.now();
    const handle = await leases.acquire("hasty");
    while (performance.now() - began < 500) await pause(5);
    const lasted = performance.now() - began;
    expect(commands).toBeLessThanOrEqual(lasted / 10 + 3);
    await handle.decrRef();
  });

  it("is held no longer than maxHold, and its key is deleted then", async () => {
    await using leases = make({ ttl: 500, maxHold: 1200 });
    const lag = watchLag();
    const began = performance.now();
    const handle = await leases.acquire("max");
    const { signal, released } = handle.value;
    await until("the end", () => signal.aborted);
    const lasted = performance.now() - began;
    expect(signal.reason.reason).toBe("max-hold");
    expect(lasted).toBeGreaterThan(1199);
    expect(lasted).toBeLessThan(1200 + 50 + 2 * lag.total);
    lag.stop();
    // The server was asked for no more time than that either, and may be first.
    expect(["released", "not-held"]).toContain(await released);
    expect(await raw.do("EXISTS", keyOf("max"))).toBe(0);
    await handle.decrRef();
  });

  it("asks for no longer than maxHold allows", async () => {
    await using leases = make({ ttl: 5000, maxHold: 400 });
    const handle = await leases.acquire("short");
    expect(Number(await raw.do("PTTL", keyOf("short")))).toBeLessThanOrEqual(410);
    expect(handle.value.remaining).toBeLessThanOrEqual(400);
    await until("the end", () => !handle.value.held);
    await handle.decrRef();
  });

  it("reports a hook that throws, and carries on", async () => {
    const scene = await doomed({
      ttl: 300,
      onLost: () => {
        throw new Error("a hook that throws");
      },
    });
    const warned = new Promise<Error>((resolve) => process.once("warning", resolve));
    await (await scene.own.raw()).do("FLUSHALL");
    expect((await warned).message).toBe("a hook that throws");
    const again = await scene.leases.acquire("doomed", { wait: 1000 });
    await again.decrRef();
    await scene.handle.decrRef();
    await scene.end();
  });
});

describe("onLost", () => {
  it("may reject: that is reported, and is no unhandled rejection", async () => {
    await using leases = make({ onLost: () => Promise.reject(new Error("a hook that rejects")) });
    const handle = await leases.acquire("rejecting");
    const warned = new Promise<Error>((resolve) => process.once("warning", resolve));
    await raw.do("DEL", keyOf("rejecting"));
    expect((await warned).message).toBe("a hook that rejects");
    await handle.decrRef();
  });

  it("hears once of a lease that was over before it was given back, although nobody had looked", async () => {
    const lost: string[] = [];
    await using leases = make({ ttl: 100, onLost: (name, error) => lost.push(`${name} ${error.reason}`) });
    const handle = await leases.acquire("overslept");
    const { released, signal } = handle.value;
    const end = performance.now() + 150;
    while (performance.now() < end);
    await handle.decrRef();
    expect(await released).toBe("not-held");
    expect(signal.reason).toMatchObject({ code: "ERR_LEASE_LOST", reason: "expired" });
    expect(lost).toEqual(["overslept expired"]);
  });

  it("hears nothing of a lease that came too late to be handed out", async () => {
    const lost: string[] = [];
    const slowly: SendCommand = async (args) => {
      const reply = await send(args);
      if (args.includes(keyOf("too late"))) await pause(150);
      return reply;
    };
    await using leases = make({
      nodes: [slowly],
      ttl: 100,
      commandTimeout: 1000,
      onLost: (name) => lost.push(name),
    });
    await expect(leases.acquire("too late", { wait: 0 })).rejects.toMatchObject({ code: "ERR_LEASE_TIMEOUT" });
    expect(lost).toEqual([]);
  });
});

describe("Lease.held", () => {
  it("is false in the very turn in which the event loop comes back too late, and no renewal is sent any more", async () => {
    const sent: string[] = [];
    const spied: SendCommand = (args) => {
      sent.push(args[0] as string);
      return send(args);
    };
    await using leases = make({ nodes: [spied], ttl: 300 });
    const handle = await leases.acquire("stalled");
    const lease = handle.value;
    const { signal } = lease;
    sent.length = 0;
    const end = performance.now() + 450;
    while (performance.now() < end);
    expect(lease.held).toBe(false);
    expect(() => lease.assertHeld()).toThrow(LeaseLostError);
    await Promise.resolve();
    expect(signal.aborted).toBe(true);
    expect(signal.reason.reason).toBe("expired");
    await pause(150);
    expect(sent).toEqual([]);
    await handle.decrRef();
  });

  it("is false when the wall clock says so, and does not come back with it", async () => {
    await using leases = make({ ttl: 2000 });
    const handle = await leases.acquire("jumped");
    const lease = handle.value;
    const real = Date.now;
    const clock = vi.spyOn(Date, "now").mockImplementation(() => real() + 60_000);
    try {
      expect(lease.held).toBe(false);
      expect(lease.remaining).toBe(0);
    } finally {
      clock.mockRestore();
    }
    expect(lease.held).toBe(false);
    expect(lease.signal.aborted).toBe(true);
    await handle.decrRef();
    expect(await lease.released).toBe("released");
  });

  it("does not last longer because the wall clock was set back", async () => {
    const own = await TestServer.start();
    await using leases = make({ nodes: [await own.client()], ttl: 400, commandTimeout: 100 });
    const handle = await leases.acquire("back");
    const { deadline } = handle.value;
    own.freeze();
    const real = Date.now;
    const clock = vi.spyOn(Date, "now").mockImplementation(() => real() - 3_600_000);
    try {
      while (performance.now() < deadline) {
        const { held } = handle.value;
        if (performance.now() < deadline) expect(held).toBe(true);
        await pause(5);
      }
      expect(handle.value.held).toBe(false);
    } finally {
      clock.mockRestore();
    }
    own.thaw();
    await handle.decrRef();
    await own.stop();
  });
});
