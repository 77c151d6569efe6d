// npm run incident -- <name>: shows one of the real bugs; without a name it lists them.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "lastref-incident-"));
try {
  const outfile = join(folder, "program.mjs");
  await build({
    entryPoints: [join(here, "program.ts")],
    bundle: true,
    platform: "node",
    format: "esm",
    target: "es2022",
    outfile,
    logLevel: "error",
  });
  const { main } = await import(pathToFileURL(outfile).href);
  process.exitCode = await main(process.argv[2]);
} finally {
  rmSync(folder, { recursive: true });
}
