import { describe, expect, it } from "vitest";
import type { AsyncHandle } from "../../src/async-handle";
import { MapClosedError } from "../../src/errors";
import { HandleMap } from "../../src/handle-map";
import { checkouts } from "../../src/kinds/checkouts";
import { ConnectionMap } from "../../src/kinds/connection-map";
import { EntryLog } from "../../src/kinds/entry-log";
import { Keyspace } from "../../src/kinds/keyspace";
import { logEntry } from "../../src/kinds/log-entry";
import { type Leak, leakReport, liveHandles, settle, trackLeaks } from "../../src/leaks";
import { defineAsyncResource } from "../../src/resource";
import { assertNoLeaks, withoutLeaks } from "../../src/testing/index";
import { until } from "../support/until";

const kinds = (): string[] => liveHandles().map(({ kind, label }) => `${kind} ${label}`);

describe("kinds, tracked", () => {
  it("are live while they have holders, by kind, label and holder, and not while they are idle", async () => {
    using _tracking = trackLeaks({ level: "full" });
    const map = new HandleMap<string, number>({ open: () => 1, idle: Infinity });
    const keys = new Keyspace<number>();
    const pool = checkouts({ acquire: () => 1, release: () => {}, destroy: () => {}, label: () => "db" });
    const log = new EntryLog();
    const held = await map.acquire("a", { holder: "importer" });
    const key = keys.open("user:1", { mode: "write" });
    const connection = await pool.acquire({ holder: "report" });
    await log.append([logEntry({ index: 1, term: 1 })]);
    expect(kinds().sort()).toEqual(["connection db", "entry a", "key user:1 (write)", "log-entry 1 (term 1)"]);
    expect(
      liveHandles()
        .map(({ holder }) => holder)
        .sort(),
    ).toEqual(["", "importer", "memory", "report"]);
    await held.decrRef();
    keys.close(key);
    await connection.decrRef();
    await log[Symbol.asyncDispose]();
    expect([kinds(), map.stats.idle]).toEqual([[], 1]);
    await map.close();
  });

  it("name in the error of a close where the handle that is left was opened", async () => {
    using _tracking = trackLeaks({ level: "full" });
    const map = new HandleMap<string, number>({ open: () => 1 });
    const handle = await map.acquire("a");
    const peeked = map.peek("a");
    const error = (await map.close({ timeout: 1 }).catch((error: unknown) => error)) as MapClosedError;
    expect(error).toBeInstanceOf(MapClosedError);
    expect(error.holders.length).toBe(2);
    expect(error.holders[1]?.opened).toContain("leaks.test.ts");
    expect(error.message).toContain("leaks.test.ts");
    await handle.decrRef();
    await peeked?.decrRef();
  });

  it("are listed as cached while a map keeps them idle, and fail no test", async () => {
    using _tracking = trackLeaks({ level: "full" });
    const file = defineAsyncResource({ kind: "file", open: async (name: string) => name, free: () => {} });
    const files = new HandleMap<string, string>({ resource: file, open: (name) => name, idle: Infinity });
    const links = new ConnectionMap<number>({ open: () => 1, idle: 60_000 });
    await withoutLeaks(async () => {
      for (const name of ["a", "b"]) await (await files.acquire(name)).decrRef();
      await (await links.acquire("db:1")).decrRef();
    });
    const report = leakReport();
    const kept = [
      { kind: "file", count: 2 },
      { kind: "connection", count: 1 },
    ];
    expect([report.total, report.groups, report.cached, report.toJSON().cached]).toEqual([0, [], kept, kept]);
    expect(String(report)).toContain("\ncached by maps, held by nobody: 2 file, 1 connection");
    expect(assertNoLeaks).not.toThrow();
    const again = await files.acquire("a");
    expect(files.touch("b")).toBe(true);
    expect(leakReport().groups.map(({ kind, count }) => `${count} ${kind}`)).toEqual(["1 file"]);
    expect(leakReport().cached.map(({ kind, count }) => `${count} ${kind}`)).toEqual(["1 connection", "1 file"]);
    expect(assertNoLeaks).toThrow('held  file "a"');
    await again.decrRef();
    expect([files.invalidate("a"), leakReport().cached]).toEqual([true, [kept[1], { kind: "file", count: 1 }]]);
    await Promise.all([files.close(), links.close()]);
    expect(leakReport().cached).toEqual([]);
    expect(String(leakReport())).not.toContain("cached");
  });

  it("does not miss what was cached when tracking began", async () => {
    const map = new HandleMap<string, number>({ open: () => 1, idle: Infinity });
    await (await map.acquire("a")).decrRef();
    {
      using _tracking = trackLeaks({ level: "full" });
      expect(leakReport().blindSpots).toEqual([]);
      const held = await map.acquire("a");
      expect([leakReport().total, leakReport().cached]).toEqual([1, []]);
      await held.decrRef();
    }
    await map.close();
  });

  it("were opened where they were asked for, although they come later", async () => {
    using _tracking = trackLeaks({ level: "full" });
    const map = new HandleMap<string, number>({ open: async () => 1, validate: () => true });
    const pool = checkouts({ acquire: async () => 1, release: () => {}, destroy: () => {} });
    function asksFirst() {
      return map.acquire("a");
    }
    function joins() {
      return map.acquire("a");
    }
    function asksForWhatIsOpen() {
      return map.acquire("a");
    }
    function checksOut() {
      return pool.acquire();
    }
    const handles = await Promise.all([asksFirst(), joins()]);
    handles.push(await asksForWhatIsOpen(), await checksOut());
    const callers = liveHandles().map(({ opened }) => /^\S+ \(test\/kinds\/leaks\.test\.ts/.exec(opened) && opened);
    expect(callers.map((site) => site?.split(" ")[0])).toEqual([
      "asksFirst",
      "joins",
      "asksForWhatIsOpen",
      "checksOut",
    ]);
    for (const handle of handles) await handle.decrRef();
  });

  it("were opened where they were asked for as well at level sampled: by user code, not the library's", async () => {
    using _tracking = trackLeaks({ level: "sampled", budget: 1 });
    const map = new HandleMap<string, number>({ open: async () => 1 });
    const idle = new HandleMap<string, number>({ open: async () => 1, idle: Infinity });
    const pool = checkouts({ acquire: async () => 1, release: () => {}, destroy: () => {} });
    await (await idle.acquire("b")).decrRef();
    function asksFirst() {
      return map.acquire("a");
    }
    function joins() {
      return map.acquire("a");
    }
    function asksForWhatIsOpen() {
      return map.acquire("a");
    }
    function wakes() {
      return idle.acquire("b");
    }
    function checksOut() {
      return pool.acquire();
    }
    function shares() {
      return asked[0]?.dup() as (typeof asked)[0];
    }
    const asked = await Promise.all([asksFirst(), joins()]);
    asked.push(await asksForWhatIsOpen(), await wakes(), await checksOut(), shares());
    expect(liveHandles().map(({ opened }) => opened.split(" ")[0])).toEqual([
      "asksFirst",
      "joins",
      "asksForWhatIsOpen",
      "wakes",
      "checksOut",
      "shares",
    ]);
    for (const handle of asked) await handle.decrRef();
    await idle.close();
    expect(liveHandles()).toEqual([]);
  });

  it("are sampled as often as what is opened directly, decided when they are asked for", async () => {
    using _tracking = trackLeaks({ level: "sampled", budget: 0.005 });
    const map = new HandleMap<number, number>({ open: async (key) => key });
    const start = performance.now();
    const handles: AsyncHandle<number>[] = [];
    for (let key = 0; performance.now() - start < 500; ) {
      const some = Array.from({ length: 100 }, () => map.acquire(key++));
      handles.push(...(await Promise.all([...some, map.acquire(0)])));
    }
    const opened = map.size;
    const firsts = liveHandles().filter(({ created, opened }) => created === opened);
    const estimate = firsts.reduce((sum, { weight }) => sum + weight, 0);
    expect(firsts.length).toBeGreaterThan(5);
    expect(firsts.length).toBeLessThan(opened / 3);
    expect(estimate / opened).toBeGreaterThan(0.3);
    expect(estimate / opened).toBeLessThan(3);
    for (const handle of handles) await handle.decrRef();
    expect(liveHandles()).toEqual([]);
  });

  it("report a checkout that is held for too long once, with its connection, its age and who asked, and its return", async () => {
    const leaks: Leak[] = [];
    const heldTooLong = { connection: 40 };
    using _tracking = trackLeaks({ level: "full", heldTooLong, onLeak: (leak) => leaks.push(leak) });
    const pool = checkouts({ acquire: async () => 1, release: () => {}, destroy: () => {}, label: () => "db:5432" });
    function checksOut() {
      return pool.acquire({ holder: "report" });
    }
    await (await checksOut()).decrRef();
    const handle = await checksOut();
    await until(() => leaks.length > 0);
    expect(leaks[0]).toMatchObject({
      verdict: "held-too-long",
      kind: "connection",
      label: "db:5432",
      holder: "report",
    });
    expect(leaks[0]?.age).toBeGreaterThanOrEqual(40);
    expect(leaks[0]?.opened).toMatch(/^checksOut \(test\/kinds\/leaks\.test\.ts/);
    expect(String(leaks[0])).toMatch(/held by +report: owes 1, for \d+ ms, since checksOut/);
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(leaks.length).toBe(1);
    await handle.decrRef();
    expect(leaks.map(({ verdict, givenBack }) => `${verdict} ${givenBack}`)).toEqual([
      "held-too-long false",
      "held-too-long true",
    ]);
    expect(leaks[1]?.age).toBeGreaterThanOrEqual(100);
    expect(String(leaks[1])).toMatch(/connection "db:5432" {2}given back after all\n.*for \d+ ms/s);
  });

  it("say where a checkout was asked for and given back first when it is given back again", async () => {
    using _tracking = trackLeaks({ level: "full" });
    const pool = checkouts({ acquire: async () => 1, release: () => {}, destroy: () => {} });
    function checksOut() {
      return pool.acquire({ holder: "report" });
    }
    function givesBack() {
      return handle.decrRef();
    }
    const handle = await checksOut();
    await givesBack();
    expect(() => handle.decrRef()).toThrow(
      expect.objectContaining({
        code: "ERR_REFCOUNT",
        opened: expect.stringContaining("checksOut"),
        closed: expect.stringContaining("givesBack"),
        by: "report",
      }),
    );
  });

  for (const freeLeaked of [false, true]) {
    const what = freeLeaked ? "destroyed, never put back, and its place is free" : "reported and stays counted";
    it(`are, as checkouts that were dropped, ${what}`, async () => {
      const leaks: Leak[] = [];
      using _tracking = trackLeaks({ level: "full", onLeak: (leak) => leaks.push(leak), freeLeaked });
      const log: string[] = [];
      let nr = 0;
      const waiters: ((connection: number) => void)[] = [];
      const pool = checkouts<number>({
        acquire: () => (nr < 10 ? ++nr : new Promise((resolve) => waiters.push(resolve))),
        release: (n) => log.push(`release ${n}`),
        destroy: (n) => {
          log.push(`destroy ${n}`);
          waiters.shift()?.(++nr);
        },
        label: (n) => `nr ${n}`,
      });
      await (async () => {
        for (let i = 0; i < 10; i++) await pool.acquire();
      })();
      const waiting = pool.acquire();
      // Which frame still reaches the last one is the engine's affair.
      for (let i = 0; i < 20 && leaks.length < 9; i++) await settle();
      expect(leaks.length).toBeGreaterThanOrEqual(9);
      expect(leaks.every(({ kind, verdict }) => kind === "connection" && verdict === "dropped")).toBe(true);
      if (freeLeaked) {
        const handle = await waiting;
        expect(log).toEqual(expect.arrayContaining(leaks.map(({ label }) => `destroy ${label.slice(3)}`)));
        expect([log.some((line) => line.startsWith("release")), log.length, pool.size]).toEqual([
          false,
          leaks.length,
          10 - leaks.length + 1,
        ]);
        await handle.decrRef();
      } else {
        expect([log, pool.size, pool.waiting]).toEqual([[], 10, 1]);
        waiters.shift()?.(11);
        await (await waiting).decrRef();
      }
      await pool.close({ force: true });
    });
  }

  it("take no stack and no timer for a checkout while nobody tracks", async () => {
    const pool = checkouts({ acquire: async () => 1, release: () => {}, destroy: () => {} });
    const limit = Object.getOwnPropertyDescriptor(Error, "stackTraceLimit") as PropertyDescriptor;
    let stacks = 0;
    let depth = limit.value as number;
    Object.defineProperty(Error, "stackTraceLimit", {
      configurable: true,
      get: () => depth,
      set(value: number) {
        stacks++;
        depth = value;
      },
    });
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
    const before = timers();
    try {
      const all = await Promise.all(Array.from({ length: 100 }, () => pool.acquire()));
      expect([timers() - before, stacks]).toEqual([0, 0]);
      for (const handle of all) await handle.decrRef();
      using _tracking = trackLeaks({ level: "full", heldTooLong: { connection: 1000 } });
      await (await pool.acquire()).decrRef();
      expect(stacks).toBeGreaterThan(0);
    } finally {
      Object.defineProperty(Error, "stackTraceLimit", limit);
    }
  });

  it("warn when the limit of a hold is longer than an acquire waits, where the two meet", async () => {
    const driver = { acquire: () => 1, release: () => {}, destroy: () => {} };
    const warnings: string[] = [];
    const hear = (warning: Error): void => void warnings.push(warning.message);
    process.on("warning", hear);
    try {
      const early = checkouts({ ...driver, kind: "early", timeout: 1000 });
      {
        using _tracking = trackLeaks({ level: "full", heldTooLong: 5000 });
        checkouts({ ...driver, kind: "late", timeout: 1000 });
        checkouts({ ...driver, kind: "patient", timeout: 10_000 });
        checkouts({ ...driver, kind: "endless" });
        for (let i = 0; i < 2; i++) await (await early.acquire()).decrRef();
      }
      {
        using _tracking = trackLeaks({ level: "full" });
        checkouts({ ...driver, kind: "unlimited", timeout: 1000 });
      }
      await until(() => warnings.length >= 2);
      expect(warnings).toEqual(
        ["late", "early"].map(
          (kind) =>
            `Cannot report ${kind} held for too long in time: heldTooLong is 5000 ms, and an acquire gives up after 1000 ms already`,
        ),
      );
    } finally {
      process.off("warning", hear);
    }
  });

  it("are reported by key when their handle is dropped, and closed exactly once where that was asked for", async () => {
    const leaks: Leak[] = [];
    using _tracking = trackLeaks({ level: "full", onLeak: (leak) => leaks.push(leak), freeLeaked: true });
    const freed: string[] = [];
    const map = new HandleMap<string, string>({ open: (key) => key, free: (key) => void freed.push(key) });
    await (async () => {
      for (let i = 0; i < 10; i++) await map.acquire(`key ${i}`);
    })();
    // Which frame still reaches the last one is the engine's affair.
    for (let i = 0; i < 20 && freed.length < 9; i++) await settle();
    expect(freed.length).toBe(new Set(freed).size);
    expect(freed.length).toBeGreaterThanOrEqual(9);
    expect(leaks.length).toBe(freed.length);
    expect(leaks.every(({ kind, verdict }) => kind === "entry" && verdict === "dropped")).toBe(true);
    expect(map.size).toBe(10 - freed.length);
    await map.close({ force: true });
    expect(freed.length).toBe(10);
  });
});
