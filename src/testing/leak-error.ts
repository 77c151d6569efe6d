import { LeakError as CoreLeakError, type LastrefErrorClass } from "../errors";
import type { LeakReport } from "../leaks/types";

/** `ERR_LEAK`: what a test fails with; the report is its message, and its `report`. */
export const LeakError = CoreLeakError as unknown as LastrefErrorClass<
  "LeakError",
  "ERR_LEAK",
  { readonly report: LeakReport }
>;
export type LeakError = InstanceType<typeof LeakError>;

export function leakError(report: LeakReport, what: string): LeakError {
  const example = report.groups[0]?.examples[0];
  const error = new LeakError(`${what}\n${report}`, {
    kind: example?.kind ?? "",
    label: example?.label ?? "",
    refCount: example?.refCount ?? 0,
    owed: example?.owed ?? 0,
    ...(example?.opened ? { opened: example.opened } : {}),
    report,
  });
  // Not enumerable: runners print what is, and the message says it all.
  return Object.defineProperty(error, "report", { enumerable: false });
}
