import { mkdtemp, open, readFile, rm, truncate as truncateFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { AutoMemory } from "../../src/auto-memory";
import { RefCountError, UseAfterFreeError } from "../../src/errors";
import { Handle } from "../../src/handle";
import { EntryLog, type EntryStorage } from "../../src/kinds/entry-log";
import { type LogEntry, logEntry } from "../../src/kinds/log-entry";
import { defineAsyncResource } from "../../src/resource";
import { deferred, turn } from "../support/until";

const folders: string[] = [];
afterAll(async () => {
  for (const folder of folders) await rm(folder, { recursive: true });
});

/** Writes one line per entry to a real file, and fails half-way when asked to. */
async function fileStorage() {
  const folder = await mkdtemp(join(tmpdir(), "lastref-"));
  folders.push(folder);
  const path = join(folder, "log");
  await (await open(path, "w")).close();
  const control = { failAfter: Infinity, failTruncate: false };
  const lines = async (): Promise<string[]> => (await readFile(path, "utf8")).split("\n").slice(0, -1);
  const storage: EntryStorage = {
    async append(entries) {
      await using file = await open(path, "a");
      let written = 0;
      for (const { index, term, data } of entries) {
        if (written++ >= control.failAfter) {
          await file.write(`${index} half a li`);
          throw new Error("no space left on device");
        }
        await file.write(`${index} ${term} ${data}\n`);
      }
      await file.sync();
    },
    async truncate({ first, last }) {
      if (control.failTruncate) throw new Error("cannot truncate");
      const kept = (await lines()).filter((line) => {
        const index = Number.parseInt(line, 10);
        return index >= first && index <= last && /^\d+ \d+ /.test(line);
      });
      await truncateFile(path);
      await using file = await open(path, "a");
      for (const line of kept) await file.write(`${line}\n`);
    },
  };
  return { storage, lines, control };
}

const entries = (from: number, to: number, term = 1): Handle<LogEntry>[] =>
  Array.from({ length: to - from + 1 }, (_, i) => logEntry({ index: from + i, term, data: `d${from + i}` }));

let before: number;
beforeEach(() => {
  before = logEntry.stats.live;
});
const alive = (): number => logEntry.stats.live - before;

describe("logEntry()", () => {
  it("is a resource of kind log-entry that says its index and term", () => {
    const entry = logEntry({ index: 5, term: 2, data: "abc" });
    expect([entry.kind, entry.label, entry.refCount, entry.value.type, alive()]).toEqual([
      "log-entry",
      "5 (term 2)",
      1,
      "data",
      1,
    ]);
    entry.decrRef();
    expect(alive()).toBe(0);
    expect(() => entry.value).toThrow(UseAfterFreeError);
    for (let i = 0; i < 3; i++) expect(() => entry.decrRef()).toThrow(RefCountError);
    expect(alive()).toBe(0);
    expect(() => logEntry({ index: -1, term: 1 })).toThrow(TypeError);
  });

  it("counts the bytes of its data, a text as UTF-8", () => {
    const { bytes } = logEntry.stats;
    for (const data of ["abc", "Zürich", "日本", "a😀b", "\ud800", "", undefined, new Uint8Array(5)]) {
      using _entry = logEntry({ index: 1, term: 1, data });
      const size = typeof data === "string" ? new TextEncoder().encode(data).length : (data?.byteLength ?? 0);
      expect([data, logEntry.stats.bytes - bytes]).toEqual([data, size]);
    }
    expect(logEntry.stats.bytes).toBe(bytes);
  });
});

describe("EntryLog.append()", () => {
  it("holds an account for the memory, and one for the storage until the write is done", async () => {
    const gate = deferred();
    const log = new EntryLog({ storage: { append: () => gate.promise, truncate: () => {} } });
    const [entry] = entries(1, 1) as [Handle<LogEntry>];
    const observer = entry.dup("observer");
    const given = [entry];
    const appending = log.append(given);
    expect([given.length, observer.refCount, log.lastIndex, entry.alive]).toEqual([0, 3, 1, false]);
    gate.resolve();
    expect(await appending).toBe("stored");
    expect(observer.refCount).toBe(2);
    await log.truncatePrefix(2);
    expect(observer.refCount).toBe(1);
    observer.decrRef();
    await log[Symbol.asyncDispose]();
    expect(alive()).toBe(0);
  });

  for (const [name, outcome, prepare] of [
    ["stored", "stored", async () => entries(4, 5)],
    ["there already", "stored", async () => entries(2, 3)],
    ["a gap after the log", "gap", async () => entries(5, 6)],
    ["a gap inside", "gap", async () => [...entries(4, 4), ...entries(6, 6)]],
    ["already applied", "applied", async () => entries(1, 2)],
    ["a conflict with what was applied", "conflict", async () => entries(2, 4, 9)],
    [
      "refused, the log is read-only",
      "refused",
      async (log: EntryLog) => {
        log.readonly = true;
        return entries(4, 4);
      },
    ],
    [
      "refused, one entry is spent",
      "refused",
      async () => {
        const all = entries(4, 5);
        all[1]?.decrRef();
        return all;
      },
    ],
    ["refused, one is no entry", "refused", async () => [...entries(4, 4), {} as never]],
    [
      "refused, one is asynchronous",
      "refused",
      async () => {
        const other = defineAsyncResource<Pick<LogEntry, "index" | "term">>({ kind: "other", free: () => {} });
        return [other.wrap({ index: 4, term: 1 }) as never, ...entries(5, 5)];
      },
    ],
    ["refused, one is empty", "refused", async () => [Handle.of(null, () => {}) as never, ...entries(4, 4)]],
    ["refused, there is a hole", "refused", async () => Object.assign(new Array(2), { 1: entries(4, 4)[0] })],
    [
      "refused, the log is over",
      "refused",
      async (log: EntryLog) => {
        await log[Symbol.asyncDispose]();
        return entries(4, 4);
      },
    ],
  ] as const) {
    it(`takes over the caller's references when the outcome is: ${name}`, async () => {
      const { storage } = await fileStorage();
      const log: EntryLog = new EntryLog({ storage });
      await log.append(entries(1, 3));
      log.appliedIndex = 2;
      const given = await prepare(log);
      const appending = log.append(given);
      expect(given).toEqual([]);
      expect(await appending).toBe(outcome);
      expect(alive()).toBe(log.size);
      await log[Symbol.asyncDispose]();
      expect(alive()).toBe(0);
    });
  }

  it("takes them over when the storage fails half-way, and leaves nothing of them, neither in memory nor on disk", async () => {
    const { storage, lines, control } = await fileStorage();
    await using log = new EntryLog({ storage });
    await log.append(entries(1, 2));
    control.failAfter = 1;
    await expect(log.append(entries(3, 5))).rejects.toThrow("no space left on device");
    expect([log.lastIndex, alive(), await lines()]).toEqual([2, 2, ["1 1 d1", "2 1 d2"]]);
    control.failAfter = Infinity;
    expect(await log.append(entries(3, 3, 2))).toBe("stored");
    expect(await lines()).toEqual(["1 1 d1", "2 1 d2", "3 2 d3"]);
  });

  it("says both when the storage cannot even truncate", async () => {
    const { storage, control } = await fileStorage();
    await using log = new EntryLog({ storage });
    control.failAfter = 0;
    control.failTruncate = true;
    await expect(log.append(entries(1, 1))).rejects.toMatchObject({
      error: { message: "cannot truncate" },
      suppressed: { message: "no space left on device" },
    });
    expect([log.size, alive()]).toEqual([0, 0]);
  });

  it("replaces what conflicts and was not applied yet", async () => {
    const { storage, lines } = await fileStorage();
    await using log = new EntryLog({ storage });
    await log.append(entries(1, 4));
    log.appliedIndex = 1;
    expect(await log.append(entries(2, 3, 2))).toBe("stored");
    expect([log.lastIndex, log.get(3)?.[Symbol.dispose](), alive(), await lines()]).toEqual([
      3,
      undefined,
      3,
      ["1 1 d1", "2 2 d2", "3 2 d3"],
    ]);
  });

  it("replaces what follows a conflict as well, also where its term is the same", async () => {
    const { storage, lines } = await fileStorage();
    await using log = new EntryLog({ storage });
    await log.append(entries(1, 3));
    expect(await log.append([...entries(2, 2, 2), ...entries(3, 3), ...entries(4, 4, 2)])).toBe("stored");
    expect(await lines()).toEqual(["1 1 d1", "2 2 d2", "3 1 d3", "4 2 d4"]);
    expect([log.lastIndex, log.size, alive()]).toEqual([4, 4, 4]);
    for (let index = 1; index <= 4; index++) {
      using entry = log.get(index);
      expect(entry?.value.index).toBe(index);
    }
  });

  it("runs one after the other, and takes over what waits at once", async () => {
    const gates = [deferred(), deferred()];
    let call = 0;
    const log = new EntryLog({ storage: { append: () => gates[call++]?.promise, truncate: () => {} } });
    const first = log.append(entries(1, 1));
    const waiting = entries(2, 2);
    const second = log.append(waiting);
    expect([waiting.length, call, log.lastIndex]).toEqual([0, 1, 1]);
    gates[0]?.reject(new Error("disk"));
    await expect(first).rejects.toThrow("disk");
    expect(await second).toBe("gap");
    expect(alive()).toBe(0);
    await log[Symbol.asyncDispose]();
  });

  it("has taken over what waits before its caller's context ends", async () => {
    const gate = deferred();
    await using log = new EntryLog({ storage: { append: () => gate.promise, truncate: () => {} } });
    const first = log.append(entries(1, 1));
    const memory = new AutoMemory();
    const second = log.append(entries(2, 2).map((entry) => memory.use(entry)));
    memory.dispose();
    gate.resolve();
    expect([await first, await second]).toEqual(["stored", "stored"]);
  });

  it("runs what the storage itself appends after what it is writing", async () => {
    const log: string[] = [];
    let inner: Promise<string> | undefined;
    await using entryLog: EntryLog = new EntryLog({
      storage: {
        async append([entry]) {
          if (entry?.index === 1) inner = entryLog.append(entries(2, 2));
          log.push(`begin ${entry?.index}`);
          await turn();
          log.push(`end ${entry?.index}`);
        },
        truncate: () => {},
      },
    });
    expect([await entryLog.append(entries(1, 1)), await inner]).toEqual(["stored", "stored"]);
    expect(log).toEqual(["begin 1", "end 1", "begin 2", "end 2"]);
  });

  it("takes over before it returns, whatever becomes of them", async () => {
    const log = new EntryLog({ firstIndex: 2 });
    await log.append(entries(2, 4));
    log.appliedIndex = 3;
    const given = {
      stored: logEntry({ index: 4, term: 1 }),
      gap: logEntry({ index: 9, term: 1 }),
      applied: logEntry({ index: 2, term: 1 }),
      conflict: logEntry({ index: 3, term: 9 }),
    };
    for (const [outcome, entry] of Object.entries(given)) {
      const appending = log.append([entry]);
      expect([outcome, entry.owed]).toEqual([outcome, 0]);
      expect(await appending).toBe(outcome);
    }
    const all = entries(5, 6);
    const spent = all[1] as Handle<LogEntry>;
    spent.decrRef();
    const refused = log.append([...all]);
    expect(all.map(({ owed }) => owed)).toEqual([0, 0]);
    const end = log[Symbol.asyncDispose]();
    const late = entries(5, 5);
    const ended = log.append([...late]);
    expect(late[0]?.owed).toBe(0);
    expect([await refused, await ended, await end]).toEqual(["refused", "refused", undefined]);
    expect(alive()).toBe(0);
  });

  it("takes over the rest when one of them throws at every question", async () => {
    await using log = new EntryLog();
    const trap = (name: keyof Handle<LogEntry>) =>
      Object.defineProperty({ dup: () => {}, [Symbol.dispose]: () => {} }, name, {
        get() {
          throw new Error("no answer");
        },
      }) as never;
    for (const name of ["dup", "alive", Symbol.dispose] as const) {
      const [a, b] = entries(1, 2) as [Handle<LogEntry>, Handle<LogEntry>];
      const appending = log.append([a, trap(name), b]);
      expect([a.owed, b.owed]).toEqual([0, 0]);
      expect([await appending, alive()]).toEqual(["refused", 0]);
    }
  });

  it("gives back what it took over when one of them cannot be given back, or has no room for another reference", async () => {
    await using log = new EntryLog();
    const stubborn = logEntry({ index: 2, term: 1 });
    const dispose = stubborn[Symbol.dispose];
    const failing = Object.defineProperty(stubborn, Symbol.dispose, {
      value: () => {
        dispose.call(stubborn);
        throw new Error("given back loudly");
      },
    });
    await expect(log.append([...entries(1, 1), failing])).rejects.toThrow("given back loudly");
    const full = {
      dup: () => {
        throw new Error("no room");
      },
      alive: true,
      value: { index: 2 },
      [Symbol.dispose]: () => {},
    };
    await expect(log.append([...entries(1, 1), full as never, ...entries(3, 3)])).rejects.toThrow("no room");
    expect([log.size, alive()]).toEqual([0, 0]);
  });

  it("begins with the index 0 where the log does, and protects that entry only once it was applied", async () => {
    await using log = new EntryLog({ firstIndex: 0 });
    expect([log.lastIndex, log.appliedIndex]).toEqual([-1, -1]);
    expect(await log.append(entries(0, 1))).toBe("stored");
    expect(await log.append(entries(0, 0, 2))).toBe("stored");
    log.appliedIndex = 0;
    expect(await log.append(entries(0, 0, 3))).toBe("conflict");
    await log.reset(0);
    expect([log.appliedIndex, await log.append(entries(0, 0, 3))]).toEqual([-1, "stored"]);
    await log.reset(5);
    expect([log.appliedIndex, log.lastIndex]).toEqual([4, 4]);
  });

  it("does not write after what a failed truncation has left, and truncates first", async () => {
    const { storage, lines, control } = await fileStorage();
    await using log = new EntryLog({ storage });
    await log.append(entries(1, 2));
    control.failTruncate = true;
    await expect(log.truncateSuffix(1)).rejects.toThrow("cannot truncate");
    await expect(log.append(entries(2, 2, 2))).rejects.toThrow("cannot truncate");
    expect([log.lastIndex, alive(), await lines()]).toEqual([1, 1, ["1 1 d1", "2 1 d2"]]);
    control.failTruncate = false;
    expect(await log.append(entries(2, 2, 3))).toBe("stored");
    expect([await lines(), alive()]).toEqual([["1 1 d1", "2 3 d2"], 2]);
  });

  it("does not write after what half a write has left either", async () => {
    const { storage, lines, control } = await fileStorage();
    await using log = new EntryLog({ storage });
    await log.append(entries(1, 1));
    control.failAfter = 1;
    control.failTruncate = true;
    await expect(log.append(entries(2, 3))).rejects.toMatchObject({
      suppressed: { message: "no space left on device" },
    });
    control.failAfter = Infinity;
    control.failTruncate = false;
    expect(await log.append(entries(2, 2, 2))).toBe("stored");
    expect(await lines()).toEqual(["1 1 d1", "2 2 d2"]);
  });

  it("truncates once more after a failure, and not again after that", async () => {
    const told: string[] = [];
    let failing = false;
    await using log = new EntryLog({
      storage: {
        append: (entries) => void told.push(`append ${entries.map(({ index }) => index)}`),
        truncate: ({ first, last }) => {
          told.push(`truncate ${first} ${last}`);
          if (failing) throw new Error("cannot truncate");
        },
      },
    });
    await log.append(entries(1, 3));
    failing = true;
    await expect(log.append(entries(2, 2, 2))).rejects.toThrow("cannot truncate");
    failing = false;
    await log.append(entries(2, 2, 3));
    await log.append(entries(3, 3, 3));
    expect(told).toEqual(["append 1,2,3", "truncate 1 1", "truncate 1 1", "append 2", "append 3"]);
  });

  it("does not take what is no array", () => {
    expect(() => new EntryLog().append(null as never)).toThrow(TypeError);
  });
});

describe("EntryLog, keepApplied: false", () => {
  it("counts two for memory and storage, one when it is written, none when it is applied as well", async () => {
    const gate = deferred();
    const log = new EntryLog({ storage: { append: () => gate.promise, truncate: () => {} }, keepApplied: false });
    const watched = logEntry({ index: 1, term: 1 });
    const weak = watched.weak();
    const appending = log.append([watched]);
    const count = (): number => {
      const seen = weak.upgrade();
      const others = (seen?.refCount ?? 1) - 1;
      seen?.decrRef();
      return others;
    };
    expect([count(), alive()]).toEqual([2, 1]);
    gate.resolve();
    expect(await appending).toBe("stored");
    expect([count(), alive(), log.size]).toEqual([1, 1, 1]);
    log.appliedIndex = 1;
    expect([count(), alive(), log.size]).toEqual([0, 0, 0]);
    await log[Symbol.asyncDispose]();
  });

  it("ends at exactly the observer's reference, also when it is applied before it is written", async () => {
    const gate = deferred();
    const log = new EntryLog({ storage: { append: () => gate.promise, truncate: () => {} }, keepApplied: false });
    const [entry] = entries(1, 1) as [Handle<LogEntry>];
    const observer = entry.dup("observer");
    const appending = log.append([entry]);
    log.appliedIndex = 1;
    expect(observer.refCount).toBe(2);
    gate.resolve();
    await appending;
    expect([observer.refCount, alive()]).toEqual([1, 1]);
    observer.decrRef();
    await log[Symbol.asyncDispose]();
    expect(alive()).toBe(0);
  });

  it("keeps the log's ends and the storage, refuses what was applied, and goes on after it", async () => {
    const { storage, lines } = await fileStorage();
    await using log = new EntryLog({ storage, keepApplied: false });
    await log.append(entries(1, 4));
    const third = log.get(3);
    log.appliedIndex = 3;
    expect([log.firstIndex, log.lastIndex, log.size, log.get(2), alive()]).toEqual([1, 4, 1, undefined, 2]);
    expect(third?.value.data).toBe("d3");
    third?.decrRef();
    expect(await log.append(entries(1, 3))).toBe("applied");
    expect(await log.append(entries(3, 5))).toBe("stored");
    expect(await log.append(entries(7, 7))).toBe("gap");
    await log.truncatePrefix(2);
    expect([log.firstIndex, await lines()]).toEqual([2, ["2 1 d2", "3 1 d3", "4 1 d4", "5 1 d5"]]);
    await log.truncateSuffix(2);
    expect([log.firstIndex, log.lastIndex, log.appliedIndex, log.size, alive()]).toEqual([2, 2, 2, 0, 0]);
    expect(await log.append(entries(3, 3, 2))).toBe("stored");
    expect([log.get(3)?.[Symbol.dispose](), await lines()]).toEqual([undefined, ["2 1 d2", "3 2 d3"]]);
    await log.truncatePrefix(9);
    expect([log.firstIndex, log.lastIndex, alive()]).toEqual([9, 8, 0]);
  });

  it("takes out what a failing storage did not write, applied or not", async () => {
    const { storage, lines, control } = await fileStorage();
    await using log = new EntryLog({ storage, keepApplied: false });
    await log.append(entries(1, 2));
    control.failAfter = 1;
    const appending = log.append(entries(3, 4));
    log.appliedIndex = 3;
    await expect(appending).rejects.toThrow("no space left");
    expect([log.lastIndex, log.appliedIndex, log.size, alive(), await lines()]).toEqual([
      2,
      2,
      0,
      0,
      ["1 1 d1", "2 1 d2"],
    ]);
    control.failAfter = Infinity;
    expect(await log.append(entries(3, 3))).toBe("stored");
    expect([log.size, alive()]).toEqual([1, 1]);
  });

  it("gives back once what the caller gave, however much the handle owes", async () => {
    await using log = new EntryLog();
    const entry = logEntry({ index: 1, term: 1 }).incrRef();
    await log.append([entry]);
    expect([entry.owed, entry.refCount]).toEqual([1, 2]);
    entry.decrRef();
  });
});

describe("EntryLog.get()", () => {
  it("opens an account for the caller, and gives undefined out of range", async () => {
    const log = new EntryLog({ firstIndex: 10 });
    await log.append(entries(10, 11));
    const got = log.get(11);
    expect([got?.value.data, got?.refCount, log.get(9), log.get(12), log.get(Number.NaN)]).toEqual([
      "d11",
      2,
      undefined,
      undefined,
      undefined,
    ]);
    await log.reset(1);
    expect([got?.refCount, got?.value.index, alive()]).toEqual([1, 11, 1]);
    got?.decrRef();
    await log[Symbol.asyncDispose]();
    expect(alive()).toBe(0);
  });
});

describe("an entry that is held", () => {
  it("is given back once by a guard, however often that ends, and is of no use after", async () => {
    await using log = new EntryLog();
    await log.append(entries(1, 1));
    const other = log.get(1, "other") as Handle<LogEntry>;
    const guard = log.get(1, "guard") as Handle<LogEntry>;
    guard[Symbol.dispose]();
    guard[Symbol.dispose]();
    expect([other.refCount, guard.alive]).toEqual([2, false]);
    expect(() => guard.value).toThrow(UseAfterFreeError);
    other.decrRef();
  });

  it("is not given back for another holder when a timeout and a completion both do", async () => {
    await using log = new EntryLog();
    await log.append(entries(1, 1));
    const other = log.get(1, "follower 2") as Handle<LogEntry>;
    const sent = log.get(1, "follower 1") as Handle<LogEntry>;
    const outcomes: unknown[] = [];
    const ends = (): void => {
      try {
        outcomes.push(sent.decrRef());
      } catch (error) {
        outcomes.push((error as Error).name);
      }
    };
    const completion = turn().then(ends);
    ends();
    await completion;
    expect([outcomes, other.refCount, other.value.data]).toEqual([[false, "RefCountError"], 2, "d1"]);
    other.decrRef();
  });

  it("is given back once on every way out of the context that adopts it, and not at all by one that moved on", async () => {
    await using log = new EntryLog();
    await log.append(entries(1, 1));
    const observer = log.get(1) as Handle<LogEntry>;
    const adopt = (memory: AutoMemory): void =>
      void memory.adopt(log.get(1) as Handle<LogEntry>, (held) => held.decrRef());
    AutoMemory.run(adopt);
    expect(observer.refCount).toBe(2);
    const failing = (memory: AutoMemory): never => {
      adopt(memory);
      throw new Error("early return");
    };
    expect(() => AutoMemory.run(failing)).toThrow("early return");
    expect(observer.refCount).toBe(2);
    const first = new AutoMemory();
    adopt(first);
    const second = first.move();
    const third = second.move().move();
    first.dispose();
    second.dispose();
    expect(observer.refCount).toBe(3);
    third.dispose();
    expect(observer.refCount).toBe(2);
    new AutoMemory().move().dispose();
    observer.decrRef();
  });
});

describe("EntryLog, truncating", () => {
  it("gives back exactly what was removed, after the log no longer reaches it", async () => {
    const { storage, lines } = await fileStorage();
    const log = new EntryLog({ storage });
    await log.append(entries(1, 6));
    const third = log.get(3) as Handle<LogEntry>;
    await log.truncatePrefix(3);
    expect([log.firstIndex, log.lastIndex, alive(), third.refCount]).toEqual([3, 6, 4, 2]);
    await log.truncateSuffix(4);
    expect([log.lastIndex, alive(), await lines()]).toEqual([4, 2, ["3 1 d3", "4 1 d4"]]);
    expect(await log.append(entries(1, 2))).toBe("applied");
    await log.truncatePrefix(10);
    expect([log.firstIndex, log.lastIndex, log.size, alive(), await lines()]).toEqual([10, 9, 0, 1, []]);
    third.decrRef();
    expect(await log.append(entries(10, 10))).toBe("stored");
    await log[Symbol.asyncDispose]();
    expect(alive()).toBe(0);
  });

  it("has left memory when the storage fails to follow", async () => {
    const { storage, control } = await fileStorage();
    await using log = new EntryLog({ storage });
    await log.append(entries(1, 2));
    control.failTruncate = true;
    await expect(log.truncateSuffix(1)).rejects.toThrow("cannot truncate");
    expect([log.size, alive()]).toEqual([1, 1]);
  });

  it("sets back what was applied with the entries, and refuses to apply what is not there", async () => {
    await using log = new EntryLog();
    await log.append(entries(1, 3));
    expect(() => {
      log.appliedIndex = 4;
    }).toThrow(RangeError);
    log.appliedIndex = 3;
    await log.truncateSuffix(1);
    expect(log.appliedIndex).toBe(1);
  });

  it("waits at its end for what is under way, once", async () => {
    const gate = deferred();
    const log = new EntryLog({ storage: { append: () => gate.promise, truncate: () => {} } });
    const appending = log.append(entries(1, 2));
    const ending = log[Symbol.asyncDispose]();
    expect(log[Symbol.asyncDispose]()).toBe(ending);
    await turn();
    expect(alive()).toBe(2);
    gate.resolve();
    await Promise.all([appending, ending]);
    expect(alive()).toBe(0);
  });

  it("tells the storage nothing of a log that has ended, or is about to", async () => {
    for (const when of ["during", "after"]) {
      const gate = deferred();
      const told: unknown[] = [];
      const storage: EntryStorage = { append: () => gate.promise, truncate: (kept) => void told.push(kept) };
      const log = new EntryLog({ storage });
      const appending = log.append(entries(1, 2));
      const ending = log[Symbol.asyncDispose]();
      gate.resolve();
      if (when === "after") await ending;
      await expect(log.truncatePrefix(2)).rejects.toThrow(new ReferenceError("Cannot truncate the log: it has ended"));
      await expect(log.truncateSuffix(2)).rejects.toThrow(ReferenceError);
      await expect(log.reset(1)).rejects.toThrow("Cannot reset the log: it has ended");
      expect([await appending, await ending, told, alive()]).toEqual(["stored", undefined, [], 0]);
    }
  });

  it("does before its end what was asked for before, and gives back all after it", async () => {
    const gate = deferred();
    const told: string[] = [];
    const log = new EntryLog({
      storage: {
        append: async ([entry]) => {
          await gate.promise;
          told.push(`append ${entry?.index}`);
        },
        truncate: ({ first }) => void told.push(`truncate ${first}`),
      },
    });
    const asked = [log.append(entries(1, 1)), log.append(entries(2, 2)), log.truncatePrefix(2)];
    const ending = log[Symbol.asyncDispose]();
    gate.resolve();
    expect(await Promise.all(asked)).toEqual(["stored", "stored", undefined]);
    await ending;
    expect([told, alive()]).toEqual([["append 1", "append 2", "truncate 2"], 0]);
  });
});
