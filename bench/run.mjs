// Runs every question of this directory on the built package, on this Node and on Node 26: npm run bench [-- <question> --check]
//
// Node 26 is taken from LASTREF_NODE26, or fetched into a temporary directory: a package of that name inside the project
// would shadow `node` in its scripts. So are the peers that are too large for everybody's node_modules. Every run ends with
// the targets that are missed. A run of all questions writes RESULTS.md; with --check (npm run bench:check) a target that is
// missed is a failure, and nothing is written.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { writeResults } from "./results.mjs";

const PEERS = ["monaco-editor", "@lumino/disposable", "disposablestack", "manifold-3d", "vega", "vega-lite"];

const here = dirname(fileURLToPath(import.meta.url));
const runner = join(here, "..", "test", "run-ts.mjs");
const wanted = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const checking = process.argv.includes("--check");

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
const started = Date.now();
try {
  const nodes = [process.execPath];
  // They are compared with, and they draw the plot.
  const compared = questions.includes("against.ts");
  const peers = process.env.LASTREF_BENCH_PEERS ?? (compared ? fetchPeers() : "");
  const points = join(temporary, "points.jsonl");
  const targets = join(temporary, "targets.jsonl");
  const env = {
    ...process.env,
    LASTREF_BENCH_PEERS: peers,
    LASTREF_BENCH_POINTS: points,
    LASTREF_BENCH_TARGETS: targets,
  };
  const answers = [];
  const newest = process.env.LASTREF_NODE26 ?? fetchNode(26);
  if (newest !== undefined) nodes.push(newest);
  for (const file of questions) {
    for (const node of nodes) {
      const { status, output } = await ask(node, file, env);
      answers.push({ question: questionOf(file), output });
      if (status === 0) continue;
      console.log(`${file} FAILED on ${node}`);
      failed++;
    }
  }
  const summary = judge(targets);
  console.log(summary.text);
  console.log(`\nmeasured in ${Math.round((Date.now() - started) / 1000)} s`);
  if (checking) failed += summary.missed;
  else if (wanted.length === 0 && failed === 0) await writeResults(answers, peers, points, summary.text);
} finally {
  rmSync(temporary, { recursive: true, force: true });
}
process.exitCode = failed === 0 ? 0 : 1;

/** The first line of the file, without its slashes. */
function questionOf(file) {
  return readFileSync(join(here, file), "utf8")
    .split("\n", 1)[0]
    .replace(/^\/\/\s*/, "");
}

/** Runs one question, printing what it prints as it comes. */
function ask(node, file, env) {
  const asked = spawn(node, ["--expose-gc", runner, join(here, file)], {
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  asked.stdout.on("data", (piece) => {
    output += piece;
    process.stdout.write(piece);
  });
  return new Promise((resolve, reject) => {
    asked.on("error", reject);
    asked.on("close", (status) => resolve({ status, output }));
  });
}

/** How many of the targets are met, and which are not. */
function judge(file) {
  const all = existsSync(file)
    ? readFileSync(file, "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line))
    : [];
  const missed = all.filter(({ met }) => !met);
  const lines = missed.map(
    ({ title, question, against, target, ratio, node }) =>
      `  ${title}, Node ${node.split(".")[0]}: ${question}: ${ratio.toFixed(3)} x ${against}, at most ${target.toFixed(2)} is asked`,
  );
  const counted = `${all.length - missed.length} of ${all.length} targets are met`;
  return {
    missed: missed.length,
    text: [`\n${counted}${missed.length > 0 ? "; falling short:" : ""}`, ...lines].join("\n"),
  };
}

function fetchPeers() {
  const at = join(temporary, "peers");
  const install = spawnSync("npm", ["install", "--no-save", "--ignore-scripts", "--prefix", at, ...PEERS], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  if (install.status !== 0) throw new Error(`Cannot compare: npm could not fetch ${PEERS.join(", ")}`);
  return at;
}

function fetchNode(major) {
  if (process.versions.node.startsWith(`${major}.`)) return undefined;
  const install = spawnSync("npm", ["install", "--no-save", "--prefix", temporary, `node@${major}`], {
    stdio: "ignore",
  });
  if (install.status === 0) return join(temporary, "node_modules", "node", "bin", "node");
  console.error(`Node ${major} could not be fetched: measuring on Node ${process.versions.node} alone`);
  return undefined;
}
