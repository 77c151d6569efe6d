import { afterEach, describe, expect, it, vi } from "vitest";
import { HandleMap } from "../src/handle-map";
import type { HandleMapOptions } from "../src/map-options";
import { runProgram } from "./support/program";
import { type Deferred, deferred, turn } from "./support/until";

/** A value that can die, and a map of them that writes down what happens. */
class Link {
  readonly nr: number;
  lose: ((error?: unknown) => void) | undefined = undefined;
  constructor(nr: number) {
    this.nr = nr;
  }
}

function make(options: Partial<HandleMapOptions<string, Link>> = {}) {
  const log: string[] = [];
  let nr = 0;
  const map = new HandleMap<string, Link>({
    open: async () => {
      const link = new Link(++nr);
      log.push(`open ${nr}`);
      return link;
    },
    free: ({ nr }) => {
      log.push(`free ${nr}`);
    },
    lost: (link, lost) => {
      link.lose = lost;
      return () => log.push(`stop ${link.nr}`);
    },
    ...options,
  });
  return { map, log };
}

afterEach(() => {
  vi.useRealTimers();
});

describe("HandleMap, lost", () => {
  it("frees a value that is lost while it is idle, at once and once, and opens anew", async () => {
    const { map, log } = make({ idle: Infinity });
    const handle = await map.acquire("a");
    const link = handle.value;
    await handle.decrRef();
    link.lose?.(new Error("reset"));
    link.lose?.();
    expect([log, map.size]).toEqual([["open 1", "free 1", "stop 1"], 0]);
    expect((await map.acquire("a")).value.nr).toBe(2);
  });

  it("takes one that is lost while it is held out of the map, and frees it after its last holder", async () => {
    const { map, log } = make({ idle: Infinity });
    const [a, b] = await Promise.all([map.acquire("a"), map.acquire("a")]);
    a.value.lose?.();
    const c = await map.acquire("a");
    expect([a.value.nr, b.value.nr, c.value.nr, map.stats.leaving]).toEqual([1, 1, 2, 1]);
    await a.decrRef();
    expect(log).toEqual(["open 1", "open 2"]);
    await b.decrRef();
    expect(log).toEqual(["open 1", "open 2", "free 1", "stop 1"]);
  });

  it("fails an open whose value is lost already, for all who wait for it, and frees the value", async () => {
    const { map, log } = make({ lost: (_, lost) => lost(new Error("handshake")) });
    const all = await Promise.allSettled([map.acquire("a"), map.acquire("a")]);
    expect(all.map((one) => one.status === "rejected" && one.reason.message)).toEqual(["handshake", "handshake"]);
    expect([log, map.size, map.stats.leaving]).toEqual([["open 1", "free 1"], 0, 0]);
    const nameless = make({ lost: (_, lost) => lost(false) });
    await expect(nameless.map.acquire("a")).rejects.toThrow('Cannot rely on entry "a": it was lost');
  });

  it("fails an open whose value cannot be listened to, and frees the value", async () => {
    const { map, log } = make({
      lost: () => {
        throw new TypeError("no emitter");
      },
    });
    await expect(map.acquire("a")).rejects.toThrow("no emitter");
    expect([log, map.size]).toEqual([["open 1", "free 1"], 0]);
  });

  it("lets who acquires from inside the hook wait with the others", async () => {
    const inside: Promise<unknown>[] = [];
    const { map, log } = make({
      lost: (link, lost) => {
        inside.push(map.acquire("a").then((handle) => handle.refCount));
        if (link.nr === 1) lost(new Error("dead"));
      },
    });
    await expect(map.acquire("a")).rejects.toThrow("dead");
    await expect(inside[0]).rejects.toThrow("dead");
    expect([log, map.size]).toEqual([["open 1", "free 1"], 0]);
    const handle = await map.acquire("a");
    expect([handle.value.nr, await inside[1], handle.refCount]).toEqual([2, 2, 2]);
  });

  it("stops listening when the free has settled, and tells of a failure to do so", async () => {
    const gate = deferred();
    const heard: string[] = [];
    const { map } = make({
      free: () => gate.promise.then(() => void heard.push("freed")),
      lost: () => () => {
        heard.push("stopped");
        throw new Error("cannot stop");
      },
      onError: (error) => heard.push((error as Error).message),
    });
    const freeing = (await map.acquire("a")).decrRef();
    await turn();
    expect(heard).toEqual([]);
    gate.resolve();
    await freeing;
    expect(heard).toEqual(["freed", "stopped", "cannot stop"]);
    expect([map.size, map.stats.leaving]).toEqual([0, 0]);
  });

  it("listens as well to a value that arrives when nobody waits for it any more, until it is freed", async () => {
    const gate = deferred();
    const { map, log } = make({
      open: async () => {
        await gate.promise;
        return new Link(1);
      },
      lost: (link, lost) => {
        log.push("listens");
        link.lose = lost;
        return () => log.push("stops");
      },
      free: async (link) => {
        link.lose?.(new Error("reset"));
        await turn();
        log.push("free 1");
      },
    });
    const stop = new AbortController();
    const asked = map.acquire("a", { signal: stop.signal });
    stop.abort("no");
    await expect(asked).rejects.toBe("no");
    gate.resolve();
    await map.close();
    expect(log).toEqual(["listens", "free 1", "stops"]);
  });
});

describe("HandleMap, lost during a check", () => {
  it("moves on to the next value when the check never ends, and frees the lost one", async () => {
    const { map, log } = make({
      idle: Infinity,
      validate: ({ nr }) => nr > 1 || new Promise<boolean>(() => {}),
    });
    const first = await map.acquire("a");
    const link = first.value;
    const waiting = [map.acquire("a"), map.acquire("a")];
    link.lose?.(new Error("reset"));
    const [second, third] = await Promise.all(waiting);
    expect([second?.value.nr, third?.value.nr, first.value]).toEqual([2, 2, link]);
    expect([first.refCount, log]).toEqual([1, ["open 1", "open 2"]]);
    await first.decrRef();
    expect(log).toEqual(["open 1", "open 2", "free 1", "stop 1"]);
    await Promise.all([second?.decrRef(), third?.decrRef()]);
    await map.close();
    expect(log.slice(4)).toEqual(["free 2", "stop 2"]);
  });

  it("frees a lost value although the check goes on that its caller gave up", async () => {
    const { map, log } = make({ idle: Infinity, validate: () => new Promise<boolean>(() => {}) });
    const first = await map.acquire("a");
    const link = first.value;
    await first.decrRef();
    await expect(map.acquire("a", { timeout: 1 })).rejects.toThrow("it is being validated");
    expect([log, map.stats.open]).toEqual([["open 1"], 1]);
    link.lose?.();
    await map.close();
    expect(log).toEqual(["open 1", "free 1", "stop 1"]);
  });

  it.each(["lost", "invalidated"])("does not give out a value that was %s before the check said yes", async (how) => {
    const checks: Deferred<boolean>[] = [];
    const { map, log } = make({
      idle: Infinity,
      validate: () => {
        checks.push(deferred<boolean>());
        return (checks.at(-1) as Deferred<boolean>).promise;
      },
    });
    const first = await map.acquire("a");
    const link = first.value;
    await first.decrRef();
    const asked = map.acquire("a");
    if (how === "lost") link.lose?.();
    else map.invalidate("a");
    // An invalidated value is not freed before the check of it has ended.
    expect(log).toEqual(["open 1"]);
    checks[0]?.resolve(true);
    expect((await asked).value.nr).toBe(2);
    await turn();
    expect([checks.length, [...log].sort()]).toEqual([1, ["free 1", "open 1", "open 2", "stop 1"]]);
  });

  it("asks anew when the value left in the moment after the answer", async () => {
    const check = deferred<boolean>();
    const { map } = make({ idle: Infinity, validate: () => check.promise });
    await (await map.acquire("a")).decrRef();
    const asked = map.acquire("a");
    // The answer is on its way when the value leaves.
    check.promise.then(() => map.invalidate("a"));
    check.resolve(true);
    expect((await asked).value.nr).toBe(2);
  });

  it("gives no handle of a map that the check closed", async () => {
    const { map, log } = make({
      idle: Infinity,
      validate: () => {
        void map.close();
        return true;
      },
    });
    await (await map.acquire("a")).decrRef();
    await expect(map.acquire("a")).rejects.toThrow('Cannot acquire entry "a": the map is closed');
    await map.close();
    expect(log).toEqual(["open 1", "free 1", "stop 1"]);
  });
});

describe("HandleMap, what is thenable", () => {
  it("fails the open whose result cannot be waited for, and hears one that answers twice once", async () => {
    const thenables: Record<string, (hear: (value: { nr: number }) => void) => void> = {
      broken: () => {
        throw new Error("cannot be waited for");
      },
      twice: (hear) => {
        hear({ nr: 1 });
        hear({ nr: 2 });
      },
    };
    const freed: number[] = [];
    const map = new HandleMap<string, { nr: number }>({
      open: (key) => Object.defineProperty({}, "then", { value: thenables[key] }) as PromiseLike<{ nr: number }>,
      free: ({ nr }) => void freed.push(nr),
    });
    await expect(map.acquire("broken")).rejects.toThrow("cannot be waited for");
    await (await map.acquire("twice")).decrRef();
    await turn();
    expect([freed, map.size, map.stats.leaving]).toEqual([[1], 0, 0]);
  });

  it("takes what cannot be asked whether it is a promise for none", async () => {
    const shy = Object.defineProperty({}, "then", {
      get() {
        throw new Error("do not ask");
      },
    });
    const map = new HandleMap<string, object>({ open: () => shy, free: () => shy });
    const handle = await map.acquire("a");
    expect(handle.value).toBe(shy);
    await handle.decrRef();
    await map.close();
    expect(map.stats).toMatchObject({ open: 0, opening: 0, leaving: 0 });
  });
});

describe("HandleMap, maxAge", () => {
  it("frees what gets too old while it is idle, and is timer-free after", async () => {
    vi.useFakeTimers();
    const { map, log } = make({ idle: Infinity, maxAge: 100 });
    await (await map.acquire("a")).decrRef();
    vi.advanceTimersByTime(60);
    const again = await map.acquire("a");
    expect(again.value.nr).toBe(1);
    await again.decrRef();
    vi.advanceTimersByTime(39);
    expect(log).toEqual(["open 1"]);
    vi.advanceTimersByTime(1);
    expect([log, map.size, vi.getTimerCount()]).toEqual([["open 1", "free 1", "stop 1"], 0, 0]);
  });

  it("replaces what gets too old while it is held, and frees it when it is given back", async () => {
    vi.useFakeTimers();
    const { map, log } = make({ idle: Infinity, maxAge: 100 });
    const old = await map.acquire("a");
    vi.advanceTimersByTime(150);
    const young = await map.acquire("a");
    expect([old.value.nr, young.value.nr, log]).toEqual([1, 2, ["open 1", "open 2"]]);
    await old.decrRef();
    expect(log).toEqual(["open 1", "open 2", "free 1", "stop 1"]);
    await young.decrRef();
    await map.close();
    expect([log.slice(4), vi.getTimerCount()]).toEqual([["free 2", "stop 2"], 0]);
  });

  it("has no timer without it, and none that keeps the process alive", async () => {
    vi.useFakeTimers();
    await make({ idle: Infinity }).map.acquire("a");
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
    const began = performance.now();
    await runProgram(`
      import { HandleMap } from "./src/index";
      const map = new HandleMap({ open: async () => 1, maxAge: 60_000 });
      map.acquire("a");
    `);
    expect(performance.now() - began).toBeLessThan(15_000);
  });

  it("is refused when it is no time", () => {
    expect(() => make({ maxAge: -1 })).toThrow("Expected maxAge to be a number of at least 0, received number -1");
    expect(() => make({ lost: 1 as never })).toThrow("expected lost to be a function");
  });
});

describe("HandleMap.stats", () => {
  it("tells the states and the references at every step of a value's life", async () => {
    const opens: Deferred<Link>[] = [];
    const frees: Deferred<void>[] = [];
    const map = new HandleMap<string, Link>({
      idle: Infinity,
      max: 1,
      open: () => {
        opens.push(deferred<Link>());
        return (opens.at(-1) as Deferred<Link>).promise;
      },
      free: () => {
        frees.push(deferred());
        return (frees.at(-1) as Deferred<void>).promise;
      },
    });
    const seen = (): unknown[] => {
      const { open, opening, idle, leaving, holders } = map.stats;
      expect(open + opening + idle).toBe(map.size);
      return [open, opening, idle, leaving, Object.fromEntries(holders)];
    };
    expect(seen()).toEqual([0, 0, 0, 0, {}]);
    const asked = [map.acquire("a"), map.acquire("a")];
    expect(seen()).toEqual([0, 1, 0, 0, {}]);
    opens[0]?.resolve(new Link(1));
    const [first, second] = await Promise.all(asked);
    expect(seen()).toEqual([1, 0, 0, 0, { a: 2 }]);
    const third = first?.dup();
    first?.incrRef();
    expect(seen()).toEqual([1, 0, 0, 0, { a: 4 }]);
    for (const handle of [first, first, third]) await handle?.decrRef();
    expect(seen()).toEqual([1, 0, 0, 0, { a: 1 }]);
    await second?.decrRef();
    expect(seen()).toEqual([0, 0, 1, 0, {}]);
    const again = await map.acquire("a");
    expect(seen()).toEqual([1, 0, 0, 0, { a: 1 }]);
    const waits = map.acquire("b");
    expect(seen()).toEqual([1, 1, 0, 0, { a: 1 }]);
    map.invalidate("a");
    expect(seen()).toEqual([0, 1, 0, 1, {}]);
    void again.decrRef();
    expect(seen()).toEqual([0, 1, 0, 1, {}]);
    frees[0]?.resolve();
    await turn();
    expect([seen(), opens.length]).toEqual([[0, 1, 0, 0, {}], 2]);
    const stop = new AbortController();
    const givesUp = map.acquire("c", { signal: stop.signal });
    expect(seen()).toEqual([0, 2, 0, 0, {}]);
    stop.abort("no");
    await expect(givesUp).rejects.toBe("no");
    opens[1]?.reject(new Error("refused"));
    await expect(waits).rejects.toThrow("refused");
    expect(seen()).toEqual([0, 0, 0, 0, {}]);
    await map.close();
  });
});
