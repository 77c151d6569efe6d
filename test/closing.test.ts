import { describe, expect, it, vi } from "vitest";
import type { AsyncHandle } from "../src/async-handle";
import { Closing } from "../src/closing";
import { MapClosedError, RevokedError } from "../src/errors";
import { HandleMap } from "../src/handle-map";
import { checkouts } from "../src/kinds/checkouts";
import { runProgram } from "./support/program";
import { deferred, until } from "./support/until";

interface Closable {
  acquire(holder: string): Promise<AsyncHandle<unknown>>;
  close(options?: { force?: boolean; timeout?: number }): Promise<void>;
  readonly freed: number;
}

const makers: Record<string, () => Closable> = {
  HandleMap: () => {
    let freed = 0;
    const map = new HandleMap<string, string>({ open: (key) => key, free: () => void freed++ });
    return {
      acquire: (holder) => map.acquire("a", { holder }),
      close: (options) => map.close(options),
      get freed() {
        return freed;
      },
    };
  },
  "checkouts()": () => {
    let freed = 0;
    const pool = checkouts({ acquire: () => 1, release: () => void freed++, destroy: () => void freed++ });
    return {
      acquire: (holder) => pool.acquire({ holder }),
      close: (options) => pool.close(options),
      get freed() {
        return freed;
      },
    };
  },
};

describe.each(Object.keys(makers))("%s.close()", (name) => {
  const make = makers[name] as () => Closable;

  it("is one promise for all who ask while it is under way, and after it has settled", async () => {
    const it = make();
    const handle = await it.acquire("importer");
    const closing = it.close();
    expect([it.close() === closing, it.close({ timeout: 60_000 }) === closing]).toEqual([true, true]);
    expect(it.close({ force: true })).toBe(closing);
    await closing;
    expect([handle.alive, it.freed, it.close() === closing, it.close({ force: true }) === closing]).toEqual([
      false,
      1,
      true,
      true,
    ]);
  });

  it("goes on under a new promise after its time ran out, and a forced one ends it", async () => {
    const it = make();
    const handle = await it.acquire("importer");
    const patient = it.close();
    const hasty = it.close({ timeout: 1 });
    expect(hasty).toBe(patient);
    const error = await patient.catch((error: unknown) => error);
    expect(error).toBeInstanceOf(MapClosedError);
    expect((error as MapClosedError).holders).toMatchObject([{ holder: "importer" }]);
    expect([handle.alive, it.freed]).toEqual([true, 0]);
    const again = it.close();
    expect([again === patient, it.close({ force: true }) === again]).toEqual([false, true]);
    await again;
    expect([handle.alive, it.freed, it.close() === again]).toEqual([false, 1, true]);
    await expect(patient).rejects.toBe(error);
  });

  it("ends by itself after its time ran out, and says so to who asks later", async () => {
    const it = make();
    const handle = await it.acquire("importer");
    await expect(it.close({ timeout: 1 })).rejects.toThrow(MapClosedError);
    await expect(it.close({ timeout: 1 })).rejects.toThrow(MapClosedError);
    await handle.decrRef();
    await until(() => it.freed === 1);
    await it.close({ timeout: 1 });
    await expect(it.acquire("late")).rejects.toThrow(MapClosedError);
  });

  it("refuses a timeout that is none, and is not closed by that", async () => {
    const it = make();
    expect(() => it.close({ timeout: -1 })).toThrow(RangeError);
    await (await it.acquire("importer")).decrRef();
    await it.close();
  });

  it("waits, when forced, for the borrows of what it revokes, and frees it once after them", async () => {
    const it = make();
    const handle = await it.acquire("importer");
    const gate = deferred();
    const borrowed = handle.borrow(() => gate.promise);
    const closing = it.close({ force: true });
    expect([handle.alive, it.freed]).toEqual([false, 0]);
    await expect(handle.borrow(() => 1)).rejects.toThrow(RevokedError);
    gate.resolve();
    await Promise.all([borrowed, closing]);
    await handle[Symbol.asyncDispose]();
    expect(it.freed).toBe(1);
  });
});

describe("Closing", () => {
  it("rejects with what making its error failed with", async () => {
    const failure = new Error("no words");
    const closing = new Closing(() => false).begin(1, () => {
      throw failure;
    });
    await expect(closing).rejects.toBe(failure);
  });

  it("leaves no timer behind, whichever way it ends", async () => {
    vi.useFakeTimers();
    try {
      let over = false;
      const closing = new Closing(() => over);
      const late = () => new Error("late");
      for (const timeout of [5, 10, 20]) closing.begin(timeout, late).catch(() => {});
      vi.advanceTimersByTime(5);
      expect(vi.getTimerCount()).toBe(0);
      const again = [closing.begin(10, late), closing.begin(20, late)];
      over = true;
      closing.settle();
      await Promise.all(again);
      closing.begin(10, late);
      closing.settle();
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("HandleMap.close({ timeout }), when a free fails and nobody listens", () => {
  it.each(["", "{ timeout: 60_000 }"])("is as unhandled as any rejection: close(%s)", async (options) => {
    const printed = await runProgram(`
      import { HandleMap } from "./src/index";
      process.on("unhandledRejection", (reason) => console.log("unhandled", reason.message));
      const map = new HandleMap({ open: async () => 1, free: () => { throw new Error("stuck"); }, idle: Infinity });
      map.acquire("a").then((handle) => handle.decrRef()).then(() => void map.close(${options}));
    `);
    expect(printed).toBe("unhandled stuck\n");
  });
});
