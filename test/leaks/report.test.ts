import { describe, expect, it } from "vitest";
import { Handle } from "../../src/index";
import { type HeapProfileNode, leakReport } from "../../src/leaks/index";
import { tracked } from "./support";

type Keep = Handle<string>[];

/** As many handles as asked for, from as many sites. */
function fill(kept: Keep, counts: readonly number[], bytes = 0): void {
  for (const [site, count] of counts.entries()) {
    const open = new Function(
      "Handle",
      "site",
      "bytes",
      `return function opener${site}() {
      return Handle.of("x", () => {}, { kind: "kind" + site, label: "l" + site, bytes });
    }`,
    )(Handle, site, bytes) as () => Handle<string>;
    for (let i = 0; i < count; i++) kept.push(open());
  }
}

const close = (kept: Keep): void => {
  for (const handle of kept.splice(0)) handle.decrRef();
};

/** What differs from run to run. */
const stable = (text: string): string =>
  text.replace(/\d+(\.\d+)? (ms|s|min|h)\b/g, "<age>").replace(/:\d+:\d+/g, ":<line>");

describe("leakReport().toString()", () => {
  it("has the largest groups first, and is the same for the same input", async () => {
    await tracked({}, () => {
      const kept: Keep = [];
      fill(kept, [1, 5, 2]);
      const report = leakReport();
      expect(report.groups.map(({ kind, count }) => [kind, count])).toEqual([
        ["kind1", 5],
        ["kind2", 2],
        ["kind0", 1],
      ]);
      expect(String(report)).toBe(String(report));
      expect(stable(String(report))).toBe(stable(String(leakReport())));
      close(kept);
    });
  });

  it("prints a single leak with its holder, site, age and cure", async () => {
    await tracked({}, () => {
      const first = Handle.of("x", () => {}, { kind: "connection", label: "db:5432" });
      const second = first.dup("pool");
      first.decrRef();
      expect(stable(String(leakReport()))).toMatchInlineSnapshot(`
        "lastref: 1 leak in 1 group (level full)

        held  connection "db:5432"  1 of 2 still held
          opened          test/leaks/report.test.ts:<line>
                          tracked (test/leaks/support.ts:<line>)
                          test/leaks/report.test.ts:<line>
          created         test/leaks/report.test.ts:<line>
          held by         pool: owes 1, for <age>, since test/leaks/report.test.ts:<line>
          closed first    test/leaks/report.test.ts:<line>
          fix             give the connection back on every path, early returns and errors included: using connection = ...

        more: write leakReport().toHeapProfile() to a file leaks.heapprofile and open it in Chrome DevTools or VS Code"
      `);
      second.decrRef();
    });
  });

  it("prints ten groups at most, and how many more there are", async () => {
    await tracked({}, () => {
      const kept: Keep = [];
      fill(kept, new Array(47).fill(1));
      const text = String(leakReport());
      expect(text.match(/^held {2}/gm)).toHaveLength(10);
      expect(text).toContain("and 37 more");
      close(kept);
    });
  });

  it("names no frames of the library, of its packages, or of the runtime", async () => {
    await tracked({}, () => {
      const handle = Handle.of("x", () => {});
      const [group] = leakReport().groups;
      expect(group?.site.split("\n").every((frame) => frame.includes("test/leaks/"))).toBe(true);
      handle.decrRef();
    });
  });

  it("does not say that there are no leaks while nothing is tracked", () => {
    const report = leakReport();
    expect(report.total).toBeUndefined();
    expect(String(report)).toContain("leak tracking is off");
    expect(String(report)).not.toContain("0 leaks");
    expect(report.toJSON().total).toBeNull();
  });
});

describe("leakReport().toJSON()", () => {
  it("has the same facts, with a version", async () => {
    await tracked({}, () => {
      const kept: Keep = [];
      fill(kept, [2, 1], 100);
      const json = JSON.parse(JSON.stringify(leakReport()));
      expect(json).toMatchObject({
        version: 1,
        level: "full",
        total: 3,
        groups: [
          {
            verdict: "held",
            kind: "kind0",
            count: 2,
            owed: 2,
            bytes: 200,
            examples: [{ label: "l0", bytes: 100 }, {}],
          },
          { verdict: "held", kind: "kind1", count: 1, owed: 1, bytes: 100 },
        ],
      });
      close(kept);
    });
  });
});

describe("leakReport().toHeapProfile()", () => {
  const sizes = (node: HeapProfileNode): number =>
    node.selfSize + node.children.reduce((sum, child) => sum + sizes(child), 0);
  const nodes = (node: HeapProfileNode): HeapProfileNode[] => [node, ...node.children.flatMap(nodes)];

  it("is of the format of the V8 sampling heap profiler", async () => {
    await tracked({}, () => {
      const kept: Keep = [];
      fill(kept, [3, 1], 100);
      const profile = JSON.parse(JSON.stringify(leakReport().toHeapProfile())) as ReturnType<
        ReturnType<typeof leakReport>["toHeapProfile"]
      >;
      expect(profile.head.callFrame.functionName).toBe("(root)");
      const all = nodes(profile.head);
      expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
      for (const { callFrame, selfSize, id, children } of all) {
        expect(callFrame).toEqual({
          functionName: expect.any(String),
          scriptId: expect.any(String),
          url: expect.any(String),
          lineNumber: expect.any(Number),
          columnNumber: expect.any(Number),
        });
        expect([Number.isInteger(selfSize), Number.isInteger(id), Array.isArray(children)]).toEqual([true, true, true]);
      }
      expect(sizes(profile.head)).toBe(400);
      const ids = new Map(all.map((node) => [node.id, node]));
      expect(profile.samples.map(({ size, nodeId }) => ids.get(nodeId)?.selfSize === size)).toEqual([true, true]);
      expect(all.map(({ callFrame }) => callFrame.functionName)).toEqual(
        expect.arrayContaining(["opener0", "opener1", "3 kind0, held"]),
      );
      expect(sizes(leakReport().toHeapProfile("count").head)).toBe(4);
      close(kept);
    });
  });

  it("shows counts where no sizes are known, and nothing where nothing is held", async () => {
    await tracked({}, () => {
      const kept: Keep = [];
      fill(kept, [3, 1]);
      expect(sizes(leakReport().toHeapProfile().head)).toBe(4);
      const sized = Handle.of("x", () => {}, { kind: "sized", bytes: 100 });
      expect(sizes(leakReport().toHeapProfile().head)).toBe(5);
      expect(sizes(leakReport().toHeapProfile("bytes").head)).toBe(100);
      sized.decrRef();
      expect(() => sized.decrRef()).toThrow();
      expect(sizes(leakReport().toHeapProfile().head)).toBe(4);
      close(kept);
      expect(leakReport().toHeapProfile().head.children).toEqual([]);
    });
  });
});
