/**
 * A setup file: `setupFiles: ["lastref/vitest"]`. Every test that leaves a handle open fails with the report. Concurrent
 * tests are told apart.
 *
 * @module vitest
 */
import { afterAll, beforeEach } from "vitest";
import { checkScope } from "./guard";
import { leakError } from "./leak-error";
import { GRACE, reportOn, scopes, trackFully } from "./scopes";

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

afterAll(() => {
  const all = scopes();
  const { late } = all;
  all.late = [];
  for (const scope of late) {
    const report = reportOn(scope);
    if (report.groups.length > 0) throw leakError(report, `Leaks found: opened after test "${scope.name}" had ended`);
  }
});
