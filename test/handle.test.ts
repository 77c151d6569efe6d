import { describe, expect, it, vi } from "vitest";
import { LoanError, MovedError, RefCountError, RevokedError, SuppressedError, UseAfterFreeError } from "../src/errors";
import { Handle, type Loan } from "../src/handle";
import { defineResource } from "../src/resource";
import { caught } from "./support/caught";
import { itBehavesAsDisposable } from "./support/contracts";
import { thenable } from "./support/thenable";

type Make = (free: (value: string) => void) => Handle<string>;

/** Every fact holds for a handle that is alone on a plain resource and keeps its value, and for one that is counted elsewhere. */
const FORMS: [string, Make][] = [
  ["plain", (free) => defineResource({ kind: "resource", free }).open("value")],
  ["counted", (free) => Handle.of("value", free)],
  ["labelled", (free) => Handle.of("value", free, { kind: "key", label: "user:1" })],
];

function boom(): never {
  throw new Error("boom");
}

describe.each(FORMS)("a %s handle", (_, form) => {
  const make = (free: (value: string) => void = () => {}) => form(free);

  it("says in each refusal what was refused", () => {
    const spent = make();
    spent.decrRef();
    const refused: [string, () => unknown][] = [
      ["read", () => spent.value],
      ["take another reference on", () => spent.incrRef()],
      ["dup", () => spent.dup()],
      ["move", () => spent.move()],
      ["make a weak handle of", () => spent.weak()],
      ["borrow", () => spent.borrow(() => {})],
    ];
    for (const [verb, call] of refused) {
      expect(caught(call)).toBeInstanceOf(UseAfterFreeError);
      expect((caught(call) as Error).message).toMatch(new RegExp(`^Cannot ${verb} .*: it was freed$`));
    }
    const moved = make();
    moved.move().decrRef();
    expect(() => moved.isSole()).toThrow(
      /^Cannot ask for the only reference on .*: its account was moved to another handle$/,
    );
    const lent = make().borrow((_value, loan) => loan);
    expect(() => lent.value).toThrow(/^Cannot read .*: the borrow of this loan has ended$/);
    expect(() => (lent as unknown as Handle<string>).incrRef()).toThrow(/^Cannot count .*: a loan is no account/);
    expect(() => (lent as unknown as Handle<string>).decrRef()).toThrow(/^Cannot give back .*: a loan is no account/);
  });

  describe("[Symbol.dispose]()", () => {
    itBehavesAsDisposable((free) => {
      let freed = 0;
      const handle = make(() => {
        freed++;
        free(() => thing);
      });
      const thing = { dispose: () => handle[Symbol.dispose](), freed: () => freed };
      return thing;
    });

    it("pays one reference as long as one is owed", () => {
      const free = vi.fn();
      const handle = make(free).incrRef().incrRef();
      handle[Symbol.dispose]();
      expect([handle.owed, free.mock.calls.length]).toEqual([2, 0]);
      handle[Symbol.dispose]();
      handle[Symbol.dispose]();
      handle[Symbol.dispose]();
      expect([handle.owed, free.mock.calls.length]).toEqual([0, 1]);
    });

    it("does nothing after an early close, while a second decrRef is the assertion", () => {
      const free = vi.fn();
      {
        using handle = make(free);
        expect(handle.decrRef()).toBe(true);
        expect(() => handle.decrRef()).toThrow(RefCountError);
      }
      expect(free).toHaveBeenCalledTimes(1);
    });

    it("does nothing on a moved handle", () => {
      const free = vi.fn();
      const handle = make(free);
      const moved = handle.move();
      handle[Symbol.dispose]();
      expect([moved.alive, free.mock.calls.length]).toEqual([true, 0]);
    });
  });

  describe("decrRef()", () => {
    it("counts up to three and down again, and frees once at the last", () => {
      const free = vi.fn();
      const handle = make(free);
      expect(handle.refCount).toBe(1);
      handle.incrRef().incrRef();
      expect([handle.refCount, handle.owed]).toEqual([3, 3]);
      expect([handle.decrRef(), handle.decrRef(), handle.refCount]).toEqual([false, false, 1]);
      expect(free).not.toHaveBeenCalled();
      expect(handle.decrRef()).toBe(true);
      expect([handle.refCount, handle.owed, handle.alive]).toEqual([0, 0, false]);
      expect(free.mock.calls).toEqual([["value"]]);
    });

    it("throws below zero each time, without a negative count or a second free", () => {
      const free = vi.fn();
      const handle = make(free);
      handle.decrRef();
      for (let i = 0; i < 3; i++) {
        expect(() => handle.decrRef()).toThrow(/^decrRefCount against refcount <= 0/);
        expect([handle.refCount, handle.owed]).toEqual([0, 0]);
      }
      expect(free).toHaveBeenCalledTimes(1);
    });

    it("does not spend the reference of another holder", () => {
      const free = vi.fn();
      const a = make(free);
      const b = a.dup();
      expect(a.decrRef()).toBe(false);
      expect(() => a.decrRef()).toThrow(RefCountError);
      expect([b.refCount, b.owed, b.value, free.mock.calls.length]).toEqual([1, 1, "value", 0]);
      expect(b.decrRef()).toBe(true);
      expect(free).toHaveBeenCalledTimes(1);
    });

    it("is refused inside the own free, which finds the resource already freed", () => {
      const seen: unknown[] = [];
      const handle: Handle<string> = make(() => {
        seen.push([handle.alive, handle.owed, handle.refCount]);
        for (const use of [
          () => handle.decrRef(),
          () => handle.incrRef(),
          () => handle.dup(),
          () => handle.value,
          () => handle.weak(),
          () => handle.move(),
          () => handle.borrow(() => 0),
        ])
          seen.push((caught(use) as Error).name);
      });
      expect(handle.decrRef()).toBe(true);
      expect(seen).toEqual([
        [false, 0, 0],
        "RefCountError",
        "UseAfterFreeError",
        "UseAfterFreeError",
        "UseAfterFreeError",
        "UseAfterFreeError",
        "UseAfterFreeError",
        "UseAfterFreeError",
      ]);
    });

    it("is spent all the same when the free throws", () => {
      let calls = 0;
      const handle = make(() => {
        calls++;
        boom();
      });
      expect(() => handle.decrRef()).toThrow("boom");
      expect(() => handle.decrRef()).toThrow(RefCountError);
      expect([handle.alive, handle.refCount, calls]).toEqual([false, 0, 1]);
    });

    it("frees a child from inside the parent's free, the parent first", () => {
      const log: string[] = [];
      const child = make(() => log.push("child"));
      const parent = make(() => {
        log.push("parent");
        child.decrRef();
      });
      parent.decrRef();
      expect(log).toEqual(["parent", "child"]);
      expect(() => child.decrRef()).toThrow(RefCountError);
    });

    it("does not free a cycle: each one is kept by the other", () => {
      const free = vi.fn();
      const held: { b?: Handle<string>; a?: Handle<string> } = {};
      const a = make(() => {
        free("a");
        held.b?.[Symbol.dispose]();
      });
      const b = make(() => {
        free("b");
        held.a?.[Symbol.dispose]();
      });
      held.b = b.dup();
      held.a = a.dup();
      expect([a.decrRef(), b.decrRef(), a.refCount, b.refCount]).toEqual([false, false, 1, 1]);
      expect(free).not.toHaveBeenCalled();
      held.b.decrRef();
      expect(free.mock.calls).toEqual([["b"], ["a"]]);
    });
  });

  describe("incrRef()", () => {
    it("returns the same handle and counts on its account only", () => {
      const a = make();
      const b = a.dup();
      expect(a.incrRef()).toBe(a);
      expect([a.owed, b.owed, a.refCount, b.refCount]).toEqual([2, 1, 3, 3]);
    });

    it("does not bring a freed resource back", () => {
      const free = vi.fn();
      const handle = make(free);
      handle.decrRef();
      expect(() => handle.incrRef()).toThrow(UseAfterFreeError);
      expect([handle.refCount, handle.owed, free.mock.calls.length]).toEqual([0, 0, 1]);
    });

    it("is refused on a spent account of an open resource", () => {
      const a = make();
      const b = a.dup();
      a.decrRef();
      expect(() => a.incrRef()).toThrow(UseAfterFreeError);
      expect([a.owed, b.refCount]).toEqual([0, 1]);
    });
  });

  describe("dup()", () => {
    it("opens an account of its own that outlives the first one", () => {
      const free = vi.fn();
      const a = make(free);
      const b = a.dup("reader");
      expect(b).not.toBe(a);
      expect([b.kind, b.label, b.value, b.owed]).toEqual([a.kind, a.label, "value", 1]);
      a.decrRef();
      expect([a.alive, b.alive]).toEqual([false, true]);
      expect(() => a.value).toThrow(UseAfterFreeError);
      expect(b.decrRef()).toBe(true);
      expect(free).toHaveBeenCalledTimes(1);
    });

    it("frees at the last one, in whichever order they are given back", () => {
      for (const order of [
        [0, 1, 2],
        [2, 1, 0],
        [1, 2, 0],
      ] as const) {
        const free = vi.fn();
        const first = make(free);
        const handles = [first, first.dup(), first.dup()] as const;
        expect(order.map((i) => handles[i].decrRef())).toEqual([false, false, true]);
        expect(free).toHaveBeenCalledTimes(1);
      }
    });
  });

  describe("move()", () => {
    it("hands over all that is owed and spends the old handle", () => {
      const free = vi.fn();
      const old = make(free).incrRef();
      const next = old.move();
      expect([next.owed, next.refCount, next.value, old.owed, old.alive]).toEqual([2, 2, "value", 0, false]);
      for (const use of [
        () => old.value,
        () => old.incrRef(),
        () => old.decrRef(),
        () => old.dup(),
        () => old.move(),
        () => old.weak(),
        () => old.borrow(() => 0),
        () => old.isSole(),
      ]) {
        expect(use).toThrow(MovedError);
        expect(use).toThrow(/its account was moved to another handle$/);
      }
      next.decrRef();
      expect(next.decrRef()).toBe(true);
      expect(free).toHaveBeenCalledTimes(1);
      expect(() => old.decrRef()).toThrow(MovedError);
    });

    it("is refused on a spent account, which stays as it was", () => {
      const handle = make();
      handle.decrRef();
      expect(() => handle.move()).toThrow(UseAfterFreeError);
      expect(() => handle.decrRef()).toThrow(RefCountError);
    });
  });

  describe("weak()", () => {
    it("does not keep the resource, and upgrades to an account of its own while that is possible", () => {
      const free = vi.fn();
      const handle = make(free);
      const weak = handle.weak();
      expect([weak.alive, handle.refCount]).toEqual([true, 1]);
      const up = weak.upgrade();
      expect([up?.value, up?.owed, handle.refCount]).toEqual(["value", 1, 2]);
      handle.decrRef();
      expect([weak.alive, up?.decrRef(), weak.alive, weak.upgrade()]).toEqual([true, true, false, undefined]);
      expect(free).toHaveBeenCalledTimes(1);
    });

    it("gives nothing inside the free", () => {
      const seen: unknown[] = [];
      const handle = make(() => void seen.push(weak.alive, weak.upgrade()));
      const weak = handle.weak();
      handle.decrRef();
      expect(seen).toEqual([false, undefined]);
    });
  });

  describe("isSole()", () => {
    it("is true for the only reference with no borrow under way", () => {
      const alone = make();
      expect(alone.isSole()).toBe(true);
      alone.decrRef();
      expect(alone.isSole()).toBe(false);
      const handle = make();
      expect(handle.isSole()).toBe(true);
      handle.incrRef();
      expect(handle.isSole()).toBe(false);
      handle.decrRef();
      const other = handle.dup();
      expect([handle.isSole(), other.isSole()]).toEqual([false, false]);
      other.decrRef();
      expect([handle.isSole(), other.isSole()]).toEqual([true, false]);
      expect(handle.borrow(() => handle.isSole())).toBe(false);
      expect(handle.isSole()).toBe(true);
      handle.decrRef();
      expect(handle.isSole()).toBe(false);
    });
  });

  describe("borrow()", () => {
    it("lends the value for the call and returns what it returned", () => {
      const handle = make();
      let lent: Loan<string> | undefined;
      const result = handle.borrow((value, loan) => {
        lent = loan;
        return [value, loan.value, loan.label, handle.refCount];
      });
      expect(result).toEqual(["value", "value", handle.label, 1]);
      expect(() => lent?.value).toThrow(UseAfterFreeError);
      expect(() => lent?.value).toThrow(/the borrow of this loan has ended$/);
      expect(() => lent?.dup()).toThrow(UseAfterFreeError);
      expect(lent?.label).toBe(handle.label);
    });

    it("keeps the resource until it ends when every account is closed meanwhile", () => {
      const log: string[] = [];
      const handle = make(() => log.push("free"));
      handle.borrow((_, loan) => {
        expect(handle.decrRef()).toBe(true);
        expect([handle.alive, handle.refCount, handle.owed]).toEqual([false, 0, 0]);
        expect(() => handle.value).toThrow(UseAfterFreeError);
        expect(loan.value).toBe("value");
        expect(() => loan.dup()).toThrow(UseAfterFreeError);
        expect(() => handle.decrRef()).toThrow(RefCountError);
        log.push("end");
      });
      expect(log).toEqual(["end", "free"]);
    });

    it("frees at the last of several nested borrows", () => {
      const log: string[] = [];
      const handle = make(() => log.push("free"));
      handle.borrow(() => {
        handle.borrow(() => void handle.decrRef());
        log.push("inner ended");
      });
      expect(log).toEqual(["inner ended", "free"]);
    });

    it("ends when the use throws, and frees then", () => {
      const free = vi.fn();
      const handle = make(free);
      expect(() => handle.borrow(boom)).toThrow("boom");
      expect(handle.isSole()).toBe(true);
      const error = caught(() =>
        handle.borrow(() => {
          handle.decrRef();
          boom();
        }),
      );
      expect(String(error)).toBe("Error: boom");
      expect(free).toHaveBeenCalledTimes(1);
    });

    it("tells the borrower of a free that fails at its end, without losing the borrower's own error", () => {
      const failing = () => make(() => boom());
      const handle = failing();
      expect(() => handle.borrow(() => handle.decrRef())).toThrow("boom");
      const both = failing();
      const own = new Error("own");
      const error = caught(() =>
        both.borrow(() => {
          both.decrRef();
          throw own;
        }),
      );
      expect(error).toBeInstanceOf(SuppressedError);
      expect(error).toMatchObject({ error: { message: "boom" }, suppressed: own });
    });

    it("lasts until a promise has settled, also when every account is closed meanwhile", async () => {
      const log: string[] = [];
      const handle = make(() => log.push("free"));
      let finish: (value: number) => void = () => {};
      const result = handle.borrow((_, loan) => {
        return new Promise<number>((resolve) => {
          finish = resolve;
        }).then((n) => {
          log.push(loan.value);
          return n;
        });
      });
      expect(handle.isSole()).toBe(false);
      handle.decrRef();
      await new Promise((resolve) => setImmediate(resolve));
      expect(log).toEqual([]);
      finish(42);
      expect(await result).toBe(42);
      expect(log).toEqual(["value", "free"]);
    });

    it("lasts until a promise was rejected, and joins the failure of the free to it", async () => {
      const handle = make(() => boom());
      const own = new Error("own");
      const result = handle.borrow(async () => {
        handle.decrRef();
        await Promise.resolve();
        throw own;
      });
      const error = await result.catch((reason: unknown) => reason);
      expect(error).toMatchObject({ error: { message: "boom" }, suppressed: own });
      const quiet = make();
      await expect(quiet.borrow(async () => Promise.reject(own))).rejects.toBe(own);
      expect(quiet.isSole()).toBe(true);
      const freeing = make(() => boom());
      await expect(freeing.borrow(async () => void freeing.decrRef())).rejects.toThrow("boom");
    });

    it("runs a lazy thenable once", async () => {
      const handle = make();
      const then = vi.fn((resolve: (value: string) => void) => resolve("row"));
      expect(await handle.borrow(() => thenable(then))).toBe("row");
      expect(then).toHaveBeenCalledTimes(1);
      expect(handle.isSole()).toBe(true);
    });

    it("ends when the result's then cannot be read", () => {
      const handle = make();
      const trap = new Proxy({}, { get: boom });
      expect(() => handle.borrow(() => trap)).toThrow("boom");
      expect(handle.isSole()).toBe(true);
    });

    it("refuses what is no function before anything is lent", () => {
      const handle = make();
      expect(() => handle.borrow(undefined as never)).toThrow(TypeError);
      expect(() => handle.borrow(5 as never)).toThrow(/^Cannot borrow .*: expected a function, received number 5$/);
      expect(handle.isSole()).toBe(true);
    });
  });

  describe("a loan", () => {
    it("has nothing to count or to give back, and the counts stay as they were", () => {
      const handle = make();
      handle.borrow((_, loan) => {
        const raw = loan as unknown as Handle<string>;
        expect(() => raw.decrRef()).toThrow(LoanError);
        expect(() => raw.incrRef()).toThrow(LoanError);
        expect(() => raw.decrRef()).toThrow(/^Cannot give back .*: a loan is no account, it has nothing to give back/);
        expect([handle.refCount, handle.owed]).toEqual([1, 1]);
      });
      expect(handle.decrRef()).toBe(true);
    });

    it("cannot be ended by who borrowed it", () => {
      const free = vi.fn();
      const handle = make(free);
      handle.borrow((_, loan) => {
        handle.decrRef();
        for (const key of ["end", "dispose", "close", "free"]) expect(key in loan).toBe(false);
        expect(free).not.toHaveBeenCalled();
      });
      expect(free).toHaveBeenCalledTimes(1);
    });

    it("is kept by dup(), as a different handle that the callee owes", () => {
      const free = vi.fn();
      const handle = make(free);
      const kept = handle.borrow((_, loan) => loan.dup("callee"));
      expect(kept).not.toBe(handle);
      expect([kept.value, kept.owed, handle.owed, handle.refCount]).toEqual(["value", 1, 1, 2]);
      handle.decrRef();
      expect([free.mock.calls.length, kept.decrRef()]).toEqual([0, true]);
    });
  });
});

describe("revoke()", () => {
  it("closes the door for every account at once and frees when the borrows end", async () => {
    const log: string[] = [];
    const Key = defineResource({ kind: "key", free: (v: string) => void log.push(v) });
    const a = Key.open("v");
    const b = a.dup();
    const weak = a.weak();
    let finish = (): void => {};
    const borrowed = a.borrow((_, loan) => {
      return new Promise<void>((resolve) => {
        finish = resolve;
      }).then(() => void log.push(`borrower reads ${loan.value}`));
    });
    Key.revoke(a);
    expect(log).toEqual([]);
    expect([a.alive, b.alive, weak.alive, weak.upgrade(), b.refCount]).toEqual([false, false, false, undefined, 2]);
    expect(() => b.value).toThrow(/^Cannot read key: it was revoked by its opener$/);
    expect(b.decrRef()).toBe(false);
    finish();
    await borrowed;
    expect(log).toEqual(["borrower reads v", "v"]);
    expect(a.decrRef()).toBe(false);
    expect(() => a.decrRef()).toThrow(RefCountError);
    expect(() => a.value).toThrow(RevokedError);
    expect(log).toEqual(["borrower reads v", "v"]);
  });
});

describe("Handle.immortal()", () => {
  it("is changed by no count, and never freed or spent", () => {
    const handle = Handle.immortal("pong", { kind: "shared", label: "pong" });
    for (let i = 0; i < 1000; i++) handle.incrRef();
    for (let i = 0; i < 2000; i++) expect(handle.decrRef()).toBe(false);
    handle[Symbol.dispose]();
    expect([handle.refCount, handle.owed, handle.alive, handle.value]).toEqual([Infinity, Infinity, true, "pong"]);
    expect([handle.kind, handle.label, handle.isSole()]).toEqual(["shared", "pong", false]);
  });

  it("gives immortal dups, weak handles, loans and moves", () => {
    const handle = Handle.immortal("pong");
    const dup = handle.dup();
    dup.decrRef();
    dup.decrRef();
    expect([dup.alive, dup.refCount]).toEqual([true, Infinity]);
    const weak = handle.weak();
    expect([weak.alive, weak.upgrade()?.value]).toEqual([true, "pong"]);
    expect(handle.borrow((value, loan) => [value, loan.value, loan.dup().value])).toEqual(["pong", "pong", "pong"]);
    const moved = handle.move();
    expect([moved.value, moved.owed]).toEqual(["pong", Infinity]);
    expect(() => handle.value).toThrow(MovedError);
    expect(() => handle.decrRef()).toThrow(MovedError);
  });

  it("has the same count in errors", () => {
    const handle = Handle.immortal("pong");
    const lent = handle.borrow((_, loan) => loan);
    expect(handle.move().refCount).toBe(Infinity);
    expect(caught(() => handle.value)).toMatchObject({ code: "ERR_MOVED", refCount: Infinity, owed: 0 });
    expect(caught(() => lent.value)).toMatchObject({ code: "ERR_USE_AFTER_FREE", refCount: Infinity, owed: 0 });
  });
});

describe("Handle.of()", () => {
  it("has the kind resource and no label unless it is given them", () => {
    const handle = Handle.of(undefined, () => {});
    expect([handle.kind, handle.label, handle.value, handle.alive]).toEqual(["resource", "", undefined, true]);
  });

  it("throws a TypeError that says what it received", () => {
    const wrong: [unknown[], RegExp][] = [
      [[1, undefined], /^Cannot make a handle of kind "resource": expected a free function, received undefined$/],
      [[1, {}], /expected a free function, received object/],
      [
        [1, () => {}, { kind: "" }],
        /^Cannot name a resource: expected a kind that is a non-empty string, received ""$/,
      ],
      [[1, () => {}, { kind: 5 }], /received number 5$/],
      [[1, () => {}, { label: null }], /^Cannot name a resource: expected a label that is a string, received null$/],
      [[1, () => {}, { bytes: -1 }], /^Cannot name a resource: expected a size in bytes, received number -1$/],
      [[1, () => {}, { bytes: "5" }], /received "5"$/],
      [[1, () => {}, { bytes: NaN }], /received number NaN$/],
      [[1, () => {}, { bytes: Infinity }], /received number Infinity$/],
    ];
    for (const [args, message] of wrong) {
      const attempt = (): unknown => Reflect.apply(Handle.of, Handle, args);
      expect(attempt).toThrow(TypeError);
      expect(attempt).toThrow(message);
    }
    expect(() => Handle.immortal(1, { label: 5 as never })).toThrow("expected a label that is a string");
    expect(() => Handle.immortal(1, { kind: "" })).toThrow(TypeError);
  });
});
