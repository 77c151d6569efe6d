import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AsyncAutoMemory } from "../src/async-auto-memory";
import type { AsyncHandle } from "../src/async-handle";
import { defineAsyncResource } from "../src/resource";
import { ASYNC_OPS, type AsyncImplement, type AsyncStep, AsyncWalk } from "./support/async-model";

const paths = (maxLength: number) =>
  fc.array(fc.record<AsyncStep>({ op: fc.constantFrom(...ASYNC_OPS), a: fc.nat({ max: 20 }), b: fc.nat({ max: 3 }) }), {
    minLength: 1,
    maxLength,
    size: "max",
  });

const real: AsyncImplement = (free) => ({
  Key: defineAsyncResource({ kind: "key", open: (n: number) => n, free }),
  AsyncAutoMemory,
});

let taken = 0;

async function walk(implement: AsyncImplement, path: readonly AsyncStep[]): Promise<void> {
  const on = new AsyncWalk(implement);
  for (const step of path) {
    await on.step(step);
    taken++;
  }
  await on.finish();
}

describe("asynchronous handles and contexts against their model", () => {
  it("agree after each of 20,000 random steps, whenever the frees settle", async () => {
    const property = fc.asyncProperty(paths(120), (path) => walk(real, path));
    while (taken < 20_000) await fc.assert(property, { numRuns: 50 });
  }, 60_000);

  /** The library with one law broken. */
  const BROKEN: Record<string, AsyncImplement> = {
    "a free that does not wait": (free) =>
      real(async (n) => {
        void free(n).catch(() => {});
      }),
    "a free that loses its failure": (free) => real((n) => free(n).catch(() => {})),
    "a second free": (free) =>
      real((n) => {
        if (n === 1) void free(n);
        return free(n);
      }),
    "a dispose that does not wait for the free under way": (free) => {
      const made = real(free);
      const wrap = (n: number): AsyncHandle<number> => {
        const handle = made.Key.wrap(n);
        const dispose = handle[Symbol.asyncDispose];
        return Object.defineProperty(handle, Symbol.asyncDispose, {
          value: async () => void (handle.owed > 0 ? await dispose.call(handle) : undefined),
        });
      };
      return { ...made, Key: Object.create(made.Key, { wrap: { value: wrap } }) as typeof made.Key };
    },
    "a context that does not wait for handles closed early": (free) => ({
      ...real(free),
      AsyncAutoMemory: class extends AsyncAutoMemory {
        readonly #used: AsyncHandle<number>[] = [];
        override use<T extends AsyncDisposable | Disposable | null | undefined>(value: T): T {
          this.#used.push(value as unknown as AsyncHandle<number>);
          return super.use(value);
        }
        override disposeAsync(): Promise<void> {
          for (const handle of this.disposed ? [] : this.#used) {
            try {
              if (handle.owed === 0) this.keep(handle);
            } catch {}
          }
          return super.disposeAsync();
        }
      },
    }),
    "a context that pays all at once": (free) => ({
      ...real(free),
      AsyncAutoMemory: class extends AsyncAutoMemory {
        readonly #used: AsyncHandle<number>[] = [];
        override use<T extends AsyncDisposable | Disposable | null | undefined>(value: T): T {
          this.#used.push(value as unknown as AsyncHandle<number>);
          return super.use(value);
        }
        override async disposeAsync(): Promise<void> {
          const mine = this.disposed ? [] : this.#used.filter((handle) => handle.owed > 0);
          const done = super.disposeAsync();
          await Promise.all([done, ...mine.map((handle) => handle[Symbol.asyncDispose]())]);
        }
      },
    }),
  };

  it.each(Object.entries(BROKEN))(
    "catch %s, with a shrunk counterexample",
    async (_, implement) => {
      const property = fc.asyncProperty(paths(50), (path) => walk(implement, path));
      const found = await fc.check(property, { numRuns: 300, seed: 42 });
      expect(found.failed).toBe(true);
      expect((found.errorInstance as Error).name).toBe("Mismatch");
      expect(found.counterexample?.[0].length).toBeLessThanOrEqual(10);
      expect(fc.defaultReportMessage(found)).toContain("Counterexample");
    },
    60_000,
  );
});
