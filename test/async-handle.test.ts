import { describe, expect, it, vi } from "vitest";
import type { AsyncHandle } from "../src/async-handle";
import { LoanError, MovedError, RefCountError, SuppressedError, UseAfterFreeError } from "../src/errors";
import { defineAsyncResource } from "../src/resource";
import { itBehavesAsDisposable } from "./support/contracts";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** A resource whose frees wait until they are told to go on. */
function controlled() {
  const log: string[] = [];
  const pending: { resolve(): void; reject(error: unknown): void }[] = [];
  const Key = defineAsyncResource({
    kind: "key",
    free: (value: string) => {
      log.push(`freeing ${value}`);
      return new Promise<void>((resolve, reject) => pending.push({ resolve, reject })).then(() => {
        log.push(`freed ${value}`);
      });
    },
    label: (value) => value,
  });
  return {
    Key,
    log,
    finish: () => pending.shift()?.resolve(),
    fail: (error: unknown) => pending.shift()?.reject(error),
  };
}

function freeing(free: (value: string) => void | PromiseLike<void> = () => {}): Promise<AsyncHandle<string>> {
  return defineAsyncResource<string>({ kind: "key", free }).open("value");
}

describe("AsyncHandle[Symbol.asyncDispose]()", () => {
  for (const [how, wrap] of [
    ["a free that settles later", (free: () => void) => turn().then(free)],
    ["a free that runs at once", (free: () => void) => free()],
  ] as const) {
    describe(`with ${how}`, () => {
      itBehavesAsDisposable(async (free) => {
        let freed = 0;
        const handle = await freeing(() =>
          wrap(() => {
            freed++;
            free(() => thing);
          }),
        );
        // A dispose asked for inside the own free must not be waited for there: it waits for that very free.
        const thing = { dispose: () => handle[Symbol.asyncDispose](), freed: () => freed };
        return thing;
      });
    });
  }

  it("shares one free among all who dispose while it is under way, and each waits for it", async () => {
    const { Key, log, finish } = controlled();
    const handle = await Key.open("a");
    const waits = [1, 2, 3].map((n) => handle[Symbol.asyncDispose]().then(() => log.push(`waited ${n}`)));
    await turn();
    expect(log).toEqual(["freeing a"]);
    finish();
    await Promise.all(waits);
    expect(log).toEqual(["freeing a", "freed a", "waited 1", "waited 2", "waited 3"]);
    await handle[Symbol.asyncDispose]();
    expect(log).toHaveLength(5);
  });

  it("tells all who wait of a free that fails, and nobody afterwards", async () => {
    const { Key, fail } = controlled();
    const handle = await Key.open("a");
    const other = handle.dup();
    await other.decrRef();
    const waits = [handle, handle, other].map((h) => h[Symbol.asyncDispose]().catch((error: unknown) => error));
    const error = new Error("free failed");
    fail(error);
    expect(await Promise.all(waits)).toEqual([error, error, error]);
    expect(await handle[Symbol.asyncDispose]()).toBe(undefined);
  });

  it("does not swallow a failure that nobody waits for", async () => {
    const unhandled: unknown[] = [];
    const before = process.listeners("unhandledRejection");
    process.removeAllListeners("unhandledRejection");
    process.on("unhandledRejection", (reason) => void unhandled.push(reason));
    const Key = defineAsyncResource({ kind: "key", free: async (v: string) => Promise.reject(v) });
    void (await Key.open("disposed"))[Symbol.asyncDispose]();
    void (await Key.open("given back")).decrRef();
    void Key.revoke(await Key.open("revoked"));
    await turn();
    await turn();
    process.removeAllListeners("unhandledRejection");
    for (const listener of before) process.on("unhandledRejection", listener);
    expect(unhandled.toSorted()).toEqual(["disposed", "given back", "revoked"]);
  });

  it("pays one reference as long as one is owed, and does nothing on a moved handle", async () => {
    const free = vi.fn();
    const handle = (await freeing(free)).incrRef();
    await handle[Symbol.asyncDispose]();
    expect([handle.owed, free.mock.calls.length]).toEqual([1, 0]);
    const moved = handle.move();
    await handle[Symbol.asyncDispose]();
    expect([moved.owed, free.mock.calls.length]).toEqual([1, 0]);
    await moved[Symbol.asyncDispose]();
    expect(free).toHaveBeenCalledTimes(1);
  });
});

describe("AsyncHandle.decrRef()", () => {
  it("settles after the free if this caused it, with true", async () => {
    const { Key, log, finish } = controlled();
    const handle = (await Key.open("a")).incrRef();
    expect(await handle.decrRef()).toBe(false);
    const last = handle.decrRef().then((was) => log.push(`settled ${was}`));
    await turn();
    expect(log).toEqual(["freeing a"]);
    finish();
    await last;
    expect(log).toEqual(["freeing a", "freed a", "settled true"]);
  });

  it("counts at once, before anything is awaited", async () => {
    const { Key, finish } = controlled();
    const handle = await Key.open("a");
    const done = handle.decrRef();
    expect([handle.owed, handle.refCount, handle.alive]).toEqual([0, 0, false]);
    finish();
    await done;
  });

  it("throws at once beyond what is owed, also while the free is in flight, and others are unharmed", async () => {
    const { Key, log, finish } = controlled();
    const handle = await Key.open("a");
    const other = handle.dup();
    await handle.decrRef();
    expect(() => handle.decrRef()).toThrow(RefCountError);
    expect(other.refCount).toBe(1);
    const done = other.decrRef();
    for (let i = 0; i < 3; i++) expect(() => other.decrRef()).toThrow(RefCountError);
    expect(() => other.incrRef()).toThrow(UseAfterFreeError);
    expect(() => other.dup()).toThrow(UseAfterFreeError);
    finish();
    expect(await done).toBe(true);
    expect(log).toEqual(["freeing a", "freed a"]);
    expect(() => other.decrRef()).toThrow(RefCountError);
  });

  it("rejects with what the free throws or rejects with; the handle is spent all the same", async () => {
    for (const free of [
      () => Promise.reject(new Error("free failed")),
      (): void => {
        throw new Error("free failed");
      },
    ]) {
      const handle = await freeing(free);
      await expect(handle.decrRef()).rejects.toThrow("free failed");
      expect(() => handle.decrRef()).toThrow(RefCountError);
    }
  });

  it("resolves at once in the synchronous part of the own free, which would else wait for itself", async () => {
    const log: unknown[] = [];
    let other: AsyncHandle<string> | undefined;
    const Key = defineAsyncResource<string>({
      kind: "key",
      free: async () => {
        const disposed = handle[Symbol.asyncDispose]();
        const given = other?.decrRef();
        await disposed;
        log.push(await given, "freed");
      },
    });
    const handle: AsyncHandle<string> = await Key.open("a");
    other = handle.dup();
    await Key.revoke(handle);
    expect(log).toEqual([false, "freed"]);
  });

  it("resolves at once while borrows keep the resource", async () => {
    const { Key, log, finish } = controlled();
    const handle = await Key.open("a");
    const borrowed = handle.borrow(async (_, loan) => {
      expect(await handle.decrRef()).toBe(true);
      await handle[Symbol.asyncDispose]();
      log.push(`still ${loan.value}`);
    });
    await turn();
    expect(log).toEqual(["still a", "freeing a"]);
    finish();
    await borrowed;
    expect(log).toEqual(["still a", "freeing a", "freed a"]);
  });
});

describe("AsyncHandle.borrow()", () => {
  it("calls at once and gives a promise of the result", async () => {
    const handle = await freeing();
    let called = false;
    const result = handle.borrow((value, loan) => {
      called = true;
      return [value, loan.value, handle.isSole()];
    });
    expect(called).toBe(true);
    expect(await result).toEqual(["value", "value", false]);
    expect(handle.isSole()).toBe(true);
  });

  it("keeps the resource until the result has settled, and waits for the free that its end caused", async () => {
    const { Key, log, finish } = controlled();
    const handle = await Key.open("a");
    let proceed = (): void => {};
    const borrowed = handle.borrow(async () => {
      await new Promise<void>((resolve) => {
        proceed = resolve;
      });
    });
    void handle.decrRef();
    void borrowed.then(() => log.push("borrow ended"));
    await turn();
    expect(log).toEqual([]);
    proceed();
    await turn();
    expect(log).toEqual(["freeing a"]);
    finish();
    await borrowed;
    expect(log.slice(0, 2)).toEqual(["freeing a", "freed a"]);
  });

  it("tells the borrower of a failing free, without losing the borrower's own error", async () => {
    for (const free of [
      () => Promise.reject(new Error("free failed")),
      (): void => {
        throw new Error("free failed");
      },
    ]) {
      const first = await freeing(free);
      await expect(first.borrow(() => void first.decrRef())).rejects.toThrow("free failed");
      const second = await freeing(free);
      const own = new Error("own");
      const error: unknown = await second
        .borrow(() => {
          void second.decrRef();
          throw own;
        })
        .catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(SuppressedError);
      expect(error).toMatchObject({ error: { message: "free failed" }, suppressed: own });
    }
  });

  it("rejects with the borrower's error when the free succeeds or is not due", async () => {
    const own = new Error("own");
    const handle = await freeing();
    await expect(handle.borrow(() => Promise.reject(own))).rejects.toBe(own);
    expect(handle.isSole()).toBe(true);
    await expect(
      handle.borrow(() => {
        void handle.decrRef();
        throw own;
      }),
    ).rejects.toBe(own);
  });

  it("rejects a use that is refused", async () => {
    const handle = await freeing();
    await expect(handle.borrow(5 as never)).rejects.toThrow(TypeError);
    await handle.decrRef();
    await expect(handle.borrow(() => 1)).rejects.toThrow(UseAfterFreeError);
  });

  it("lends a loan that can be dup()ed and has nothing to give back", async () => {
    const free = vi.fn();
    const handle = await freeing(free);
    const kept = await handle.borrow((_, loan) => {
      expect(() => (loan as unknown as AsyncHandle<string>).decrRef()).toThrow(LoanError);
      return loan.dup("callee");
    });
    await handle.decrRef();
    expect([kept.value, free.mock.calls.length]).toEqual(["value", 0]);
    expect(await kept.decrRef()).toBe(true);
  });
});

describe("AsyncHandle", () => {
  it("counts as a Handle does: dup, move, weak, isSole", async () => {
    const free = vi.fn();
    const a = await freeing(free);
    const b = a.dup("b");
    expect([a.kind, a.label, a.value, a.owed, a.refCount, b.alive, a.isSole()]).toEqual([
      "key",
      "",
      "value",
      1,
      2,
      true,
      false,
    ]);
    const c = b.move();
    expect(() => b.value).toThrow(MovedError);
    expect(() => b.decrRef()).toThrow(MovedError);
    const weak = a.weak();
    const up = weak.upgrade();
    expect([up?.refCount, up?.value]).toEqual([3, "value"]);
    expect(up?.[Symbol.asyncDispose]).toBeTypeOf("function");
    for (const handle of [up, a, c]) await handle?.decrRef();
    expect([weak.alive, weak.upgrade(), free.mock.calls]).toEqual([false, undefined, [["value"]]]);
    expect(() => a.weak()).toThrow(UseAfterFreeError);
  });

  it("closes at the end of an await using block", async () => {
    const { Key, log, finish } = controlled();
    const block = (async () => {
      await using handle = await Key.open("a");
      log.push(handle.value);
    })();
    await turn();
    finish();
    await block;
    expect(log).toEqual(["a", "freeing a", "freed a"]);
  });
});
