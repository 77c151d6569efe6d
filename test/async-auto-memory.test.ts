import { describe, expect, it, vi } from "vitest";
import { AsyncAutoMemory } from "../src/async-auto-memory";
import type { AsyncHandle } from "../src/async-handle";
import { SuppressedError, UseAfterFreeError } from "../src/errors";
import { Handle } from "../src/handle";
import { defineAsyncResource, defineResource } from "../src/resource";
import { expectEnded, expectNothingOwned, itBehavesAsDisposable } from "./support/contracts";
import { RecordingTracker } from "./support/recording-tracker";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function gate(): { promise: Promise<void>; open(): void; fail(error: unknown): void } {
  let open = (): void => {};
  let fail = (_: unknown): void => {};
  const promise = new Promise<void>((resolve, reject) => {
    open = resolve;
    fail = reject;
  });
  return { promise, open, fail };
}

/** An asynchronous kind whose frees are written down when they begin and when they have settled. */
function logged() {
  const log: string[] = [];
  const Key = defineAsyncResource({
    kind: "key",
    open: async (name: string) => name,
    free: async (name) => {
      log.push(`freeing ${name}`);
      await turn();
      log.push(`freed ${name}`);
    },
  });
  const File = defineResource({ kind: "file", open: (name: string) => name, free: (name) => void log.push(name) });
  return { log, Key, File };
}

function failing(message: string): Promise<AsyncHandle<string>> {
  const Key = defineAsyncResource<string>({ kind: "key", free: async (v) => Promise.reject(new Error(v)) });
  return Key.open(message);
}

describe("AsyncAutoMemory.disposeAsync()", () => {
  itBehavesAsDisposable(async (free) => {
    let freed = 0;
    const memory = new AsyncAutoMemory();
    memory.defer(async () => {
      freed++;
      free(() => thing);
    });
    const thing = { dispose: () => memory.disposeAsync(), freed: () => freed };
    return thing;
  });

  it("frees one after the other in reverse order, synchronous handles among them", async () => {
    const { log, Key, File } = logged();
    const memory = new AsyncAutoMemory();
    await memory.open(Key, "a");
    memory.open(File, "file");
    await memory.open(Key, "b");
    await memory.disposeAsync();
    expect(log).toEqual(["freeing b", "freed b", "file", "freeing a", "freed a"]);
  });

  it("frees the rest past what fails, and nests several failures", async () => {
    const { log, Key } = logged();
    const memory = new AsyncAutoMemory();
    memory.use(await failing("1"));
    await memory.open(Key, "a");
    memory.use(
      Handle.of("2", (v) => {
        throw new Error(v);
      }),
    );
    memory.use(await failing("3"));
    const error: unknown = await memory.disposeAsync().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(SuppressedError);
    expect(error).toMatchObject({
      error: { message: "1" },
      suppressed: { error: { message: "2" }, suppressed: { message: "3" } },
    });
    expect(log).toEqual(["freeing a", "freed a"]);
    expect(memory.disposed).toBe(true);
  });

  it("waits for a handle closed early whose free is under way, and hears of its failure", async () => {
    const memory = new AsyncAutoMemory();
    const hold = gate();
    const Key = defineAsyncResource<string>({ kind: "key", free: () => hold.promise });
    const handle = memory.use(await Key.open("a"));
    const closing = handle.decrRef().catch((error: unknown) => error);
    expect([handle.owed, memory.size]).toEqual([0, 1]);
    let ended = false;
    const ending = memory.disposeAsync().then(
      () => undefined,
      (error: unknown) => {
        ended = true;
        return error;
      },
    );
    await turn();
    expect(ended).toBe(false);
    const failure = new Error("free failed");
    hold.fail(failure);
    expect(await Promise.all([closing, ending])).toEqual([failure, failure]);
  });

  it("does not free again, nor wait for, a handle closed early whose free has settled", async () => {
    const { log, Key } = logged();
    const memory = new AsyncAutoMemory();
    const handles = [await memory.open(Key, "a"), await memory.open(Key, "b")];
    await handles[0]?.decrRef();
    expect(memory.size).toBe(1);
    await memory.disposeAsync();
    expect(log).toEqual(["freeing a", "freed a", "freeing b", "freed b"]);
  });

  it("lets go at once of a handle closed early whose free was synchronous, or is not due", async () => {
    const memory = new AsyncAutoMemory();
    const Key = defineAsyncResource<string>({ kind: "key", free: () => {} });
    const a = await memory.open(Key, "a");
    const b = memory.use(a.dup());
    void b.decrRef();
    expect(memory.size).toBe(1);
    void a.decrRef();
    expect(memory.size).toBe(0);
  });

  it("owns a spent handle whose free is under way, until that has settled", async () => {
    const { log, Key } = logged();
    const handle = await Key.open("a");
    const closing = handle.decrRef();
    const memory = new AsyncAutoMemory();
    memory.use(handle);
    expect(memory.size).toBe(1);
    await closing;
    expect([memory.size, log]).toEqual([0, ["freeing a", "freed a"]]);
    memory.use(handle);
    expect(memory.size).toBe(0);
    await memory.disposeAsync();
  });

  it("waits for a free in whose beginning its own handle was disposed of", async () => {
    const log: string[] = [];
    let handle: AsyncHandle<string> | undefined;
    const Key = defineAsyncResource<string>({
      kind: "key",
      free: async () => {
        await Promise.all([handle?.[Symbol.asyncDispose](), turn()]);
        log.push("freed");
      },
    });
    const memory = new AsyncAutoMemory();
    handle = memory.use(await Key.open("a"));
    const closed = handle.decrRef();
    await memory.disposeAsync();
    expect(log).toEqual(["freed"]);
    expect(await closed).toBe(true);
  });

  it.each<[string, (handle: AsyncHandle<string>, revoke: () => Promise<void>) => Promise<unknown>]>([
    ["a revoke", (_, revoke) => revoke()],
    ["a close", (handle) => handle.decrRef()],
  ])("waits for a free that %s began and in whose beginning the account was closed", async (_, begin) => {
    let handle: AsyncHandle<string> | undefined;
    const steps: string[] = [];
    const Key = defineAsyncResource<string>({
      kind: "key",
      free: async () => {
        if ((handle?.owed ?? 0) > 0) handle?.decrRef();
        else expect(() => handle?.decrRef()).toThrow(/^decrRefCount against refcount <= 0/);
        await turn();
        steps.push("freed");
        throw new Error("free failed");
      },
    });
    const memory = new AsyncAutoMemory();
    handle = memory.use(await Key.open("a"));
    const begun = begin(handle, () => Key.revoke(handle as AsyncHandle<string>));
    expect([memory.size, handle.owed]).toEqual([1, 0]);
    const ended = memory.disposeAsync().then(
      () => "ended",
      (error: Error) => error.message,
    );
    await expect(begun).rejects.toThrow("free failed");
    expect([await ended, steps]).toEqual(["free failed", ["freed"]]);
  });

  it("waits for a free that has begun one in whose beginning its account was closed", async () => {
    const steps: string[] = [];
    let inner: AsyncHandle<number> | undefined;
    let second: AsyncHandle<number> | undefined;
    const Outer = defineAsyncResource<number>({
      kind: "outer",
      free: async () => {
        void inner?.decrRef();
        await turn();
        await turn();
        steps.push("outer");
      },
    });
    const Inner = defineAsyncResource<number>({
      kind: "inner",
      free: async () => {
        void second?.decrRef();
        await turn();
        steps.push("inner");
      },
    });
    const memory = new AsyncAutoMemory();
    const first = memory.use(await Outer.open(1));
    second = memory.hold(first);
    inner = await Inner.open(2);
    const revoked = Outer.revoke(first);
    await memory.disposeAsync();
    steps.push("disposed");
    await revoked;
    expect(steps).toEqual(["inner", "outer", "disposed"]);
  });

  it("waits for nothing that only looks like a promise", async () => {
    const Key = defineAsyncResource<string>({
      kind: "key",
      free: () => Object.assign(Promise.resolve(), { then: undefined }) as unknown as Promise<void>,
    });
    const handle = await Key.open("a");
    expect(await handle.decrRef()).toBe(true);
  });

  it("lets go of an account that a synchronous free has closed", async () => {
    let handle: AsyncHandle<string> | undefined;
    const Key = defineAsyncResource<string>({ kind: "key", free: () => void handle?.decrRef() });
    const memory = new AsyncAutoMemory();
    handle = memory.use(await Key.open("a"));
    await Key.revoke(handle);
    expect([memory.size, handle.owed, Key.stats.live]).toEqual([0, 0, 0]);
    await memory.disposeAsync();
  });

  it("never waits for itself when a free ends its own context", async () => {
    const memory = new AsyncAutoMemory();
    const log: string[] = [];
    const Key = defineAsyncResource<string>({
      kind: "key",
      free: async () => {
        await memory.disposeAsync();
        log.push("freed");
      },
    });
    const handle = await memory.open(Key, "a");
    await handle.decrRef();
    expect(log).toEqual(["freed"]);
  });

  it.each([
    ["disposeAsync", "decrRef"],
    ["disposeAsync", "revoke"],
    ["freeAll", "decrRef"],
    ["freeAll", "revoke"],
  ] as const)("nor when %s pays for others first, and the free began by %s", async (pay, close) => {
    const memory = new AsyncAutoMemory();
    const { log, Key: Later } = logged();
    const Key = defineAsyncResource<string>({
      kind: "key",
      free: async (name) => {
        await memory[pay]();
        log.push(`freed ${name}`);
      },
    });
    const handle = await memory.open(Key, "first");
    if (close === "revoke") memory.use(handle.dup());
    await memory.open(Later, "later");
    const closing = close === "revoke" ? Key.revoke(handle) : handle.decrRef();
    for (let i = 0; i < 9; i++) await turn();
    expect(log).toEqual(["freeing later", "freed later", "freed first"]);
    await closing;
    expect([memory.size, handle.owed, Key.stats.live]).toEqual([0, 0, 0]);
  });

  it("calls a spied dispose method as an AsyncDisposableStack does", async () => {
    const { log, Key } = logged();
    const memory = new AsyncAutoMemory();
    const handle = await Key.open("a");
    const spied = vi.spyOn(handle, Symbol.asyncDispose);
    memory.use(handle);
    await handle.decrRef();
    expect(memory.size).toBe(1);
    await memory.disposeAsync();
    expect([spied.mock.calls.length, log]).toEqual([1, ["freeing a", "freed a"]]);
    const later = new AsyncAutoMemory();
    const plain = later.use(await Key.open("b"));
    const after = vi.spyOn(plain, Symbol.asyncDispose);
    await later.disposeAsync();
    expect([after.mock.calls.length, plain.owed]).toEqual([0, 0]);
  });
});

describe("AsyncAutoMemory.open()", () => {
  it("frees at once what arrives after the context has ended, and rejects", async () => {
    for (const end of ["disposeAsync", "move"] as const) {
      const log: string[] = [];
      const hold = gate();
      const Key = defineAsyncResource({
        kind: "key",
        open: async () => hold.promise.then(() => "late"),
        free: async (value) => void log.push(`freed ${value}`),
      });
      const memory = new AsyncAutoMemory();
      const opening = memory.open(Key);
      const ended = memory[end]();
      hold.open();
      await expect(opening).rejects.toThrow(ReferenceError);
      expect([log, Key.stats.live]).toEqual([["freed late"], 0]);
      await ended;
    }
  });

  it("keeps both failures when that free fails", async () => {
    const Key = defineAsyncResource({
      kind: "key",
      open: async () => "late",
      free: async () => Promise.reject(new Error("free failed")),
    });
    const memory = new AsyncAutoMemory();
    const opening = memory.open(Key);
    await memory.disposeAsync();
    expect(await opening.catch((error: unknown) => error)).toMatchObject({
      error: { message: "free failed" },
      suppressed: { name: "ReferenceError" },
    });
  });

  it("throws at once when the context has ended already, and opens nothing", async () => {
    const { Key, File } = logged();
    const memory = new AsyncAutoMemory();
    await memory.disposeAsync();
    expect(() => memory.open(Key, "a")).toThrow(ReferenceError);
    expect(() => memory.open(File, "a")).toThrow(ReferenceError);
    expect([Key.stats.opened, File.stats.opened]).toEqual([0, 0]);
  });

  it("frees what a synchronous open brings that ended the context itself", async () => {
    const log: string[] = [];
    for (const free of [
      () => void log.push("freed"),
      () => {
        throw new Error("free failed");
      },
    ]) {
      const memory = new AsyncAutoMemory();
      const File = defineResource({ kind: "file", open: () => void memory.disposeAsync(), free });
      expect(() => memory.open(File)).toThrow(log.length === 0 ? ReferenceError : SuppressedError);
      expect(File.stats.live).toBe(0);
    }
    expect(log).toEqual(["freed"]);
  });

  it("rejects with what the open rejects with, and owns nothing", async () => {
    const Key = defineAsyncResource({ kind: "key", open: () => Promise.reject(new Error("none")), free: () => {} });
    const memory = new AsyncAutoMemory();
    await expect(memory.open(Key)).rejects.toThrow("none");
    expect(memory.size).toBe(0);
  });
});

describe("AsyncAutoMemory", () => {
  it("keeps, holds, moves and frees all, for handles of both kinds", async () => {
    const { log, Key, File } = logged();
    const memory = new AsyncAutoMemory();
    const [key, file] = [await memory.open(Key, "key"), memory.open(File, "file")];
    const held = memory.hold(key, "context");
    const heldFile = memory.hold(file);
    expect([memory.size, key.refCount, file.refCount, held.owed, heldFile.owed]).toEqual([4, 2, 2, 1, 1]);
    expect([memory.keep(key), memory.keep(file), memory.size]).toEqual([key, file, 2]);
    expect(() => memory.keep(key)).toThrow(TypeError);
    for (const thing of [null, undefined, 5, {}]) expect(() => memory.keep(thing as never)).toThrow(TypeError);
    await memory.freeAll();
    expect([memory.size, memory.disposed, log, key.owed, file.owed]).toEqual([0, false, [], 1, 1]);
    memory.use(key);
    const moved = memory.move();
    expect([memory.disposed, moved.size]).toEqual([true, 1]);
    moved.use(file);
    await moved.disposeAsync();
    expect(log).toEqual(["file", "freeing key", "freed key"]);
    expect(() => memory.hold(key)).toThrow(ReferenceError);
    expect(() => moved.hold(key)).toThrow(ReferenceError);
  });

  it("gives back at once what it was to hold when making that has ended it", async () => {
    const { Key, File } = logged();
    const [key, file] = [await Key.open("key"), File.open("file")];
    for (const handle of [key, file] as { readonly refCount: number; dup(): Handle<string> }[]) {
      const memory = new AsyncAutoMemory();
      const ending = {
        dup() {
          void memory.disposeAsync();
          return handle.dup();
        },
      };
      expect(() => memory.hold(ending as never)).toThrow(/^Cannot hold: the context has ended/);
      expect(handle.refCount).toBe(1);
    }
    await key.decrRef();
    file.decrRef();
  });

  it("refuses everything once it has ended, and what it cannot dispose of", async () => {
    const { log, Key, File } = logged();
    const memory = new AsyncAutoMemory();
    await memory.disposeAsync();
    const handle = File.open("mine");
    expectEnded(memory, File, handle);
    expect([log, File.stats.opened, Key.stats.opened, handle.owed]).toEqual([[], 1, 0, 1]);
    const usable = new AsyncAutoMemory();
    const neither = /^Cannot use object: it has neither a \[Symbol\.asyncDispose\] nor a \[Symbol\.dispose\] method$/;
    expect(() => usable.use({} as Disposable)).toThrow(neither);
    expect(() => usable.keep(handle)).toThrow(
      "Cannot keep Handle<file, 1 reference, 1 here>: this context does not own it",
    );
    const foreign = Reflect.apply(usable.disposeAsync, {}, []) as Promise<void>;
    await expect(foreign).rejects.toThrow(/^Cannot dispose of object: it is no AsyncAutoMemory$/);
    expectNothingOwned(usable);
  });

  it("lets two contexts own one handle, each paying a reference as long as one is owed", async () => {
    const { log, Key } = logged();
    const [first, second] = [new AsyncAutoMemory(), new AsyncAutoMemory()];
    const both = second.use(await first.open(Key, "both"));
    const other = await first.open(Key, "other");
    first.use(both.incrRef());
    expect(first.keep(both)).toBe(both);
    expect([first.size, second.size]).toEqual([2, 1]);
    await first.disposeAsync();
    expect([log, both.owed, other.owed, second.size]).toEqual([["freeing other", "freed other"], 1, 0, 1]);
    expect(second.keep(both)).toBe(both);
    expect(() => second.keep(both)).toThrow(TypeError);
    await both.decrRef();
    second.use(both);
    expect(second.size).toBe(0);
    await second.disposeAsync();
  });

  it("owns a kept handle again in its new place, and the newest of two ownerships is kept", async () => {
    const { log, Key } = logged();
    const memory = new AsyncAutoMemory();
    const a = await memory.open(Key, "a");
    await memory.open(Key, "b");
    memory.use(memory.keep(a));
    expect(memory.size).toBe(2);
    memory.use(a.incrRef());
    expect(memory.keep(a)).toBe(a);
    expect(memory.size).toBe(2);
    await memory.disposeAsync();
    expect([log, a.owed]).toEqual([["freeing b", "freed b"], 1]);
  });

  it("keeps what is no handle of ours", async () => {
    const log: string[] = [];
    const memory = new AsyncAutoMemory();
    const thing = { [Symbol.asyncDispose]: async () => void log.push("disposed") };
    memory.use(thing);
    expect(memory.keep(thing)).toBe(thing);
    await memory.disposeAsync();
    expect(log).toEqual([]);
  });

  it("detaches a moved account", async () => {
    const { log, Key } = logged();
    const memory = new AsyncAutoMemory();
    const moved = (await memory.open(Key, "a")).move();
    expect(memory.size).toBe(0);
    await memory.disposeAsync();
    expect([moved.value, log]).toEqual(["a", []]);
  });

  it("frees in freeAll what was owned then; what a free adds stays", async () => {
    const { log, Key } = logged();
    const memory = new AsyncAutoMemory();
    memory.defer(async () => void (await memory.open(Key, "added")));
    const freeing = memory.freeAll();
    expect(memory.disposed).toBe(false);
    await freeing;
    expect([memory.size, log]).toEqual([1, []]);
    memory.use(await failing("fails"));
    await expect(memory.freeAll()).rejects.toThrow("fails");
    expect(log).toEqual(["freeing added", "freed added"]);
    await memory.disposeAsync();
    expect(() => memory.freeAll()).toThrow(ReferenceError);
  });

  it("says to a detector that an account escaped only when nobody else pays for it", async () => {
    const tracker = new RecordingTracker();
    const Key = defineAsyncResource<string>({ kind: "key", free: () => {} });
    const { one, two, handle } = tracker.during(() => ({
      one: new AsyncAutoMemory(),
      two: new AsyncAutoMemory(),
      handle: Key.wrap("a").incrRef().incrRef(),
    }));
    two.use(one.use(handle));
    await one.disposeAsync();
    expect(tracker.log).not.toContain("#1 escaped");
    await two.disposeAsync();
    expect(tracker.log.slice(-2)).toEqual(["#1 counted -1", "#1 escaped"]);
    expect(tracker.log).toContain("#1 owned by context 2");
    expect(tracker.log).toContain("context 1 ended");
    await handle.decrRef();
    const third = tracker.during(() => new AsyncAutoMemory());
    tracker.log.length = 0;
    third.keep(third.use(tracker.during(() => Key.wrap("b"))));
    expect(tracker.log.at(-1)).toBe("#2 owned by nobody");
    tracker.during(() => third.move());
    expect(tracker.log.at(-1)).toBe("context 3 moved");
  });
});

describe("AsyncAutoMemory.run()", () => {
  it("pays when the body has ended, and keeps its result or its error", async () => {
    const { log, Key } = logged();
    let inner: AsyncHandle<string> | undefined;
    const result = await AsyncAutoMemory.run(async (memory) => {
      inner = await memory.open(Key, "a");
      return inner.value;
    });
    expect([result, log]).toEqual(["a", ["freeing a", "freed a"]]);
    expect(() => inner?.value).toThrow(UseAfterFreeError);
    expect(await AsyncAutoMemory.run(() => 5)).toBe(5);
    const own = new Error("own");
    const fails = (): never => {
      throw own;
    };
    await expect(AsyncAutoMemory.run(fails)).rejects.toBe(own);
    await expect(AsyncAutoMemory.run(() => Promise.reject(own))).rejects.toBe(own);
    await expect(AsyncAutoMemory.run(async (m) => void m.use(await failing("free")))).rejects.toThrow("free");
    const both: unknown = await AsyncAutoMemory.run(async (memory) => {
      memory.use(await failing("free"));
      throw own;
    }).catch((error: unknown) => error);
    expect(both).toBeInstanceOf(SuppressedError);
    expect(both).toMatchObject({ error: { message: "free" }, suppressed: own });
  });

  it("rejects with a TypeError when the body is no function", async () => {
    await expect(AsyncAutoMemory.run(null as never)).rejects.toThrow("Cannot run: expected a function, received null");
  });
});
