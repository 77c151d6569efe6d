import { describe, expect, it } from "vitest";
import { HandleMap } from "../src/handle-map";

/** More than a stack can hold, when each of them takes some calls. */
const MANY = 20_000;

async function outcomes(waiting: readonly Promise<unknown>[]): Promise<Set<string>> {
  const settled = await Promise.allSettled(waiting);
  return new Set(settled.map((one) => (one.status === "rejected" ? String(one.reason) : "opened")));
}

describe("HandleMap, a long queue", () => {
  it.each(["throws", "gives a value that is lost already"])(
    "ends, one after the other, when each open %s",
    async (how) => {
      const dead = new Error("down");
      let freed = 0;
      const map = new HandleMap<string, string>({
        max: 1,
        open: (key) => {
          if (key !== "held" && how === "throws") throw dead;
          return key;
        },
        free: () => void freed++,
        lost: (value, lost) => value !== "held" && lost(dead),
      });
      const held = await map.acquire("held");
      const waiting = Array.from({ length: MANY }, (_, i) => map.acquire(`key ${i}`));
      expect(map.stats.opening).toBe(MANY);
      expect(await held.decrRef()).toBe(true);
      expect(await outcomes(waiting)).toEqual(new Set(["Error: down"]));
      expect([map.size, map.stats.leaving, freed]).toEqual([0, 0, how === "throws" ? 1 : MANY + 1]);
      // The place is there again.
      expect((await map.acquire("held")).value).toBe("held");
    },
  );

  it("opens what an open asks for at once", async () => {
    const log: string[] = [];
    const map: HandleMap<number, number> = new HandleMap<number, number>({
      open: (key, { acquire }) => {
        log.push(`open ${key}`);
        const needed = key < 3 ? acquire(key + 1) : undefined;
        log.push(`begun ${key}`);
        return (async () => {
          await (await needed)?.decrRef();
          return key;
        })();
      },
    });
    expect((await map.acquire(1)).value).toBe(1);
    expect(log).toEqual(["open 1", "open 2", "open 3", "begun 3", "begun 2", "begun 1"]);
    expect(map.size).toBe(1);
  });

  it("has room for what the first needs before the second that an open asks for, which keeps both", async () => {
    const needs: Record<string, string[]> = { all: ["first", "second"], first: ["for a moment"] };
    const map: HandleMap<string, string> = new HandleMap<string, string>({
      max: 3,
      open: async (key, { acquire }) => {
        const needed = await Promise.all((needs[key] ?? []).map((other) => acquire(other)));
        if (key === "first") for (const handle of needed) await handle.decrRef();
        return key;
      },
    });
    expect((await map.acquire("all", { timeout: 1000 })).value).toBe("all");
    expect([...map.keys()]).toEqual(["all", "first", "second"]);
  });
});
