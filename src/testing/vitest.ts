/**
 * A setup file: `setupFiles: ["lastref/vitest"]`. Every test that leaves a handle open fails with the report. Concurrent
 * tests are told apart.
 *
 * @module vitest
 */
import { beforeAll, beforeEach } from "vitest";
import { checkScope } from "./guard";
import { type LeakError, leakError } from "./leak-error";
import { GRACE, graceFor, reportOn, scopes, trackFully } from "./scopes";

trackFully();

// The context is destructured because vitest wants it so, and the call is registered first so that it runs last: after
// the test's own cleanup.
beforeEach(({ task, onTestFinished }) => {
  const all = scopes();
  const scope = all.enter(task.name);
  if (scope === undefined) all.join(task.name);
  onTestFinished(async () => {
    const ended = scope ?? all.leave();
    if (ended === undefined) return;
    // A test that failed keeps its own error.
    if (task.result?.state === "fail") ended.ended = true;
    else await checkScope(ended, GRACE);
  });
});

async function checkFile(): Promise<void> {
  const errors: LeakError[] = [];
  const ending = scopes().endFile();
  await Promise.all(ending.map((scope) => graceFor(scope, GRACE)));
  for (const scope of ending) {
    scope.ended = true;
    const report = reportOn(scope);
    if (report.groups.length === 0) continue;
    const { name, outside } = scope;
    const after = name === "" ? "a body of withoutLeaks()" : `test "${name}"`;
    const when = outside ? "while the tests ran, in none of them" : `after ${after} had ended`;
    errors.push(leakError(report, `Leaks found: opened ${when}`));
  }
  const [first] = errors;
  if (first !== undefined) throw errors.length > 1 ? new AggregateError(errors, "Leaks found") : first;
}

// What a beforeAll returns runs after every afterAll, and that of the first one last.
beforeAll(() => checkFile);
