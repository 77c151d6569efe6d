import { describe, expect, it } from "vitest";
import { AsyncAutoMemory } from "../src/async-auto-memory";
import { AutoMemory } from "../src/auto-memory";
import { Handle } from "../src/handle";
import { HandleMap } from "../src/handle-map";
import { checkouts } from "../src/kinds/checkouts";
import { EntryLog } from "../src/kinds/entry-log";
import { Keyspace } from "../src/kinds/keyspace";
import { logEntry } from "../src/kinds/log-entry";
import { defineAsyncResource } from "../src/resource";
import { prepare, trial } from "./incidents/braft-early-return";
import { expectNoWayOutToLeak, type Fault, waysOut } from "./support/faults";
import { turn, until } from "./support/until";

/** Counts what a collaborator has open. */
class World {
  live = 0;
}

describe("expectNoWayOutToLeak()", () => {
  it("catches the early return that keeps its reference, and names it", async () => {
    const original = trial((entry, _, fault) => {
      entry.incrRef();
      if (fault?.point("read-only")) return 30;
      entry.decrRef();
      return 0;
    });
    await expect(expectNoWayOutToLeak(original)).rejects.toThrow(
      '2 of 3 ways out leak:\n  throw at "read-only": 1 counted before, 2 after\n  return at "read-only": 1 counted before, 2 after',
    );
    expect(await expectNoWayOutToLeak(trial(prepare))).toBe(5);
  });

  it("catches a reference given back twice on one way, and what leaks on all", async () => {
    const twice = {
      setup: () => {
        const handle = Handle.of("a", () => {});
        return handle.incrRef();
      },
      run: (handle: Handle<string>, { point }: Fault) => {
        handle.incrRef();
        try {
          point("work");
        } catch {
          handle.decrRef();
        }
        handle.decrRef();
      },
      count: (handle: Handle<string>) => handle.owed,
    };
    await expect(expectNoWayOutToLeak(twice)).rejects.toThrow('throw at "work": 2 counted before, 1 after');
    const always = { ...twice, run: (handle: Handle<string>) => void handle.incrRef() };
    await expect(expectNoWayOutToLeak(always)).rejects.toThrow("going to the end: 2 counted before, 3 after");
  });

  it("passes each point in each way, twice when it is passed twice", async () => {
    const ways = await waysOut({
      setup: () => 0,
      run: (_, { point }) => {
        for (const name of ["a", "b", "a"]) if (point(name)) return;
      },
      count: () => 0,
    });
    expect(ways.map(({ way, point }) => `${way} ${point}`)).toEqual([
      "to the end ",
      ...["throw", "abort", "return"].flatMap((way) => ["a", "b", "a"].map((point) => `${way} ${point}`)),
    ]);
  });
});

describe("no way out leaks", () => {
  it("of a body in AutoMemory", async () => {
    await expectNoWayOutToLeak({
      setup: () => new World(),
      count: ({ live }) => live,
      run: (world, { point }) =>
        AutoMemory.run((memory) => {
          for (const name of ["a", "b"]) {
            world.live++;
            const free = (): void => {
              world.live--;
              point(`free ${name}`);
            };
            const handle = memory.use(Handle.of(name, free));
            if (point(`opened ${name}`)) return;
            memory.hold(handle);
            point(`held ${name}`);
          }
        }),
    });
  });

  it("of a body in AsyncAutoMemory", async () => {
    await expectNoWayOutToLeak({
      setup: () => new World(),
      count: ({ live }) => live,
      run: (world, { point }) => {
        const Link = defineAsyncResource({
          kind: "link",
          open: async (name: string) => {
            point(`before ${name}`);
            await turn();
            world.live++;
            return name;
          },
          free: async (name) => {
            await turn();
            world.live--;
            point(`free ${name}`);
          },
        });
        return AsyncAutoMemory.run(async (memory) => {
          await memory.open(Link, "a");
          if (point("between")) return;
          await Promise.all([memory.open(Link, "b"), memory.open(Link, "c")]);
          point("after");
        });
      },
      // What was being opened when the context ended arrives later, and is freed then.
      settle: async () => {
        for (let i = 0; i < 4; i++) await turn();
      },
    });
  });

  for (const idle of [0, Infinity]) {
    it(`of HandleMap (idle ${idle}): its open, validate and free, and whoever acquires`, async () => {
      await expectNoWayOutToLeak({
        setup: () => Object.assign(new World(), { close: undefined as (() => Promise<unknown>) | undefined }),
        count: ({ live }) => live,
        run: async (world, { point, signal }) => {
          const map = new HandleMap<string, string>({
            idle,
            onError: () => {},
            validate: async () => {
              if (point("validate")) return false;
              await turn();
              return true;
            },
            open: async (key, { acquire }) => {
              point(`open ${key}`);
              await turn();
              if (key === "a") {
                const other = await acquire("b");
                try {
                  point("with b");
                } finally {
                  await other.decrRef();
                }
              }
              world.live++;
              return key;
            },
            free: async (key) => {
              world.live--;
              await turn();
              point(`free ${key}`);
            },
          });
          world.close = () => map.close();
          for (let round = 0; round < 2; round++) {
            const [a, b] = await Promise.allSettled([map.acquire("a", { signal }), map.acquire("b")]);
            await using stack = new AsyncDisposableStackLike();
            if (a.status === "fulfilled") stack.use(a.value);
            if (b.status === "fulfilled") stack.use(b.value);
            if (point("in use")) return;
            if (round === 0) map.invalidate("b");
          }
        },
        settle: async (world) => {
          await world.close?.().catch(() => {});
          await turn();
        },
      });
    });
  }

  it("of checkouts: its pool, and whoever uses a connection", async () => {
    await expectNoWayOutToLeak({
      setup: () => new World(),
      count: ({ live }) => live,
      run: async (world, { point, signal }) => {
        const pool = checkouts<number>({
          acquire: async () => {
            point("acquire");
            await turn();
            return ++world.live;
          },
          release: () => {
            world.live--;
            point("release");
          },
          destroy: () => {
            world.live--;
            point("destroy");
          },
          onError: () => {},
        });
        for (let i = 0; i < 2; i++) {
          await pool.use(
            async () => {
              if (point("use")) return;
              await turn();
              signal.throwIfAborted();
              point("used");
            },
            { signal: signal as never },
          );
        }
      },
      settle: async (world) => {
        await turn();
        await until(() => world.live >= 0);
      },
    });
  });

  it("of Keyspace: its listeners, its iterators, and whoever has keys open", async () => {
    await expectNoWayOutToLeak({
      setup: () => new Keyspace<number[]>(),
      count: (keys) => keys.stats.live + keys.refCount("a") + keys.refCount("b"),
      run: (keys, { point }) => {
        keys.onModified((name) => void point(`modified ${name}`));
        AutoMemory.run((memory) => {
          const a = memory.use(keys.open("a", { mode: "write" }));
          if (point("opened a")) return;
          a.value.set([1, 2]);
          const b = memory.use(keys.open("b", { mode: "write" }));
          for (const _ of a.value.iterate()) if (point("iterating")) return;
          keys.scan(() => void point("scanning"));
          keys.close(b);
          point("closed b");
        });
      },
    });
  });

  it("of EntryLog: its storage, and whoever appends", async () => {
    const start = logEntry.stats.live;
    await expectNoWayOutToLeak({
      setup: () => new World(),
      count: () => logEntry.stats.live - start,
      run: async (_, { point }) => {
        await using log = new EntryLog({
          storage: {
            append: async () => {
              point("append");
              await turn();
              point("half-way");
            },
            truncate: async () => {
              await turn();
              point("truncate");
            },
          },
        });
        for (const term of [1, 2]) {
          await log.append([1, 2, 3].map((index) => logEntry({ index, term })));
          if (point("appended")) return;
          using _entry = log.get(2, "reader");
          point("got");
        }
        await log.truncatePrefix(2);
        await log.truncateSuffix(2);
        point("truncated");
        await log.reset(10);
      },
    });
  });
});

/** Owns handles for one block, on runtimes without an AsyncDisposableStack. */
class AsyncDisposableStackLike implements AsyncDisposable {
  readonly #owned: AsyncDisposable[] = [];
  use(owned: AsyncDisposable): void {
    this.#owned.push(owned);
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.allSettled(this.#owned.map((owned) => owned[Symbol.asyncDispose]()));
  }
}
