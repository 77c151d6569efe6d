import { describe, expect, it } from "vitest";
import { type AbortSignalLike, Leases, type LeaseTimeoutError, type SendCommand } from "../../src/leases/index";
import { gate, MemoryServer, turns } from "./memory";
import { keyOf } from "./servers";

const ok: SendCommand = async ([, , keys]) => (keys === "2" ? [1, 1] : 1);
const silent: SendCommand = () => new Promise(() => {});
const MANY = 2500;

/** What became of callers, counted by the code of the error each was refused with. */
async function refusals(callers: readonly Promise<unknown>[]): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const outcome of await Promise.allSettled(callers)) {
    const error = outcome.status === "rejected" ? outcome.reason : undefined;
    const what = error?.code ?? error?.message ?? outcome.status;
    counts[what] = (counts[what] ?? 0) + 1;
  }
  return counts;
}

describe("A line of thousands", () => {
  it("is told when the deadline of all is over, at the moment in which the lock is free", async () => {
    const leases = new Leases({ nodes: [ok], ttl: 2000 });
    const holder = await leases.acquire("x");
    const deadline = performance.now() + 200;
    const waiting = Array.from({ length: MANY }, () => leases.acquire("x", { deadline }));
    const all = refusals(waiting);
    // Their timers have not run: each is refused when it is its turn, before anything is sent.
    while (performance.now() < deadline + 1);
    await holder.decrRef();
    expect(await all).toEqual({ ERR_LEASE_TIMEOUT: MANY });
    await (await leases.acquire("x")).decrRef();
    await leases.close();
  });

  it("is told that a fence cannot be had, where it turned out that scripts are forbidden", async () => {
    const native: SendCommand = async ([command]) => {
      if (command === "EVALSHA") throw new Error("NOPERM this user has no permissions to run the 'evalsha' command");
      return command === "SET" ? null : 0;
    };
    const leases = new Leases({ nodes: [native], ttl: 2000, fence: true });
    const waiting = Array.from({ length: MANY }, () => leases.acquire("x"));
    expect(await refusals(waiting)).toEqual({ ERR_LEASE_UNSUPPORTED: MANY });
    await leases.close();
  });

  it("is refused as a whole when the server refuses for good", async () => {
    let sent = 0;
    const refusing: SendCommand = async () => {
      sent++;
      throw new Error("NOAUTH Authentication required.");
    };
    const several: SendCommand[] = [refusing, (args) => refusing(args), (args) => refusing(args)];
    for (const nodes of [[refusing], several]) {
      const leases = new Leases({ nodes, ttl: 2000 });
      sent = 0;
      const waiting = Array.from({ length: 100 }, (_, i) => leases.acquire("q", i % 2 ? {} : { wait: 1000 }));
      expect(await refusals(waiting)).toEqual({ "NOAUTH Authentication required.": 100 });
      // One attempt, and what may have been taken by it given back.
      expect(sent).toBeLessThanOrEqual(3 * nodes.length);
      await leases.close();
    }
  });
});

describe("A signal", () => {
  const like = (more: Partial<AbortSignalLike>): AbortSignal =>
    ({ aborted: false, addEventListener: () => {}, removeEventListener: () => {}, ...more }) as unknown as AbortSignal;

  it("that cannot be listened to fails its own caller, and nobody else", async () => {
    const leases = new Leases({ nodes: [ok], ttl: 2000 });
    const holder = await leases.acquire("x");
    const broken = like({
      addEventListener: () => {
        throw new Error("no listeners here");
      },
    });
    const refused = leases.acquire("x", { signal: broken, wait: 20 });
    const behind = leases.acquire("x");
    await expect(refused).rejects.toThrow("no listeners here");
    await expect(leases.acquire("x", { wait: 40 })).rejects.toMatchObject({ code: "ERR_LEASE_TIMEOUT" });
    await holder.decrRef();
    await (await behind).decrRef();
    await leases.close();
  });

  it("that calls its listener at once has aborted, and nothing is sent", async () => {
    const server = new MemoryServer();
    const leases = new Leases({ nodes: [server.send], ttl: 2000 });
    const hasty = like({ reason: new Error("at once"), addEventListener: (_, listener) => listener() });
    await expect(leases.acquire("x", { signal: hasty })).rejects.toThrow("at once");
    await turns();
    expect(server.sent).toEqual([]);
    await (await leases.acquire("x")).decrRef();
    await leases.close();
  });

  it("that cannot be left does not keep the lock from its caller, and is reported", async () => {
    const leases = new Leases({ nodes: [ok], ttl: 2000 });
    const warned = new Promise<Error>((resolve) => process.once("warning", resolve));
    const sticky = like({
      removeEventListener: () => {
        throw new Error("no leaving");
      },
    });
    await (await leases.acquire("x", { signal: sticky })).decrRef();
    expect((await warned).message).toBe("no leaving");
    await leases.close();
  });

  it("has one listener however many wait with it, which goes with the last of them", async () => {
    const leases = new Leases({ nodes: [ok], ttl: 2000 });
    const holder = await leases.acquire("x");
    let listening = 0;
    const { signal, ...controller } = spied(new AbortController(), (change) => {
      listening += change;
    });
    const first = leases.acquire("x", { signal });
    const rest = Array.from({ length: 50 }, () => leases.acquire("x", { signal }));
    expect(listening).toBe(1);
    await holder.decrRef();
    const next = await first;
    expect(listening).toBe(1);
    const told = refusals(rest);
    controller.abort(new Error("shutting down"));
    expect(await told).toEqual({ "shutting down": 50 });
    expect(listening).toBe(0);
    expect(next.value.held).toBe(true);
    await next.decrRef();
    await leases.close();
  });
});

function spied(controller: AbortController, changed: (change: number) => void) {
  const { signal } = controller;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    changed(1);
    add(...args);
  };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    changed(-1);
    remove(...args);
  };
  return { signal, abort: (reason: unknown) => controller.abort(reason) };
}

/** Leases whose lock "x" somebody asked for who has left before the server answered; `open` lets it answer. */
async function askedAndLeft() {
  const server = new MemoryServer();
  const { opened, open } = gate();
  server.reply = (command) => (command === "ACQUIRE" && server.sent.length === 1 ? opened : undefined);
  const leases = new Leases({ nodes: [server.send], ttl: 5000 });
  const controller = new AbortController();
  const left = leases.acquire("x", { signal: controller.signal });
  controller.abort(new Error("left"));
  await expect(left).rejects.toThrow("left");
  return { server, leases, open };
}

describe("Leases.tryAcquire() behind who asked and has left", () => {
  it("waits until that is given back, and has the lock", async () => {
    const { server, leases, open } = await askedAndLeft();
    const trying = leases.tryAcquire("x");
    // Behind one that waits it is a miss.
    expect(await leases.tryAcquire("x")).toBeUndefined();
    open();
    const handle = await trying;
    expect(server.values.get(keyOf("x"))).toBe(handle?.value.token);
    expect(server.sent).toEqual(["ACQUIRE", "RELEASE", "ACQUIRE"]);
    await handle?.decrRef();
    await leases.close();
  });

  it("misses when the lock is taken by force meanwhile", async () => {
    const { leases, open } = await askedAndLeft();
    const trying = leases.tryAcquire("x");
    const asking = leases.acquire("x", { wait: 0 }).catch((error) => error);
    const forced = await leases.force("x");
    expect(await trying).toBeUndefined();
    expect(await asking).toMatchObject({ code: "ERR_LEASE_TIMEOUT" });
    open();
    await turns();
    expect(forced.value.held).toBe(true);
    await leases.close();
  });
});

describe("An attempt that failed when the lock had been taken by force", () => {
  it("does not make it unknown who holds it", async () => {
    const server = new MemoryServer();
    const { opened, open } = gate();
    server.reply = async (command) => {
      if (command !== "ACQUIRE" || server.sent.length > 1) return;
      await opened;
      throw new Error("connection lost");
    };
    const leases = new Leases({ nodes: [server.send], ttl: 5000 });
    const waiting = leases.acquire("x");
    await turns();
    const forced = await leases.force("x");
    open();
    await turns();
    expect(await leases.tryAcquire("x")).toBeUndefined();
    const error = await leases.acquire("x", { wait: 0 }).catch((error) => error);
    expect(error.message).toContain("it is held by this process");
    expect(error.cause).toBeUndefined();
    await forced.decrRef();
    await (await waiting).decrRef();
    await leases.close();
  });

  it("is no answer to who asks while that is being given back", async () => {
    const server = new MemoryServer();
    const bid = gate();
    const release = gate();
    server.reply = async (command) => {
      if (command === "RELEASE") await release.opened;
      if (command !== "ACQUIRE" || server.sent.length > 1) return;
      await bid.opened;
      throw new Error("connection lost");
    };
    const leases = new Leases({ nodes: [server.send], ttl: 5000 });
    const left = new AbortController();
    const gone = leases.acquire("x", { signal: left.signal }).catch((error) => error);
    await turns();
    const giving = (await leases.force("x")).decrRef();
    left.abort(new Error("left"));
    expect((await gone).message).toBe("left");
    const trying = leases.tryAcquire("x");
    bid.open();
    await turns();
    release.open();
    await giving;
    const handle = await trying;
    expect(handle?.value.held).toBe(true);
    await leases.close();
  });
});

describe("LeaseTimeoutError", () => {
  const messageOf = async (asked: Promise<object>): Promise<string> => {
    const error: LeaseTimeoutError = await asked.then(String, (error) => error);
    return error.message.replace(/\d+ ms/g, "n ms");
  };

  it("says that no server has answered yet", async () => {
    const leases = new Leases({ nodes: [silent], ttl: 10_000 });
    const waiting = leases.acquire("x", { wait: 30 });
    expect(await messageOf(waiting)).toBe('Cannot acquire lease "x": waited n ms and no server has answered yet');
  });

  it("says that this process has it, or is giving it back", async () => {
    const server = new MemoryServer();
    const { opened, open } = gate();
    const leases = new Leases({ nodes: [server.send], ttl: 10_000 });
    const holder = await leases.acquire("x");
    expect(await messageOf(leases.acquire("x", { wait: 0 }))).toBe(
      'Cannot acquire lease "x": waited n ms and it is held by this process, for n ms more unless it is renewed',
    );
    server.reply = () => opened;
    const given = holder.decrRef();
    const error: LeaseTimeoutError = await leases.acquire("x", { wait: 20 }).catch((error) => error);
    expect(error.message).toMatch(/^Cannot acquire lease "x": waited \d+ ms and this process is giving it back$/);
    expect(error.remaining).toBeUndefined();
    open();
    await given;
    await leases.close();
  });

  it("says that a key never expires", async () => {
    for (const fence of [true, false]) {
      const foreign: SendCommand = async ([command, , keys]) => {
        if (command === "SET") return null;
        return keys === "2" ? [0, -1] : -1;
      };
      const leases = new Leases({ nodes: [foreign], ttl: 10_000, fence });
      const error = await leases.acquire("x", { wait: 0 }).catch((error) => error);
      expect(error.message).toMatch(/waited \d+ ms and it is held, by a key that never expires$/);
      expect(error.remaining).toBe(Infinity);
      await leases.close();
    }
  });
});
