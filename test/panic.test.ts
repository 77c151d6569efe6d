import { afterEach, describe, expect, it, vi } from "vitest";
import { MovedError, RefCountError } from "../src/errors";
import { Handle } from "../src/handle";
import { setPanic } from "../src/panic";
import { defineAsyncResource } from "../src/resource";

afterEach(() => setPanic("throw"));

/** An account that owes nothing while another one keeps the resource. */
function spent(label = "a") {
  let freed = 0;
  const handle = Handle.of("v", () => void freed++, { kind: "key", label });
  const other = handle.dup();
  handle.decrRef();
  return { handle, other, freed: () => freed };
}

/** The warnings that `body` emits. */
function warnings(body: () => void): unknown[] {
  const emit = vi.spyOn(process, "emitWarning").mockImplementation(() => {});
  body();
  const heard = emit.mock.calls.map(([warning]) => warning as unknown);
  emit.mockRestore();
  for (const warning of heard) expect(warning).toBeInstanceOf(RefCountError);
  return heard;
}

describe("setPanic()", () => {
  it("throws by default, as often as the account is overdrawn, and changes nothing", () => {
    const { handle, other, freed } = spent();
    for (let i = 0; i < 3; i++) expect(() => handle.decrRef()).toThrow(RefCountError);
    expect([other.refCount, other.alive, freed()]).toEqual([1, true, 0]);
    other.decrRef();
    for (let i = 0; i < 3; i++) expect(() => other.decrRef()).toThrow(RefCountError);
    expect([other.refCount, freed()]).toEqual([0, 1]);
  });

  it("calls a function with the error and goes on with false when it returns", () => {
    const errors: RefCountError[] = [];
    setPanic((error) => errors.push(error));
    const { handle, other, freed } = spent("user:1");
    expect(handle.decrRef()).toBe(false);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toBeInstanceOf(RefCountError);
    expect(errors[0]).toMatchObject({ kind: "key", label: "user:1", refCount: 1, owed: 0, code: "ERR_REFCOUNT" });
    expect([other.refCount, freed()]).toEqual([1, 0]);
  });

  it("lets the function abort", () => {
    setPanic(() => {
      throw new Error("abort");
    });
    expect(() => spent().handle.decrRef()).toThrow("abort");
  });

  it("is not asked of a moved account, which throws", () => {
    const heard = vi.fn();
    setPanic(heard);
    const { other } = spent();
    const moved = other.move();
    expect(() => other.decrRef()).toThrow(MovedError);
    expect([heard.mock.calls.length, moved.decrRef()]).toEqual([0, true]);
  });

  it("reports once per site and returns false", () => {
    setPanic("report");
    const { handle, other } = spent();
    const heard = warnings(() => {
      for (let i = 0; i < 3; i++) expect(handle.decrRef()).toBe(false);
    });
    expect(heard).toHaveLength(1);
    const elsewhere = warnings(() => expect(handle.decrRef()).toBe(false));
    expect(elsewhere).toHaveLength(1);
    expect(other.refCount).toBe(1);
  });

  it("tells sites apart by where they are, not by what they name", () => {
    setPanic("report");
    const handles = ["a", "a much longer label", "a label longer still than the other two"].map((l) => spent(l).handle);
    const heard = warnings(() => {
      for (const handle of handles) handle.decrRef();
    });
    expect(heard).toHaveLength(1);
  });

  it("tells sites apart where a stack does not begin with the message", () => {
    setPanic("report");
    const { handle } = spent("x".repeat(10_000));
    const prepare = Error.prepareStackTrace;
    Error.prepareStackTrace = (_, sites) => sites.map((site) => `${site.getLineNumber()}`).join("\n");
    try {
      const heard = warnings(() => {
        handle.decrRef();
        handle.decrRef();
      });
      expect(heard).toHaveLength(2);
    } finally {
      Error.prepareStackTrace = prepare;
    }
  });

  it("goes on where an error has no stack", () => {
    setPanic("report");
    const { handle } = spent();
    const prepare = Error.prepareStackTrace;
    Error.prepareStackTrace = () => undefined;
    try {
      expect(warnings(() => expect(handle.decrRef()).toBe(false)).length).toBeLessThanOrEqual(1);
    } finally {
      Error.prepareStackTrace = prepare;
    }
  });

  it("goes on where a stack is no string", () => {
    setPanic("report");
    const { handle } = spent();
    const prepare = Error.prepareStackTrace;
    Error.prepareStackTrace = (_, sites) => sites;
    try {
      expect(warnings(() => expect(handle.decrRef()).toBe(false))).toHaveLength(1);
    } finally {
      Error.prepareStackTrace = prepare;
    }
  });

  it("tells mistakes apart by what they name where no stacks are taken", () => {
    setPanic("report");
    const handles = ["no stack 1", "no stack 2"].map((label) => spent(label).handle);
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 0;
    try {
      const heard = warnings(() => {
        for (const handle of [...handles, ...handles]) handle.decrRef();
      });
      expect(heard).toHaveLength(2);
    } finally {
      Error.stackTraceLimit = limit;
    }
  });

  it("bounds what it remembers: sites are reported again rather than kept for ever", () => {
    setPanic("report");
    const { handle } = spent();
    const site = (n: number) => new Function("handle", `${"\n".repeat(n)}return handle.decrRef()`);
    const heard = warnings(() => {
      for (let n = 0; n < 1001; n++) site(n)(handle);
      site(0)(handle);
    });
    expect(heard).toHaveLength(1002);
  });

  it("goes for asynchronous handles too, which answer with a promise of false", async () => {
    const Key = defineAsyncResource({ kind: "key", free: async () => {} });
    const handle = await Key.open("a");
    await handle.decrRef();
    expect(() => handle.decrRef()).toThrow(RefCountError);
    setPanic(() => {});
    expect(await handle.decrRef()).toBe(false);
  });

  it("throws a TypeError that says what it received, and keeps the mode", () => {
    for (const mode of ["loud", undefined, null, 1, {}]) {
      expect(() => setPanic(mode as never)).toThrow(TypeError);
    }
    expect(() => setPanic("loud" as never)).toThrow('expected "throw", "report" or a function, received "loud"');
    expect(() => setPanic(Object.create(null))).toThrow("received object");
    expect(() => spent().handle.decrRef()).toThrow(RefCountError);
  });
});
