import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

/** The leases as one file that another process can import, in a directory that is removed by `remove`. */
export async function bundle(): Promise<{ file: string; dir: string; remove(): void }> {
  const dir = mkdtempSync(join(tmpdir(), "lastref-leases-"));
  const file = join(dir, "leases.mjs");
  await build({
    entryPoints: [fileURLToPath(new URL("../../src/leases/index.ts", import.meta.url))],
    outfile: file,
    bundle: true,
    format: "esm",
    target: "es2022",
    platform: "neutral",
  });
  return { file, dir, remove: () => rmSync(dir, { recursive: true, force: true }) };
}
