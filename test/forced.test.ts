import { describe, expect, it } from "vitest";
import type { AsyncHandle } from "../src/async-handle";
import type * as autoMemories from "../src/auto-memory";
import type * as maps from "../src/handle-map";
import type * as pools from "../src/kinds/checkouts";
import type * as connections from "../src/kinds/connection-map";
import type { Endpoint } from "../src/kinds/endpoint";
import type * as logs from "../src/kinds/entry-log";
import type * as keyspaces from "../src/kinds/keyspace";
import type * as entries from "../src/kinds/log-entry";
import type { HandleMapOptions } from "../src/map-options";
import { expectNoWayOutToLeak, missed, type Value, World } from "./support/faults";
import { inject } from "./support/inject";
import { turn, turns } from "./support/until";

// Everything the library calls that users wrote, and everything it waits for, fails in every way, one at a time.

/** What users of a keyed map write. `Kind` declares the free function that it was given. */
const OF_MAPS = ["HandleMapOptions", "StopListening", "Kind"];
const MAP_FILES = ["map-entrance", "map-life", "map-refusals"].map((name) => `src/${name}.ts`);

/** A map whose users' functions all do something, and one of whose frees fails by itself. */
function options(world: World): Omit<HandleMapOptions<string, Value>, "canonical"> {
  return {
    label: (key) => `the ${key}`,
    open: async (key, { acquire }) => {
      await turn();
      if (!key.includes("a")) return world.open(key);
      const needed = await acquire(key.replace("a", "b"));
      await needed.decrRef().catch(() => {});
      return world.open(key);
    },
    free: async (value) => {
      world.free(value);
      await turn();
      if (value.nr === 2) throw new Error("the free failed");
    },
    validate: async () => {
      await turn();
      return true;
    },
    lost: (value) => {
      world.live.add(`listens to ${value.nr}`);
      return () => world.free(`listens to ${value.nr}`);
    },
    onError: () => {},
  };
}

/** What a caller does with a map: joins, shares, gives up, invalidates, peeks. Whatever fails, it pays for what it got. */
async function use<K>(map: maps.HandleMap<K, Value>, signal: AbortSignal, a: K, b: K): Promise<void> {
  const got: AsyncHandle<Value>[] = [];
  const get = async (asked: Promise<AsyncHandle<Value>>): Promise<void> => {
    const handle = await asked.catch(() => undefined);
    if (handle !== undefined) got.push(handle);
  };
  try {
    await Promise.all([get(map.acquire(a, { signal: signal as never })), get(map.acquire(a)), get(map.acquire(b))]);
    map.invalidate(b);
    const peeked = map.peek(a);
    if (peeked !== undefined) got.push(peeked);
    await Promise.all([get(map.acquire(b)), get(map.acquire(b, { signal: signal as never })), get(map.acquire(a))]);
  } finally {
    for (const handle of got) await handle[Symbol.asyncDispose]().catch(() => {});
  }
}

/** Undoes what an open did that failed in the end, and a hook that had begun to listen. */
function undo({ world }: { world: World }, result: unknown): void {
  world.free(result);
  if (typeof result === "function") result();
}

interface Mapped {
  readonly world: World;
  readonly map: Pick<maps.HandleMap<unknown, unknown>, "size" | "close"> & {
    readonly stats: { readonly leaving: number };
  };
}

const mapped = {
  count: ({ world, map }: Mapped) => world.live.size + map.size + map.stats.leaving,
  settle: async ({ map }: Mapped) => {
    await turns();
    await map.close().catch(() => {});
    await turns();
  },
  undo,
};

describe("no way out leaks, whatever users' functions and awaited promises do", () => {
  for (const idle of [0, Infinity]) {
    it(`of HandleMap (idle ${idle}): acquire, peek, invalidate and close`, async () => {
      const targets = MAP_FILES.map((file) => ({ file, at: OF_MAPS }));
      const injected = await inject<typeof maps>(["src/handle-map.ts"], targets);
      const all = await expectNoWayOutToLeak(injected, {
        ...mapped,
        setup: ({ HandleMap }) => {
          const world = new World();
          const canonical = (key: string): string => key.toLowerCase();
          return { world, map: new HandleMap<string, Value>({ ...options(world), idle, canonical }) };
        },
        run: ({ map }, signal) => use(map, signal, "A", "B"),
      });
      expect(injected.points.map(({ kind, text }) => `${kind} ${text.replace(/^[^,]*, /, "")}`)).toEqual([
        "call canonical(key)",
        "await await new Promise<boolean>((resolve, reject) => { let dead = ignore...",
        "await await this.#life.options.validate?.(value, entry.key)",
        "call this.#life.options.validate?.(value, entry.key)",
        "call this.options.open(key, context)",
        "call lost?.(value, (error) => { if (heard) this.#lost(entry); else dead ...",
        "call release(value)",
        "call onError?.(error, entry.key)",
        "call stopListening?.()",
        "call name(key)",
      ]);
      expect([all.ways.length > 60, missed(all)]).toEqual([true, []]);
    }, 60_000);
  }

  it("of ConnectionMap: its open, and the endpoint it is given", async () => {
    const file = "src/kinds/connection-map.ts";
    const targets = [...MAP_FILES, file].map((file) => ({ file, at: [...OF_MAPS, "ConnectionMapOptions"] }));
    const injected = await inject<typeof connections>([file], targets);
    const all = await expectNoWayOutToLeak(injected, {
      ...mapped,
      setup: ({ ConnectionMap }) => {
        const world = new World();
        const map = new ConnectionMap<Value>({
          ...(options(world) as object),
          open: async (key, { endpoint }) => {
            await turn();
            if (endpoint.password !== "secret") throw new Error("wrong password");
            return world.open(key);
          },
        });
        return { world, map };
      },
      run: ({ map }, signal) => {
        const [a, b] = [{ host: "127.1", port: 1, password: "secret" }, "redis://:secret@LOCALHOST.:2"] as const;
        return use<Endpoint>(map, signal, a, b);
      },
    });
    expect(injected.points.filter(({ text }) => text.startsWith(file)).length).toBe(1);
    expect([all.ways.length > 60, missed(all)]).toEqual([true, []]);
  }, 60_000);

  it("of checkouts(): acquire, use, discard and close", async () => {
    const files = ["checkouts", "checkout", "supply"].map((name) => `src/kinds/${name}.ts`);
    const injected = await inject<typeof pools>(
      ["src/kinds/checkouts.ts"],
      files.map((file) => ({ file, at: ["PoolDriver", "StopListening"] })),
    );
    const all = await expectNoWayOutToLeak(injected, {
      setup: ({ checkouts }) => {
        const world = new World();
        const pool = checkouts<Value>({
          acquire: async () => {
            await turn();
            return world.open("a");
          },
          release: async (connection) => {
            world.free(connection);
            await turn();
          },
          destroy: async (connection) => {
            world.free(connection);
            await turn();
            if (connection.nr === 1) throw new Error("the destroy failed");
          },
          label: ({ nr }) => `connection ${nr}`,
          lost: (connection) => {
            world.live.add(`listens to ${connection.nr}`);
            return () => world.free(`listens to ${connection.nr}`);
          },
          validate: async ({ nr }) => {
            await turn();
            return nr > 1;
          },
          onError: () => {},
        });
        return { world, pool };
      },
      run: async ({ pool }, signal) => {
        const asked = await Promise.allSettled([pool.acquire({ signal: signal as never }), pool.acquire()]);
        const handles = asked.map((one) => (one.status === "fulfilled" ? one.value : undefined));
        try {
          const [first, second] = handles;
          if (second !== undefined) handles.push(second.dup(), second.move());
          if (first !== undefined) pool.discard(first);
          await pool.use((_, { label }) => label, { signal: signal as never }).catch(() => {});
          await pool.use(() => Promise.reject(new Error("broken pipe"))).catch(() => {});
        } finally {
          for (const handle of handles) {
            if (handle?.alive) await handle[Symbol.asyncDispose]().catch(() => {});
          }
        }
      },
      count: ({ world, pool }) => world.live.size + pool.size + pool.waiting,
      settle: async ({ pool }) => {
        await turns();
        await pool.close().catch(() => {});
        await turns();
      },
      undo,
    });
    expect([injected.points.length, all.ways.length > 60, missed(all)]).toEqual([17, true, []]);
  }, 60_000);

  it("of EntryLog: append, get, truncate, reset and dispose", async () => {
    const file = "src/kinds/entry-log.ts";
    for (const keepApplied of [true, false]) {
      const injected = await inject<typeof logs & typeof entries>(
        [file, "src/kinds/log-entry.ts"],
        [{ file, at: ["EntryStorage"] }],
      );
      const all = await expectNoWayOutToLeak(injected, {
        setup: ({ EntryLog, logEntry }) => {
          const storage = { append: () => turn(), truncate: () => turn() };
          return { logEntry, start: logEntry.stats.live, log: new EntryLog({ storage, keepApplied }) };
        },
        run: async ({ log, logEntry }) => {
          const entries = (from: number, to: number, term: number) =>
            Array.from({ length: to - from + 1 }, (_, i) => logEntry({ index: from + i, term }));
          const steps = [
            () => log.append(entries(1, 4, 1)),
            () => log.append(entries(9, 9, 1)),
            () => {
              log.appliedIndex = 1;
            },
            () => log.append(entries(3, 4, 2)),
            () => log.get(2)?.decrRef(),
            () => log.truncatePrefix(2),
            () => log.truncateSuffix(3),
            () => log.reset(10),
            () => log.append(entries(10, 11, 3)),
          ];
          for (const step of steps) await Promise.resolve(step()).catch(() => {});
          await log[Symbol.asyncDispose]();
        },
        count: ({ start, logEntry }) => logEntry.stats.live - start,
        settle: ({ log }) => log[Symbol.asyncDispose]().catch(() => {}),
      });
      expect([injected.points.length, all.ways.length > 40, missed(all)]).toEqual([11, true, []]);
    }
  }, 60_000);

  it("of Keyspace: open, close, scan, its listeners and its iterators", async () => {
    const files = ["src/kinds/keyspace.ts", "src/kinds/key.ts"];
    const at = ["KeyStore", "TypeOf", "ModifiedListener", "KeyVisitor", "Iterator", "Iterable"];
    const injected = await inject<typeof keyspaces & typeof autoMemories>(
      [...files.slice(0, 1), "src/auto-memory.ts"],
      files.map((file) => ({ file, at })),
    );
    const all = await expectNoWayOutToLeak(injected, {
      setup: ({ Keyspace, AutoMemory }) => {
        const keys = new Keyspace<number[]>({ typeOf: () => "numbers" });
        keys.onModified((_, key) => key.value.get());
        return { keys, AutoMemory };
      },
      run: ({ keys, AutoMemory }) =>
        AutoMemory.run((memory) => {
          const a = memory.use(keys.open("a", { mode: "write" }));
          a.value.set([1, 2]);
          const b = memory.use(keys.open("b", { mode: "write" }));
          for (const _ of a.value.iterate()) if (a.value.type !== "numbers") return;
          a.value.iterate().next();
          keys.scan((key) => key.value.exists);
          keys.close(b);
          memory.use(keys.open("a"));
          a.value.delete();
        }),
      count: ({ keys }) => keys.stats.live + keys.refCount("a") + keys.refCount("b"),
    });
    expect([injected.points.length, all.ways.length > 40, missed(all)]).toEqual([13, true, []]);
  }, 60_000);
});
