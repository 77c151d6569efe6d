import { LeakError } from "../errors";
import type { LeakReport } from "../leaks/types";

/** What a test fails with: the report is its message, and its `report`. */
export function leakError(report: LeakReport, what: string): LeakError & { readonly report: LeakReport } {
  const example = report.groups[0]?.examples[0];
  const error = new LeakError(`${what}\n${report}`, {
    kind: example?.kind ?? "",
    label: example?.label ?? "",
    refCount: example?.refCount ?? 0,
    owed: example?.owed ?? 0,
    ...(example?.opened ? { opened: example.opened } : {}),
  });
  // Not enumerable: runners print what is, and the message says it all.
  return Object.defineProperty(error, "report", { value: report }) as LeakError & { readonly report: LeakReport };
}
