// Runs every question of this directory on the built package, on this Node and on Node 26: npm run bench [-- <question> --check]
//
// Node 26 is taken from LASTREF_NODE26, or fetched into a temporary directory: a package of that name inside the project
// would shadow `node` in its scripts.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const runner = join(here, "..", "test", "run-ts.mjs");
const wanted = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const flags = process.argv.slice(2).filter((word) => word.startsWith("--"));

// A question begins with itself; what does not is a part of others.
const questions = readdirSync(here)
  .filter((file) => file.endsWith(".ts") && /^\/\/.*\?/.test(readFileSync(join(here, file), "utf8")))
  .filter((file) => wanted.length === 0 || wanted.includes(file.replace(/\.ts$/, "")));
if (questions.length === 0) {
  console.error(`Cannot find a question called ${wanted.join(", ")} in bench/`);
  process.exit(2);
}

const temporary = mkdtempSync(join(tmpdir(), "lastref-bench-"));
let failed = 0;
try {
  const nodes = [process.execPath];
  const newest = process.env.LASTREF_NODE26 ?? fetchNode(26);
  if (newest !== undefined) nodes.push(newest);
  for (const file of questions) {
    for (const node of nodes) {
      const { status } = spawnSync(node, ["--expose-gc", runner, join(here, file), ...flags], { stdio: "inherit" });
      if (status !== 0) failed++;
    }
  }
} finally {
  rmSync(temporary, { recursive: true, force: true });
}
process.exitCode = failed === 0 ? 0 : 1;

function fetchNode(major) {
  if (process.versions.node.startsWith(`${major}.`)) return undefined;
  const install = spawnSync("npm", ["install", "--no-save", "--prefix", temporary, `node@${major}`], {
    stdio: "ignore",
  });
  if (install.status === 0) return join(temporary, "node_modules", "node", "bin", "node");
  console.error(`Node ${major} could not be fetched: measuring on Node ${process.versions.node} alone`);
  return undefined;
}
