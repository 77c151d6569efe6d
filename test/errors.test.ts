import { describe, expect, it } from "vitest";
import {
  AsyncFreeError,
  LastrefError,
  LoanError,
  MovedError,
  RefCountError,
  RefOverflowError,
  RevokedError,
  received,
  SuppressedError,
  suppress,
  UseAfterFreeError,
} from "../src/errors";
import { Handle } from "../src/handle";

const facts = { kind: "key", label: "user:1", refCount: 2, owed: 1 };

const TABLE = [
  [MovedError, "MovedError", "ERR_MOVED"],
  [RefCountError, "RefCountError", "ERR_REFCOUNT"],
  [RevokedError, "RevokedError", "ERR_REVOKED"],
  [UseAfterFreeError, "UseAfterFreeError", "ERR_USE_AFTER_FREE"],
  [RefOverflowError, "RefOverflowError", "ERR_REF_OVERFLOW"],
  [LoanError, "LoanError", "ERR_LOAN"],
  [AsyncFreeError, "AsyncFreeError", "ERR_ASYNC_FREE"],
] as const;

describe.each(TABLE.map(([Refusal, name, code]) => ({ Refusal, name, code })))("$name", ({ Refusal, name, code }) => {
  const error = new Refusal("Cannot read key", facts);

  it("is an Error of the library with a literal name and a stable code", () => {
    expect(error).toBeInstanceOf(Error);
    expect(error).toBeInstanceOf(LastrefError);
    expect(error).toBeInstanceOf(Refusal);
    expect([error.name, error.code, Refusal.name, Refusal.prototype.name]).toEqual([name, code, name, name]);
    expect(String(error)).toBe(`${name}: Cannot read key`);
    expect(error.stack).toMatch(new RegExp(`^${name}: Cannot read key\n`));
  });

  it("does not let its code be changed, and shows it", () => {
    expect(Object.getOwnPropertyDescriptor(error, "code")).toMatchObject({ writable: false, enumerable: true });
    expect(Object.keys(error)).toEqual(expect.arrayContaining(["code", "kind", "label", "refCount", "owed"]));
    expect(Object.keys(error)).not.toContain("name");
  });

  it("has the facts as fields, the sites and the cause only where they are known", () => {
    expect(error).toMatchObject(facts);
    for (const absent of ["opened", "closed", "by", "cause"]) expect(absent in error).toBe(false);
    const cause = new Error("why");
    const full = { ...facts, opened: "a.ts:1", closed: "b.ts:2", by: "lru-list", cause };
    expect(new Refusal("m", full)).toMatchObject(full);
  });

  it("is no instance of its siblings", () => {
    for (const [Other] of TABLE) if (Other !== Refusal) expect(error).not.toBeInstanceOf(Other);
  });
});

describe("received()", () => {
  it("says what it was given", () => {
    const said = [null, undefined, "a", 1, 1n, true, Symbol("s")].map(received);
    expect(said).toEqual(["null", "undefined", '"a"', "number 1", "bigint 1", "boolean true", "symbol Symbol(s)"]);
    expect(received({})).toMatch(/^object/);
    expect(received(() => {})).toMatch(/^function/);
  });

  it("reads nothing of an object, so that a trap or a getter is never run", () => {
    const read: PropertyKey[] = [];
    const spy: ProxyHandler<object> = {
      get(target, key) {
        read.push(key);
        return Reflect.get(target, key);
      },
    };
    received(new Proxy({}, spy));
    received(new Proxy(() => {}, spy));
    received(Object.create(null));
    expect(read).toEqual([]);
  });
});

describe("SuppressedError", () => {
  it("carries both failures as the language's own does", () => {
    const error = new SuppressedError("newer", "older", "both");
    expect(error).toBeInstanceOf(Error);
    expect(error).toBeInstanceOf(SuppressedError);
    expect([error.name, error.message, error.error, error.suppressed]).toEqual([
      "SuppressedError",
      "both",
      "newer",
      "older",
    ]);
    const hidden = { writable: true, enumerable: false, configurable: true };
    for (const key of ["error", "suppressed", "message"]) {
      expect(Object.getOwnPropertyDescriptor(error, key)).toMatchObject(hidden);
    }
  });

  it("can be called without new, extended, and made without a message", () => {
    const called = SuppressedError(1, 2);
    expect(called).toBeInstanceOf(SuppressedError);
    expect(Object.hasOwn(called, "message")).toBe(false);
    expect([called.message, called.error, called.suppressed]).toEqual(["", 1, 2]);
    class Mine extends SuppressedError {}
    expect(new Mine(1, 2)).toBeInstanceOf(Mine);
    expect(new Mine(1, 2)).toBeInstanceOf(SuppressedError);
  });

  it("has the shape of a language error class", () => {
    expect(Object.getPrototypeOf(SuppressedError)).toBe(Error);
    expect([SuppressedError.name, (SuppressedError as unknown as { length: number }).length]).toEqual([
      "SuppressedError",
      3,
    ]);
    expect(SuppressedError.prototype.constructor).toBe(SuppressedError);
    expect(Object.keys(SuppressedError.prototype)).toEqual([]);
  });

  it("nests the newer failure over the older one", () => {
    const older = new Error("older");
    const newer = new Error("newer");
    expect(suppress(newer, older)).toMatchObject({ error: newer, suppressed: older });
  });
});

describe("a refused call", () => {
  it("says what was tried, on what, and the state it is in now", () => {
    const key = Handle.of("v", () => {}, { kind: "key", label: "user:1 (write)" });
    const other = key.dup();
    const third = key.dup();
    key.decrRef();
    expect(() => key.decrRef()).toThrow(
      'decrRefCount against refcount <= 0: cannot give back key "user:1 (write)": this handle owes nothing, 2 references are held by others',
    );
    third.decrRef();
    expect(() => key.value).toThrow(
      /^Cannot read key "user:1 \(write\)": this handle owes nothing, 1 reference is held by another$/,
    );
    other.decrRef();
    expect(() => key.value).toThrow(/^Cannot read key "user:1 \(write\)": it was freed$/);
    expect(() => other.decrRef()).toThrow(
      /^decrRefCount against refcount <= 0: cannot give back key "user:1 \(write\)": this handle owes nothing, it was freed$/,
    );
  });

  it("prints a resource without a label by its kind alone", () => {
    const handle = Handle.of(1, () => {});
    handle.decrRef();
    expect(() => handle.incrRef()).toThrow(/^Cannot take another reference on resource: it was freed$/);
  });

  it("says how many borrows a draining resource waits for", () => {
    const handle = Handle.of(1, () => {}, { kind: "key", label: "a" });
    handle.borrow((_, outer) => {
      handle.borrow(() => {
        handle.decrRef();
        expect(() => outer.dup()).toThrow(
          'Cannot dup key "a": its last reference was given back and 2 borrows must end before it is freed',
        );
      });
      expect(() => handle.decrRef()).toThrow(
        'decrRefCount against refcount <= 0: cannot give back key "a": this handle owes nothing, its last reference was given back and 1 borrow must end before it is freed',
      );
    });
  });
});
