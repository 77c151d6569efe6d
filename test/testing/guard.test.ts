import { describe, expect, it } from "vitest";
import { Handle } from "../../src/index";
import { leakGuard } from "../../src/testing/index";

type Call = (...context: unknown[]) => unknown;

/** A test runner of two hooks: what it is told to run, and when. */
function runner(): { begin: Call; end: () => Promise<unknown>; hooks: Parameters<typeof leakGuard>[0] } {
  let begin: Call = () => {};
  let end: Call = () => {};
  return {
    hooks: {
      beforeEach: (call) => {
        begin = call;
      },
      afterEach: (call) => {
        end = call;
      },
    },
    begin: (...context) => begin(...context),
    end: async () => end(),
  };
}

const open = (label: string): Handle<string> => Handle.of(label, () => {}, { kind: "key", label });

describe("leakGuard()", () => {
  it("fails a test that leaves a handle open, and passes one that does not", async () => {
    const { hooks, begin, end } = runner();
    leakGuard(hooks, { grace: 2 });
    begin();
    open("clean").decrRef();
    await end();
    begin();
    const forgotten = open("forgotten");
    await expect(end()).rejects.toThrow(`held  key "forgotten"`);
    // The next test is not charged with it, but told.
    const warnings: string[] = [];
    const listen = (warning: Error): void => void warnings.push(warning.message);
    process.on("warning", listen);
    begin();
    forgotten.decrRef();
    await end();
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", listen);
    expect(warnings).toEqual([
      expect.stringMatching(
        /^lastref: key "forgotten" was opened in another test and closed in this one\n {2}opened: open .*guard\.test\.ts:\d+[\s\S]*\n {2}closed: test\/testing\/guard\.test\.ts:\d+/,
      ),
    ]);
  });

  it("does not charge a test with what was open before", async () => {
    const { hooks, begin, end } = runner();
    const early = open("early");
    leakGuard(hooks, { grace: 0 });
    begin();
    const dup = early.dup();
    dup.decrRef();
    await end();
    early.decrRef();
  });

  it("waits for cleanup that is still under way, for so many attempts", async () => {
    const { hooks, begin, end } = runner();
    leakGuard(hooks);
    begin();
    const handle = open("late");
    setTimeout(() => handle.decrRef(), 5);
    await end();
  });

  it("reports tests that overlap as one group, when the last of them has ended", async () => {
    const { hooks, begin, end } = runner();
    leakGuard(hooks, { grace: 0 });
    begin({ name: "one" });
    begin({ name: "two" });
    const handle = open("of one of them");
    await end();
    await expect(end()).rejects.toThrow(/the overlapping tests "one", "two" had ended[\s\S]*of one of them/);
    handle.decrRef();
  });

  it("takes a test that two of them guard for one", async () => {
    const [outer, inner] = [runner(), runner()];
    for (const { hooks } of [outer, inner]) leakGuard(hooks, { grace: 0 });
    for (const { begin } of [outer, inner]) begin({ name: "one" });
    const handle = open("forgotten");
    await inner.end();
    await expect(outer.end()).rejects.toThrow(/^Leaks found after test "one" had ended/);
    handle.decrRef();
  });

  it("checks after everything that a node:test test has registered", async () => {
    const { hooks, begin, end } = runner();
    leakGuard(hooks, { grace: 0 });
    const calls: (() => unknown)[] = [];
    const context = { name: "one", after: (call: () => unknown) => void calls.push(call) };
    begin(context);
    const handle = open("a");
    context.after(() => handle.decrRef());
    await end();
    for (let i = 0; i < calls.length; i++) await calls[i]?.();
    expect(handle.owed).toBe(0);
    expect(calls).toHaveLength(3);
  });

  it("takes no parameter in its hooks: some runners would wait for a call back", () => {
    const arities: number[] = [];
    const note = (call: Call): void => void arities.push(call.length);
    leakGuard({ beforeEach: note, afterEach: note });
    expect(arities).toEqual([0, 0]);
  });
});
