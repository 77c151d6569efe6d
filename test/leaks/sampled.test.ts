import { describe, expect, it } from "vitest";
import { AutoMemory, defineResource, type Handle } from "../../src/index";
import { detector } from "../../src/leaks/detector";
import { leakReport, liveHandles } from "../../src/leaks/index";
import { Session } from "../../src/leaks/session";
import { SampledTracker } from "../../src/leaks/trackers";
import { realm } from "../../src/tracker";
import { tracked } from "./support";

describe("level sampled", () => {
  const Key = defineResource({ kind: "key", free: () => {} });

  it("keeps to its budget, and its weights add up to what is there", async () => {
    const kept: Handle<unknown>[] = [];
    await tracked({ level: "sampled", budget: 0.005 }, () => {
      const start = performance.now();
      while (performance.now() - start < 1000) for (let i = 0; i < 500; i++) kept.push(Key.open(i));
      const live = liveHandles();
      const estimate = live.reduce((sum, { weight }) => sum + weight, 0);
      // Some hundred samples: the estimate is within a few tenths.
      expect(live.length).toBeGreaterThan(10);
      expect(live.length).toBeLessThan(kept.length / 10);
      expect(estimate / kept.length).toBeGreaterThan(0.4);
      expect(estimate / kept.length).toBeLessThan(2);
      const report = leakReport();
      expect(report.groups[0]?.estimate).toBe(estimate);
      expect(String(report)).toContain("standing for about");
      expect(String(report)).toContain("not seen: level sampled");
      for (const handle of kept.splice(0)) handle.decrRef();
      expect(liveHandles()).toEqual([]);
    });
  });

  it.each([1, 7, 128])(
    "draws one of %d resources, whatever the rhythm of the program, without a bias",
    async (interval) => {
      await tracked({ level: "sampled", budget: 1 }, () => {
        const before = realm.tracker;
        // Without a budget nothing moves the interval.
        const session = Object.assign(new Session({ level: "sampled" }), { budget: 0, interval });
        let seed = 20_240_229;
        const random = (): number => {
          seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
          return seed / 2 ** 32;
        };
        realm.tracker = new SampledTracker(detector(), session, random);
        const opened = 1000 * interval;
        const handles = Array.from({ length: opened }, (_, i) => Key.open(i));
        realm.tracker = before;
        const live = liveHandles();
        const estimate = live.reduce((sum, { weight }) => sum + weight, 0);
        // The distances are drawn evenly, so the count's standard deviation is the square root of a third of it.
        const sigma = interval === 1 ? 0 : Math.sqrt(1000 / 3);
        expect(Math.abs(live.length - 1000)).toBeLessThanOrEqual(4 * sigma + 1);
        expect(Math.abs(estimate - opened)).toBeLessThanOrEqual((4 * sigma + 1) * interval);
        for (const handle of handles) handle.decrRef();
      });
    },
  );

  it("records every account of a sampled resource, and none of the others", async () => {
    await tracked({ level: "sampled", budget: 1 }, () => {
      const first = Key.open("a");
      const second = first.dup("second");
      expect(liveHandles().map(({ holder, refCount }) => [holder, refCount])).toEqual([
        ["", 2],
        ["second", 2],
      ]);
      first.decrRef();
      second.decrRef();
    });
    await tracked({ level: "sampled", budget: 0 }, () => {
      const first = Key.open("a");
      const second = first.dup("second");
      const memory = new AutoMemory();
      memory.use(first);
      expect(liveHandles()).toEqual([]);
      second.decrRef();
      memory.dispose();
    });
  });
});
