import { detector } from "../leaks/detector";
import { reportOf } from "../leaks/report";
import { leakError } from "./leak-error";

/**
 * Asserts that every account opened since tracking began (the first, of several) has been closed, and that none was
 * dropped. It is exact, and needs no garbage collection.
 *
 * @throws {LeakError} If there are leaks; its `report` names them.
 * @throws {Error} If leaks are not tracked at level `full`: what is not recorded is not "no leaks".
 * @example At the end of a test
 * ```ts
 * import { trackLeaks } from "lastref/leaks";
 * import { assertNoLeaks } from "lastref/testing";
 *
 * using tracking = trackLeaks({ level: "full" });
 * const file = Handle.of("a file", () => {});
 * file.decrRef();
 * assertNoLeaks();
 * ```
 */
export function assertNoLeaks(): void {
  const log = detector();
  const level = log.recording?.level ?? "count";
  if (level !== "full") {
    throw new Error(
      `Cannot assert that there are no leaks: leaks are tracked at level "${level}", which does not see all of them; call trackLeaks({ level: "full" }) first`,
    );
  }
  const dropped = [...log.finds.groups.values()].filter(({ verdict }) => verdict === "dropped");
  const report = reportOf({ finds: dropped, asked: "error.report" });
  if (report.groups.length > 0) throw leakError(report, "Leaks found");
}
