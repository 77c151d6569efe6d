import type { Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { MapClosedError, RefCountError, RevokedError, UseAfterFreeError } from "../../src/errors";
import type { Checkout } from "../../src/kinds/checkout";
import { checkouts } from "../../src/kinds/checkouts";
import type { PoolDriver } from "../../src/kinds/pool-driver";
import { dial, onceLost, type SocketServer, startSockets } from "../support/sockets";
import { TinyPool } from "../support/tiny-pool";
import { deferred, until } from "../support/until";

/** Checkouts in front of a pool of real sockets. */
function sockets(server: SocketServer, more: Partial<PoolDriver<Socket>> = {}) {
  const base = new TinyPool<Socket>(
    () => dial(server.port),
    (socket) => socket.destroy(),
  );
  const log: string[] = [];
  // As pools do it: they listen to what is idle, and to nothing else.
  const whileIdle = (): void => {};
  const pool = checkouts<Socket>({
    acquire: async () => (await base.acquire()).off("error", whileIdle),
    release: (socket) => {
      log.push("release");
      base.release(socket.on("error", whileIdle));
    },
    destroy: (socket) => {
      log.push("destroy");
      base.destroy(socket);
    },
    lost: onceLost,
    label: () => "db",
    ...more,
  });
  return { base, pool, log };
}

function aborted(signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(signal.reason);
    else signal.addEventListener("abort", () => resolve(signal.reason));
  });
}

describe("Checkout.signal", () => {
  it("aborts when the connection is lost, and giving it back destroys it", async () => {
    await using server = await startSockets();
    const { base, pool, log } = sockets(server);
    const handle = await pool.acquire({ holder: "report" });
    expect(handle.signal.aborted).toBe(false);
    await until(() => server.open === 1);
    server.cut();
    expect(await aborted(handle.signal as AbortSignal)).toMatchObject({ code: "ECONNRESET" });
    expect([pool.size, base.size, log]).toEqual([1, 1, []]);
    await handle.decrRef();
    expect([pool.size, base.size, log]).toEqual([0, 0, ["destroy"]]);
    await using next = await pool.acquire();
    expect([next.value === undefined, next.signal.aborted, server.accepted]).toEqual([false, false, 2]);
  });

  it("says that it was lost where the event brings no error, once, with the first reason", async () => {
    await using server = await startSockets();
    const { pool } = sockets(server);
    const handle = await pool.acquire();
    handle.value.destroy();
    const reason = await aborted(handle.signal as AbortSignal);
    expect(String(reason)).toBe('Error: Cannot rely on connection "db": it was lost');
    await handle.decrRef();
    expect(handle.signal.reason).toBe(reason);
  });

  it("is heard by a body in use(), by dups and by whoever the account was moved to", async () => {
    await using server = await startSockets();
    const { pool, log } = sockets(server);
    const using = pool.use(async (_, { signal }) => {
      await until(() => server.open === 1);
      server.cut();
      throw await aborted(signal as AbortSignal);
    });
    await expect(using).rejects.toMatchObject({ code: "ECONNRESET" });
    const handle = await pool.acquire();
    const second = handle.dup("second");
    const moved: Checkout<Socket> = handle.move();
    await until(() => server.open === 1);
    server.cut();
    await aborted(second.signal as AbortSignal);
    expect([moved.signal.aborted, moved.signal === second.signal, second.refCount]).toEqual([true, true, 2]);
    await moved.decrRef();
    await second.decrRef();
    expect(log).toEqual(["destroy", "destroy"]);
  });

  it("is not aborted by giving back, and nothing listens to the connection any more after that", async () => {
    await using server = await startSockets();
    const { base, pool, log } = sockets(server);
    const handle = await pool.acquire();
    const socket = handle.value;
    const before = socket.listenerCount("close");
    await handle.decrRef();
    expect([handle.signal.aborted, socket.listenerCount("close"), log]).toEqual([false, before - 1, ["release"]]);
    base.end();
  });

  it("listens until the connection is destroyed, so that no event on the way is unhandled", async () => {
    await using server = await startSockets();
    const gate = deferred();
    let counted = 0;
    const { pool } = sockets(server, {
      destroy: async (socket) => {
        await gate.promise;
        socket.destroy(new Error("destroyed"));
        await new Promise((resolve) => socket.once("close", resolve));
        counted = socket.listenerCount("error");
      },
    });
    const handle = await pool.acquire();
    const socket = handle.value;
    pool.discard(handle);
    const closing = handle.decrRef();
    gate.resolve();
    await closing;
    expect([counted, socket.listenerCount("error")]).toEqual([1, 0]);
  });

  it("aborts when a forced close takes the connection away", async () => {
    await using server = await startSockets();
    const { pool, log } = sockets(server);
    const handle = await pool.acquire();
    await pool.close({ force: true });
    expect(handle.signal.reason).toBeInstanceOf(MapClosedError);
    expect(handle.signal.reason.message).toBe('Cannot keep connection "db": the checkouts were closed by force');
    expect(log).toEqual(["destroy"]);
  });

  it("is there without a `lost`, and then hears of nothing", async () => {
    const pool = checkouts({ acquire: () => 1, release: () => {}, destroy: () => {} });
    await using handle = await pool.acquire();
    expect(handle.signal.aborted).toBe(false);
  });

  it("fails the acquire when `lost` throws, with its error as the cause", async () => {
    const log: unknown[] = [];
    const pool = checkouts<{ nr: number }>({
      acquire: () => ({ nr: log.length }),
      release: () => {},
      destroy: ({ nr }) => log.push(nr),
      lost: () => {
        throw new TypeError("no emitter");
      },
      attempts: 2,
    });
    await expect(pool.acquire()).rejects.toMatchObject({
      code: "ERR_ACQUIRE_REFUSED",
      cause: { message: "no emitter" },
    });
    expect([log, pool.size, pool.waiting]).toEqual([[0, 1], 0, 0]);
  });
});

describe("Checkouts.holders()", () => {
  const make = () => checkouts({ acquire: () => ({}), release: () => {}, destroy: () => {}, label: () => "c1" });
  const names = (pool: ReturnType<typeof make>) => pool.holders().map(({ label, holder }) => [label, holder]);

  it("names who still holds a connection, not who asked for it and has given it back", async () => {
    const pool = make();
    const handle = await pool.acquire({ holder: "report" });
    const cache = handle.dup("cache");
    expect(names(pool)).toEqual([
      ["c1", "report"],
      ["c1", "cache"],
    ]);
    await handle.decrRef();
    expect(names(pool)).toEqual([["c1", "cache"]]);
    const late = await pool.close({ timeout: 1 }).catch((error: unknown) => error);
    expect(String(late)).toMatch(
      /connection: 1 not given back after 1 ms:\n {2}connection "c1": 1 reference, cache for \d+ ms$/,
    );
    expect(late).toMatchObject({ keys: ["c1"], refCount: 1 });
    await cache.decrRef();
    expect(names(pool)).toEqual([]);
  });

  it("follows an account that moves, and those that a borrow and a weak handle gave", async () => {
    const pool = make();
    const handle = await pool.acquire({ holder: "report" });
    const moved = handle.move();
    expect(names(pool)).toEqual([["c1", "report"]]);
    const kept = await moved.borrow((_, loan) => loan.dup("kept"));
    const weak = moved.weak();
    const upgraded = weak.upgrade();
    await moved.decrRef();
    expect(names(pool)).toEqual([
      ["c1", "kept"],
      ["c1", undefined],
    ]);
    await kept.decrRef();
    expect([names(pool), weak.alive]).toEqual([[["c1", undefined]], true]);
    await upgraded?.decrRef();
    expect([weak.alive, weak.upgrade()]).toEqual([false, undefined]);
    expect(pool.size).toBe(0);
  });
});

describe("Checkout", () => {
  it("sends nothing on the wire through a handle that was given back while somebody else has the connection", async () => {
    await using server = await startSockets();
    const { pool } = sockets(server);
    const stale = await pool.acquire();
    const socket = stale.value;
    await stale.decrRef();
    await using handle = await pool.acquire();
    expect(handle.value).toBe(socket);
    expect(() => stale.value.write("mine")).toThrow(UseAfterFreeError);
    await expect(stale.borrow((connection) => connection.write("mine"))).rejects.toThrow(UseAfterFreeError);
    const answer = new Promise((resolve) => socket.once("data", (data) => resolve(String(data))));
    socket.write("theirs");
    expect([await answer, socket.bytesWritten]).toEqual(["theirs", 6]);
  });

  it("is closed after the third of three drops, and a fourth is the assertion", async () => {
    const log: string[] = [];
    const pool = checkouts({
      acquire: () => 1,
      release: () => log.push("release"),
      destroy: () => log.push("destroy"),
    });
    const handle = (await pool.acquire()).incrRef().incrRef();
    const drops = [await handle.decrRef(), await handle.decrRef(), await handle.decrRef()];
    expect([drops, log]).toEqual([[false, false, true], ["release"]]);
    expect(() => handle.decrRef()).toThrow(RefCountError);
  });

  it("lets what is under way in a forced close end, which its signal tells to, and closes once, after that", async () => {
    await using server = await startSockets();
    const { pool, log } = sockets(server);
    const ended: string[] = [];
    const uses = [1, 2].map((nr) =>
      pool.use(async (_, { signal }) => {
        await aborted(signal as AbortSignal);
        ended.push(`use ${nr}, ${log.length} closed`);
      }),
    );
    await until(() => pool.size === 2);
    const shared = await pool.acquire();
    const operation = shared.borrow(async (_, { signal }) => {
      await aborted(signal as AbortSignal);
      ended.push("borrow");
    });
    const closing = pool.close({ force: true });
    expect(() => shared.value).toThrow(RevokedError);
    await expect(shared.borrow(() => 1)).rejects.toThrow(RevokedError);
    await Promise.all([closing, operation, ...uses]);
    expect(ended.sort()).toEqual(["borrow", "use 1, 0 closed", "use 2, 0 closed"]);
    expect([log, pool.size]).toEqual([["destroy", "destroy", "destroy"], 0]);
  });

  it("comes back although its caller gives up while it is reset for the next one", async () => {
    const gate = deferred();
    const log: string[] = [];
    const pool = checkouts({
      acquire: () => 1,
      release: () => gate.promise.then(() => void log.push("release")),
      destroy: () => void log.push("destroy"),
    });
    const stop = new AbortController();
    const handle = await pool.acquire({ signal: stop.signal as never });
    const giving = handle.decrRef();
    stop.abort(new Error("cancelled"));
    gate.resolve();
    expect([await giving, log, pool.size, handle.signal.aborted]).toEqual([true, ["release"], 0, false]);
    await pool.close();
  });

  it("takes no place in the queue once its caller has given up: the next who waits is served", async () => {
    await using server = await startSockets();
    const { pool, base } = sockets(server);
    const held = await Promise.all([pool.acquire(), pool.acquire(), pool.acquire()]);
    const stop = new AbortController();
    const first = pool.acquire({ signal: stop.signal as never });
    const second = pool.acquire();
    expect(pool.waiting).toBe(2);
    stop.abort(new Error("no"));
    await expect(first).rejects.toThrow("no");
    expect(pool.waiting).toBe(1);
    await held[0]?.decrRef();
    await using handle = await second;
    expect([handle.alive, pool.waiting, pool.size]).toEqual([true, 0, 3]);
    await Promise.all([held[1]?.decrRef(), held[2]?.decrRef()]);
    await until(() => base.size >= 1);
  });

  it("fails with the pool for each attempt while the server is down, and loses no place by it", async () => {
    await using server = await startSockets();
    let down = 3;
    const base = new TinyPool<Socket>(
      () => (down-- > 0 ? Promise.reject(new Error("ECONNREFUSED")) : dial(server.port)),
      (socket) => socket.destroy(),
    );
    const { pool } = sockets(server, {
      acquire: () => base.acquire(),
      release: (socket) => base.release(socket),
      destroy: (socket) => base.destroy(socket),
    });
    for (let i = 0; i < 3; i++) await expect(pool.acquire()).rejects.toThrow("ECONNREFUSED");
    const all = await Promise.all([pool.acquire(), pool.acquire(), pool.acquire()]);
    expect([pool.size, base.size]).toEqual([3, 3]);
    await Promise.all(all.map((handle) => handle.decrRef()));
    base.end();
  });

  it("marks the connection as broken from every account on it", async () => {
    const log: string[] = [];
    let nr = 0;
    const pool = checkouts<number>({
      acquire: () => ++nr,
      release: (n) => log.push(`release ${n}`),
      destroy: (n) => log.push(`destroy ${n}`),
    });
    const fail = () => Promise.reject(new Error("broken pipe"));
    const ways: ((handle: Checkout<number>) => Checkout<number> | undefined | Promise<Checkout<number>>)[] = [
      (handle) => handle.dup(),
      (handle) => handle.move(),
      (handle) => handle.weak().upgrade(),
      (handle) => handle.borrow((_, loan) => loan.dup()),
      async (handle) => {
        await using lent = await handle.borrow((_, loan) => loan.dup());
        return lent.borrow((_, loan) => loan.dup());
      },
    ];
    for (const share of ways) {
      const handle = await pool.acquire();
      const other = (await share(handle)) as Checkout<number>;
      expect(other.signal).toBe(handle.signal);
      await other.borrow(fail).catch(() => {});
      await other.decrRef();
      await handle[Symbol.asyncDispose]().catch(() => {});
    }
    const handle = await pool.acquire();
    const second = handle.dup();
    pool.discard(second);
    await second.decrRef();
    expect(() => pool.discard(second)).toThrow(TypeError);
    await handle.decrRef();
    expect(log).toEqual([1, 2, 3, 4, 5, 6].map((n) => `destroy ${n}`));
    expect(() => handle.dup()).toThrow(UseAfterFreeError);
  });

  it("lends a loan that cannot be given back, and whose dup keeps the connection", async () => {
    const log: string[] = [];
    const pool = checkouts({
      acquire: () => 1,
      release: () => log.push("release"),
      destroy: () => log.push("destroy"),
    });
    const kept = await pool.use((_, loan) => loan.dup("keeper"));
    expect([log, kept.value, pool.size]).toEqual([[], 1, 1]);
    pool.discard(kept);
    await kept.decrRef();
    expect(log).toEqual(["destroy"]);
  });
});
