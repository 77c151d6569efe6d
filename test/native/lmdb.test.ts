import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { open, type RootDatabase } from "lmdb";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AsyncAutoMemory } from "../../src/async-auto-memory";
import type { AsyncHandle } from "../../src/async-handle";
import { RefCountError } from "../../src/errors";
import { defineAsyncResource } from "../../src/resource";

// lmdb does not forgive: an environment that is closed under a transaction takes the process with it. So a transaction
// holds an account on its environment, and a cursor one on its transaction: whoever is closed last closes the rest.

type Transaction = ReturnType<RootDatabase["useReadTransaction"]>;

const log: string[] = [];

const Environment = defineAsyncResource({
  kind: "lmdb environment",
  open: (path: string) => open<number, string>({ path }),
  free: async (env: RootDatabase<number, string>) => {
    await env.close();
    log.push("environment");
  },
});

interface Reading {
  readonly env: AsyncHandle<RootDatabase<number, string>>;
  readonly transaction: Transaction;
}

const ReadTransaction = defineAsyncResource({
  kind: "lmdb transaction",
  open: (env: AsyncHandle<RootDatabase<number, string>>): Reading => {
    const mine = env.dup("transaction");
    return { env: mine, transaction: mine.value.useReadTransaction() };
  },
  free: async ({ env, transaction }: Reading) => {
    transaction.done();
    log.push("transaction");
    await env.decrRef();
  },
});

interface Walking {
  readonly reading: AsyncHandle<Reading>;
  readonly entries: Iterator<{ key: string; value: number }>;
}

const Cursor = defineAsyncResource({
  kind: "lmdb cursor",
  open: (reading: AsyncHandle<Reading>): Walking => {
    const mine = reading.dup("cursor");
    const { env, transaction } = mine.value;
    return { reading: mine, entries: env.value.getRange({ transaction })[Symbol.iterator]() };
  },
  free: async ({ reading, entries }: Walking) => {
    entries.return?.();
    log.push("cursor");
    await reading.decrRef();
  },
});

let path: string;

beforeEach(() => {
  path = mkdtempSync(join(tmpdir(), "lastref-lmdb-"));
  log.length = 0;
});

afterEach(() => rmSync(path, { recursive: true, force: true }));

async function filled(): Promise<AsyncHandle<RootDatabase<number, string>>> {
  const env = await Environment.open(path);
  for (const [key, value] of Object.entries({ a: 1, b: 2, c: 3 })) await env.value.put(key, value);
  return env;
}

describe("an lmdb environment with a transaction and a cursor", () => {
  it.each([
    ["environment first", [0, 1, 2]],
    ["transaction first", [1, 0, 2]],
    ["cursor first", [2, 1, 0]],
    ["cursor, then environment", [2, 0, 1]],
    ["transaction, then cursor", [1, 2, 0]],
    ["environment, then cursor", [0, 2, 1]],
  ] as const)("closes in the order lmdb needs, whatever is given back first: %s", async (_, order) => {
    const env = await filled();
    const reading = await ReadTransaction.open(env);
    const cursor = await Cursor.open(reading);
    const { entries } = cursor.value;
    expect(entries.next().value).toEqual({ key: "a", value: 1 });
    const handles = [env, reading, cursor];
    for (const index of order) {
      if (cursor.alive && index !== 2) expect(cursor.value.reading.value.env.value.get("b")).toBe(2);
      await handles[index]?.decrRef();
    }
    expect(log.filter((what) => what !== "cursor")).toEqual(["transaction", "environment"]);
    expect(log.indexOf("cursor")).toBeLessThan(log.indexOf("transaction"));
    expect([Environment, ReadTransaction, Cursor].map(({ stats }) => stats.live)).toEqual([0, 0, 0]);
  });

  it("reads its own snapshot to the end while the environment is written to and given back", async () => {
    const env = await filled();
    const reading = await ReadTransaction.open(env);
    await env.value.put("d", 4);
    expect(await env.decrRef()).toBe(false);
    const cursor = await Cursor.open(reading);
    expect(await reading.decrRef()).toBe(false);
    const seen: string[] = [];
    for (let step = cursor.value.entries.next(); !step.done; step = cursor.value.entries.next()) {
      seen.push(step.value.key);
    }
    expect(seen).toEqual(["a", "b", "c"]);
    expect(await cursor.decrRef()).toBe(true);
    expect(log).toEqual(["cursor", "transaction", "environment"]);
  });

  it("never tells lmdb twice that a transaction is done, which lmdb itself refuses", async () => {
    const env = await filled();
    const reading = await ReadTransaction.open(env);
    const { transaction } = reading.value;
    expect(await reading.decrRef()).toBe(true);
    expect(() => reading.decrRef()).toThrow(RefCountError);
    expect(log).toEqual(["transaction"]);
    expect(() => transaction.done()).toThrow("more times than it was used");
    await env.decrRef();
  });

  it("is closed by a context in one go, 50 readers at once", async () => {
    await AsyncAutoMemory.run(async (memory) => {
      const env = memory.use(await filled());
      for (let i = 0; i < 50; i++) {
        const reading = await memory.open(ReadTransaction, env);
        const cursor = await memory.open(Cursor, reading);
        if (i % 2 === 0) await reading.decrRef();
        if (i % 5 === 0) await cursor.decrRef();
      }
      expect(ReadTransaction.stats.live).toBe(45);
    });
    expect(log.at(-1)).toBe("environment");
    expect([Environment, ReadTransaction, Cursor].map(({ stats }) => stats.live)).toEqual([0, 0, 0]);
  });
});
