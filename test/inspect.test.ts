import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { AsyncAutoMemory } from "../src/async-auto-memory";
import { AutoMemory } from "../src/auto-memory";
import { Handle } from "../src/handle";
import { defineAsyncResource, defineResource } from "../src/resource";

/** A value that must not be looked at. */
const secret = new Proxy(
  { password: "hunter2" },
  {
    get(target, key) {
      if (key === "then") return undefined;
      throw new Error(`the value was read: ${String(key)} of ${Object.keys(target)}`);
    },
    ownKeys() {
      throw new Error("the value was looked at");
    },
  },
);

const Key = defineResource<object>({ kind: "key", free: () => {}, label: () => "user:1 (write)" });
const AsyncKey = defineAsyncResource<object>({ kind: "key", free: () => {}, label: () => "user:1 (write)" });

describe("util.inspect() of a handle", () => {
  it("shows kind, label, counts and state, and never touches the value", () => {
    const handle = Key.open(secret);
    expect(inspect(handle)).toBe('Handle<key "user:1 (write)", 1 reference, 1 here>');
    const dup = handle.dup();
    expect(inspect(handle)).toBe('Handle<key "user:1 (write)", 2 references, 1 here>');
    expect(inspect({ deep: [dup] })).toBe(`{ deep: [ ${inspect(dup)} ] }`);
    expect([String(handle), `${dup}`]).toEqual([inspect(handle), inspect(dup)]);
    const moved = dup.move();
    expect(inspect(dup)).toBe('Handle<key "user:1 (write)", moved>');
    handle.borrow((_, loan) => {
      expect(inspect(loan)).toBe('Loan<key "user:1 (write)">');
      handle.decrRef();
      expect(inspect(handle)).toBe('Handle<key "user:1 (write)", 1 reference, 0 here>');
      moved.decrRef();
      expect(inspect(moved)).toBe('Handle<key "user:1 (write)", draining>');
    });
    expect(inspect(moved)).toBe('Handle<key "user:1 (write)", freed>');
    const revoked = Key.open(secret);
    Key.revoke(revoked);
    expect(inspect(revoked)).toBe('Handle<key "user:1 (write)", revoked>');
    const plain = Handle.of(secret, () => {});
    expect(inspect(plain)).toBe("Handle<resource, 1 reference, 1 here>");
    plain.decrRef();
    expect(inspect(plain)).toBe("Handle<resource, freed>");
    expect(inspect(Handle.immortal(secret, { kind: "shared" }))).toBe("Handle<shared, immortal>");
  });

  it("says AsyncHandle of an asynchronous one, and that a loan is over", async () => {
    const handle = await AsyncKey.open(secret);
    expect([inspect(handle), `${handle}`]).toEqual(
      Array(2).fill('AsyncHandle<key "user:1 (write)", 1 reference, 1 here>'),
    );
    const loan = await handle.borrow((_, lent) => [lent]);
    expect(inspect(loan[0])).toBe('Loan<key "user:1 (write)", over>');
  });

  it("says what a context owns, and that it has ended", async () => {
    const memory = new AutoMemory();
    memory.use(Key.open({}));
    expect(inspect(memory)).toBe("AutoMemory<1 owned>");
    memory.dispose();
    expect(inspect(memory)).toBe("AutoMemory<ended>");
    const async = new AsyncAutoMemory();
    expect(inspect(async)).toBe("AsyncAutoMemory<0 owned>");
    await async.disposeAsync();
    expect(inspect(async)).toBe("AsyncAutoMemory<ended>");
  });
});

describe("a handle as data", () => {
  it("has no own property, so that JSON and spreading do not leak the value", async () => {
    for (const handle of [Key.open(secret), Handle.of(secret, () => {}), await AsyncKey.open(secret)]) {
      expect([JSON.stringify(handle), JSON.stringify({ handle }), Reflect.ownKeys(handle)]).toEqual([
        "{}",
        '{"handle":{}}',
        [],
      ]);
      expect({ ...handle }).toEqual({});
    }
  });

  it("is an empty object after structuredClone and postMessage, which is no handle", async () => {
    const handle = Key.open({ password: "hunter2" });
    const { port1, port2 } = new MessageChannel();
    const received = new Promise((resolve) =>
      port2.addEventListener("message", (event) => resolve((event as unknown as { data: unknown }).data)),
    );
    port2.start();
    port1.postMessage(handle);
    for (const copy of [structuredClone(handle), await received]) {
      expect(Object.getPrototypeOf(copy)).toBe(Object.prototype);
      expect(Reflect.ownKeys(copy as object)).toEqual([]);
    }
    port1.close();
    expect(handle.refCount).toBe(1);
  });

  it("refuses every call through a Proxy with a TypeError, and nothing changes", async () => {
    for (const handle of [Key.open({}), Handle.of({}, () => {}), await AsyncKey.open({})]) {
      const proxy = new Proxy(handle, {}) as Handle<object>;
      for (const call of [
        () => proxy.value,
        () => proxy.owed,
        () => proxy.refCount,
        () => proxy.alive,
        () => proxy.label,
        () => proxy.incrRef(),
        () => proxy.decrRef(),
        () => proxy.dup(),
        () => proxy.move(),
        () => proxy.weak(),
        () => proxy.isSole(),
      ]) {
        expect(call).toThrow(TypeError);
      }
      expect([handle.refCount, handle.owed]).toEqual([1, 1]);
    }
  });

  it("works frozen: nothing of its state is a property", () => {
    const handle = Object.freeze(Handle.of({}, () => {}));
    const memory = Object.freeze(new AutoMemory());
    memory.use(handle.incrRef());
    expect([handle.decrRef(), memory.size]).toEqual([false, 1]);
    memory.dispose();
    expect([handle.alive, memory.disposed]).toEqual([false, true]);
  });
});
