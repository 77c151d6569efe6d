import { isThenable } from "../account";
import { unfit } from "../errors";
import { leakError } from "./leak-error";
import { graceFor, graceIn, reportOn, type Scope, scopes, trackFully } from "./scopes";

/** What {@link withoutLeaks} and {@link leakGuard} take. */
export interface LeakCheckOptions {
  /**
   * How often asynchronous cleanup that is still under way is waited for, about 65 ms at most; not after a synchronous body
   * of {@link withoutLeaks}. @default 20
   */
  readonly grace?: number;
}

function check(scope: Scope): void {
  const report = reportOn(scope);
  if (report.groups.length > 0) throw leakError(report, "Leaks found after the body had ended");
}

/**
 * Runs a body and throws if it leaves a handle open, or lost one. It turns level `full` on for itself. What was open
 * before is not charged to the body, and bodies that run at once are told apart wherever there is `AsyncLocalStorage`.
 *
 * @returns What the body returned; for a promise, one that settles after the check.
 * @throws {LeakError} If there are leaks; its `report` names them.
 * @throws What the body throws; then nothing is checked.
 * @example A leak fails
 * ```ts
 * import { withoutLeaks } from "lastref/testing";
 *
 * const file = withoutLeaks(() => {
 *   using handle = Handle.of("a file", () => {});
 *   return handle.value;
 * });
 * console.log(file); // a file
 * ```
 */
export function withoutLeaks<R>(body: () => R, options: LeakCheckOptions = {}): R {
  if (typeof body !== "function") {
    throw unfit("check for leaks", "a function", body);
  }
  const grace = graceIn(options);
  const stopTracking = trackFully();
  const stop = (scope?: Scope): void => {
    if (scope !== undefined) scope.ended = true;
    stopTracking();
  };
  const all = scopes();
  if (!all.tellsApart) all.join("");
  let scope: Scope | undefined;
  let result: R;
  let later: PromiseLike<unknown> | undefined;
  try {
    ({ result } = all.run("", (own) => {
      scope = own;
      return body();
    }));
    // Whatever reading `then` throws must not leave the tracking on.
    later = isThenable(result) ? result : undefined;
  } catch (error) {
    if (!all.tellsApart) all.leave();
    stop(scope);
    throw error;
  }
  /** The scope to check: the body's own, or that of all bodies that overlapped when the last of them ends. */
  const end = (): Scope | undefined => (all.tellsApart ? scope : all.leave());
  if (later !== undefined) return checkLater(later, end, stop, grace) as R;
  try {
    const ended = end();
    if (ended !== undefined) check(ended);
  } finally {
    stop(scope);
  }
  return result;
}

async function checkLater<R>(
  result: PromiseLike<R>,
  end: () => Scope | undefined,
  stop: (scope?: Scope) => void,
  grace: number,
): Promise<R> {
  let scope: Scope | undefined;
  let settled: R;
  try {
    try {
      settled = await result;
    } finally {
      scope = end();
    }
    if (scope !== undefined) {
      await graceFor(scope, grace);
      check(scope);
    }
  } finally {
    stop(scope);
  }
  return settled;
}
