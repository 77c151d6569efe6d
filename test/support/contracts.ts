import { expect, it } from "vitest";
import type { AsyncAutoMemory } from "../../src/async-auto-memory";
import type { AutoMemory } from "../../src/auto-memory";
import type { Handle } from "../../src/handle";
import type { Resource } from "../../src/resource";

/** Something that frees a resource when it is disposed of, and what was freed so far. */
export interface Disposing {
  dispose(): unknown;
  /** How often the resource was freed. */
  freed(): number;
}

/** How one is made; `free` runs inside the resource's free function. */
export type MakeDisposing = (free: (self: () => Disposing) => void) => Disposing | Promise<Disposing>;

/** What every disposable thing of the library keeps: ECMA-262 asks that a second call do nothing. */
export function itBehavesAsDisposable(make: MakeDisposing): void {
  const build = async (free: (self: () => Disposing) => void = () => {}): Promise<Disposing> => {
    let made: Disposing | undefined;
    made = await make(() => free(() => made as Disposing));
    return made;
  };

  it("frees once, however often it is disposed of", async () => {
    const thing = await build();
    expect(thing.freed()).toBe(0);
    for (let i = 0; i < 3; i++) expect(await thing.dispose()).toBe(undefined);
    expect(thing.freed()).toBe(1);
  });

  it("frees once when it is disposed of several times without waiting", async () => {
    const thing = await build();
    await Promise.all([thing.dispose(), thing.dispose(), thing.dispose()]);
    expect(thing.freed()).toBe(1);
  });

  it("does nothing when it is disposed of inside its own free", async () => {
    let inner: unknown = "not called";
    const thing = await build((self) => {
      inner = self().dispose();
    });
    await thing.dispose();
    expect(await inner).toBe(undefined);
    expect(thing.freed()).toBe(1);
  });

  it("is spent when its free throws, and throws that once", async () => {
    const thing = await build(() => {
      throw new Error("free failed");
    });
    await expect((async () => thing.dispose())()).rejects.toThrow("free failed");
    expect(await thing.dispose()).toBe(undefined);
    expect(thing.freed()).toBe(1);
  });

  it("frees another one from inside its free", async () => {
    const child = await build();
    let before = -1;
    let freed: unknown;
    const parent = await build(() => {
      before = child.freed();
      freed = child.dispose();
    });
    await parent.dispose();
    await freed;
    expect([before, child.freed(), parent.freed()]).toEqual([0, 1, 1]);
  });
}

/** What every context refuses once it has ended, by name; `handle` is somebody else's, and `Key` is not opened. */
export function expectEnded(
  context: AutoMemory | AsyncAutoMemory,
  Key: Resource<string, [name: string]>,
  handle: Handle<string>,
): void {
  // Both take what is synchronous; only the overloads differ.
  const memory = context as AutoMemory;
  const opened = Key.stats.opened;
  const refused: Record<string, () => unknown> = {
    use: () => memory.use(handle),
    open: () => memory.open(Key, "never opened"),
    keep: () => memory.keep(handle),
    hold: () => memory.hold(handle),
    freeAll: () => memory.freeAll(),
    move: () => memory.move(),
    defer: () => memory.defer(() => {}),
    adopt: () => memory.adopt(1, () => {}),
  };
  for (const [verb, call] of Object.entries(refused)) {
    expect(call).toThrow(ReferenceError);
    expect(call).toThrow(new RegExp(`^Cannot ${verb}: the context has ended, it was disposed or moved$`));
  }
  expect([Key.stats.opened, handle.owed, memory.size]).toEqual([opened, 1, 0]);
}

/** What every context that is in use refuses, and owns nothing of. */
export function expectNothingOwned(memory: AutoMemory | AsyncAutoMemory): void {
  expect(() => memory.adopt(1, null as never)).toThrow(/^Cannot adopt: expected a function, received null$/);
  expect(() => memory.defer(5 as never)).toThrow(/^Cannot defer: expected a function, received number 5$/);
  expect(memory.size).toBe(0);
}
