import { describe, expect, it } from "vitest";
import {
  AsyncAutoMemory,
  AutoMemory,
  defineAsyncResource,
  defineResource,
  Handle,
  HandleMap,
  SuppressedError,
} from "../src/index";
import { ConnectionMap, checkouts, EntryLog, Keyspace, logEntry } from "../src/kinds/index";
import { touch } from "../src/leaks/index";
import { Leases } from "../src/leases/index";
import { leakGuard } from "../src/testing/index";

const Key = defineResource({ kind: "key", free: () => {} });
const map = new HandleMap({ open: async (key: string) => key });
const leases = new Leases({ nodes: [async () => "OK"] });

/** What takes an object, given something that is none. */
const CALLS: Record<string, (given: never) => unknown> = {
  "new HandleMap": (given) => new HandleMap(given),
  defineResource: (given) => defineResource(given),
  defineAsyncResource: (given) => defineAsyncResource(given),
  "new ConnectionMap": (given) => new ConnectionMap(given),
  checkouts: (given) => checkouts(given),
  "new Leases": (given) => new Leases(given),
  logEntry: (given) => logEntry(given),
  leakGuard: (given) => leakGuard(given),
  touch: (given) => touch(given, "hint"),
  "memory.open": (given) => new AutoMemory().open(given),
  "memory.hold": (given) => new AutoMemory().hold(given),
  "asynchronous memory.open": (given) => new AsyncAutoMemory().open(given),
  "asynchronous memory.hold": (given) => new AsyncAutoMemory().hold(given),
};

/** The same, where it may be left out. */
const OPTIONAL: Record<string, (given: never) => unknown> = {
  "Handle.of": (given) => Handle.of(1, () => {}, given),
  "Handle.immortal": (given) => Handle.immortal(1, given),
  wrap: (given) => Key.wrap(1, given),
  "new EntryLog": (given) => new EntryLog(given),
  "an EntryLog's storage": (given) => new EntryLog({ storage: given }),
  "new Keyspace": (given) => new Keyspace(given),
  "a Keyspace's store": (given) => new Keyspace({ store: given }),
  "leases.acquire": (given) => leases.acquire("a", given),
  "a lease's signal": (given) => leases.acquire("a", { signal: given }),
  "map.acquire": (given) => map.acquire("a", given),
  "map.peek": async (given) => map.peek("a", given),
  "a key's signal": (given) => map.acquire("a", { signal: given }),
};

describe.each(Object.entries({ ...CALLS, ...OPTIONAL }))("%s", (name, call) => {
  it.each(name in CALLS ? [undefined, null, 5] : [null, 5])("says that it cannot use %s", async (given) => {
    const opened = Key.stats.opened;
    const error: unknown = await (async () => call(given as never))().then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(TypeError);
    expect((error as Error).message).toMatch(
      /^Cannot [a-zA-Z ]+: expected .+, received (undefined|null|number 5|object)$/,
    );
    expect([Key.stats.opened, map.size]).toEqual([opened, 0]);
  });
});

describe("the classes", () => {
  it("have their own names", () => {
    const classes = {
      AsyncAutoMemory,
      AutoMemory,
      HandleMap,
      ConnectionMap,
      EntryLog,
      Keyspace,
      Leases,
      SuppressedError,
    };
    expect(Object.values(classes).map(({ name }) => name)).toEqual(Object.keys(classes));
  });

  it("keep them in the built package, where a bundler could have renamed them", async () => {
    const dist = new URL("../dist/", import.meta.url);
    for (const entry of ["index", "kinds", "leases"]) {
      const exports: Record<string, unknown> = await import(new URL(`${entry}.js`, dist).href);
      const functions = Object.entries(exports).filter(([, value]) => typeof value === "function");
      expect(functions.map(([, value]) => (value as { name: string }).name)).toEqual(functions.map(([name]) => name));
    }
  });
});
