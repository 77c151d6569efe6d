import { describe, expect, it } from "vitest";
import { AutoMemory, defineAsyncResource, defineResource, Handle } from "../../src/index";
import { detector } from "../../src/leaks/detector";
import { type Leak, leakReport, settle, takeSnapshot, trackLeaks } from "../../src/leaks/index";
import { assertNoLeaks, expectNoGrowth, withoutLeaks } from "../../src/testing/index";
import { inCall, settleAll, tracked, until } from "./support";

const open = (label = "a", kind = "key"): Handle<string> => Handle.of(label, () => {}, { kind, label });
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("a test helper, while the program tracks as well", () => {
  it("finds what a body leaves open that switches to a level that records less", async () => {
    const kept: Handle<string>[] = [];
    for (const level of ["count", "sampled"] as const) {
      const body = (): void => {
        const tracking = trackLeaks({ level, budget: 0 });
        kept.push(open());
        tracking[Symbol.dispose]();
      };
      expect(() => withoutLeaks(body)).toThrow(/^Leaks found/);
      await expect(withoutLeaks(() => turn().then(body))).rejects.toThrow(/^Leaks found/);
      await expect(expectNoGrowth(body)).rejects.toThrow(/^Open handles grew in every run:\nkey: \+1, \+1, \+1/);
    }
    for (const handle of kept) handle.decrRef();
  });

  it("finds it also when the program leaves its tracking on, or ends it meanwhile", async () => {
    const kept: Handle<string>[] = [];
    const trackings: Disposable[] = [];
    expect(() =>
      withoutLeaks(() => {
        trackings.push(trackLeaks({ level: "count" }));
        kept.push(open());
      }),
    ).toThrow(/^Leaks found/);
    trackings.push(trackLeaks());
    const checked = withoutLeaks(async () => {
      await turn();
      kept.push(open());
    });
    for (const tracking of trackings) tracking[Symbol.dispose]();
    await expect(checked).rejects.toThrow(/^Leaks found/);
    for (const handle of kept) handle.decrRef();
    expect(detector().sessions).toEqual([]);
  });

  it("leaves the listener and the suppressions to the program", async () => {
    const { leaks } = await tracked({ level: "count", suppress: ["quiet"] }, async () => {
      const quiet = open("quiet");
      withoutLeaks(() => quiet.dup().decrRef());
      const kept = withoutLeaks(() => open("quiet too"));
      await withoutLeaks(async () => inCall(() => void open("quiet three")));
      await expect(
        withoutLeaks(async () => {
          inCall(() => void open("heard"));
          await settleAll();
        }),
      ).rejects.toThrow("dropped  key");
      kept.decrRef();
      quiet.decrRef();
    });
    expect(leaks.map(({ verdict, label }) => `${verdict} ${label}`)).toEqual(["dropped heard"]);
  });

  it("does not put off the search for what is held too long", async () => {
    await tracked({ heldTooLong: 20 }, async (leaks) => {
      const handle = open();
      await until(() => {
        withoutLeaks(() => {});
        return leaks.length > 0;
      });
      expect(leaks.map(({ verdict }) => verdict)).toEqual(["held-too-long"]);
      handle.decrRef();
    });
  });

  it("changes nothing in what a report at another level says afterwards", async () => {
    const Key = defineResource({ kind: "key", open: (n: number) => n, free: () => {} });
    await tracked({ level: "sampled", budget: 1e-9 }, () => {
      const handles = Array.from({ length: 500 }, (_, n) => Key.open(n));
      withoutLeaks(() => {});
      expect(leakReport().blindSpots.join()).not.toContain("before tracking began");
      for (const handle of handles) handle.decrRef();
    });
  });

  it("and another tracking forget nothing that was found before", async () => {
    await tracked({}, async () => {
      inCall(() => void open("lost"));
      await settleAll();
      const inner = trackLeaks();
      expect(() => assertNoLeaks()).toThrow('dropped  key "lost"');
      withoutLeaks(() => expect(leakReport().total).toBe(1));
      inner[Symbol.dispose]();
    });
  });

  it("leaves the warning to nobody who has ended", async () => {
    const warnings: string[] = [];
    const listen = ({ message }: Error): void => void warnings.push(message.split("\n")[0] as string);
    process.on("warning", listen);
    const tracking = trackLeaks();
    const cache: Handle<string>[] = [];
    await expectNoGrowth(() => {
      if (cache.length === 0) cache.push(Handle.of("a", () => {}, { kind: "cached", label: "cached" }));
    });
    expect(() =>
      withoutLeaks(() => {
        cache.push(Handle.of("b", () => {}, { kind: "broken", label: "broken" }));
        throw new Error("own");
      }),
    ).toThrow("own");
    cache.length = 0;
    await settleAll();
    await turn();
    process.off("warning", listen);
    tracking[Symbol.dispose]();
    expect(warnings.sort()).toEqual(['dropped broken "broken"', 'dropped cached "cached"']);
  });

  it("hands nothing to the body", () => {
    withoutLeaks((...given: unknown[]) => expect(given).toEqual([]));
  });

  it("goes back to what the program asked for", async () => {
    await tracked({ level: "count" }, () => {
      withoutLeaks(() => expect(leakReport().level).toBe("full"));
      expect([leakReport().level, leakReport().total]).toEqual(["count", undefined]);
    });
  });

  it("does not accuse the program of what an earlier tracking has seen opened", async () => {
    const earlier: Handle<string>[] = [];
    await tracked({}, () => void earlier.push(open("earlier")));
    const { leaks } = await tracked({}, async () => {
      earlier.pop();
      await settle();
      assertNoLeaks();
      inCall(() => void open("later"));
      await settleAll();
      expect(() => assertNoLeaks()).toThrow("1 leak in 1 group");
    });
    expect(leaks.map(({ label }) => label)).toEqual(["earlier", "later"]);
  });
});

describe("settle()", () => {
  it("does not wait for what is opened after it was called", async () => {
    const { leaks } = await tracked({}, async () => {
      let going = true;
      const leaking = (async () => {
        for (let i = 0; going; i++) {
          inCall(() => void open(`later ${i}`));
          await turn();
        }
      })();
      inCall(() => void open("before"));
      await settle();
      going = false;
      await leaking;
      await settleAll();
    });
    expect(leaks.map(({ label }) => label)).toContain("before");
  });

  it("waits for what a freed resource was the last to reach", async () => {
    const Chain = defineResource<{ next: unknown }>({ kind: "chain", free: () => {} });
    const { leaks } = await tracked({ freeLeaked: true }, async () => {
      inCall(() => {
        let next: unknown;
        for (let i = 0; i < 5; i++) next = Chain.wrap({ next });
      });
      await settleAll();
    });
    expect(leaks.filter(({ kind }) => kind === "chain")).toHaveLength(5);
    expect(Chain.stats.live).toBe(0);
  });
});

describe("expectNoGrowth()", () => {
  it("waits for cleanup that comes a little later", async () => {
    await expectNoGrowth(() => {
      const handle = open();
      setTimeout(() => handle.decrRef(), 3);
    });
  });

  it("tells apart what runs at once", async () => {
    const kept: Handle<string>[] = [];
    const clean = expectNoGrowth(async () => {
      await turn();
      open("clean").decrRef();
      await turn();
    });
    const leaky = expectNoGrowth(async () => {
      await turn();
      kept.push(open("leaky"));
      await turn();
    });
    const [passed, failed] = await Promise.allSettled([clean, leaky]);
    expect([passed.status, (failed as PromiseRejectedResult).reason]).toEqual([
      "fulfilled",
      expect.objectContaining({ message: expect.stringContaining("key: +1, +1, +1") }),
    ]);
    for (const handle of kept) handle.decrRef();
  });

  it("sees what the body sets off elsewhere", async () => {
    const kept: Handle<string>[] = [];
    let wake: ((done: () => void) => void) | undefined;
    const consumer = (async () => {
      for (let i = 0; i < 6; i++) {
        const done = await new Promise<() => void>((resolve) => {
          wake = resolve;
        });
        kept.push(open("of the consumer"));
        done();
      }
    })();
    const woken = (): Promise<void> => new Promise((resolve) => wake?.(resolve));
    await expect(expectNoGrowth(woken)).rejects.toThrow("key: +1, +1, +1");
    await consumer;
    for (const handle of kept) handle.decrRef();
  });

  it("takes no notice of what replaces what was there, and of what is suppressed", async () => {
    let last: Handle<string> | undefined;
    await expectNoGrowth(() => {
      last?.decrRef();
      last = open();
    });
    last?.decrRef();
    const kept: Handle<string>[] = [];
    await tracked({ suppress: ["cached"] }, () => expectNoGrowth(() => void kept.push(open("cached"))));
    for (const handle of kept) handle.decrRef();
  });
});

describe("a report", () => {
  it("says what was opened before, also when a level that records less came first", async () => {
    const Key = defineResource({ kind: "key", open: (n: number) => n, free: () => {} });
    const adHoc = [open(), open()];
    await tracked({ level: "count" }, () => {
      const early = [Key.open(1), Key.open(2), Key.open(3)];
      const inner = trackLeaks();
      const [recorded, dup] = [Key.open(4), early[0]?.dup()];
      expect(leakReport().blindSpots.join()).toContain("3 resources had been opened before tracking began");
      inner[Symbol.dispose]();
      for (const handle of [...early, recorded, dup]) handle?.decrRef();
    });
    await tracked({ level: "sampled", budget: 1e-9 }, () => {
      const early = Array.from({ length: 100 }, (_, n) => Key.open(n));
      const recorded = leakReport().total ?? 0;
      expect(recorded).toBeLessThan(100);
      const inner = trackLeaks();
      expect(leakReport().blindSpots.join()).toContain(`${100 - recorded} resources had been opened before`);
      inner[Symbol.dispose]();
      for (const handle of early) handle.decrRef();
    });
    for (const handle of adHoc) handle.decrRef();
  });

  it("of a level that records watched kinds only says so, and not that there is nothing", async () => {
    const Fd = defineResource({ kind: "fd", open: (n: number) => n, free: () => {}, watch: true });
    const { report, result } = await tracked({ level: "count" }, () => {
      expect(String(leakReport())).toMatch(/^lastref: leak tracking is at level "count"\n/);
      const fd = Fd.open(1);
      expect([leakReport().total, takeSnapshot().total]).toEqual([undefined, undefined]);
      return fd;
    });
    expect(report).toMatch(/^lastref: 1 leak in 1 group \(level count\)\n\nheld {2}fd/);
    expect(report).toContain('leak tracking is at level "count": nothing but kinds with watch: true is recorded');
    result.decrRef();
    expect(String(leakReport())).toMatch(/^lastref: leak tracking is off\n/);
    await tracked({ level: "sampled", budget: 0 }, () => {
      open().decrRef();
      expect([leakReport().level, leakReport().total]).toEqual(["count", undefined]);
    });
    await tracked({}, () => expect(takeSnapshot().total).toBe(0));
  });

  it("of samples says how many there are, what they stand for, and how rare they are", async () => {
    const Key = defineResource({ kind: "key", open: (n: number) => n, free: () => {} });
    await tracked({ level: "sampled", budget: 1e-9 }, () => {
      const handles = Array.from({ length: 1000 }, (_, n) => Key.open(n));
      const { groups, total = 0 } = leakReport();
      const estimate = groups.reduce((sum, group) => sum + group.estimate, 0);
      expect(estimate).toBeGreaterThan(total);
      const text = String(leakReport());
      expect(text).toContain(`lastref: ${total} leaks, standing for about ${estimate}, in 1 group (level sampled)`);
      const [, interval] =
        /one resource of (\d+) is recorded now, so that stacks take at most 1e-7 % of/.exec(text) ?? [];
      expect(Number(interval)).toBeGreaterThan(1);
      for (const handle of handles) handle.decrRef();
    });
  });

  it("counts refused calls apart from leaks", async () => {
    await tracked({}, () => {
      const [moved, spent, kept] = [open("moved"), open("spent"), open("kept")];
      moved.move().decrRef();
      expect(() => moved.value).toThrow();
      spent.decrRef();
      expect(() => spent.decrRef()).toThrow();
      expect(String(leakReport())).toMatch(/^lastref: 1 leak and 2 misuses in 3 groups /);
      kept.decrRef();
      expect(String(leakReport())).toMatch(/^lastref: 0 leaks and 2 misuses in 2 groups /);
    });
  });

  it("takes an expression that cannot be written to, and changes none", async () => {
    const frozen = Object.freeze(/^qui/g);
    const { report } = await tracked({ suppress: [frozen, /loud/y] }, async () => {
      inCall(() => {
        open("quiet");
        open("loud");
      });
      await settleAll();
    });
    expect(report).toContain("lastref: 0 leaks");
    expect(report).toContain("suppressed by /^qui/g: 1");
    expect(report).toContain("suppressed by /loud/y: 1");
  });

  it("counts a suppressed handle once, however often it is asked for", async () => {
    await tracked({ suppress: ["quiet"] }, () => {
      const handles = [open("quiet"), open("quiet")];
      leakReport();
      leakReport();
      expect(leakReport().blindSpots).toContain("suppressed by quiet: 2");
      for (const handle of handles) handle.decrRef();
      expect(leakReport().blindSpots).toContain("suppression quiet was of no use");
    });
  });

  it("leaves what is suppressed out of a dropped context, and a context that had nothing else", async () => {
    const { leaks, report } = await tracked({ suppress: ["quiet"] }, async () => {
      inCall(() => {
        const memory = new AutoMemory();
        for (const label of ["quiet", "loud", "quiet"]) memory.use(open(label));
        new AutoMemory().use(open("quiet"));
      });
      await settleAll();
    });
    expect(leaks.map(({ kind, handles }) => [kind, ...handles.map(({ label }) => label)])).toEqual([
      ["context", "loud"],
    ]);
    expect(report).toContain("suppressed by quiet: 3");
  });

  it("says of a test's leak how to come by its profile", () => {
    const kept: Handle<string>[] = [];
    let message = "";
    try {
      withoutLeaks(() => kept.push(open()));
    } catch (error) {
      message = String(error);
    }
    expect(message).toContain("more: write error.report.toHeapProfile() to a file");
    for (const handle of kept) handle.decrRef();
  });
});

describe("freeLeaked", () => {
  it("frees what a dropped context owned last in first out, and names what could not be freed", async () => {
    const log: string[] = [];
    const Link = defineResource({
      kind: "link",
      label: String,
      free: (name: string) => {
        log.push(name);
        if (name === "transaction") throw new Error("free failed");
      },
    });
    const warnings: Error[] = [];
    const listen = (warning: Error): void => void warnings.push(warning);
    process.on("warning", listen);
    await tracked({ freeLeaked: true }, async () => {
      inCall(() => {
        const memory = new AutoMemory();
        for (const name of ["connection", "transaction", "cursor"]) memory.use(Link.wrap(name));
      });
      await settleAll();
      await turn();
    });
    process.off("warning", listen);
    expect(log).toEqual(["cursor", "transaction", "connection"]);
    expect(warnings.map(({ message, cause }) => [message, (cause as Error).message])).toEqual([
      ['Cannot free link "transaction", which was dropped: free failed', "free failed"],
    ]);
  });
});

describe("freeLeaked of an asynchronous kind", () => {
  it("names what could not be freed", async () => {
    const Link = defineAsyncResource({
      kind: "link",
      label: String,
      free: async () => {
        throw new Error("free failed");
      },
    });
    const warnings: Error[] = [];
    const listen = (warning: Error): void => void warnings.push(warning);
    process.on("warning", listen);
    await tracked({ freeLeaked: true }, async () => {
      inCall(() => void Link.wrap("transaction"));
      await settleAll();
      await turn();
    });
    process.off("warning", listen);
    expect(warnings.map(({ message, cause }) => [message, (cause as Error)?.message])).toEqual([
      ['Cannot free link "transaction", which was dropped: free failed', "free failed"],
    ]);
  });
});

describe("a listener", () => {
  it("that rejects loses nothing, and is heard of", async () => {
    const heard: string[] = [];
    const warnings: string[] = [];
    const listen = (warning: Error): void => void warnings.push(warning.message);
    process.on("warning", listen);
    const onLeak = async (leak: Leak): Promise<void> => {
      heard.push(leak.label);
      throw new Error(`no ${leak.label}`);
    };
    await tracked({ onLeak }, async () => {
      inCall(() => {
        open("a");
        open("b");
      });
      await settleAll();
      await turn();
    });
    process.off("warning", listen);
    expect([heard.sort(), warnings.sort()]).toEqual([
      ["a", "b"],
      ["no a", "no b"],
    ]);
  });
});
