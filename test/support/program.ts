import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { buildSync } from "esbuild";

/** Runs TypeScript (its imports relative to the repository) in a process of its own, and gives what it printed. */
export async function runProgram(source: string, nodeOptions: readonly string[] = []): Promise<string> {
  const { outputFiles } = buildSync({
    stdin: { contents: source, resolveDir: process.cwd(), loader: "ts" },
    bundle: true,
    platform: "node",
    format: "cjs",
    write: false,
  });
  const { stdout } = await promisify(execFile)(process.execPath, [...nodeOptions, "-e", outputFiles[0]?.text ?? ""]);
  return stdout;
}
