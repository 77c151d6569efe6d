import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { open as openLmdb } from "lmdb";
import { afterAll, describe, expect, it } from "vitest";
import { AutoMemory } from "../../src/auto-memory";
import { LoanError, RefCountError, UseAfterFreeError } from "../../src/errors";
import type { Handle, Loan } from "../../src/handle";
import type { Key, KeyStore } from "../../src/kinds/key";
import { Keyspace, type KeyspaceOptions } from "../../src/kinds/keyspace";
import { deferred, turn } from "../support/until";

const ends: (() => unknown)[] = [];
afterAll(async () => {
  for (const end of ends) await end();
});

const stores: Record<string, () => KeyStore<unknown>> = {
  "a Map": () => new Map<string, unknown>(),
  lmdb: () => {
    const folder = mkdtempSync(join(tmpdir(), "lastref-"));
    const db = openLmdb<unknown, string>({ path: join(folder, "db") });
    ends.push(async () => {
      await db.close();
      rmSync(folder, { recursive: true });
    });
    return {
      get: (name) => db.get(name),
      set: (name, value) => db.putSync(name, value),
      delete: (name) => db.removeSync(name),
      has: (name) => db.doesExist(name),
      keys: () => db.getKeys(),
    };
  },
};

describe.each(Object.keys(stores))("Keyspace over %s", (kind) => {
  const make = (options: KeyspaceOptions<unknown> = {}) => {
    const store = (stores[kind] as () => KeyStore<unknown>)();
    const keys = new Keyspace<unknown>({ store, ...options });
    const log: string[] = [];
    keys.onModified((name) => log.push(`modified ${name}`));
    return { keys, store, log };
  };

  it("counts the name once per open key, and each opening is a handle of its own", () => {
    const { keys } = make();
    expect(keys.refCount("a")).toBe(0);
    const first = keys.open("a", { mode: "write" });
    const second = keys.open("a", { mode: "write" });
    expect([keys.refCount("a"), first === second, first.kind, first.label]).toEqual([2, false, "key", "a (write)"]);
    keys.close(first);
    expect(keys.refCount("a")).toBe(1);
    keys.close(second);
    expect([keys.refCount("a"), keys.stats.live]).toEqual([0, 0]);
  });

  it("gives undefined for reading a missing key, counts nothing, and closes undefined as often as one likes", () => {
    const { keys } = make();
    const missing = keys.open("none");
    expect([missing, keys.refCount("none"), keys.stats.opened]).toEqual([undefined, 0, 0]);
    for (const none of [missing, missing, null, null]) keys.close(none);
    using memory = new AutoMemory();
    memory.use(missing);
    expect(memory.size).toBe(0);
  });

  it("opens a missing key for writing empty, and creates nothing", () => {
    const { keys, store } = make();
    const key = keys.open("new", { mode: "write" });
    expect([key.value.type, key.value.exists, key.value.get()]).toEqual(["empty", false, undefined]);
    keys.close(key);
    expect(store.has("new")).toBe(false);
  });

  it("reads, writes, deletes, and creates again", () => {
    const { keys, store } = make();
    const key = keys.open("a", { mode: "write" });
    key.value.set("one");
    expect([store.get("a"), key.value.type, key.value.get()]).toEqual(["one", "string", "one"]);
    expect([key.value.delete(), key.value.delete(), key.value.type]).toEqual([true, false, "empty"]);
    key.value.set([1]);
    expect([key.value.exists, key.value.type]).toEqual([true, "list"]);
    keys.close(key);
    expect(store.get("a")).toEqual([1]);
  });

  it("refuses writes through a read key, and tells nobody that it closed", () => {
    const { keys, store, log } = make();
    store.set("a", 1);
    const key = keys.open("a") as Handle<Key<unknown>>;
    expect(() => key.value.set(2)).toThrow('Cannot set key "a (read)": it was opened for reading');
    expect(() => key.value.delete()).toThrow(TypeError);
    keys.close(key);
    expect([store.get("a"), log]).toEqual([1, []]);
  });

  it("tells once that a write key was closed, written or not, unless told otherwise", () => {
    const { keys, log } = make();
    keys.close(keys.open("a", { mode: "write" }));
    keys.close(keys.open("b", { mode: "write", notify: false }));
    expect(log).toEqual(["modified a"]);
  });

  it("asserts when a key is closed twice, and nobody else pays for it", () => {
    const { keys, store, log } = make();
    store.set("a", 1);
    const other = keys.open("a") as Handle<Key<unknown>>;
    const key = keys.open("a", { mode: "write" });
    keys.close(key);
    expect(() => keys.close(key)).toThrow(RefCountError);
    expect([keys.refCount("a"), log, other.value.get()]).toEqual([1, ["modified a"], 1]);
    keys.close(other);
  });

  it("throws for anything done with a closed key, also through what was kept of it", () => {
    const { keys, store } = make();
    store.set("a", [1, 2]);
    const handle = keys.open("a", { mode: "write" });
    const kept = handle.value;
    const iterating = kept.iterate();
    iterating.next();
    keys.close(handle);
    expect(() => handle.value).toThrow(UseAfterFreeError);
    expect(() => iterating.next()).toThrow(UseAfterFreeError);
    for (const use of [() => kept.get(), () => kept.set(1), () => kept.delete(), () => kept.exists, () => kept.type]) {
      expect(use).toThrow('key "a (write)": it was closed');
    }
    expect(store.get("a")).toEqual([1, 2]);
  });

  it("never shows one of two keys a value that the other deleted", () => {
    const { keys, store } = make();
    store.set("a", "old");
    const reader = keys.open("a") as Handle<Key<unknown>>;
    const writer = keys.open("a", { mode: "write" });
    expect(reader.value.get()).toBe("old");
    writer.value.delete();
    expect([reader.value.get(), reader.value.exists, reader.value.type]).toEqual([undefined, false, "empty"]);
    writer.value.set("new");
    expect(reader.value.get()).toBe("new");
    keys.close(writer);
    keys.close(reader);
  });

  it("lends keys to a scan that the callee cannot close, nor use after it", () => {
    const { keys, store } = make();
    store.set("a", 1);
    store.set("b", 2);
    const lent: Loan<Key<unknown>>[] = [];
    const values: Key<unknown>[] = [];
    const seen: unknown[] = [];
    keys.scan((key) => {
      seen.push([key.value.name, key.value.get(), keys.refCount(key.value.name)]);
      expect(() => (key as unknown as Handle<unknown>).decrRef()).toThrow(LoanError);
      expect(() => key.value.set(0)).toThrow(TypeError);
      lent.push(key);
      values.push(key.value);
    });
    expect(seen).toEqual([
      ["a", 1, 0],
      ["b", 2, 0],
    ]);
    for (const key of lent) expect(() => key.value).toThrow(UseAfterFreeError);
    for (const key of values) expect(() => key.get()).toThrow(UseAfterFreeError);
    let kept: Handle<Key<unknown>> | undefined;
    keys.scan((key) => {
      kept ??= key.dup("scanner");
    });
    expect([kept?.value.get(), keys.refCount("a"), keys.refCount("b")]).toEqual([1, 1, 0]);
    kept?.decrRef();
    expect(keys.refCount("a")).toBe(0);
  });

  it("counts a key that a listener keeps until it is closed, and one that is closed in the call not at all", () => {
    const { keys } = make();
    let kept: Handle<Key<unknown>> | undefined;
    keys.onModified((_, key) => {
      key.dup("passing").decrRef();
      kept = key.dup("kept");
    });
    keys.close(keys.open("a", { mode: "write" }));
    expect(keys.refCount("a")).toBe(1);
    keys.close(kept);
    expect(keys.refCount("a")).toBe(0);
  });

  it("lends the modified key to its listeners, and stops when told to", () => {
    const { keys } = make();
    const seen: unknown[] = [];
    let kept: Loan<Key<unknown>> | undefined;
    const stop = keys.onModified((name, key) => {
      kept = key;
      seen.push([name, key.value.get(), keys.refCount(name)]);
    });
    const key = keys.open("a", { mode: "write" });
    key.value.set(7);
    keys.close(key);
    stop();
    keys.close(keys.open("a", { mode: "write" }));
    expect(seen).toEqual([["a", 7, 1]]);
    expect(() => kept?.value).toThrow(UseAfterFreeError);
  });

  it("survives a listener that closes and opens keys of its own", () => {
    const { keys, store } = make();
    let depth = 0;
    keys.onModified((name) => {
      if (++depth > 1) return;
      const inner = keys.open(`${name}:log`, { mode: "write" });
      inner.value.set("seen");
      keys.close(inner);
    });
    keys.close(keys.open("a", { mode: "write" }));
    expect([store.get("a:log"), keys.refCount("a"), keys.refCount("a:log"), keys.stats.live]).toEqual([
      "seen",
      0,
      0,
      0,
    ]);
  });
});

describe("Keyspace", () => {
  it("closes in the order modified, iterator, name", () => {
    const log: string[] = [];
    class Watched {
      *[Symbol.iterator]() {
        try {
          yield 1;
          yield 2;
        } finally {
          log.push(`iterator, ${keys.refCount("a")} on the name`);
        }
      }
    }
    const keys = new Keyspace<Watched>();
    keys.onModified((name) => log.push(`modified, ${keys.refCount(name)} on the name`));
    const key = keys.open("a", { mode: "write" });
    key.value.set(new Watched());
    key.value.iterate().next();
    keys.close(key);
    expect(log).toEqual(["modified, 1 on the name", "iterator, 1 on the name"]);
    expect(keys.refCount("a")).toBe(0);
  });

  it("gives the name back past a listener that throws, and says both when two do", () => {
    const keys = new Keyspace<number>();
    keys.onModified(() => {
      throw new Error("first");
    });
    keys.onModified(() => {
      throw new Error("second");
    });
    const key = keys.open("a", { mode: "write" });
    expect(() => keys.close(key)).toThrow(
      expect.objectContaining({ error: expect.objectContaining({ message: "second" }) }),
    );
    expect([keys.refCount("a"), key.alive]).toEqual([0, false]);
  });

  it("closes what a context owns when the context ends, and a dup closes with the last", () => {
    const keys = new Keyspace<number>();
    const log: string[] = [];
    keys.onModified((name) => log.push(name));
    AutoMemory.run((memory) => {
      const key = memory.use(keys.open("a", { mode: "write" }));
      memory.use(keys.open("b", { mode: "write" }));
      memory.hold(key, "second");
      key.decrRef();
      expect(log).toEqual([]);
    });
    expect(log.sort()).toEqual(["a", "b"]);
  });

  it("iterates over lists, sets and hashes, one at a time", () => {
    const keys = new Keyspace<unknown>();
    const key = keys.open("a", { mode: "write" });
    key.value.set(new Map([["x", 1]]));
    expect([...key.value.iterate()]).toEqual([["x", 1]]);
    key.value.set(new Set([1, 2]));
    const first = key.value.iterate();
    first.next();
    expect([...key.value.iterate()]).toEqual([1, 2]);
    expect(first.next().done).toBe(true);
    const second = key.value.iterate();
    key.value.iterate();
    expect(second.next().done).toBe(true);
    key.value.set(1);
    expect(() => key.value.iterate()).toThrow('Cannot iterate over key "a": it is number, and not iterable');
    keys.close(key);
  });

  it("iterates over a hash that is a Map, and says of any other that it is not iterable", () => {
    const store = new Map<string, unknown>([
      ["map", new Map([["a", 1]])],
      ["plain", { a: 1 }],
    ]);
    const keys = new Keyspace({ store });
    const [map, plain] = ["map", "plain"].map((name) => keys.open(name) as Handle<Key<unknown>>);
    expect([map?.value.type, plain?.value.type]).toEqual(["hash", "hash"]);
    expect([...(map?.value.iterate() ?? [])]).toEqual([["a", 1]]);
    expect(() => plain?.value.iterate()).toThrow('Cannot iterate over key "plain": it is hash, and not iterable');
    keys.close(map);
    keys.close(plain);
  });

  it("refuses a store that answers with a promise, which would have every name", () => {
    const has = async () => false;
    const store = { get: () => 1, set: () => {}, delete: () => {}, has, keys: () => ["a"] };
    const keys = new Keyspace<number>({ store: store as never });
    const refused = 'Cannot open key "a": the store returned a promise, and keys are synchronous';
    expect(() => keys.open("a")).toThrow(refused);
    expect(() => keys.scan(() => {})).toThrow('Cannot scan key "a"');
    const key = keys.open("a", { mode: "write" });
    expect(() => key.value.exists).toThrow("Cannot look at");
    expect(() => key.value.delete()).toThrow("Cannot delete");
    keys.close(key);
    expect([keys.stats.live, keys.refCount("a")]).toEqual([0, 0]);
    const listing = { ...store, has: () => true, keys: () => Promise.reject(new Error("down")) };
    expect(() => new Keyspace<number>({ store: listing as never }).scan(() => {})).toThrow(
      "Cannot scan: the store returned a promise, and keys are synchronous",
    );
  });

  it("is closed by the handle only: not by the value, and not by whom it is lent to", () => {
    const keys = new Keyspace<number>();
    const key = keys.open("a", { mode: "write" });
    type Closing = { close(): void; lent: boolean; endIteration?: unknown };
    key.value.set(1);
    const value = key.value as Key<number> & Closing;
    expect(() => value.close()).toThrow(
      new TypeError('Cannot close key "a (write)" by its value: close its handle, keyspace.close(handle)'),
    );
    expect([key.alive, value.exists, value.endIteration]).toEqual([true, true, undefined]);
    let kept: Handle<Key<number>> | undefined;
    keys.scan((loan) => {
      kept = loan.dup();
      const lent = loan.value as Key<number> & Closing;
      expect(() => lent.close()).toThrow(LoanError);
      expect(() => lent.close()).toThrow(
        'Cannot close key "a (lent)" by its value: it is lent, and has nothing to close',
      );
    });
    expect([kept?.value.get(), keys.refCount("a")]).toEqual([1, 2]);
    const own = kept?.value as Key<number> & Closing;
    expect(() => own.close()).toThrow(TypeError);
    keys.close(kept);
    keys.close(key);
    expect([keys.refCount("a"), keys.stats.live]).toEqual([0, 0]);
  });

  it("keeps its name and its mode, whatever is written over them", () => {
    const keys = new Keyspace<number>({ store: new Map([["a", 1]]) });
    const key = keys.open("a") as Handle<Key<number>>;
    for (const [name, value] of Object.entries({ mode: "write", name: "b" })) {
      expect(() => Object.assign(key.value, { [name]: value })).toThrow(TypeError);
      Object.defineProperty(key.value, name, { value });
    }
    expect(() => key.value.set(2)).toThrow('Cannot set key "a (read)"');
    expect([key.value.get(), keys.refCount("a"), keys.refCount("b")]).toEqual([1, 1, 0]);
    keys.close(key);
    expect(keys.refCount("a")).toBe(0);
  });

  it("is printed by its name and its mode", () => {
    const keys = new Keyspace<number>();
    const key = keys.open("a", { mode: "write" });
    const { value } = key;
    expect([inspect({ value }), String(value)]).toEqual(["{ value: Key<a (write)> }", "Key<a (write)>"]);
    keys.close(key);
    expect(inspect(value)).toBe("Key<a (write), closed>");
  });

  it("says both when a visitor throws and ending the iterator that it began does", () => {
    class Stubborn {
      [Symbol.iterator]() {
        const next = () => ({ done: false, value: 1 });
        const fail = () => {
          throw new Error("the iterator does not end");
        };
        return { next, return: fail };
      }
    }
    const keys = new Keyspace({ store: new Map([["a", new Stubborn()]]) });
    const visit = (): void =>
      keys.scan((key) => {
        key.value.iterate().next();
        throw new Error("the visitor failed");
      });
    expect(visit).toThrow(
      expect.objectContaining({
        error: expect.objectContaining({ message: "the iterator does not end" }),
        suppressed: expect.objectContaining({ message: "the visitor failed" }),
      }),
    );
    expect(keys.refCount("a")).toBe(0);
  });

  it("lends a key to an asynchronous visitor until its promise settles", async () => {
    const keys = new Keyspace({ store: new Map([["a", 1]]) });
    const gate = deferred();
    const seen: unknown[] = [];
    let kept: Key<number> | undefined;
    keys.scan(async (key) => {
      kept = key.value;
      await gate.promise;
      seen.push(key.value.get(), keys.refCount("a"));
    });
    gate.resolve();
    await turn();
    expect(seen).toEqual([1, 0]);
    expect(() => kept?.get()).toThrow(UseAfterFreeError);
  });

  it("does not step over a key that was closed, begun or not", () => {
    const keys = new Keyspace({ store: new Map([["a", [1, 2]]]) });
    const key = keys.open("a") as Handle<Key<number[]>>;
    const begun = key.value.iterate();
    expect(begun.next().value).toBe(1);
    keys.close(key);
    expect(() => begun.next()).toThrow(UseAfterFreeError);
    const other = keys.open("a") as Handle<Key<number[]>>;
    const fresh = other.value.iterate();
    keys.close(other);
    expect(() => fresh.next()).toThrow('Cannot iterate over key "a (read)": it was closed');
  });

  it("says what it cannot close or read options of", () => {
    const keys = new Keyspace();
    for (const [given, received] of [
      ["a", '"a"'],
      [5, "number 5"],
      [{}, "object"],
    ] as const) {
      expect(() => keys.close(given as never)).toThrow(
        new TypeError(`Cannot close a key: expected the handle that open() gave, received ${received}`),
      );
    }
    for (const [given, received] of [
      [null, "null"],
      ["write", '"write"'],
    ] as const) {
      expect(() => keys.open("a", given as never)).toThrow(
        new TypeError(`Cannot open key "a": expected an object of options, received ${received}`),
      );
    }
    expect(keys.stats.opened).toBe(0);
  });

  it("refuses a mode that is none, a name that is none, and a store that is none", () => {
    const keys = new Keyspace();
    expect(() => keys.open("a", { mode: "append" as never })).toThrow(
      'Cannot open key "a": expected mode "read" or "write", received "append"',
    );
    expect(() => keys.open(1 as never)).toThrow(TypeError);
    expect(() => new Keyspace({ store: {} as never })).toThrow(TypeError);
    expect(() => keys.onModified(1 as never)).toThrow(TypeError);
    expect(() => keys.scan(1 as never)).toThrow("Cannot scan: expected a function, received number 1");
    expect(() => new Keyspace({ typeOf: 1 as never })).toThrow(
      "Cannot make a Keyspace: expected typeOf to be a function, received number 1",
    );
    const key = keys.open("a", { mode: "write" });
    expect(() => key.value.set(undefined)).toThrow(TypeError);
    keys.close(key);
    const store = { get: () => 1, set: async () => {}, delete: () => {}, has: () => true };
    const late = new Keyspace<number>({ store }).open("a", { mode: "write" });
    expect(() => late.value.set(1)).toThrow("the store returned a promise");
    expect(() => new Keyspace<number>({ store }).scan(() => {})).toThrow("no keys()");
  });
});
