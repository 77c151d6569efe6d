import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AutoMemory } from "../src/auto-memory";
import type { Handle } from "../src/handle";
import { defineResource, type Resource } from "../src/resource";
import { type Implement, OPS, type Step, Walk } from "./support/model";

const paths = (maxLength: number) =>
  fc.array(fc.record<Step>({ op: fc.constantFrom(...OPS), a: fc.nat({ max: 40 }), b: fc.nat({ max: 5 }) }), {
    minLength: 1,
    maxLength,
    size: "max",
  });

const real: Implement = (free, labelled) => ({
  Key: defineResource({
    kind: "key",
    open: (n: number) => n,
    free,
    ...(labelled ? { label: (n: number) => `${n}` } : {}),
  }),
  AutoMemory,
});

let taken = 0;

async function walk(implement: Implement, path: readonly Step[], labelled: boolean): Promise<void> {
  const on = new Walk(implement, labelled);
  for (const step of path) {
    on.step(step);
    if (on.pending !== undefined) {
      await on.pending;
      on.pending = undefined;
    }
    on.compare();
    taken++;
  }
  await on.finish();
}

describe("handles and contexts against their model", () => {
  it("agree after each of 100,000 random steps", async () => {
    const property = fc.asyncProperty(paths(400), fc.boolean(), (path, labelled) => walk(real, path, labelled));
    while (taken < 100_000) await fc.assert(property, { numRuns: 100 });
    expect(taken).toBeGreaterThanOrEqual(100_000);
  }, 60_000);

  it("agree where a context has so many places that it sweeps them", async () => {
    const op = fc.oneof(
      { weight: 8, arbitrary: fc.constant<Step["op"]>("openIn") },
      { weight: 6, arbitrary: fc.constant<Step["op"]>("keep") },
      { weight: 6, arbitrary: fc.constantFrom<Step["op"]>("decrRef", "dispose", "move") },
      { weight: 4, arbitrary: fc.constantFrom<Step["op"]>("use", "useAgain", "hold", "incrRef") },
    );
    const steps = fc.array(fc.record<Step>({ op, a: fc.nat({ max: 400 }), b: fc.constant(0) }), {
      minLength: 100,
      maxLength: 300,
      size: "max",
    });
    const property = fc.asyncProperty(steps, fc.boolean(), (path, labelled) => walk(real, path, labelled));
    await fc.assert(property, { numRuns: 60 });
  }, 60_000);

  /** The library with one law broken. */
  const BROKEN: Record<string, Implement> = {
    "a decrRef that spends another holder's reference": (free, labelled) => {
      const made = real(free, labelled);
      return {
        ...made,
        Key: wrapOpens(made.Key, (handle) => {
          const { decrRef } = handle;
          let other: Handle<number> | undefined;
          Object.defineProperty(handle, "dup", {
            value: () => (other = Object.getPrototypeOf(handle).dup.call(handle)),
          });
          Object.defineProperty(handle, "decrRef", {
            value: () =>
              handle.owed === 0 && other !== undefined && other.owed > 0 ? other.decrRef() : decrRef.call(handle),
          });
        }),
      };
    },
    "a second free": (free, labelled) =>
      real((n) => {
        free(n);
        if (n === 3) free(n);
      }, labelled),
    "a free that is lost": (free, labelled) => real((n) => void (n === 5 || free(n)), labelled),
    "a weak handle that forgets": (free, labelled) => {
      const made = real(free, labelled);
      return {
        ...made,
        Key: wrapOpens(made.Key, (handle) => {
          Object.defineProperty(handle, "weak", { value: () => ({ alive: true, upgrade: () => undefined }) });
        }),
      };
    },
    "a context that pays first in first out": (free, labelled) => ({
      ...real(free, labelled),
      AutoMemory: class extends AutoMemory {
        readonly #queue: Disposable[] = [];
        override use<T extends Disposable | null | undefined>(value: T): T {
          if (value) this.#queue.push(value);
          return super.use(value);
        }
        override dispose(): void {
          if (!this.disposed) for (const value of this.#queue) value[Symbol.dispose]();
          super.dispose();
        }
      },
    }),
    "a context that forgets what it keeps out": (free, labelled) => ({
      ...real(free, labelled),
      AutoMemory: class extends AutoMemory {
        override keep<T extends Disposable>(owned: T): T {
          return this.use(super.keep(owned));
        }
      },
    }),
    "a context whose freeAll stops at the first failure": (free, labelled) => ({
      ...real(free, labelled),
      AutoMemory: class extends AutoMemory {
        override freeAll(): void {
          try {
            super.freeAll();
          } catch {}
        }
      },
    }),
  };

  function wrapOpens(Key: Resource<number, [n: number]>, change: (handle: Handle<number>) => void): typeof Key {
    return {
      kind: Key.kind,
      get stats() {
        return Key.stats;
      },
      open: (n) => {
        const handle = Key.open(n);
        change(handle);
        return handle;
      },
      wrap: (value, options) => Key.wrap(value, options),
      revoke: (handle) => Key.revoke(handle),
    };
  }

  it.each(Object.entries(BROKEN))(
    "catch %s, with a shrunk counterexample",
    async (_, implement) => {
      const property = fc.asyncProperty(paths(80), fc.boolean(), (path, labelled) => walk(implement, path, labelled));
      const found = await fc.check(property, { numRuns: 200, seed: 42 });
      expect(found.failed).toBe(true);
      expect((found.errorInstance as Error).name).toBe("Mismatch");
      expect(found.counterexample?.[0].length).toBeLessThanOrEqual(12);
      expect(fc.defaultReportMessage(found)).toContain("Counterexample");
    },
    60_000,
  );
});
