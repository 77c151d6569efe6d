import genericPool from "generic-pool";
import { Redis } from "ioredis";
import Valkey from "iovalkey";
import mysql from "mysql2";
import PgPool from "pg-pool";
import { createClientPool } from "redis";
import { Pool as TarnPool } from "tarn";
import { describe, expect, it } from "vitest";
import { AcquireTimeoutError, MapClosedError, RefCountError, RevokedError, UseAfterFreeError } from "../../src/errors";
import { checkouts } from "../../src/kinds/checkouts";
import type { PoolDriver } from "../../src/kinds/pool-driver";
import { withBrokenRecords } from "../support/broken-records";
import { RawClient, startRedis } from "../support/redis";
import { startSockets } from "../support/sockets";
import { TinyPool } from "../support/tiny-pool";
import { deferred, turn, until } from "../support/until";

/** A pool with three connections at most, as its own users use it. */
interface Fixture {
  readonly driver: PoolDriver<never>;
  /** What tells one physical connection from another. */
  readonly identity: (connection: never) => unknown;
  readonly end: () => Promise<unknown>;
}

const adapters: Record<string, (port: number) => Fixture | Promise<Fixture>> = {
  "pg-pool": () => {
    class Client {
      _queryable = true;
      connect(done: (error?: Error) => void): void {
        setImmediate(done);
      }
      on(): this {
        return this;
      }
      once = this.on;
      removeListener = this.on;
      end(done?: () => void): void {
        done?.();
      }
    }
    type Connection = { release(broken?: boolean): void };
    const pool = new PgPool({ Client, max: 3 });
    return {
      driver: {
        acquire: () => pool.connect(),
        release: (client: Connection) => client.release(),
        destroy: (client: Connection) => client.release(true),
      } as unknown as PoolDriver<never>,
      identity: (client) => client,
      end: () => pool.end(),
    };
  },
  mysql2: async () => {
    const server = mysql.createServer(() => {});
    let id = 0;
    server.on("connection", (connection) => {
      const hello = {
        protocolVersion: 10,
        serverVersion: "8",
        connectionId: ++id,
        statusFlags: 2,
        characterSet: 8,
        capabilityFlags: 0xffffff,
        authCallback: (_: unknown, accept: (error: null) => void) => {
          accept(null);
          // The next packet begins a command.
          (connection as unknown as { _resetSequenceId(): void })._resetSequenceId();
        },
      };
      connection.serverHandshake(hello as never);
      connection.on("error", () => {});
    });
    server.listen(0);
    await new Promise((resolve) => setImmediate(resolve));
    const { port } = (server as unknown as { _server: { address(): { port: number } } })._server.address();
    const pool = mysql.createPool({ host: "127.0.0.1", port, connectionLimit: 3 }).promise();
    type Connection = mysql.PoolConnection & { readonly connection: unknown };
    return {
      driver: {
        acquire: () => pool.getConnection(),
        release: (connection: Connection) => connection.release(),
        destroy: (connection: Connection) => connection.destroy(),
      } as unknown as PoolDriver<never>,
      identity: (connection: Connection) => connection.connection,
      end: async () => {
        await pool.end();
        await new Promise((resolve) => server.close(resolve as never));
      },
    } as Fixture;
  },
  "generic-pool": (port) => {
    const factory = { create: () => RawClient.connect(port), destroy: (client: RawClient) => client.close() };
    const pool = genericPool.createPool(factory, { max: 3 });
    return {
      driver: {
        acquire: () => pool.acquire(),
        release: (client: RawClient) => pool.release(client),
        destroy: (client: RawClient) => pool.destroy(client),
      } as unknown as PoolDriver<never>,
      identity: (client) => client,
      end: async () => {
        await pool.drain();
        await pool.clear();
      },
    };
  },
  tarn: (port) => {
    const pool = new TarnPool<RawClient>({
      create: () => RawClient.connect(port),
      destroy: (client) => client.close(),
      validate: (client) => !client.closed,
      min: 0,
      max: 3,
    });
    return {
      driver: {
        acquire: ({ signal }: { signal: AbortSignal }) => {
          const pending = pool.acquire();
          signal.addEventListener("abort", () => pending.abort());
          return pending.promise;
        },
        release: (client: RawClient) => void pool.release(client),
        destroy: async (client: RawClient) => {
          await client.close();
          pool.release(client);
        },
      } as unknown as PoolDriver<never>,
      identity: (client) => client,
      end: () => pool.destroy(),
    };
  },
  "clients of ioredis": () => redisClients((port) => new Redis({ port, host: "127.0.0.1", lazyConnect: true })),
  "clients of iovalkey": () => redisClients((port) => new Valkey({ port, host: "127.0.0.1", lazyConnect: true })),
};

interface RedisClient {
  connect(): Promise<unknown>;
  disconnect(): void;
  ping(): Promise<string>;
}

/** Clients of a real server, in a pool of our own: these libraries bring none. */
async function redisClients(make: (port: number) => RedisClient): Promise<Fixture> {
  const server = await startRedis();
  const pool = new TinyPool<RedisClient>(
    async () => {
      const client = make(server.port);
      await client.connect();
      expect(await client.ping()).toBe("PONG");
      return client;
    },
    (client) => client.disconnect(),
  );
  return {
    driver: {
      acquire: () => pool.acquire(),
      release: (client: RedisClient) => pool.release(client),
      destroy: (client: RedisClient) => pool.destroy(client),
    } as unknown as PoolDriver<never>,
    identity: (client) => client,
    end: async () => {
      pool.end();
      await until(async () => (await server.clients()) === 0, "all clients to be gone");
      await server[Symbol.asyncDispose]();
    },
  };
}

describe.each(Object.keys(adapters))("checkouts() over %s", (name) => {
  async function withPool(body: (fixture: Fixture) => Promise<void>): Promise<void> {
    await using server = await startSockets();
    const fixture = await (adapters[name] as (port: number) => Fixture | Promise<Fixture>)(server.port);
    try {
      await body(fixture);
    } finally {
      await fixture.end();
    }
  }

  it("shows the bug without: a stale second release gives a third party the connection in use", () =>
    withPool(async ({ driver, identity }) => {
      const context = { signal: new AbortController().signal as never };
      const a = await driver.acquire(context);
      await driver.release(a);
      const b = await driver.acquire(context);
      expect(identity(b)).toBe(identity(a));
      await driver.release(a);
      const c = await driver.acquire(context);
      expect(identity(c)).toBe(identity(b));
      await driver.release(c);
    }));

  it("makes the stale release an assertion, and gives the third party another connection", () =>
    withPool(async ({ driver, identity }) => {
      const pool = checkouts(driver);
      const a = await pool.acquire();
      const stale = identity(a.value);
      await a.decrRef();
      const b = await pool.acquire();
      expect(identity(b.value)).toBe(stale);
      expect(a).not.toBe(b);
      expect(() => a.decrRef()).toThrow(RefCountError);
      expect(() => a.value).toThrow(UseAfterFreeError);
      await a[Symbol.asyncDispose]();
      const c = await pool.acquire();
      expect(identity(c.value)).not.toBe(identity(b.value));
      expect(pool.size).toBe(2);
      await Promise.all([b.decrRef(), c.decrRef()]);
      expect(pool.size).toBe(0);
    }));

  it("returns what worked and destroys what failed", () =>
    withPool(async ({ driver, identity }) => {
      const pool = checkouts(driver);
      const first = await pool.use((connection) => identity(connection));
      const failed = await pool
        .use(async (connection) => {
          expect(identity(connection)).toBe(first);
          await turn();
          throw new Error("broken pipe");
        })
        .catch((error: Error) => error.message);
      expect(failed).toBe("broken pipe");
      const second = await pool.acquire();
      expect(identity(second.value)).not.toBe(first);
      pool.discard(second);
      const gone = identity(second.value);
      await second.decrRef();
      await using third = await pool.acquire();
      expect(identity(third.value)).not.toBe(gone);
    }));

  it("names who holds what when the time is up, destroys what comes late, and loses no place", () =>
    withPool(async ({ driver }) => {
      const destroyed: unknown[] = [];
      const pool = checkouts<never>({
        ...driver,
        destroy: async (connection) => {
          await driver.destroy(connection);
          destroyed.push(connection);
        },
      });
      const held = [
        await pool.acquire({ holder: "report" }),
        await pool.acquire({ holder: "import" }),
        await pool.acquire(),
      ];
      const error = await pool.acquire({ timeout: 20 }).catch((error: unknown) => error);
      expect(error).toBeInstanceOf(AcquireTimeoutError);
      expect((error as Error).message).toMatch(
        /^Cannot acquire connection: none came within 20 ms; 3 checked out, report for \d+ ms, import for \d+ ms, a holder without a name for \d+ ms$/,
      );
      expect((error as AcquireTimeoutError).holders.map(({ holder }) => holder)).toEqual([
        "report",
        "import",
        undefined,
      ]);
      const stop = new AbortController();
      const aborted = pool.acquire({ signal: stop.signal as never });
      stop.abort("no");
      await expect(aborted).rejects.toBe("no");
      const waiting = pool.acquire();
      for (const handle of held) await handle.decrRef();
      await (await waiting).decrRef();
      if (name !== "tarn") await until(() => destroyed.length === 2, "the late ones to be destroyed");
      const all = await Promise.all([pool.acquire(), pool.acquire(), pool.acquire()]);
      for (const handle of all) await handle.decrRef();
      expect([pool.size, pool.waiting]).toEqual([0, 0]);
    }));
});

describe("checkouts() over the pool of node-redis", () => {
  it("lends a client as its execute() does, and takes it back once", async () => {
    await using server = await startRedis();
    const redis = createClientPool({ url: `redis://127.0.0.1:${server.port}` }, { minimum: 1, maximum: 2 });
    await redis.connect();
    type Client = Parameters<Parameters<typeof redis.execute>[0]>[0];
    const done = new Map<Client, () => void>();
    const pool = checkouts<Client>({
      acquire: () =>
        new Promise((resolve, reject) => {
          redis
            .execute(
              (client) =>
                new Promise<void>((end) => {
                  done.set(client, end);
                  resolve(client);
                }),
            )
            .catch(reject);
        }),
      release: (client) => done.get(client)?.(),
      destroy: (client) => {
        client.destroy();
        done.get(client)?.();
      },
    });
    const a = await pool.acquire();
    expect(await a.value.ping()).toBe("PONG");
    await a.decrRef();
    const b = await pool.acquire();
    const c = await pool.acquire();
    expect(() => a.decrRef()).toThrow(RefCountError);
    expect(b.value).not.toBe(c.value);
    await Promise.all([b.decrRef(), c.decrRef()]);
    await pool.close();
    await redis.close();
    await until(async () => (await server.clients()) === 0, "all clients to be gone");
  });
});

describe("checkouts()", () => {
  const simple = (log: string[] = []) => {
    let nr = 0;
    return {
      acquire: async () => ++nr,
      release: (n: number) => void log.push(`release ${n}`),
      destroy: (n: number) => void log.push(`destroy ${n}`),
    };
  };

  it("counts who shares a checkout, and returns it after the last", async () => {
    const log: string[] = [];
    const pool = checkouts(simple(log));
    const a = await pool.acquire();
    const b = a.dup("second");
    await a.decrRef();
    expect(log).toEqual([]);
    await b.decrRef();
    expect(log).toEqual(["release 1"]);
  });

  it("destroys what a borrow on the handle failed with, also when it fails synchronously", async () => {
    const log: string[] = [];
    const pool = checkouts(simple(log));
    const a = await pool.acquire();
    await a
      .borrow(() => {
        throw new Error("first write");
      })
      .catch(() => {});
    await a.decrRef();
    expect(log).toEqual(["destroy 1"]);
  });

  it("destroys a connection that arrives after its caller gave up, and tells the pool at once", async () => {
    const log: string[] = [];
    const gate = deferred();
    const signals: AbortSignal[] = [];
    const pool = checkouts({
      ...simple(log),
      acquire: async ({ signal }) => {
        signals.push(signal as AbortSignal);
        await gate.promise;
        return 1;
      },
    });
    await expect(pool.acquire({ timeout: 1 })).rejects.toThrow(AcquireTimeoutError);
    expect(signals[0]?.aborted).toBe(true);
    gate.resolve();
    await turn();
    expect([log, pool.size]).toEqual([["destroy 1"], 0]);
  });

  it("reports a late connection that cannot be destroyed", async () => {
    const heard: unknown[] = [];
    const pool = checkouts({
      ...simple(),
      acquire: () => new Promise<number>((resolve) => setTimeout(resolve, 5, 1)),
      destroy: () => Promise.reject(new Error("stuck")),
      onError: (error) => heard.push(error),
    });
    await expect(pool.acquire({ timeout: 1 })).rejects.toThrow(AcquireTimeoutError);
    await until(() => heard.length === 1);
  });

  it("reports a connection that a forced close cannot destroy", async () => {
    const heard: unknown[] = [];
    const stuck = new Error("stuck");
    const pool = checkouts({
      ...simple(),
      destroy: () => Promise.reject(stuck),
      onError: (error) => heard.push(error),
    });
    await pool.acquire();
    await pool.close({ force: true });
    await until(() => heard.length > 0);
    expect([heard, pool.size]).toEqual([[stuck], 0]);
  });

  it("acquires nothing with a signal that has aborted, or when the pool fails", async () => {
    let asked = 0;
    const pool = checkouts({
      ...simple(),
      acquire: () => {
        asked++;
        throw new Error("down");
      },
    });
    await expect(pool.acquire({ signal: AbortSignal.abort("no") as never })).rejects.toBe("no");
    expect(asked).toBe(0);
    await expect(pool.acquire()).rejects.toThrow("down");
    await expect(pool.acquire({ timeout: -1 })).rejects.toThrow(RangeError);
    expect([pool.size, pool.waiting]).toEqual([0, 0]);
  });

  it("is over when it is closed: waits, then names, then revokes", async () => {
    const log: string[] = [];
    const pool = checkouts(simple(log));
    const a = await pool.acquire({ holder: "report" });
    const closing = pool.close();
    expect(pool.close()).toBe(closing);
    await expect(pool.acquire()).rejects.toThrow("Cannot acquire connection: the checkouts are closed");
    const late = await pool.close({ timeout: 1 }).catch((error: unknown) => error);
    expect(late).toBeInstanceOf(MapClosedError);
    expect((late as Error).message).toMatch(
      /1 not given back after 1 ms:\n {2}connection: 1 reference, report for \d+ ms$/,
    );
    await closing.catch(() => {});
    await pool.close({ force: true });
    expect(() => a.value).toThrow(RevokedError);
    expect(log).toEqual(["destroy 1"]);
  });

  it("rejects those that wait when it is closed, at once", async () => {
    const gate = deferred<number>();
    const log: string[] = [];
    const pool = checkouts({ ...simple(log), acquire: () => gate.promise });
    const waiting = pool.acquire();
    const closing = pool.close();
    await expect(waiting).rejects.toThrow(MapClosedError);
    gate.resolve(7);
    await closing;
    expect(log).toEqual(["destroy 7"]);
  });

  it("discards only what it checked out, and says what else it was given", async () => {
    const pool = checkouts({ ...simple(), label: (nr) => `c${nr}` });
    const said = (given: unknown): string => {
      try {
        pool.discard(given as never);
        return "discarded";
      } catch (error) {
        return String(error);
      }
    };
    const a = await pool.acquire();
    await a.decrRef();
    const spent =
      'TypeError: Cannot discard connection "c1": its account was given back, revoked, or moved to another handle';
    expect(said(a)).toBe(spent);
    const b = await pool.acquire();
    const moved = b.move();
    expect([said(b), said(moved)]).toEqual([spent.replace("c1", "c2"), "discarded"]);
    await using other = await checkouts({ ...simple(), label: () => "other" }).acquire();
    expect(said(other)).toBe('TypeError: Cannot discard connection "other": it was not checked out here');
    expect(await pool.use((_, loan) => said(loan))).toBe(
      'TypeError: Cannot discard Loan<connection "c3">: a loan is no account; throw instead, and it is destroyed',
    );
    for (const given of [5, null, {}]) {
      expect(said(given)).toMatch(
        /^TypeError: Cannot discard a connection: expected a handle that was checked out here, received (number 5|null|object)$/,
      );
    }
    await moved.decrRef();
  });

  it("says by name what it cannot use", async () => {
    const pool = checkouts(simple());
    const wrong = async (given: unknown, options: unknown): Promise<void> => {
      const message = `received ${given === null ? "null" : typeof given}`;
      await expect(pool.acquire(options as never)).rejects.toThrow(message);
    };
    await wrong(null, null);
    await wrong(null, { signal: null });
    await wrong({}, { signal: {}, timeout: 5 });
    expect(() => pool.close(null as never)).toThrow(
      new TypeError("Cannot close the checkouts: expected an object of options, received null"),
    );
    expect(() => checkouts({ ...simple(), attempts: 1.5 })).toThrow("Expected attempts to be a whole number");
    await (await pool.acquire()).decrRef();
    await pool.close();
  });

  it("names holders by whatever they gave as a name, in the errors of others", async () => {
    let given = 0;
    const pool = checkouts({ ...simple(), acquire: () => (++given > 1 ? new Promise<number>(() => {}) : 1) });
    const handle = await pool.acquire({ holder: Symbol("writer") as never });
    const nameless = {
      toString() {
        throw new Error("nameless");
      },
    };
    const second = handle.dup(nameless as never);
    const third = await handle.borrow((_, loan) => loan.dup(Symbol("kept") as never));
    const named = /Symbol\(writer\) for \d+ ms, \(no name: nameless\) for \d+ ms, Symbol\(kept\) for \d+ ms/;
    await expect(pool.acquire({ timeout: 1 })).rejects.toThrow(named);
    await expect(pool.close({ timeout: 1 })).rejects.toThrow(named);
    for (const held of [handle, second, third]) await held.decrRef();
  });

  it("takes nothing out of the pool for an acquire whose holder's name closed it", async () => {
    const log: string[] = [];
    const pool = checkouts(simple(log));
    const holder = {
      toString() {
        void pool.close();
        return "holder";
      },
    };
    await expect(pool.acquire({ holder: holder as never })).rejects.toThrow(MapClosedError);
    await pool.close();
    expect([pool.size, log]).toEqual([0, []]);
  });

  it("rejects all the same when its error cannot be made", async () => {
    const failure = new Error("no sites");
    await withBrokenRecords(failure, async () => {
      let given = 0;
      const pool = checkouts({ ...simple(), acquire: () => (++given > 1 ? new Promise<number>(() => {}) : 1) });
      const handle = await pool.acquire();
      await expect(pool.acquire({ timeout: 1 })).rejects.toBe(failure);
      await expect(pool.close({ timeout: 1 })).rejects.toBe(failure);
      await handle.decrRef();
    });
  });

  it("waits for a pool that does not answer also by force, until the time runs out, and destroys what still comes", async () => {
    const gate = deferred<number>();
    const log: string[] = [];
    let heard: unknown;
    const pool = checkouts<number>({
      ...simple(log),
      acquire: ({ signal }) => {
        signal.addEventListener("abort", () => {
          heard = signal.reason;
        });
        return gate.promise;
      },
    });
    const asked = pool.acquire();
    const unanswered = /: 1 not given back after 1 ms:\n {2}1 acquire that the pool has not answered$/;
    const closing = pool.close({ timeout: 1 });
    await expect(asked).rejects.toThrow(MapClosedError);
    expect(heard).toBeInstanceOf(MapClosedError);
    await expect(closing).rejects.toThrow(unanswered);
    await expect(pool.close({ force: true, timeout: 1 })).rejects.toThrow(unanswered);
    gate.resolve(7);
    await pool.close({ force: true });
    expect(log).toEqual(["destroy 7"]);
  });

  it("says what is under way besides what is held", async () => {
    const gates = { release: deferred(), borrow: deferred() };
    let given = 0;
    const pool = checkouts<number>({
      acquire: () => (++given > 3 ? new Promise<number>(() => {}) : given),
      release: () => gates.release.promise,
      destroy: () => {},
      label: (nr) => `c${nr}`,
    });
    const said = async (): Promise<string> =>
      String(await pool.acquire({ timeout: 1 }).catch((error: unknown) => error));
    const a = await pool.acquire();
    const releasing = a.decrRef();
    const b = await pool.acquire();
    const borrowed = b.borrow(() => gates.borrow.promise);
    await b.decrRef();
    const c = await pool.acquire({ holder: "report" });
    const none = "Cannot acquire connection: none came within 1 ms; ";
    expect(await said()).toMatch(
      new RegExp(`${none}2 checked out, report for \\d+ ms, 1 whose last borrow goes on, 1 on the way back$`),
    );
    const late = await pool.close({ timeout: 1 }).catch((error: unknown) => error);
    expect((late as Error).message.replace(/for \d+/, "for 5")).toBe(
      `Cannot close the checkouts of kind connection: 4 not given back after 1 ms:
  connection "c2": its last borrow goes on
  connection "c3": 1 reference, report for 5 ms
  connection "c1": its release or its destroy goes on
  1 acquire that the pool has not answered`,
    );
    expect((late as MapClosedError).keys).toEqual(["c2", "c3", "c1"]);
    for (const gate of [gates.release, gates.borrow]) gate.resolve();
    await Promise.all([releasing, borrowed, c.decrRef()]);
  });

  it("says that none is checked out only when none is", async () => {
    const gate = deferred();
    let given = 0;
    const pool = checkouts<number>({
      acquire: () => (++given > 1 ? new Promise<number>(() => {}) : given),
      release: () => gate.promise,
      destroy: () => {},
    });
    const releasing = (await pool.acquire()).decrRef();
    await expect(pool.acquire({ timeout: 1 })).rejects.toThrow("none is checked out, 1 on the way back");
    gate.resolve();
    await releasing;
    await expect(pool.acquire({ timeout: 1 })).rejects.toThrow(/none is checked out$/);
  });

  it("is not closed before a connection that is on its way out is destroyed", async () => {
    const log: string[] = [];
    const gates = { destroy: deferred(), acquire: deferred<number>() };
    let given = 0;
    const pool = checkouts<number>({
      acquire: () => (++given > 1 ? gates.acquire.promise : given),
      release: () => {},
      destroy: (nr) => gates.destroy.promise.then(() => void log.push(`destroy ${nr}`)),
      validate: () => new Promise<boolean>(() => {}),
    });
    const asked = [pool.acquire(), pool.acquire()];
    await turn();
    const closing = pool.close().then(() => log.push("closed"));
    expect(await Promise.allSettled(asked)).toMatchObject([{ status: "rejected" }, { status: "rejected" }]);
    gates.destroy.resolve();
    await turn();
    expect(log).toEqual(["destroy 1"]);
    gates.acquire.resolve(2);
    await closing;
    expect(log).toEqual(["destroy 1", "destroy 2", "closed"]);
  });

  it("refuses a pool that cannot destroy", () => {
    expect(() => checkouts({ acquire: () => 1, release: () => {} } as never)).toThrow(
      "Cannot make checkouts: expected destroy to be a function, received undefined",
    );
  });

  it("agrees with CLIENT LIST after 1,000 random checkouts, aborts and kills, and with 0 after the end", async () => {
    await using server = await startRedis();
    await using admin = await closing(RawClient.connect(server.port));
    const ids = new Map<RawClient, number>();
    const base = genericPool.createPool<RawClient>(
      {
        create: async () => {
          const client = await RawClient.connect(server.port);
          ids.set(client, Number(await client.command("CLIENT", "ID")));
          return client;
        },
        destroy: (client) => client.close(),
        validate: async (client) => !client.closed,
      },
      { max: 8, testOnBorrow: true },
    );
    const pool = checkouts<RawClient>({
      acquire: () => base.acquire(),
      release: (client) => base.release(client),
      destroy: (client) => base.destroy(client),
    });
    let seed = 7;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    let left = 1_000;
    const walker = async (): Promise<void> => {
      while (left-- > 0) {
        const what = random(10);
        const stop = new AbortController();
        const asked = pool.use(
          async (client) => {
            if (what === 1) await admin.value.command("CLIENT", "KILL", "ID", ids.get(client) ?? 0);
            return client.command("PING");
          },
          { signal: stop.signal as never },
        );
        if (what === 0) stop.abort(new Error("gave up"));
        await asked.catch(() => {});
      }
    };
    await Promise.all(Array.from({ length: 20 }, walker));
    expect(pool.size).toBe(0);
    // Without the one that kills.
    await until(async () => (await server.clients()) - 1 === base.size, "the server and the pool to agree");
    expect(base.borrowed).toBe(0);
    await pool.close();
    await base.drain();
    await base.clear();
    await until(async () => (await server.clients()) === 1, "all clients to be gone");
  });
});

async function closing(opening: Promise<RawClient>): Promise<AsyncDisposable & { readonly value: RawClient }> {
  const value = await opening;
  return { value, [Symbol.asyncDispose]: () => value.close() };
}
