import { unfit } from "../errors";
import { leakError } from "./leak-error";
import { graceFor, graceIn, reportOn, type Scope, scopes, trackFully } from "./scopes";
import type { LeakCheckOptions } from "./without-leaks";

type Hook = (call: (...context: unknown[]) => unknown) => unknown;

/** The hooks of a test runner. */
export interface Hooks {
  readonly beforeEach: Hook;
  readonly afterEach: Hook;
}

/** What runners hand to their hooks: an object in node:test, a function in vitest. */
interface Context {
  /** The test's, in node:test. */
  readonly name?: string;
  after?(call: () => unknown): void;
  /** The test, in vitest. */
  readonly task?: { readonly name: string };
  onTestFinished?(call: () => unknown): void;
}

/** Fails with what the scope has left behind, after waiting for cleanup that is still under way. */
export async function checkScope(scope: Scope, grace: number): Promise<void> {
  await graceFor(scope, grace);
  scope.ended = true;
  const report = reportOn(scope);
  if (report.groups.length === 0) return;
  const many = scope.name.includes('", "');
  const who = scope.name === "" ? "the test" : `${many ? "the overlapping tests" : "test"} "${scope.name}"`;
  throw leakError(report, `Leaks found after ${who} had ended`);
}

/**
 * Makes every test fail that leaves a handle open. It turns level `full` on and leaves it on.
 *
 * Call it below the file's own `afterEach` hooks, so that its check runs after them: Jest, Mocha and Bun run the hooks of a
 * file in the order they were made, after those of a `describe`. Jasmine runs them in reverse: there, call it above them.
 * In node:test and vitest the order does not matter. Tests that overlap are reported as one group when the last of them
 * has ended; `withoutLeaks(body)` tells them apart.
 *
 * @throws {TypeError} If a hook is missing.
 * @example With the runner's own hooks
 * ```ts
 * import { leakGuard } from "lastref/testing";
 * import { afterEach, beforeEach } from "node:test";
 *
 * leakGuard({ beforeEach, afterEach });
 * ```
 */
export function leakGuard(hooks: Hooks, options: LeakCheckOptions = {}): void {
  if (typeof hooks?.beforeEach !== "function" || typeof hooks.afterEach !== "function") {
    throw unfit("guard against leaks", "the hooks beforeEach and afterEach", hooks);
  }
  const { beforeEach, afterEach } = hooks;
  const grace = graceIn(options);
  trackFully();
  let later = false;
  const check = async (): Promise<void> => {
    const scope = scopes().leave();
    if (scope !== undefined) await checkScope(scope, grace);
  };
  const join = (...args: unknown[]): void => {
    const context = args[0] as Context | undefined;
    const name = context?.task === undefined ? context?.name : context.task.name;
    scopes().join(typeof name === "string" ? name : "");
    if (typeof context?.onTestFinished === "function") {
      later = true;
      context.onTestFinished(check);
      return;
    }
    if (typeof context?.after !== "function") return;
    later = true;
    // A call added while these run comes after all those that the test has added.
    context.after(() => context.after?.(check));
  };
  // Without parameters, in its text as well: some runners take a hook that has one for one that calls back, and vitest
  // and Playwright read there which fixtures a hook asks for.
  beforeEach(join.bind(undefined));
  afterEach(() => (later ? undefined : check()));
}
