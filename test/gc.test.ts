import { describe, expect, it } from "vitest";
import { AsyncAutoMemory } from "../src/async-auto-memory";
import { AutoMemory } from "../src/auto-memory";
import { Handle } from "../src/handle";
import { defineAsyncResource, defineResource } from "../src/resource";
import { realm } from "../src/tracker";

const collect = (globalThis as { gc?: () => void }).gc as () => void;

/** Waits until all of `refs` are collected, or until the collector has had every chance; says how many are left. */
async function remaining(refs: WeakRef<object>[]): Promise<number> {
  let left = refs.length;
  for (let i = 0; i < 20 && left > 0; i++) {
    await new Promise((resolve) => setImmediate(resolve));
    collect();
    left = refs.filter((ref) => ref.deref() !== undefined).length;
  }
  return left;
}

const N = 50;
type Thing = { payload: number[] };
const thing = (i: number): Thing => ({ payload: [i] });

/** Makes N of something in a frame of their own, and gives what is to be watched. */
function watch(make: (i: number, ref: (target: object) => void) => void): WeakRef<object>[] {
  const refs: WeakRef<object>[] = [];
  for (let i = 0; i < N; i++) make(i, (target) => refs.push(new WeakRef(target)));
  return refs;
}

describe.each([
  ["plain", {}],
  ["labelled", { label: "a" }],
])("the value of a %s handle", (_, options) => {
  const open = (i: number, ref: (target: object) => void): Handle<Thing> => {
    const value = thing(i);
    ref(value);
    return Handle.of(value, () => {}, options);
  };

  it("is not kept by spent handles, while handles that owe do keep it", async () => {
    const kept: Handle<Thing>[] = [];
    const spent = watch((i, ref) => {
      const handle = open(i, ref);
      handle.decrRef();
      kept.push(handle);
    });
    const live = watch((i, ref) => void kept.push(open(i, ref)));
    expect([await remaining(spent), await remaining(live)]).toEqual([0, N]);
    expect(kept).toHaveLength(2 * N);
  });

  it("is not kept by moved handles, spent dups, weak handles or loans once it is freed", async () => {
    const kept: object[] = [];
    const freed = watch((i, ref) => {
      const handle = open(i, ref);
      kept.push(handle.dup(), handle.weak());
      handle.borrow((_, loan) => void kept.push(loan));
      const moved = handle.move();
      kept.push(handle, moved);
      moved.decrRef();
      (kept.at(-5) as Handle<Thing>).decrRef();
    });
    const control = watch((i, ref) => {
      const handle = open(i, ref);
      kept.push(handle.dup());
      handle.decrRef();
    });
    expect([await remaining(freed), await remaining(control)]).toEqual([0, N]);
    expect(kept.length).toBeGreaterThan(N);
  });
});

describe("a dropped handle", () => {
  it("is collected with its value, though it owes", async () => {
    const kept: object[] = [];
    const dropped = watch((i, ref) => {
      const handle = Handle.of(thing(i), () => {});
      ref(handle);
      ref(handle.value);
    });
    const control = watch((i, ref) => {
      const handle = Handle.of(thing(i), () => {});
      kept.push(handle);
      ref(handle);
    });
    expect([await remaining(dropped), await remaining(control)]).toEqual([0, N]);
    expect(kept).toHaveLength(N);
  });

  it("is not kept by its weak handles, its dups, or its kind", async () => {
    const kept: object[] = [];
    const Key = defineResource<Thing>({ kind: "key", free: () => {}, label: () => "a" });
    const dropped = watch((i, ref) => {
      const handle = Key.open(thing(i));
      kept.push(handle.weak(), handle.dup());
      ref(handle);
    });
    expect(await remaining(dropped)).toBe(0);
    expect([kept.length, Key.stats.live]).toEqual([2 * N, N]);
  });

  it("is not kept by an asynchronous free that has settled", async () => {
    const Key = defineAsyncResource<Thing>({ kind: "key", free: async () => {} });
    const kept: object[] = [];
    const refs: WeakRef<object>[] = [];
    for (let i = 0; i < N; i++) {
      const handle = await Key.open(thing(i));
      refs.push(new WeakRef(handle.value));
      await handle.decrRef();
      kept.push(handle);
    }
    expect([await remaining(refs), kept.length]).toEqual([0, N]);
  });
});

describe.each([
  ["AutoMemory", () => new AutoMemory()],
  ["AsyncAutoMemory", () => new AsyncAutoMemory()],
] as const)("a long-lived %s", (_, makeEither) => {
  // One signature instead of a union of two.
  const make = makeEither as () => AutoMemory;

  it("holds only the live ones of the handles that pass through it, and a constant", async () => {
    const memory = make();
    const live: Handle<Thing>[] = [];
    const passed: WeakRef<object>[] = [];
    const Key = defineResource<Thing>({ kind: "key", free: () => {} });
    for (let i = 0; i < 2000; i++) {
      const handle = memory.open(Key, thing(i));
      if (i % 100 === 0) live.push(handle);
      else {
        passed.push(new WeakRef(handle));
        handle.decrRef();
      }
    }
    expect(memory.size).toBe(live.length);
    expect(await remaining(passed)).toBeLessThanOrEqual(live.length + 17);
    expect(live.every((handle) => handle.alive)).toBe(true);
  });

  it("holds the values of none that were closed, and every one that was not", async () => {
    const memory = make();
    const closed = watch((i, ref) => {
      const value = thing(i);
      ref(value);
      memory.use(Handle.of(value, () => {})).decrRef();
    });
    const open = watch((i, ref) => {
      const value = thing(i);
      ref(value);
      memory.use(Handle.of(value, () => {}));
    });
    expect([await remaining(closed), await remaining(open), memory.size]).toEqual([0, N, N]);
  });

  it("is collected with all it owns when it is forgotten as a whole", async () => {
    const refs = watch((i, ref) => {
      const memory = make();
      ref(memory);
      ref(memory.use(Handle.of(thing(i), () => {})));
    });
    expect(await remaining(refs)).toBe(0);
  });
});

describe("a moved context", () => {
  it.each([
    ["AutoMemory", () => new AutoMemory()],
    ["AsyncAutoMemory", () => new AsyncAutoMemory()],
  ] as const)("that nobody records is not kept by the handles that it owned (%s)", async (_, makeEither) => {
    const make = makeEither as () => AutoMemory;
    const kept: object[] = [];
    const refs = watch((i, ref) => {
      const memory = make();
      kept.push(memory.use(Handle.of(thing(i), () => {})));
      ref(memory.move());
    });
    expect(await remaining(refs)).toBe(0);
    expect(kept).toHaveLength(N);
  });
});

describe("a kind that nobody has any more", () => {
  it("is forgotten while others are defined, though no detector ever asks which there are", async () => {
    const known = (): number => realm.kinds.length;
    const define = (): object => defineResource<number>({ kind: "short-lived", free: () => {} });
    const pass = async (keep: (resource: object) => void): Promise<number> => {
      const before = known();
      for (let i = 0; i < 8 * 1024; i++) {
        keep(define());
        if (i % 1024 !== 0) continue;
        await new Promise((resolve) => setImmediate(resolve));
        collect();
      }
      return known() - before;
    };
    const kept: object[] = [];
    expect(await pass((resource) => kept.push(resource))).toBeGreaterThan(7 * 1024);
    expect(await pass(() => {})).toBeLessThan(3 * 1024);
    expect(kept).toHaveLength(8 * 1024);
  });
});

describe("the memory of a context through which a million handles pass", () => {
  it("does not grow with them", () => {
    const Key = defineResource<number>({ kind: "key", free: () => {} });
    const memory = new AutoMemory();
    const pass = (n: number): void => {
      for (let i = 0; i < n; i++) memory.open(Key, i).decrRef();
    };
    pass(10_000);
    collect();
    const before = process.memoryUsage().heapUsed;
    pass(1_000_000);
    collect();
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(2_000_000);
    const control: Handle<number>[] = [];
    for (let i = 0; i < 100_000; i++) control.push(memory.open(Key, i));
    collect();
    expect(process.memoryUsage().heapUsed - before).toBeGreaterThan(4_000_000);
    expect(control).toHaveLength(memory.size);
  });
});
