import { describe, expect, it } from "vitest";
import { AsyncAutoMemory, AutoMemory, defineAsyncResource, defineResource, Handle } from "../../src/index";
import { type Leak, leakReport, liveHandles, settle } from "../../src/leaks/index";
import { inCall, lineHere, settleAll, tracked } from "./support";

const open = (label: string, kind = "key"): Handle<string> => Handle.of(label, () => {}, { kind, label });

/** Drops what `make` makes, and says what was reported; with `release`, which is the control, nothing may be. */
async function drop(make: () => unknown, options = {}): Promise<Leak[]> {
  const { leaks } = await tracked(options, async () => {
    inCall(() => void make());
    await settleAll();
  });
  return leaks;
}

const briefly = (leaks: readonly Leak[]): string[] =>
  leaks.map((leak) => `${leak.verdict} ${leak.kind} ${leak.label} ${leak.owed}/${leak.taken}`);

describe("a handle that was dropped while it owed", () => {
  it("is reported once, with its kind, label and the line that opened it", async () => {
    let line = 0;
    const leaks = await drop(() => {
      line = lineHere() + 1;
      open("user:1");
    });
    await settle();
    expect(briefly(leaks)).toEqual(["dropped key user:1 1/1"]);
    expect(leaks[0]?.opened).toContain(`test/leaks/dropped.test.ts:${line}`);
    expect(String(leaks[0])).toContain(`dropped  key "user:1"  1 of 1 still held`);
  });

  it("is not reported when it was given back", async () => {
    expect(await drop(() => open("user:1").decrRef())).toEqual([]);
  });

  it("says how much is owed, and where the unpaid references were taken", async () => {
    const leaks = await drop(() => {
      const handle = open("user:1");
      handle.incrRef();
      handle.incrRef();
      handle.decrRef();
    });
    expect(briefly(leaks)).toEqual(["dropped key user:1 2/3"]);
    expect(leaks[0]?.unmatched).toHaveLength(1);
    expect(leaks[0]?.unmatched[0]).toContain("dropped.test.ts");
  });

  it.each<[string, () => unknown]>([
    [
      "stored on the object whose method opened it",
      () => {
        class Connection {
          handle: Handle<string> | undefined;
          connect(): void {
            this.handle = open("a");
          }
        }
        new Connection().connect();
      },
    ],
    [
      "opened in an async method after an await",
      () => {
        class Connection {
          handle: Handle<string> | undefined;
          async connect(): Promise<void> {
            await undefined;
            this.handle = open("a");
          }
        }
        void new Connection().connect();
      },
    ],
    [
      "of an abandoned generator",
      () => {
        function* rows(): Generator<number> {
          const handle = open("a");
          try {
            yield 1;
          } finally {
            handle.decrRef();
          }
        }
        rows().next();
      },
    ],
    [
      "of an abandoned async function",
      () => {
        const wait = async (): Promise<void> => {
          const handle = open("a");
          await new Promise(() => {});
          handle.decrRef();
        };
        void wait();
      },
    ],
    [
      "made by dup of one that was given back",
      () => void [open("a")].map((first) => [first.dup("other"), first.decrRef()]),
    ],
    ["made by move", () => void open("a").move()],
    [
      "made by a weak handle's upgrade",
      () => void [open("a")].map((first) => [first.weak().upgrade(), first.decrRef()]),
    ],
    [
      "closed over by a listener of an emitter that is dropped",
      () => void [open("a")].map((handle) => () => handle.value),
    ],
  ])("is found when it was %s", async (_, make) => {
    expect(briefly(await drop(make))).toEqual([expect.stringMatching(/^dropped key a 1\/[12]$/)]);
  });

  it("is found when its kind is asynchronous", async () => {
    const Link = defineAsyncResource({ kind: "link", free: async () => {} });
    expect(briefly(await drop(() => Link.wrap("a")))).toEqual(["dropped link  1/1"]);
    expect(await drop(() => Link.wrap("a").decrRef())).toEqual([]);
  });

  it("is not found while somebody can still reach it, but listed", async () => {
    const kept: Handle<string>[] = [];
    await tracked({}, async (leaks) => {
      kept.push(open("a"));
      await settle();
      expect(leaks).toEqual([]);
      expect(liveHandles().map(({ label }) => label)).toEqual(["a"]);
      kept.pop()?.decrRef();
      expect(liveHandles()).toEqual([]);
    });
  });

  it.each([0, 16, 1024])(
    "is found when its owner has moved or revoked another account (quarantine %d)",
    async (quarantine) => {
      const Key = defineResource({ kind: "key", open: () => ({}), free: () => {} });
      class Owner {
        handle: Handle<object>;
        readonly mine: Handle<object>;
        constructor(handle: Handle<object>) {
          this.handle = handle;
          this.mine = handle.dup("owner");
        }
        hand(): void {
          this.handle = this.handle.move();
          this.handle.decrRef();
        }
        revoke(): void {
          Key.revoke(this.mine);
        }
      }
      const { leaks } = await tracked({ quarantine }, async () => {
        inCall(() => {
          for (let i = 0; i < 300; i++) new Owner(Key.open()).hand();
        });
        await settleAll();
        const owners = inCall(() => Array.from({ length: 10 }, () => new Owner(Key.open())));
        inCall(() => {
          for (const owner of owners) owner.handle.decrRef();
        });
        await settle();
        inCall(() => {
          for (const owner of owners.splice(0)) owner.revoke();
        });
        await settleAll();
      });
      expect(leaks.filter(({ holder }) => holder === "owner")).toHaveLength(310);
    },
  );

  it("names the other accounts that are still open, and the first that was closed", async () => {
    const kept: Handle<string>[] = [];
    const leaks = await drop(() => {
      const first = open("a");
      kept.push(first.dup("cache"));
      first.dup("lost");
      first.decrRef();
    });
    expect(leaks.map(({ holder, handles }) => [holder, ...handles.map((other) => other.holder)])).toEqual([
      ["lost", "cache"],
    ]);
    expect(leaks[0]?.first).toContain("dropped.test.ts");
    kept[0]?.decrRef();
  });

  it("is one group however many come from one site, and one warning", async () => {
    const warnings: string[] = [];
    const listen = (warning: Error & { code?: string }): void => {
      if (warning.code === "LASTREF_LEAK") warnings.push(warning.message);
    };
    process.on("warning", listen);
    const { report } = await tracked({ onLeak: undefined as never }, async () => {
      inCall(() => {
        for (let i = 0; i < 1000; i++) open(`user:${i}`);
      });
      await settleAll();
      await new Promise((resolve) => setImmediate(resolve));
    });
    process.off("warning", listen);
    expect(report).toContain("lastref: 1000 leaks in 1 group (level full)");
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain("1000 so far from this site");
  });

  it("is not lost because the listener throws", async () => {
    const heard: string[] = [];
    const failures: unknown[] = [];
    const listen = (warning: Error): void => void failures.push(warning.message);
    process.on("warning", listen);
    const onLeak = (leak: Leak): void => {
      heard.push(leak.label);
      throw new Error(`no ${leak.label}`);
    };
    await drop(() => [open("a"), open("b")], { onLeak });
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", listen);
    expect(heard.sort()).toEqual(["a", "b"]);
    expect(failures.sort()).toEqual(["no a", "no b"]);
  });

  it("is left out when it is suppressed, and the report says so", async () => {
    const { leaks, report } = await tracked({ suppress: ["pool", /^never$/] }, async () => {
      inCall(() => void open("pool-1"));
      await settle();
    });
    expect(leaks).toEqual([]);
    expect(report).toContain("lastref: 0 leaks");
    expect(report).toContain("suppressed by pool: 1");
    expect(report).toContain("suppression /^never$/ was of no use");
  });
});

describe("freeLeaked", () => {
  it("frees what was dropped, for the kinds that it names", async () => {
    const freed: string[] = [];
    const of = (kind: string): Handle<string> => Handle.of(kind, (value) => freed.push(value), { kind });
    await drop(() => [of("a"), of("b")], { freeLeaked: ["a"] });
    expect(freed).toEqual(["a"]);
    await drop(() => [of("b")], { freeLeaked: true });
    expect(freed).toEqual(["a", "b"]);
  });

  it("frees when the last account is given back, if one is left", async () => {
    const freed: string[] = [];
    const kept: Handle<string>[] = [];
    await drop(
      () => {
        const first = Handle.of("x", (value) => freed.push(value), { kind: "a" });
        kept.push(first.dup());
      },
      { freeLeaked: true },
    );
    expect(freed).toEqual([]);
    expect(kept[0]?.refCount).toBe(1);
    expect(kept[0]?.decrRef()).toBe(true);
    expect(freed).toEqual(["x"]);
  });

  it("frees when the first account was closed long ago", async () => {
    const freed: string[] = [];
    await drop(
      () => {
        const first = Handle.of("x", (value) => freed.push(value), { kind: "a" });
        first.dup("reader");
        first.decrRef();
        for (let i = 0; i < 3; i++) Handle.of("y", () => {}).decrRef();
      },
      { freeLeaked: true, quarantine: 2 },
    );
    expect(freed).toEqual(["x"]);
  });

  it("is off unless it is asked for", async () => {
    const freed: string[] = [];
    expect(await drop(() => Handle.of("x", (value) => freed.push(value)))).toHaveLength(1);
    expect(freed).toEqual([]);
  });
});

describe("a context that was dropped whole", () => {
  it.each<[string, () => { use(handle: Handle<string>): unknown }]>([
    ["AutoMemory", () => new AutoMemory()],
    ["AsyncAutoMemory", () => new AsyncAutoMemory()],
    ["AutoMemory that was moved", () => new AutoMemory().move()],
  ])("is the culprit: %s", async (_, make) => {
    const leaks = await drop(() => {
      const memory = make();
      memory.use(open("a"));
      memory.use(open("b"));
    });
    expect(leaks.map(({ kind, handles }) => [kind, ...handles.map(({ label }) => label)])).toEqual([
      ["context", "a", "b"],
    ]);
    expect(String(leaks[0])).toContain("with 2 handles that nobody pays for now");
  });

  it("is followed when it moves what it owns", async () => {
    const leaks = await drop(() => {
      const memory = new AutoMemory();
      memory.use(open("a"));
      memory.move();
    });
    expect(leaks.map(({ kind, handles }) => [kind, handles.length])).toEqual([["context", 1]]);
  });

  it("is no leak when it was ended, or owns nothing", async () => {
    const leaks = await drop(() => {
      const memory = new AutoMemory();
      memory.use(open("a"));
      memory.dispose();
      new AutoMemory().use(open("b")).decrRef();
    });
    expect(leaks).toEqual([]);
  });

  it("has nothing to do with what was taken out of it", async () => {
    const leaks = await drop(() => {
      const memory = new AutoMemory();
      memory.keep(memory.use(open("a")));
    });
    expect(briefly(leaks)).toEqual(["dropped key a 1/1"]);
  });

  it.each<[string, () => { use(handle: Handle<string>): unknown }]>([
    ["AutoMemory", () => new AutoMemory()],
    ["AsyncAutoMemory", () => new AsyncAutoMemory()],
    ["AutoMemory that was moved", () => new AutoMemory().move()],
    ["AsyncAutoMemory that was moved", () => new AsyncAutoMemory().move()],
    [
      "AsyncAutoMemory that freed what it had",
      () => {
        const memory = new AsyncAutoMemory();
        void memory.freeAll();
        return memory;
      },
    ],
    [
      "AutoMemory that freed what it had",
      () => {
        const memory = new AutoMemory();
        memory.freeAll();
        return memory;
      },
    ],
  ])("is reported once nobody can reach any of its handles either: %s", async (_, make) => {
    const kept: Handle<string>[] = [];
    await tracked({ freeLeaked: true }, async (leaks) => {
      inCall(() => {
        const memory = make();
        kept.push(open("in use"));
        for (const handle of [kept[0] as Handle<string>, open("forgotten")]) memory.use(handle);
      });
      await settle();
      expect([leaks, kept[0]?.value, liveHandles().length]).toEqual([[], "in use", 2]);
      kept.pop();
      await settleAll();
      expect(leaks.map(({ kind, handles }) => [kind, ...handles.map(({ label }) => label)])).toEqual([
        ["context", "in use", "forgotten"],
      ]);
    });
  });

  it("keeps nothing that was taken out of it alive, while it lives itself", async () => {
    const memory = new AutoMemory();
    const later = new AsyncAutoMemory();
    const leaks = await drop(() => {
      for (let i = 0; i < 100; i++) memory.use(open(`owned ${i}`));
      memory.keep(memory.use(open("a")));
      const old = memory.use(open("b"));
      for (let i = 0; i < 100; i++) memory.use(open(`owned ${i}`));
      memory.keep(old);
      later.keep(later.use(open("c")));
      memory.freeAll();
    });
    expect(briefly(leaks).sort()).toEqual(["dropped key a 1/1", "dropped key b 1/1", "dropped key c 1/1"]);
    expect([memory.size, later.size]).toEqual([0, 0]);
  });

  it("keeps nothing alive that was among the oldest when it was taken out, while the others are owned", async () => {
    const memory = new AutoMemory();
    const leaks = await drop(() => {
      const handles = Array.from({ length: 60 }, (_, i) =>
        memory.use(Handle.of(i, () => {}, { kind: "key", label: `${i}` })),
      );
      for (const handle of handles.slice(0, 10)) memory.keep(handle);
    });
    expect([leaks.length, memory.size]).toEqual([10, 50]);
    memory.dispose();
  });

  it("stands before its victims in the report", async () => {
    const { report } = await tracked({}, async () => {
      inCall(() => {
        for (let i = 0; i < 5; i++) open("a");
        new AutoMemory().use(open("b"));
      });
      await settle();
      expect(leakReport().groups.map(({ kind, count }) => [kind, count])).toEqual([
        ["context", 1],
        ["key", 5],
      ]);
    });
    expect(report.indexOf("dropped  context")).toBeLessThan(report.indexOf("dropped  key"));
  });
});

describe("watch", () => {
  it("finds the dropped ones of its kind while nothing else is tracked", async () => {
    const Watched = defineResource({ kind: "watched", free: () => {}, watch: true });
    const Plain = defineResource({ kind: "plain", free: () => {} });
    const leaks = await drop(
      () => {
        Watched.open("a");
        Watched.open("b").decrRef();
        Plain.open("c");
      },
      { level: "count" },
    );
    expect(briefly(leaks)).toEqual(["dropped watched  1/1"]);
    expect(leaks[0]?.opened).toBe("");
  });
});
