import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";

function hasStacks(node: string): boolean {
  const asked = execFileSync(node, ["-p", "typeof DisposableStack + typeof AsyncDisposableStack"], {
    encoding: "utf8",
  });
  return asked.trim() === "functionfunction";
}

const candidates = [process.env.LASTREF_NODE26, process.execPath];

/** A Node that has the language's own DisposableStack, if one is at hand; named by `LASTREF_NODE26`. */
export const nativeRuntime = candidates.find((node) => node && existsSync(node) && hasStacks(node));

if (nativeRuntime === undefined) {
  console.warn(
    "NOT COMPARED with the language's own DisposableStack: no runtime here has one. Name one in LASTREF_NODE26; the log written down from one is compared all the same.",
  );
}
