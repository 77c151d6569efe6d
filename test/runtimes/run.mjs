// Runs the detector's conformance on each runtime, and the suites of the runtimes' own test runners.
//
// node test/runtimes/run.mjs                     installs the runtimes from npm into a temporary directory
// node test/runtimes/run.mjs <path to runtime>...  uses these: the file's name says which it is (node, bun or deno)
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const given = process.argv.slice(2);
let directory;

function install() {
  directory = mkdtempSync(join(tmpdir(), "lastref-runtimes-"));
  const add = (name, ...packages) => {
    const prefix = join(directory, name);
    execFileSync("npm", ["install", "--no-save", "--no-audit", "--no-fund", "--prefix", prefix, ...packages], {
      stdio: ["ignore", "ignore", "inherit"],
    });
    return prefix;
  };
  const nodes = [20, 22, 24, 26].map((major) =>
    join(add(`node${major}`, `node@${major}`), "node_modules/node/bin/node"),
  );
  const others = add("others", "bun", "deno");
  return [...nodes, join(others, "node_modules/.bin/bun"), join(others, "node_modules/.bin/deno")];
}

const CONFORMANCE = here("leaks.mjs");
const flags = {
  node: ["--expose-gc", CONFORMANCE],
  bun: ["run", CONFORMANCE],
  deno: ["run", "-A", "--v8-flags=--expose-gc", CONFORMANCE],
};

/** The outcomes of a suite whose tests are named for what must become of them. */
function suite(runtime, kind) {
  const args = kind === "node" ? ["--test-reporter=tap", "leaks.suite.mjs"] : ["test", "leaks.test.mjs"];
  const cwd = here(`../runners/${kind}`);
  const { stdout, stderr } = spawnSync(runtime, args, {
    cwd,
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1" },
  });
  const lines = `${stdout}\n${stderr}`.matchAll(
    /^\s*(ok|not ok|\(pass\)|\(fail\)) (?:\d+ - )?(clean|guilty|failing)(.*)$/gm,
  );
  const outcomes = [...lines].map(([, outcome, name, rest]) => [name, outcome === "ok" || outcome === "(pass)", rest]);
  const wrong = outcomes.filter(([name, passed]) => passed !== (name === "clean"));
  return { count: outcomes.length, wrong };
}

let failed = 0;
try {
  for (const runtime of given.length > 0 ? given : install()) {
    const name = basename(runtime).replace(/\.exe$/, "");
    const version = execFileSync(runtime, ["--version"], { encoding: "utf8" }).split("\n")[0];
    const { status, stdout, stderr } = spawnSync(runtime, flags[name], { encoding: "utf8" });
    const parts = [`conformance ${status === 0 ? "passed" : `failed\n${stdout}${stderr}`}`];
    let good = status === 0;
    if (name === "node" || name === "bun") {
      const { count, wrong } = suite(runtime, name);
      const passed = count >= 6 && wrong.length === 0;
      parts.push(`suite ${passed ? `passed (${count} tests)` : `failed: ${JSON.stringify({ count, wrong })}`}`);
      good &&= passed;
    }
    if (!good) failed++;
    console.log(`${name} ${version}: ${parts.join(", ")}`);
  }
} finally {
  if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
}
process.exitCode = failed === 0 ? 0 : 1;
