import { spawn, spawnSync } from "node:child_process";
import { createClient } from "redis";
import { describe, expect, it } from "vitest";
import { LeaseTimeoutError } from "../../src/index";
import { fromNodeRedis, type Leases, type SendCommand } from "../../src/leases/index";
import { counting, keyOf, make, raw, send, server } from "./fixture";
import { pause, TestServer, until, watchLag } from "./servers";

const inspected = (leases: Leases): string =>
  (leases as unknown as Record<symbol, () => string>)[Symbol.for("nodejs.util.inspect.custom")]?.() ?? "";

describe.concurrent("Leases.acquire() of what is held", () => {
  it("waits until it is given back, elsewhere too, and two never hold it", async ({ expect }) => {
    await using here = make({ ttl: 900 });
    await using elsewhere = make({ ttl: 900 });
    let inside = 0;
    let most = 0;
    let order = "";
    const lag = watchLag();
    const first = await here.acquire("waited");
    most = Math.max(most, ++inside);
    const waiting = elsewhere.acquire("waited").then((handle) => {
      order += "acquired";
      most = Math.max(most, ++inside);
      return handle;
    });
    await pause(2000);
    expect(first.value.signal.aborted).toBe(false);
    order += "released ";
    inside--;
    await first.decrRef();
    const began = performance.now();
    const second = await waiting;
    expect(performance.now() - began).toBeLessThan(250 + 50 + lag.total);
    expect(order).toBe("released acquired");
    expect(most).toBe(1);
    await second.decrRef();
    lag.stop();
  });

  it("gets it when its holder's process was killed, once the key has expired", async ({ expect }) => {
    const holder = spawn(
      process.execPath,
      [
        "-e",
        `require("net").connect(${server.port},"127.0.0.1").write("SET ${keyOf("killed")} x PX 700\\r\\n");setInterval(()=>{},1e3)`,
      ],
      { stdio: "ignore" },
    );
    await until("the holder has it", () => raw.do("EXISTS", keyOf("killed")));
    const left = Number(await raw.do("PTTL", keyOf("killed")));
    holder.kill("SIGKILL");
    const lag = watchLag();
    await using leases = make();
    const began = performance.now();
    const handle = await leases.acquire("killed");
    expect(performance.now() - began).toBeLessThan(left + 250 + 50 + lag.total);
    lag.stop();
    await handle.decrRef();
  });

  it("says who waited how long when its time is over", async ({ expect }) => {
    await using leases = make();
    await raw.do("SET", keyOf("late"), "other", "PX", "60000");
    const lag = watchLag();
    const began = performance.now();
    const error = await leases.acquire("late", { wait: 300 }).catch((error) => error);
    const waited = performance.now() - began;
    expect(error).toBeInstanceOf(LeaseTimeoutError);
    expect(error).toMatchObject({ name: "LeaseTimeoutError", code: "ERR_LEASE_TIMEOUT", label: "late", kind: "lease" });
    expect(error.message).toMatch(/^Cannot acquire lease "late": waited \d+ ms and it is held, for \d+ ms more/);
    expect(error.remaining).toBeGreaterThan(50_000);
    expect(error.waited).toBeGreaterThanOrEqual(299);
    expect(waited).toBeGreaterThanOrEqual(299);
    expect(waited).toBeLessThan(350 + lag.total);
    lag.stop();
    expect(await raw.do("GET", keyOf("late"))).toBe("other");
  });

  it("names the time that a holder in this process has left", async ({ expect }) => {
    await using leases = make();
    const handle = await leases.acquire("mine");
    await expect(leases.acquire("mine", { wait: 0 })).rejects.toSatisfy(
      (error) => ((error as LeaseTimeoutError).remaining as number) > 1000,
    );
    await expect(leases.acquire("mine", { wait: 50 })).rejects.toMatchObject({ code: "ERR_LEASE_TIMEOUT" });
    await handle.decrRef();
  });

  it("sends nothing when its signal was aborted before", async ({ expect }) => {
    const counted = counting();
    await using leases = make({ nodes: [counted.send] });
    const reason = new Error("before");
    await expect(leases.acquire("aborted", { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(counted.sent.length).toBe(0);
  });

  it("stops at once when its signal aborts, and leaves nothing behind", async ({ expect }) => {
    await using leases = make();
    await raw.do("SET", keyOf("abort"), "other", "PX", "60000");
    const controller = new AbortController();
    let listeners = 0;
    const { signal } = controller;
    const add = signal.addEventListener.bind(signal);
    const remove = signal.removeEventListener.bind(signal);
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++;
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--;
      remove(...args);
    };
    const lag = watchLag();
    const waiting = leases.acquire("abort", { signal }).catch((error) => error);
    await pause(120);
    expect(listeners).toBe(1);
    const began = performance.now();
    controller.abort(new Error("enough"));
    expect((await waiting).message).toBe("enough");
    expect(performance.now() - began).toBeLessThan(20 + lag.total);
    lag.stop();
    expect(listeners).toBe(0);
    await raw.do("DEL", keyOf("abort"));
    await pause(300);
    expect(await raw.do("EXISTS", keyOf("abort"))).toBe(0);
  });

  it("gives back what arrives after its signal aborted", async ({ expect }) => {
    await using leases = make();
    const controller = new AbortController();
    const waiting = leases.acquire("arrives", { signal: controller.signal });
    controller.abort(new Error("too late"));
    await expect(waiting).rejects.toThrow("too late");
    await until("the key is gone", async () => (await raw.do("EXISTS", keyOf("arrives"))) === 0);
    const handle = await leases.acquire("arrives", { wait: 1000 });
    await handle.decrRef();
  });

  it("forgets its signal once it has the lock", async ({ expect }) => {
    await using leases = make();
    const controller = new AbortController();
    const handle = await leases.acquire("had", { signal: controller.signal });
    controller.abort();
    await pause(20);
    expect(handle.value.held).toBe(true);
    await handle.decrRef();
  });

  it("serves a hundred in order, with one attempt at a time and two commands each", async ({ expect }) => {
    let under = 0;
    let most = 0;
    let sent = 0;
    const spied: SendCommand = async (args) => {
      sent++;
      most = Math.max(most, ++under);
      try {
        return await send(args);
      } finally {
        under--;
      }
    };
    await using leases = make({ nodes: [spied] });
    const order: number[] = [];
    await Promise.all(
      Array.from({ length: 100 }, async (_, i) => {
        const handle = await leases.acquire("queue");
        order.push(i);
        await handle.decrRef();
      }),
    );
    expect(order).toEqual(Array.from({ length: 100 }, (_, i) => i));
    expect(most).toBe(1);
    // The first one may have had to load both scripts.
    expect(sent).toBeLessThanOrEqual(202);
  });

  it("asks no more often than its back-off allows", async ({ expect }) => {
    const counted = counting();
    await using leases = make({ nodes: [counted.send] });
    await raw.do("SET", keyOf("contended"), "other", "PX", "60000");
    const cpu = process.cpuUsage();
    await Promise.allSettled(Array.from({ length: 20 }, () => leases.acquire("contended", { wait: 1000 })));
    expect(counted.sent.length).toBeLessThanOrEqual(1000 / 50 + 1);
    expect(counted.sent.length).toBeGreaterThanOrEqual(3);
    const { user, system } = process.cpuUsage(cpu);
    expect(user + system).toBeLessThan(1_000_000);
  });

  it("leaves nothing behind when a hundred give up", async ({ expect }) => {
    await using leases = make();
    await raw.do("SET", keyOf("given-up"), "other", "PX", "60000");
    const controller = new AbortController();
    const all = Array.from({ length: 100 }, () => leases.acquire("given-up", controller));
    await pause(80);
    controller.abort();
    expect((await Promise.allSettled(all)).every(({ status }) => status === "rejected")).toBe(true);
    await raw.do("DEL", keyOf("given-up"));
    const handle = await leases.acquire("given-up", { wait: 500 });
    await handle.decrRef();
    expect(await raw.do("EXISTS", keyOf("given-up"))).toBe(0);
  });

  it("goes on with the next when the first gives up", async ({ expect }) => {
    await using leases = make();
    const handle = await leases.acquire("next");
    const controller = new AbortController();
    const first = leases.acquire("next", { signal: controller.signal }).catch(() => "aborted");
    const second = leases.acquire("next");
    controller.abort();
    expect(await first).toBe("aborted");
    await handle.decrRef();
    await (await second).decrRef();
  });

  it("goes on when the holder in this process loses it", async ({ expect }) => {
    await using leases = make({ ttl: 300 });
    const handle = await leases.acquire("lost");
    const waiting = leases.acquire("lost");
    await raw.do("DEL", keyOf("lost"));
    const second = await waiting;
    expect([handle.value.held, second.value.held]).toEqual([false, true]);
    await handle.decrRef();
    expect(second.value.held).toBe(true);
    await second.decrRef();
  });

  it("goes on asking while the server does not answer, until its wait is over", async ({ expect }) => {
    const own = await TestServer.start();
    await using leases = make({ nodes: [await own.client()], commandTimeout: 100 });
    own.freeze();
    const lag = watchLag();
    const began = performance.now();
    const error = await leases.acquire("silent", { wait: 400 }).catch((error) => error);
    expect(performance.now() - began).toBeLessThan(450 + lag.total);
    lag.stop();
    expect(error.message).toMatch(/waited \d+ ms and too few servers answered to know who holds it$/);
    expect(error.cause.message).toMatch(/^EVALSHA was not answered within 100 ms$/);
    const waiting = leases.acquire("silent", { wait: 5000 });
    own.thaw();
    await (await waiting).decrRef();
    const look = await own.raw();
    await until("nothing of the attempts is left", async () => (await look.do("EXISTS", keyOf("silent"))) === 0);
    await own.stop();
  });

  it("gives up at once when the server refuses for good", async ({ expect }) => {
    const own = await TestServer.start("--requirepass", "secret");
    const bare = await own.raw();
    await using leases = make({ nodes: [bare.send] });
    await expect(leases.acquire("refused")).rejects.toThrow(/^NOAUTH/);
    await expect(leases.tryAcquire("refused")).rejects.toThrow(/^NOAUTH/);
    await expect(leases.force("refused")).rejects.toThrow(/^NOAUTH/);
    await own.stop();
  });

  it("waits for room on a server that is full", async () => {
    const own = await TestServer.start();
    const guest = await own.raw();
    // Not from the start: the connection that found the server started may not have left it yet.
    await guest.do("CONFIG", "SET", "maxclients", "1");
    const client = createClient({ socket: { port: own.port, host: "127.0.0.1", reconnectStrategy: 20 } });
    client.on("error", () => {});
    client.connect().catch(() => {});
    const log: string[] = [];
    const full: SendCommand = (words) =>
      fromNodeRedis(client)(words).catch((error: Error) => {
        log.push(error.message);
        throw error;
      });
    await using leases = make({ nodes: [full] });
    const waiting = leases.acquire("full", { wait: 10_000 });
    await until("it was refused", () => log.includes("ERR max number of clients reached"));
    guest.close();
    await (await waiting).decrRef();
    client.destroy();
    await own.stop();
  });
});

describe("A command timeout", () => {
  it("does not take a process that stood still for a server that does", async () => {
    await using leases = make({ commandTimeout: 50 });
    await (await leases.acquire("stalled")).decrRef();
    const acquiring = leases.acquire("stalled", { wait: 0 });
    // The command has to leave first. Then nothing is read here until another process has seen what it did.
    await new Promise(setImmediate);
    const look = `const socket = require("net").connect(${server.port}, "127.0.0.1");
      const ask = () => socket.write("EXISTS ${keyOf("stalled")}\\r\\n");
      socket.on("data", (reply) => String(reply) === ":1\\r\\n" ? process.exit() : setTimeout(ask, 5));
      setTimeout(ask, 100);`;
    expect(spawnSync(process.execPath, ["-e", look], { timeout: 10_000 }).status).toBe(0);
    const handle = await acquiring;
    expect(handle.value.held).toBe(true);
    await handle.decrRef();
  });
});

describe("The command timeout of a first attempt", () => {
  it("is one, although the server is asked first what it can do, and others are asked meanwhile", async () => {
    const slowly: SendCommand = async (args) => {
      if (args[0] === "SET" || args.includes(keyOf("behind"))) await new Promise(() => {});
      await pause(150);
      return send(args);
    };
    await using leases = make({ nodes: [slowly], ttl: 20_000, fence: false, commandTimeout: 600 });
    const lag = watchLag();
    const began = performance.now();
    const first = leases.tryAcquire("ahead").catch((error) => error);
    await pause(250);
    const second = leases.tryAcquire("behind").catch((error) => error);
    expect(await first).toBeInstanceOf(LeaseTimeoutError);
    expect(performance.now() - began).toBeLessThan(600 + 50 + 2 * lag.total);
    expect(await second).toBeInstanceOf(LeaseTimeoutError);
    expect(performance.now() - began).toBeLessThan(850 + 50 + 2 * lag.total);
    lag.stop();
  });
});

describe("Leases.close()", () => {
  it("refuses who waits, ends what is held with its key deleted, and refuses what comes after", async () => {
    const leases = make();
    const holder = await leases.acquire("closing");
    const { signal, released } = holder.value;
    const waiting = Array.from({ length: 10 }, () => leases.acquire("closing").catch((error) => error));
    await raw.do("SET", keyOf("foreign"), "other", "PX", "60000");
    const far = leases.acquire("foreign").catch((error) => error);
    await pause(20);
    const closing = leases.close();
    expect(leases.close()).toBe(closing);
    await closing;
    expect(await raw.do("EXISTS", keyOf("closing"))).toBe(0);
    for (const error of [...(await Promise.all(waiting)), await far]) {
      expect(error).toMatchObject({ code: "ERR_LEASE_LOST", reason: "closed" });
    }
    expect(signal.reason).toMatchObject({ code: "ERR_LEASE_LOST", reason: "closed", label: "closing" });
    expect(await released).toBe("released");
    for (const verb of ["acquire", "tryAcquire", "force"] as const) {
      await expect(leases[verb]("after")).rejects.toMatchObject({ reason: "closed" });
    }
    await holder.decrRef();
    await leases.close();
    expect(inspected(leases)).toBe("Leases<closed>");
  });

  it("is closed before anybody hears of it, who may ask again or close it himself", async () => {
    const asked: Promise<unknown>[] = [];
    const closings: Promise<void>[] = [];
    const leases = make({ onLost: (name) => void asked.push(leases.acquire(name).catch((error) => error)) });
    const holder = await leases.acquire("heard");
    holder.value.signal.addEventListener("abort", () => closings.push(leases.close()));
    const closing = leases.close();
    await closing;
    expect(closings).toEqual([closing]);
    expect(closings[0]).toBe(closing);
    expect(asked.length).toBe(1);
    expect(await asked[0]).toMatchObject({ code: "ERR_LEASE_LOST", reason: "closed" });
    expect(await raw.do("EXISTS", keyOf("heard"))).toBe(0);
    await holder.decrRef();
  });

  it("gives back what arrives meanwhile", async () => {
    const leases = make();
    const arriving = leases.acquire("arriving").catch((error) => error);
    const forced = leases.force("forcing").catch((error) => error);
    await leases.close();
    for (const error of [await arriving, await forced]) expect(error).toMatchObject({ reason: "closed" });
    expect(await raw.do("EXISTS", keyOf("arriving"), keyOf("forcing"))).toBe(0);
  });

  it("waits for a release that is under way", async () => {
    const leases = make();
    const handle = await leases.acquire("under-way");
    void handle.decrRef();
    await leases.close();
    expect(await raw.do("EXISTS", keyOf("under-way"))).toBe(0);
  });
});
