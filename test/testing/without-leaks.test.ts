import { describe, expect, it } from "vitest";
import { Handle } from "../../src/index";
import { detector } from "../../src/leaks/detector";
import { leakReport, settle, trackLeaks } from "../../src/leaks/index";
import { assertNoLeaks, expectNoGrowth, LeakError, withoutLeaks } from "../../src/testing/index";

const open = (label = "a"): Handle<string> => Handle.of(label, () => {}, { kind: "key", label });
const pause = (ms = 0): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const leaked: Handle<string>[] = [];
/** Leaves a handle open, for this file's end to close. */
function leak(label = "a"): void {
  leaked.push(open(label));
}
const closeAll = (): void => {
  for (const handle of leaked.splice(0)) handle.decrRef();
};

/** The labels that a failing check reports. */
function labelsOf(error: unknown): string[] {
  if (!(error instanceof LeakError)) throw error;
  return error.report.groups.flatMap(({ examples }) => examples.map(({ label }) => label)).sort();
}

async function leaksOf(body: () => unknown): Promise<string[]> {
  try {
    await withoutLeaks(body);
    return [];
  } catch (error) {
    return labelsOf(error);
  } finally {
    closeAll();
  }
}

describe("withoutLeaks()", () => {
  it("returns what the body returns, at once or as a promise", async () => {
    expect(withoutLeaks(() => 1)).toBe(1);
    await expect(withoutLeaks(async () => 2)).resolves.toBe(2);
    expect(leakReport().level).toBe("count");
  });

  it("stops tracking where asking whether the result is a promise throws", () => {
    const result = {
      get then(): unknown {
        throw new Error("no then");
      },
    };
    expect(() => withoutLeaks(() => result)).toThrow("no then");
    expect(leakReport().level).toBe("count");
  });

  it("throws for a handle that is left open, with the report", () => {
    expect(() => withoutLeaks(() => leak("forgotten"))).toThrow(/held {2}key "forgotten" {2}1 of 1 still held/);
    closeAll();
    try {
      withoutLeaks(() => leak("forgotten"));
    } catch (error) {
      expect(error).toMatchObject({ name: "LeakError", code: "ERR_LEAK", kind: "key", label: "forgotten" });
      expect(Object.keys(error as LeakError)).not.toContain("report");
      expect((error as LeakError).opened).toContain("without-leaks.test.ts");
    }
    closeAll();
    expect(leakReport().level).toBe("count");
  });

  it("rejects for one that an asynchronous body leaves open, before or after an await", async () => {
    const labels = await leaksOf(async () => {
      leak("before");
      await pause();
      leak("after");
    });
    expect(labels).toEqual(["after", "before"]);
  });

  it("finds what was dropped and collected inside the body", async () => {
    const labels = await leaksOf(async () => {
      (() => void open("dropped"))();
      await settle();
    });
    expect(labels).toEqual(["dropped"]);
  });

  it("passes when everything is given back, also a little later", async () => {
    expect(await leaksOf(() => open().decrRef())).toEqual([]);
    const late = await leaksOf(async () => {
      const handle = open();
      setTimeout(() => handle.decrRef(), 5);
    });
    expect(late).toEqual([]);
  });

  it("does not wait without a grace", async () => {
    const body = async (): Promise<void> => {
      const handle = open("late");
      setTimeout(() => handle.decrRef(), 30);
    };
    await expect(withoutLeaks(body, { grace: 0 })).rejects.toThrow("late");
    await pause(40);
  });

  it("keeps the body's own error", async () => {
    const fail = (): never => {
      leak();
      throw new Error("own");
    };
    expect(() => withoutLeaks(fail)).toThrow("own");
    await expect(withoutLeaks(async () => fail())).rejects.toThrow("own");
    closeAll();
    expect(leakReport().level).toBe("count");
  });

  it("does not charge a body with what was open before", async () => {
    const tracking = trackLeaks();
    leak("earlier");
    expect(withoutLeaks(() => open().decrRef())).toBe(true);
    closeAll();
    tracking[Symbol.dispose]();
  });

  it("tells bodies apart that run at once", async () => {
    let release: () => void = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const clean = withoutLeaks(async () => {
      const handle = open("clean");
      await released;
      handle.decrRef();
    });
    const guilty = withoutLeaks(async () => {
      await pause();
      leak("guilty");
      await released;
    });
    const outcome = Promise.allSettled([clean, guilty]);
    await pause();
    release();
    const [first, second] = await outcome;
    closeAll();
    expect(first.status).toBe("fulfilled");
    expect(labelsOf((second as PromiseRejectedResult).reason)).toEqual(["guilty"]);
  });

  it("goes on tracking when a body that began earlier has ended", async () => {
    let release: () => void = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const first = withoutLeaks(() => pause());
    const late = leaksOf(async () => {
      await released;
      leak("late");
    });
    await first;
    expect(leakReport().level).toBe("full");
    release();
    expect(await late).toEqual(["late"]);
    expect(leakReport().level).toBe("count");
  });

  it("charges a body with what a body inside it leaves open", () => {
    const outer = (): void => {
      withoutLeaks(() => {
        try {
          withoutLeaks(() => leak("inner"));
        } catch {
          // Heard of twice: the inner check threw, and the handle is still open.
        }
      });
    };
    expect(outer).toThrow("inner");
    closeAll();
  });

  it("refuses options that it does not understand, and tracks nothing then", async () => {
    for (const grace of [Number.NaN, -1, 1.5, "x" as never]) {
      expect(() => withoutLeaks(() => {}, { grace })).toThrow(/expected grace to be a whole number >= 0, received /);
    }
    expect(() => withoutLeaks(() => {}, null as never)).toThrow(
      /^Cannot check for leaks: expected an object of options/,
    );
    await expect(expectNoGrowth(() => {}, null as never)).rejects.toThrow(
      "expected an object of options, received null",
    );
    expect(detector().sessions).toEqual([]);
  });

  it("refuses what is no function", () => {
    expect(() => withoutLeaks(1 as never)).toThrow(TypeError);
  });
});

describe("assertNoLeaks()", () => {
  it("throws while leaks are not tracked in full: what is not recorded is not no leaks", () => {
    expect(() => assertNoLeaks()).toThrow(`leaks are tracked at level "count"`);
    const tracking = trackLeaks({ level: "sampled" });
    expect(() => assertNoLeaks()).toThrow(`leaks are tracked at level "sampled"`);
    tracking[Symbol.dispose]();
  });

  it("passes when everything was given back, and fails when something is held", () => {
    const tracking = trackLeaks();
    assertNoLeaks();
    leak("held");
    expect(() => assertNoLeaks()).toThrow(LeakError);
    expect(() => assertNoLeaks()).toThrow(`held  key "held"`);
    closeAll();
    assertNoLeaks();
    tracking[Symbol.dispose]();
  });

  it("fails for what was dropped, and not for an earlier tracking's leaks", async () => {
    const tracking = trackLeaks({ onLeak: () => {} });
    (() => void open("dropped"))();
    leak("earlier");
    await settle();
    expect(() => assertNoLeaks()).toThrow(`dropped  key "dropped"`);
    tracking[Symbol.dispose]();
    const next = trackLeaks();
    assertNoLeaks();
    next[Symbol.dispose]();
    closeAll();
  });

  it("fails for what was dropped while another tracking was under way inside", async () => {
    const tracking = trackLeaks({ onLeak: () => {}, suppress: ["quiet"] });
    (() => void [open("lost"), open("quiet")])();
    const inner = trackLeaks({ level: "count", onLeak: () => {} });
    await settle();
    inner[Symbol.dispose]();
    expect(() => assertNoLeaks()).toThrow("lost");
    expect(String(leakReport())).toContain("suppressed by quiet: 1");
    tracking[Symbol.dispose]();
  });

  it("does not count a misuse that has thrown already", () => {
    const tracking = trackLeaks();
    const handle = open();
    handle.decrRef();
    expect(() => handle.decrRef()).toThrow("decrRefCount against refcount <= 0");
    assertNoLeaks();
    tracking[Symbol.dispose]();
  });
});
