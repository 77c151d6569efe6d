import { warn } from "./account";
import { type RefCountError, unfit } from "./errors";
import { realm } from "./tracker";

/** What {@link setPanic} takes: what becomes of an overdrawn account. */
export type Panic = "throw" | "report" | ((error: RefCountError) => void);

const reportedSites = new Set<string>();

function report(error: Error): void {
  // Not every engine begins a stack with the message, and a program may format it as it likes, or take none.
  const site = String(error.stack ?? "").replace(`${error.name}: ${error.message}`, "") || error.message;
  if (reportedSites.has(site)) return;
  // Bounded: a program that makes up call sites hears of some twice rather than growing for ever.
  if (reportedSites.size >= 1000) reportedSites.clear();
  reportedSites.add(site);
  warn(error);
}

/**
 * Says what becomes of a `decrRef` on an account that owes nothing.
 *
 * `"throw"` (the default) throws the {@link RefCountError}; `"report"` emits it as a warning once per call site, and
 * `decrRef` returns `false`; a function is called with the error and may abort the process, as Valkey does (when it
 * returns, so does `decrRef`, with `false`). In every case the counts stay as they were.
 *
 * @throws {TypeError} If `mode` is none of the three.
 * @example Counting the mistakes of a program that must not stop
 * ```ts
 * let mistakes = 0;
 * setPanic(() => mistakes++);
 * const handle = Handle.of("a file", () => {});
 * handle.decrRef();
 * console.log(handle.decrRef(), mistakes); // false 1
 * setPanic("throw");
 * ```
 */
export function setPanic(mode: Panic): void {
  if (mode === "throw") realm.panic = undefined;
  else if (mode === "report") realm.panic = report;
  else if (typeof mode === "function") realm.panic = mode as (error: Error) => void;
  else throw unfit("set the panic mode", '"throw", "report" or a function', mode);
}
