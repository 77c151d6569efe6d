import { CONTEXT } from "./finds";
import type { Verdict } from "./types";

const BY_KIND: ReadonlyMap<string, string> = new Map([
  ["key", "close the key with decrRef(), or open it in a context: memory.open(Key, ...)"],
  ["log-entry", "release the entry once it is applied and flushed; a reader that keeps it owes its own decrRef()"],
  ["connection", "give the connection back on every path, early returns and errors included: using connection = ..."],
  [CONTEXT, "end the context: using memory = new AutoMemory(), AutoMemory.run(...) or memory.dispose()"],
]);

/** What to do about a leak, in one line; about a refused call by the code of its error. */
export function hintFor(verdict: Verdict, kind: string, code?: string): string {
  switch (verdict) {
    case "dropped":
    case "held":
      return (
        BY_KIND.get(kind) ??
        "pay for it where it is opened: using handle = ..., or let a context own it: memory.use(handle)"
      );
    case "held-too-long":
      return `give the ${kind} back sooner, or raise heldTooLong for "${kind}" if it is meant to live that long`;
    case "over-released":
      return "each decrRef() pays for one reference of its own account: a holder that shares takes its own by dup()";
    case "use-after-free":
      if (code === "ERR_MOVED") return "use the handle that move() returned; the old one is spent";
      if (code === "ERR_REVOKED")
        return "its opener has closed it for everybody: open it anew, or ask handle.alive before";
      return "whoever uses it later takes an account of its own before: dup(), or weak() and upgrade()";
    case "two-owners":
      return "wrap a value once and share the handle by dup(): the first owner to end frees it under the other";
    case "escaped":
      return "a context pays one reference per handle: pair incrRef() with decrRef(), or share by hold() and dup()";
  }
}
