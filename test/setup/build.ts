import { execFileSync } from "node:child_process";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..", "..");

function newest(directory: string): number {
  return Math.max(...readdirSync(directory, { recursive: true }).map((f) => statSync(join(directory, `${f}`)).mtimeMs));
}

/** When the oldest file was written; 0 if the build was interrupted before its last one, the declarations. */
function oldest(directory: string): number {
  try {
    const files = readdirSync(directory);
    if (!files.includes("index.d.ts") || !files.includes("index.d.cts")) return 0;
    return Math.min(...files.map((f) => statSync(join(directory, f)).mtimeMs));
  } catch {
    return 0;
  }
}

/** Builds `dist` once per run, for the tests that look at what is published, unless it is newer than its sources. */
export default function build(): void {
  const sources = Math.max(
    newest(join(root, "src")),
    ...["tsup.config.ts", "package.json"].map((file) => statSync(join(root, file)).mtimeMs),
  );
  if (oldest(join(root, "dist")) > sources) return;
  execFileSync(join(root, "node_modules", ".bin", "tsup"), ["--silent"], { cwd: root, stdio: "inherit" });
}
