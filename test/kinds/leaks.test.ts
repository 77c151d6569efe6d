import { describe, expect, it } from "vitest";
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
