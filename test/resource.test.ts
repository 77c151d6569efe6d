import { describe, expect, it, vi } from "vitest";
import { AutoMemory } from "../src/auto-memory";
import { AsyncFreeError, MovedError, RevokedError } from "../src/errors";
import type { Handle } from "../src/handle";
import { Handle as Handles } from "../src/handle";
import { type AsyncResource, defineAsyncResource, defineResource, type Resource } from "../src/resource";
import { RecordingTracker } from "./support/recording-tracker";
import { thenable } from "./support/thenable";

const NONE = { live: 0, opened: 0, freed: 0, peak: 0, bytes: 0 };

describe("defineResource()", () => {
  it("types and passes the open arguments, and frees the value once", () => {
    const freed: unknown[] = [];
    const Key = defineResource({
      kind: "key",
      open: (name: string, mode: "read" | "write") => ({ name, mode }),
      free: (key) => void freed.push(key),
      label: (key, name, mode) => `${name} (${mode}) ${key.mode}`,
    });
    const key: Handle<{ name: string; mode: "read" | "write" }> = Key.open("user:1", "write");
    expect([Key.kind, key.kind, key.label]).toEqual(["key", "key", "user:1 (write) write"]);
    const { value } = key;
    key.decrRef();
    expect(freed).toEqual([value]);
  });

  it("wraps what it is given when it has no open", () => {
    const free = vi.fn();
    const Key = defineResource<string>({ kind: "key", free });
    const opened = Key.open("v");
    expect(opened.value).toBe("v");
    opened.decrRef();
    expect(free.mock.calls).toEqual([["v"]]);
    const late = Promise.resolve("value");
    expect(defineResource<Promise<string>>({ kind: "promise", free: () => {} }).open(late).value).toBe(late);
  });

  it("counts nothing when open throws", () => {
    const Key = defineResource({
      kind: "key",
      open: (): string => {
        throw new Error("no such key");
      },
      free: () => {},
    });
    expect(() => Key.open()).toThrow("no such key");
    expect(Key.stats).toEqual(NONE);
  });

  it("frees distinct resources each once", () => {
    const freed: number[] = [];
    let n = 0;
    const Key = defineResource({ kind: "key", open: (_: string) => n++, free: (i) => void freed.push(i) });
    const [a, b] = [Key.open("same"), Key.open("same")];
    expect(a).not.toBe(b);
    b.decrRef();
    a.decrRef();
    expect(freed).toEqual([1, 0]);
  });

  it("throws a TypeError that says which member is wrong", () => {
    const free = (): void => {};
    const wrong: [object, RegExp][] = [
      [{ kind: "key" }, /^Cannot define kind "key": expected free to be a function, received undefined$/],
      [{ kind: "key", free: 5 }, /expected free to be a function, received number 5$/],
      [{ kind: "key", free, open: {} }, /expected open to be a function, received object/],
      [{ kind: "key", free, label: "a" }, /expected label to be a function, received "a"$/],
      [{ kind: "key", free, bytes: -1 }, /-1$/],
      [{ kind: "key", free, bytes: "12" }, /expected bytes to be a function, received "12"$/],
      [{ kind: "", free }, /^Cannot name a resource: expected a kind that is a non-empty string/],
      [{ free }, /received undefined$/],
    ];
    const defines: ((definition: never) => unknown)[] = [defineResource, defineAsyncResource];
    for (const define of defines) {
      for (const [definition, message] of wrong) {
        expect(() => define(definition as never)).toThrow(TypeError);
        expect(() => define(definition as never)).toThrow(message);
      }
    }
  });

  it("tells a detector what it is told: kind, label, size, exclusive, watch", () => {
    const tracker = new RecordingTracker();
    const definition = { kind: "key", free: () => {}, label: () => "a", bytes: 9, exclusive: true, watch: true };
    tracker.during(() => defineResource<string>(definition).open("v"));
    expect(tracker.facts[0]).toMatchObject({
      kind: { name: "key", exclusive: true, watch: true },
      label: "a",
      bytes: 9,
      value: "v",
    });
  });
});

describe("open() that returns a promise where none is waited for", () => {
  it("is refused, nothing is counted, and the late value is freed", async () => {
    const freed: string[] = [];
    const Key = defineResource({
      kind: "key",
      open: (async () => "late") as () => unknown as () => string,
      free: (v) => void freed.push(v),
    });
    expect(() => Key.open()).toThrow(AsyncFreeError);
    expect(() => Key.open()).toThrow(/^Cannot open key synchronously: its open function returned a promise/);
    expect(Key.stats).toEqual(NONE);
    await vi.waitFor(() => expect(freed).toEqual(["late", "late"]));
  });

  it("is refused when the promise is a function", async () => {
    const freed: string[] = [];
    const late = Object.assign(() => {}, { then: (arrive: (v: string) => void) => arrive("late") });
    const Key = defineResource({
      kind: "key",
      open: () => late as unknown as string,
      free: (v) => void freed.push(v),
    });
    expect(() => Key.open()).toThrow(AsyncFreeError);
    const memory = new AutoMemory();
    expect(() => memory.open(Key)).toThrow(AsyncFreeError);
    expect([memory.size, Key.stats]).toEqual([0, NONE]);
    await vi.waitFor(() => expect(freed).toEqual(["late", "late"]));
  });

  it("is not made of a value that cannot be asked", () => {
    const freed: object[] = [];
    const value = Object.defineProperty({}, "then", {
      get() {
        throw new Error("no such property");
      },
    });
    const Key = defineResource({ kind: "key", open: () => value, free: (v: object) => void freed.push(v) });
    Key.open().decrRef();
    expect(freed).toEqual([value]);
  });

  it("is refused as well when it is no good promise", () => {
    const broken = thenable(() => {
      throw new Error("broken");
    });
    const Key = defineResource({ kind: "key", free: () => broken as unknown as undefined });
    expect(() => Key.open("a").decrRef()).toThrow(AsyncFreeError);
  });

  it("starts a lazy thenable once, so that what it opens is freed", async () => {
    const log: string[] = [];
    const lazy = thenable<string>((resolve: (value: string) => void) => {
      log.push("opened");
      resolve("late");
    });
    const Key = defineResource({
      kind: "key",
      open: () => lazy as unknown as string,
      free: (v) => void log.push(`freed ${v}`),
    });
    expect(() => Key.open()).toThrow(AsyncFreeError);
    await vi.waitFor(() => expect(log).toContain("freed late"));
    expect(log).toEqual(["opened", "freed late"]);
  });

  it("hears a late rejection, and a late free that fails", async () => {
    const warned = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
    const reason = new Error("no such key");
    const Rejecting = defineResource({
      kind: "key",
      open: () => Promise.reject(reason) as unknown as string,
      free: () => {},
    });
    let error: unknown;
    try {
      Rejecting.open();
    } catch (caught) {
      error = caught;
    }
    await vi.waitFor(() => expect(warned).toHaveBeenCalledWith(reason));
    expect((error as Error).cause).toBe(reason);
    const failed = new Error("free failed");
    const Failing = defineResource({
      kind: "key",
      open: () => Promise.resolve("v") as unknown as string,
      free: () => {
        throw failed;
      },
    });
    expect(() => Failing.open()).toThrow(AsyncFreeError);
    await vi.waitFor(() => expect(warned).toHaveBeenCalledWith(failed));
    warned.mockRestore();
  });
});

describe.each([
  ["defineResource", defineResource],
  ["defineAsyncResource", defineAsyncResource],
] as const)("a kind made by %s()", (name, define) => {
  type Definition = { [member: string]: unknown };
  const make = (definition: Definition = {}): AsyncResource<string, [string]> =>
    (define as typeof defineAsyncResource)({ kind: "key", free: () => {}, ...definition } as never) as never;

  it("calls its label once, at open, with the value and the arguments", async () => {
    const label = vi.fn((value: string, arg: string) => `${value}/${arg}`);
    const Key = make({ label, open: (arg: string) => `opened ${arg}` });
    const key = await Key.open("a");
    expect([key.label, key.label, key.dup().label]).toEqual(Array(3).fill("opened a/a"));
    expect(label.mock.calls).toEqual([["opened a", "a"]]);
  });

  it("contains a label or a size that throws, and says so in the label", async () => {
    const boom = () => {
      throw new Error("broken label");
    };
    const key = await make({ label: boom, bytes: boom }).open("v");
    expect([key.value, key.label]).toEqual(["v", "(no label: broken label)"]);
    const Sized = make({ bytes: boom });
    await Sized.open("v");
    expect(Sized.stats).toMatchObject({ live: 1, bytes: 0 });
    const thrown = () => {
      throw 5;
    };
    expect((await make({ label: thrown }).open("v")).label).toBe("(no label: the label function threw)");
    expect((await make({ label: () => ({ toString: boom }) }).open("v")).label).toBe("(no label: broken label)");
    expect((await make({ label: () => 5 }).open("v")).label).toBe("5");
    const hostile = () => {
      throw Object.defineProperty(new Error(), "message", { get: boom });
    };
    expect((await make({ label: hostile }).open("v")).label).toBe("(no label: the label function threw)");
  });

  it.each([
    ["a negative number", -1],
    ["NaN", Number.NaN],
    ["Infinity", Number.POSITIVE_INFINITY],
    ["a string", "5"],
    ["a bigint", 5n],
    ["nothing", undefined],
  ])("takes a size that is %s for none", async (_, size) => {
    const Key = make({ bytes: () => size });
    const key = await Key.open("v");
    expect(Key.stats).toEqual({ live: 1, opened: 1, freed: 0, peak: 1, bytes: 0 });
    await key.decrRef();
    expect(Key.stats.bytes).toBe(0);
  });

  it("keeps plain counts of what it opened, freed, and of the sizes", async () => {
    const Key = make({ bytes: (value: string) => value.length });
    const [a, b] = [await Key.open("aa"), await Key.open("bbb")];
    const dup = a.dup();
    expect(Key.stats).toEqual({ live: 2, opened: 2, freed: 0, peak: 2, bytes: 5 });
    const before = Key.stats;
    await a.decrRef();
    await b.decrRef();
    expect(Key.stats).toEqual({ live: 1, opened: 2, freed: 1, peak: 2, bytes: 2 });
    await dup.decrRef();
    const c = await Key.open("c");
    expect(Key.stats).toEqual({ live: 1, opened: 3, freed: 2, peak: 2, bytes: 1 });
    expect(before).toEqual({ live: 2, opened: 2, freed: 0, peak: 2, bytes: 5 });
    await c.decrRef();
    const Fixed = make({ bytes: 10 });
    const fixed = await Fixed.open("v");
    expect(Fixed.stats.bytes).toBe(10);
    await fixed.decrRef();
    expect(Fixed.stats.bytes).toBe(0);
  });

  it("counts a resource as freed when its free throws", async () => {
    const Key = make({
      free: () => {
        throw new Error("free failed");
      },
    });
    const key = await Key.open("v");
    await expect((async () => key.decrRef())()).rejects.toThrow("free failed");
    expect(Key.stats).toMatchObject({ live: 0, freed: 1 });
  });

  it("wraps a value made elsewhere, with a label of its own if given one", async () => {
    const free = vi.fn();
    const Key = make({ free, label: (value: string, arg?: string) => `${value} ${arg}` });
    const wrapped = Key.wrap("w");
    expect([wrapped.value, wrapped.label, Key.wrap("w", { label: "mine" }).label]).toEqual([
      "w",
      "w undefined",
      "mine",
    ]);
    await wrapped.decrRef();
    expect(free.mock.calls).toEqual([["w"]]);
    expect(() => Key.wrap("w", { label: 5 as never })).toThrow(TypeError);
    expect(Key.stats).toMatchObject({ opened: 2, live: 1 });
  });

  it("wraps a shared value as immortal: never freed, counted or reported", async () => {
    const free = vi.fn();
    const tracker = new RecordingTracker();
    const Key = make({ free, bytes: 4, watch: true });
    const shared = tracker.during(() => Key.wrap("pong", { immortal: true }));
    for (let i = 0; i < 3; i++) expect(await shared.decrRef()).toBe(false);
    expect([shared.refCount, shared.owed, shared.value]).toEqual([Infinity, Infinity, "pong"]);
    expect([Key.stats, tracker.log, free.mock.calls.length]).toEqual([NONE, [], 0]);
    expect(() => Key.revoke(shared)).toThrow(/^Cannot revoke key: it is immortal$/);
    expect(() => Key.revoke(shared)).toThrow(TypeError);
  });

  it("has no say in what is freed already: revoking one of those changes neither it nor another", async () => {
    const Key = make();
    const [first, second] = [await Key.open("a"), await Key.open("b")];
    await first.decrRef();
    await second.decrRef();
    await Key.revoke(first as never);
    for (const handle of [first, second]) {
      expect([handle.owed, handle.refCount, handle.alive, handle.isSole()]).toEqual([0, 0, false, false]);
      expect(() => handle.value).toThrow(/^Cannot read key: it was freed$/);
      expect(String(handle)).toMatch(/Handle<key, freed>$/);
    }
    expect(Key.stats).toMatchObject({ opened: 2, freed: 2 });
  });

  it("revokes its own resources only, and says why it does not", async () => {
    const Key = make();
    const mine = await Key.open("v");
    const foreign = await make().open("v");
    expect(() => Key.revoke(foreign)).toThrow(TypeError);
    expect(() => Key.revoke(foreign)).toThrow(
      'Cannot revoke key: it was not opened by this resource definition ("key")',
    );
    for (const wrong of [undefined, null, 5, "key", {}, () => {}]) {
      expect(() => Key.revoke(wrong as never)).toThrow(TypeError);
      expect(() => Key.revoke(wrong as never)).toThrow(/^Cannot revoke: expected a handle of kind "key", received /);
    }
    expect(() => Key.revoke(Handles.of("v", () => {}) as never)).toThrow(TypeError);
    const moved = mine.move();
    expect(() => Key.revoke(mine)).toThrow(MovedError);
    expect([moved.alive, foreign.alive]).toEqual([true, true]);
  });

  it("revokes once; a revoke after the free or after another revoke does nothing", async () => {
    const free = vi.fn();
    const Key = make({ free });
    const a = await Key.open("v");
    const b = a.dup();
    await Key.revoke(a);
    await Key.revoke(b);
    expect(free).toHaveBeenCalledTimes(1);
    expect(() => b.value).toThrow(RevokedError);
    expect(Key.stats).toMatchObject({ live: 0, freed: 1 });
    const c = await Key.open("v");
    await c.decrRef();
    await Key.revoke(c);
    expect(free).toHaveBeenCalledTimes(2);
    expect(() => c.value).not.toThrow(RevokedError);
  });

  it("frees at the revoke by a spent account while others still owe", async () => {
    const free = vi.fn();
    const Key = make({ free });
    const a = await Key.open("v");
    const b = a.dup();
    await a.decrRef();
    await Key.revoke(a);
    expect([free.mock.calls.length, b.alive, b.owed]).toEqual([1, false, 1]);
    expect(await b.decrRef()).toBe(false);
  });

  it("tells the revoker of a free that fails; every account is spent or can be closed", async () => {
    const Key = make({
      free: () => {
        throw new Error("free failed");
      },
    });
    const a = await Key.open("v");
    await expect((async () => Key.revoke(a))()).rejects.toThrow("free failed");
    expect(await a.decrRef()).toBe(false);
    expect(name).toMatch(/^define/);
  });
});

describe("defineAsyncResource()", () => {
  it("makes handles that a synchronous kind does not revoke, and names", async () => {
    const link = await defineAsyncResource<string>({ kind: "link", free: () => {}, label: String }).open("a");
    const Key = defineResource<string>({ kind: "key", free: () => {} });
    expect(() => Key.revoke(link as never)).toThrow(
      'Cannot revoke: expected a handle of kind "key", received AsyncHandle<link "a", 1 reference, 1 here>',
    );
    for (const like of [new Proxy(link, {}), Object.create(link)]) {
      expect(() => Key.revoke(like as never)).toThrow('expected a handle of kind "key", received object');
    }
    expect(link.alive).toBe(true);
    await link.decrRef();
  });

  it("awaits its open and its free", async () => {
    const log: string[] = [];
    const Key = defineAsyncResource({
      kind: "key",
      open: async (n: string) => n,
      free: async (value) => {
        log.push(`freeing ${value}`);
        await Promise.resolve();
        log.push(`freed ${value}`);
      },
      label: (_, n) => n ?? "none",
    });
    const key = await Key.open("a");
    expect([key.label, await key.decrRef()]).toEqual(["a", true]);
    expect(log).toEqual(["freeing a", "freed a"]);
  });

  it("counts nothing when open rejects or throws", async () => {
    for (const open of [
      () => Promise.reject(new Error("no such key")),
      (): Promise<string> => {
        throw new Error("no such key");
      },
    ]) {
      const Key = defineAsyncResource({ kind: "key", open, free: () => {} });
      await expect(Key.open()).rejects.toThrow("no such key");
      expect(Key.stats).toEqual(NONE);
    }
  });

  it("takes functions that are synchronous", async () => {
    const freed: string[] = [];
    const Key = defineAsyncResource({ kind: "key", open: () => "v", free: (v) => void freed.push(v) });
    expect(await (await Key.open()).decrRef()).toBe(true);
    expect(freed).toEqual(["v"]);
  });

  it("waits in revoke for the free, and shares it with whoever disposes meanwhile", async () => {
    const log: string[] = [];
    let finish = (): void => {};
    const Key = defineAsyncResource({
      kind: "key",
      open: () => "v",
      free: () => {
        log.push("freeing");
        return new Promise<void>((resolve) => {
          finish = resolve;
        });
      },
    });
    const key = await Key.open();
    const revoked = Key.revoke(key).then(() => log.push("revoked"));
    const disposed = key[Symbol.asyncDispose]().then(() => log.push("disposed"));
    await new Promise((resolve) => setImmediate(resolve));
    expect(log).toEqual(["freeing"]);
    finish();
    await Promise.all([revoked, disposed]);
    expect(log.toSorted()).toEqual(["disposed", "freeing", "revoked"]);
  });
});

describe("the types", () => {
  it("infer what open takes and gives", () => {
    const Key = defineResource({ kind: "key", open: (name: string, n: number) => [name, n] as const, free: () => {} });
    const typed: Resource<readonly [string, number], [name: string, n: number]> = Key;
    expect(typed.open("a", 1).value).toEqual(["a", 1]);
  });
});
