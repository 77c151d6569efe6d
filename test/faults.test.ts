import { describe, expect, it } from "vitest";

import type * as handles from "../src/handle";
import type * as logs from "../src/kinds/entry-log";
import type * as entries from "../src/kinds/log-entry";
import type * as resources from "../src/resource";
import { forced as forcedIncident, trial } from "./incidents/braft-early-return";
import type * as incident from "./incidents/prepare-entry";
import type * as bodies from "./support/bodies";
import { expectNoWayOutToLeak, missed, type Trial, World, waysOut } from "./support/faults";
import { inject } from "./support/inject";
import { turn, turns } from "./support/until";

const BODIES = "test/support/bodies.ts";

type Replicator = typeof bodies & typeof logs & typeof entries;

interface Replicating extends Pick<typeof bodies, "prepareEntry"> {
  readonly log: logs.EntryLog;
  readonly observers: readonly (handles.Handle<entries.LogEntry> | undefined)[];
}

describe("expectNoWayOutToLeak()", () => {
  const file = "test/incidents/prepare-entry.ts";

  it("finds every point by itself: each statement, each call and each await, with its line", async () => {
    const { points } = await forcedIncident("prepareForgetful");
    expect(points.map(({ kind, text }) => `${kind} ${text.replace(/^[^,]*, /, "")}`)).toEqual([
      'statement const held = entry.dup("prepare_entry")',
      'call entry.dup("prepare_entry")',
      "statement if (held.value.index > readonlyIndex) return EREADONLY",
      "statement return EREADONLY",
      "statement held.decrRef()",
      "call held.decrRef()",
      "statement return 0",
    ]);
    expect(points[0]?.text).toMatch(/^test\/incidents\/prepare-entry\.ts:\d+, /);
  });

  it("catches the function of the incident as it was, with its plain counter, and names the ways out", async () => {
    const naive = await inject<typeof incident>([file], [{ file, functions: ["prepareNaive"], at: "everywhere" }]);
    const of = (readonlyIndex: number) => ({
      setup: ({ NaiveEntry, prepareNaive }: typeof incident) => ({ entry: new NaiveEntry(7), prepareNaive }),
      run: ({ entry, prepareNaive }: Pick<typeof incident, "prepareNaive"> & { entry: incident.NaiveEntry }) =>
        prepareNaive(entry, readonlyIndex),
      count: ({ entry }: { entry: incident.NaiveEntry }) => entry.refs,
    });
    await expect(expectNoWayOutToLeak(naive, of(100))).rejects.toThrow(
      /return at .*, entry\.refs--: 1 counted before, 2 after/,
    );
    await expect(expectNoWayOutToLeak(naive, of(5))).rejects.toThrow(
      /going to the end: 1 counted before, 2 after\n.*return at .*return EREADONLY: 1 counted before, 2 after/s,
    );
  });

  it("catches its mistake over handles as well, and passes the cure, on all ways out of both paths", async () => {
    const forgetful = await forcedIncident("prepareForgetful");
    await expect(expectNoWayOutToLeak(forgetful, trial("prepareForgetful", 100))).rejects.toThrow(
      "4 of 19 ways out leak",
    );
    await expect(expectNoWayOutToLeak(forgetful, trial("prepareForgetful", 5))).rejects.toThrow("going to the end");
    const cured = await forcedIncident("prepare");
    const [send, readOnly] = [
      await expectNoWayOutToLeak(cured, trial("prepare", 100)),
      await expectNoWayOutToLeak(cured, trial("prepare", 5)),
    ];
    expect([send.ways.length, missed(send)]).toEqual([13, ["return EREADONLY"]]);
    expect([readOnly.ways.length, missed(readOnly)]).toEqual([13, ["return 0"]]);
  });

  it("catches a reference given back twice on one way", async () => {
    const twice = await inject<typeof bodies & typeof handles>(
      [BODIES, "src/handle.ts"],
      [{ file: BODIES, functions: ["pays"], at: "everywhere" }],
    );
    const paid = expectNoWayOutToLeak(twice, {
      setup: ({ Handle, pays }) => ({ handle: Handle.of("a", () => {}).incrRef(), pays }),
      run: ({ handle, pays }) => pays(handle, () => {}),
      count: ({ handle }) => handle.owed,
    });
    await expect(paid).rejects.toThrow(/throw at .*, work\(\): 2 counted before, 1 after/);
  });

  it("forces each point in each of its ways, twice when it is passed twice, and tells what no run came by", async () => {
    const injected = await inject<typeof bodies & typeof handles>(
      [BODIES, "src/handle.ts"],
      [{ file: BODIES, functions: ["forgetful"], at: "everywhere" }],
    );
    const { ways, missed } = await waysOut(injected, {
      setup: ({ Handle, forgetful }) => ({ handle: Handle.of("a", () => {}), forgetful }),
      run: ({ handle, forgetful }) => {
        forgetful(handle);
        forgetful(handle);
      },
      count: () => 0,
    });
    const tried = ways.map(({ way, point }) => `${way} ${point?.kind}`);
    expect(tried.slice(0, 7)).toEqual([
      "to the end undefined",
      "throw statement",
      "return statement",
      "abort statement",
      "throw call",
      "reject call",
      "abort call",
    ]);
    expect([tried.length, missed]).toEqual([1 + 2 * 3 * injected.points.length, []]);
    expect(ways.filter(({ error }) => (error as Error | undefined)?.name === "Forced").length).toBe(2 * 6);
  });

  it("is refused for a function that is not there, or has nothing to force", async () => {
    const wrong = (functions: string[]) => inject([BODIES], [{ file: BODIES, functions, at: [] }]);
    await expect(wrong(["nobody"])).rejects.toThrow("Cannot inject into nobody of test/support/bodies.ts");
    await expect(wrong(["pays"])).rejects.toThrow("it is not there, or has no point");
  });
});

describe("no way out leaks", () => {
  it("of a body in AutoMemory, whatever its statements and calls do", async () => {
    const injected = await inject<typeof bodies>(
      [BODIES],
      [{ file: BODIES, functions: ["inContext"], at: "everywhere" }],
    );
    const all = await expectNoWayOutToLeak(injected, {
      setup: ({ inContext }) => ({ world: new World(), inContext }),
      run: ({ world, inContext }) =>
        inContext(
          (name) => world.free(name),
          (name) => {
            world.live.add(name);
            return name;
          },
        ),
      count: ({ world }) => world.live.size,
      // What was opened for a handle that was not made.
      undo: ({ world }, result) => world.free(result),
    });
    expect([injected.points.length, all.ways.length]).toEqual([26, 91]);
    expect(missed(all)).toEqual(["return"]);
  });

  it("of the function of the incident in all its outcomes, also when it is called 1,000 times", async () => {
    const modules = [BODIES, "src/kinds/entry-log.ts", "src/kinds/log-entry.ts"];
    const injected = await inject<Replicator>(modules, [
      { file: BODIES, functions: ["prepareEntry"], at: "everywhere" },
    ]);
    const expected = { 1: "ENOENT", 2: "sent", 3: "EREADONLY", 4: "sent", 9: "ERANGE" };
    for (const [index, outcome] of Object.entries(expected)) {
      const outcomes: string[] = [];
      const of = (times: number): Trial<Replicator, Replicating> => ({
        setup: async ({ EntryLog, logEntry, prepareEntry }) => {
          const log = new EntryLog();
          const types = ["data", "data", "data", "configuration"] as const;
          await log.append(types.map((type, i) => logEntry({ index: i + 1, term: 1, type })));
          await log.truncatePrefix(2);
          return { log, prepareEntry, observers: [2, 3, 4].map((index) => log.get(index)) };
        },
        run: ({ log, prepareEntry }) => {
          const at = { readonlyIndex: 2 };
          for (let i = 0; i < times; i++) outcomes.push(prepareEntry(log, at, Number(index)));
        },
        count: ({ observers }) => observers.reduce((sum, entry) => sum + (entry?.refCount ?? 0), 0),
        end: async ({ log, observers }) => {
          for (const entry of observers) entry?.decrRef();
          await log[Symbol.asyncDispose]();
        },
      });
      const { ways } = await waysOut(injected, of(1));
      expect([ways.length > 6, ways.filter(({ before, after }) => before !== after)]).toEqual([true, []]);
      expect(outcomes[0]).toBe(outcome);
      const trial = of(1_000);
      const world = await trial.setup(injected.module);
      trial.run(world, new AbortController().signal);
      expect([await trial.count(world), outcomes.at(-1)]).toEqual([6, outcome]);
      await trial.end?.(world);
    }
  });

  it("of a body in AsyncAutoMemory, whatever it waits for", async () => {
    const modules = [BODIES, "src/resource.ts"];
    const injected = await inject<typeof bodies & typeof resources>(modules, [
      { file: BODIES, functions: ["inAsyncContext"], at: "everywhere" },
    ]);
    const all = await expectNoWayOutToLeak(injected, {
      setup: ({ inAsyncContext, defineAsyncResource }) => {
        const world = new World();
        const links = defineAsyncResource({
          kind: "link",
          open: async (name: string) => {
            await turn();
            world.live.add(name);
            return name;
          },
          free: async (name) => {
            await turn();
            world.free(name);
          },
        });
        return { world, links, inAsyncContext };
      },
      run: ({ links, inAsyncContext }) => inAsyncContext(links),
      count: ({ world }) => world.live.size,
      // What was being opened when the context ended arrives later, and is freed then.
      settle: () => turns(),
    });
    expect([injected.points.length, missed(all)]).toEqual([22, ["return"]]);
  });
});
