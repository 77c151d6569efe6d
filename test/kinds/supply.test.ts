import type { Socket } from "node:net";
import { describe, expect, it, vi } from "vitest";
import { AcquireRefusedError, AcquireTimeoutError } from "../../src/errors";
import { checkouts } from "../../src/kinds/checkouts";
import { dial, onceLost, startSockets } from "../support/sockets";
import { TinyPool } from "../support/tiny-pool";
import { deferred, turn, until } from "../support/until";

interface Connection {
  readonly nr: number;
}

/** A pool that gives out what it was given back, and else a new connection. */
function numbered() {
  const idle: Connection[] = [];
  const log: string[] = [];
  let nr = 0;
  return {
    idle,
    log,
    acquire: (): Connection => idle.shift() ?? { nr: ++nr },
    release: (connection: Connection) => {
      log.push(`release ${connection.nr}`);
      idle.push(connection);
    },
    destroy: ({ nr }: Connection) => {
      log.push(`destroy ${nr}`);
    },
  };
}

describe("checkouts({ validate })", () => {
  it("tries the next connection when one that died while it was idle is refused, and destroys it", async () => {
    await using server = await startSockets();
    const base = new TinyPool<Socket>(
      () => dial(server.port),
      (socket) => socket.destroy(),
    );
    const pool = checkouts<Socket>({
      acquire: () => base.acquire(),
      release: (socket) => {
        base.release(socket);
        // Idle ones are the pool's: without this an error of theirs is unhandled, as pools without it find out.
        socket.on("error", () => {});
      },
      destroy: (socket) => base.destroy(socket),
      lost: onceLost,
      validate: (socket) => !socket.destroyed,
    });
    const all = await Promise.all([pool.acquire(), pool.acquire(), pool.acquire()]);
    const dead = all.map(({ value }) => value);
    for (const handle of all) await handle.decrRef();
    await until(() => server.open === 3);
    server.cut();
    await until(() => dead.every((socket) => socket.destroyed));
    await using handle = await pool.acquire();
    expect([dead.includes(handle.value), handle.value.destroyed]).toEqual([false, false]);
    expect([server.accepted, base.size, pool.size]).toEqual([4, 1, 1]);
  });

  it("takes a failing check for a broken connection, and fails after as many in a row as attempts", async () => {
    const driver = numbered();
    let checks = 0;
    const pool = checkouts<Connection>({
      ...driver,
      validate: async ({ nr }) => {
        checks++;
        await turn();
        if (nr === 3) throw new Error("no answer");
        return false;
      },
      attempts: 3,
    });
    const error = await pool.acquire().catch((error: unknown) => error);
    expect(error).toBeInstanceOf(AcquireRefusedError);
    expect(error).toMatchObject({ code: "ERR_ACQUIRE_REFUSED", kind: "connection", cause: { message: "no answer" } });
    expect((error as Error).message).toBe(
      "Cannot acquire connection: 3 in a row were of no use, and have been destroyed",
    );
    expect([checks, driver.log]).toEqual([3, ["destroy 1", "destroy 2", "destroy 3"]]);
    expect([pool.size, pool.waiting]).toEqual([0, 0]);
  });

  it("fails after ten in a row unless told otherwise", async () => {
    const driver = numbered();
    const pool = checkouts<Connection>({ ...driver, validate: () => false });
    await expect(pool.acquire()).rejects.toThrow("10 in a row were of no use");
    expect(driver.log.length).toBe(10);
  });

  it("destroys what its caller gave up on during the check, also one that never ends, and asks the pool for no other", async () => {
    const driver = numbered();
    const gate = deferred<boolean>();
    const pool = checkouts<Connection>({ ...driver, validate: () => gate.promise });
    await expect(pool.acquire({ timeout: 1 })).rejects.toThrow(AcquireTimeoutError);
    await pool.close();
    expect([driver.log, pool.size]).toEqual([["destroy 1"], 0]);
    gate.reject(new Error("destroyed"));
    await turn();
    expect(driver.log).toEqual(["destroy 1"]);
  });

  it("moves on from a connection that is lost during a check that never ends", async () => {
    const driver = numbered();
    const losers = new Map<number, (error: Error) => void>();
    const pool = checkouts<Connection>({
      ...driver,
      lost: ({ nr }, lost) => losers.set(nr, lost),
      validate: ({ nr }) => nr > 1 || new Promise<boolean>(() => {}),
    });
    const asked = pool.acquire();
    await turn();
    losers.get(1)?.(new Error("reset"));
    await using handle = await asked;
    expect([handle.value.nr, handle.signal.aborted, driver.log]).toEqual([2, false, ["destroy 1"]]);
  });

  it("refuses a connection that is lost during the check", async () => {
    const driver = numbered();
    const losers = new Map<number, (error: Error) => void>();
    const pool = checkouts<Connection>({
      ...driver,
      lost: ({ nr }, lost) => losers.set(nr, lost),
      validate: ({ nr }) => {
        if (nr === 1) losers.get(1)?.(new Error("reset"));
        return true;
      },
    });
    await using handle = await pool.acquire();
    expect([handle.value.nr, handle.signal.aborted, driver.log]).toEqual([2, false, ["destroy 1"]]);
  });

  it("goes on past a broken connection that cannot be destroyed, and tells of it", async () => {
    const driver = numbered();
    const heard: unknown[] = [];
    const pool = checkouts<Connection>({
      ...driver,
      destroy: () => Promise.reject(new Error("stuck")),
      validate: ({ nr }) => nr > 1,
      onError: (error) => heard.push(error),
    });
    await using handle = await pool.acquire();
    expect([handle.value.nr, heard]).toMatchObject([2, [{ message: "stuck" }]]);
  });
});

describe("checkouts({ maxAge })", () => {
  it("destroys a connection that got too old while it was checked out, and one that got so while it was idle", async () => {
    vi.useFakeTimers();
    try {
      const driver = numbered();
      const pool = checkouts<Connection>({ ...driver, maxAge: 100 });
      const young = await pool.acquire();
      vi.advanceTimersByTime(60);
      await young.decrRef();
      const older = await pool.acquire();
      expect(older.value.nr).toBe(1);
      vi.advanceTimersByTime(60);
      await older.decrRef();
      const next = await pool.acquire();
      expect(next.value.nr).toBe(2);
      await next.decrRef();
      vi.advanceTimersByTime(200);
      const third = await pool.acquire();
      expect([third.value.nr, vi.getTimerCount()]).toEqual([3, 0]);
      expect(driver.log).toEqual(["release 1", "destroy 1", "release 2", "destroy 2"]);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("checkouts({ maxAge }), of connections that are functions", () => {
  it("destroys them as well", async () => {
    vi.useFakeTimers();
    try {
      const log: string[] = [];
      const pool = checkouts<() => number>({
        acquire: () => () => 1,
        release: () => log.push("release"),
        destroy: () => log.push("destroy"),
        maxAge: 100,
      });
      const old = await pool.acquire();
      vi.advanceTimersByTime(101);
      await old.decrRef();
      expect(log).toEqual(["destroy"]);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("checkouts(), its driver", () => {
  it("is refused with members of the wrong type or out of range", () => {
    const driver = numbered();
    const wrong = { lost: 1, validate: {}, label: "a", onError: null } as const;
    for (const [name, given] of Object.entries(wrong)) {
      expect(() => checkouts({ ...driver, [name]: given })).toThrow(`expected ${name} to be a function`);
    }
    for (const range of [{ attempts: 0 }, { maxAge: -1 }, { timeout: Number.NaN }, { timeout: "1" as never }]) {
      expect(() => checkouts({ ...driver, ...range })).toThrow(RangeError);
    }
  });

  it("is told of the end: what is given back during a close is destroyed", async () => {
    const driver = numbered();
    const pool = checkouts<Connection>(driver);
    const handle = await pool.acquire();
    const closing = pool.close();
    await handle.decrRef();
    await closing;
    expect(driver.log).toEqual(["destroy 1"]);
  });
});
