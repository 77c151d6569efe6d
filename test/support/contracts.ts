import { expect, it } from "vitest";

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
