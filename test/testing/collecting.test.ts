import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { Handle } from "../../src/index";
import { assertCollectable, expectNoGrowth, settle, withoutLeaks } from "../../src/testing/index";

describe("settle()", () => {
  it("rejects where collection cannot be asked for, and never passes silently", () => {
    const code = `
      import { settle, assertCollectable } from "./dist/testing.js";
      for (const check of [settle, () => assertCollectable(() => ({}))]) {
        await check().then(() => console.log("resolved"), (error) => console.log(error.message.slice(0, 13)));
      }
    `;
    const run = spawnSync(process.execPath, ["--input-type=module", "-e", code], { encoding: "utf8" });
    expect(run.stdout).toBe("Cannot settle\nCannot settle\n");
  });

  it("resolves where it can", async () => {
    await settle();
  });
});

describe("assertCollectable()", () => {
  it("passes for what nobody holds, also when it comes by promise", async () => {
    await assertCollectable(() => ({}));
    await assertCollectable(async () => ({}));
    await assertCollectable(() => {
      const handle = Handle.of({}, () => {});
      handle.decrRef();
      return handle;
    });
  });

  it("rejects for what something still holds", async () => {
    const cache: object[] = [];
    const make = (): object => {
      const made = {};
      cache.push(made);
      return made;
    };
    await expect(assertCollectable(make)).rejects.toThrow("still reachable");
    expect(cache).toHaveLength(1);
  });

  it("refuses what is no function, or makes no object", async () => {
    await expect(assertCollectable((() => 5) as never)).rejects.toThrow(
      "expected an object to be made, received number 5",
    );
    await expect(assertCollectable(1 as never)).rejects.toThrow(TypeError);
  });
});

describe("expectNoGrowth()", () => {
  const kept: Handle<number>[] = [];
  /** A body that in its n-th run opens (or, below 0, closes) as many as the n-th number says. */
  const steps = (deltas: readonly number[]): (() => void) => {
    let run = 0;
    return () => {
      const delta = deltas[run++] ?? 0;
      for (let i = 0; i < delta; i++) kept.push(Handle.of(1, () => {}, { kind: "row" }));
      for (let i = 0; i > delta; i--) kept.pop()?.decrRef();
    };
  };
  const close = (): void => {
    for (const handle of kept.splice(0)) handle.decrRef();
  };

  it.each<[string, number[]]>([
    ["in every counted run", [0, 0, 0, 1, 1, 1]],
    ["in every counted run, more and more", [5, 0, 0, 1, 2, 3]],
  ])("rejects when handles grow %s", async (_, deltas) => {
    await expect(expectNoGrowth(steps(deltas))).rejects.toThrow(
      `row: ${deltas
        .slice(3)
        .map((d) => `+${d}`)
        .join(", ")}`,
    );
    close();
  });

  it.each<[string, number[]]>([
    ["never", [0, 0, 0, 0, 0, 0]],
    ["in the warm-up only", [4, 2, 1, 0, 0, 0]],
    ["once", [0, 0, 0, 3, 0, 0]],
    ["and shrink", [0, 0, 0, 8, -8, 1]],
  ])("passes when handles grow %s", async (_, deltas) => {
    await expectNoGrowth(steps(deltas));
    close();
  });

  it("counts what was dropped and collected", async () => {
    const body = async (): Promise<void> => {
      (() => void Handle.of(1, () => {}, { kind: "lost" }))();
      await settle();
    };
    await expect(expectNoGrowth(body, { warmup: 0, runs: 2 })).rejects.toThrow("lost: +1, +1");
  });

  it("goes on tracking when another check has ended", async () => {
    const opened: Handle<number>[] = [];
    const other = withoutLeaks(() => new Promise((resolve) => setImmediate(resolve)));
    const body = async (): Promise<void> => {
      await other;
      opened.push(Handle.of(1, () => {}, { kind: "grown" }));
    };
    await expect(expectNoGrowth(body, { runs: 2 })).rejects.toThrow("grown: +1, +1");
    for (const handle of opened) handle.decrRef();
  });

  it("passes for a body that gives everything back, and runs as often as it is told", async () => {
    let runs = 0;
    await expectNoGrowth(
      async () => {
        runs++;
        Handle.of(1, () => {}).decrRef();
      },
      { warmup: 1, runs: 2 },
    );
    expect(runs).toBe(3);
  });

  it("refuses numbers that make no sense", async () => {
    for (const options of [{ runs: 0 }, { runs: 1.5 }, { runs: Infinity }, { runs: "3" as never }, { warmup: -1 }]) {
      await expect(expectNoGrowth(() => {}, options)).rejects.toThrow(RangeError);
    }
    await expect(expectNoGrowth(1 as never)).rejects.toThrow(TypeError);
  });
});
