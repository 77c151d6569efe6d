// Runs the conformance programs of programs/ against the packed package on every runtime: npm run test:runtimes [-- <name> ...]
// With --programs=<directory> it runs those of another directory.
//
// A runtime is taken from its environment variable (LASTREF_NODE22, LASTREF_BUN, LASTREF_CHROMIUM ...), or fetched from
// npm into a temporary directory: a package called "node" in the project's own tree would shadow `node` in its scripts.
// On runtimes with a test runner of their own, the suites of ../runners have to fail where they leak and nowhere else.
// Every program is run as es2022, with helpers for `using`, and once more as it stands where the runtime reads `using` itself;
// the two are counted apart. Its first line may say what it needs: "// needs: node", "// needs: node:sqlite".
import { execFile } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { transform } from "esbuild";
import { startBrowser } from "./browser.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, "..", "..");
const temporary = realpathSync(mkdtempSync(join(tmpdir(), "lastref-runtimes-")));
const project = join(temporary, "project");
const MINUTE = 60_000;

const OWN_PROGRAMS = join(here, "programs");
const OPTION = "--programs=";
const wanted = process.argv.slice(2).filter((word) => !word.startsWith(OPTION));
const directory = resolve(process.argv.find((word) => word.startsWith(OPTION))?.slice(OPTION.length) ?? OWN_PROGRAMS);

const run = async (command, args, options = {}) => {
  const { stdout, stderr } = await promisify(execFile)(command, args, {
    encoding: "utf8",
    timeout: MINUTE,
    ...options,
  });
  return stdout + stderr;
};

/** What a program can need of a runtime with a command line, as a program that prints what is there. */
const PROBE = `
const has = [];
try { new Function("{ using nothing = null; }"); has.push("using"); } catch {}
if (typeof DisposableStack === "function") has.push("DisposableStack");
try { if (typeof process === "object") { await import("node:fs"); has.push("node"); } } catch {}
try { await import("node:sqlite"); has.push("node:sqlite"); } catch {}
console.log(JSON.stringify(has));
`;

/**
 * What became of a suite whose tests are named for what must become of them: "clean" passes, "guilty" and "failing" fail.
 */
async function judge(command, args, cwd) {
  const env = { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0", NODE_TEST_CONTEXT: undefined };
  // It has to fail: the outcomes are what counts.
  const output = await run(command, args, { cwd, env }).catch(({ stdout, stderr }) => `${stdout}\n${stderr}`);
  const tests = [...output.matchAll(/^\s*(ok|not ok|\(pass\)|\(fail\)) (?:\d+ - )?(clean|guilty|failing)/gm)];
  const right = tests.filter(([, outcome, name]) => (outcome === "ok" || outcome === "(pass)") === (name === "clean"));
  if (tests.length < 6 || right.length < tests.length) {
    throw new Error(`${right.length} of ${tests.length} tests ended as they are named:\n${output}`);
  }
  return `checks: ${tests.length} passed, 0 failed`;
}

/** A runtime with a command line. */
function commandLine(name, version, command, flags, suite) {
  const start = (program) => run(command, [...flags, program], { cwd: project });
  return async () => {
    const lines = (await start("probe.mjs")).trim().split("\n");
    const has = JSON.parse(lines.find((line) => line.startsWith("[")) ?? "[]");
    const judged = suite && (() => judge(command, suite.args, join(project, "runners", suite.directory)));
    return { name: `${name} ${await version(command)}`, has, run: start, judged, stop: () => {} };
  };
}

const node = (major) => ({
  name: `node${major}`,
  variable: `LASTREF_NODE${major}`,
  own: process.versions.node.startsWith(`${major}.`) && !process.versions.bun ? process.execPath : undefined,
  pack: `node@${major}`,
  binary: "node/bin/node",
  start: (command) =>
    commandLine(
      "Node",
      async () => (await run(command, ["-p", "process.versions.node"])).trim(),
      command,
      ["--expose-gc"],
      {
        directory: "node",
        args: ["--test-reporter=tap", "leaks.suite.mjs"],
      },
    ),
});

const RUNTIMES = [
  ...[20, 22, 24, 26].map(node),
  {
    name: "bun",
    variable: "LASTREF_BUN",
    pack: "bun",
    binary: ".bin/bun",
    start: (command) =>
      commandLine("Bun", async () => (await run(command, ["--version"])).trim(), command, ["run"], {
        directory: "bun",
        args: ["test", "leaks.test.mjs"],
      }),
  },
  {
    name: "deno",
    variable: "LASTREF_DENO",
    pack: "deno",
    binary: ".bin/deno",
    start: (command) =>
      commandLine("Deno", async () => (await run(command, ["--version"])).split(" ")[1], command, [
        "run",
        "--allow-all",
        "--quiet",
        "--v8-flags=--expose-gc",
      ]),
  },
  {
    name: "chromium",
    variable: "LASTREF_CHROMIUM",
    own: ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => existsSync(path)),
    missing: "no Chromium was found; install one (on Debian: apt-get install chromium) or name it in LASTREF_CHROMIUM",
    start: (command) => () => startBrowser(command, project),
  },
];

async function pack() {
  const [{ filename }] = JSON.parse(
    await run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", temporary], { cwd: root }).then(
      (text) => text.slice(text.indexOf("["), text.lastIndexOf("]") + 1),
    ),
  );
  cpSync(join(here, "harness.mjs"), join(project, "harness.mjs"));
  cpSync(join(here, "..", "conformance"), join(project, "conformance"), { recursive: true });
  await Promise.all(programs.flatMap(({ file }) => forms.map((form) => compile(file, form))));
  cpSync(join(here, "..", "runners"), join(project, "runners"), { recursive: true });
  writeFileSync(join(project, "probe.mjs"), PROBE);
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "conformance", private: true, type: "module" }));
  await run("npm", ["install", "--ignore-scripts", "--offline", join(temporary, filename)], { cwd: project });
}

/** Writes one program in one form. What cannot be parsed is left as it is: the runtime says why. */
async function compile(file, { at, target }) {
  const source = readFileSync(join(directory, file), "utf8");
  const { code } = await transform(source, { format: "esm", target }).catch(() => ({ code: source }));
  mkdirSync(join(project, at), { recursive: true });
  writeFileSync(join(project, at, file), code);
}

/** The runtime's executable; fetched if it is nowhere. */
async function locate({ name, variable, own, pack, binary, missing }) {
  const given = process.env[variable] || own;
  if (given !== undefined) return given;
  if (pack === undefined) throw new Error(missing);
  const prefix = join(temporary, name);
  await run("npm", ["install", "--no-save", "--prefix", prefix, pack], { timeout: 3 * MINUTE });
  return join(prefix, "node_modules", binary);
}

/** The forms a program is run in. */
const forms = [
  { at: "programs", target: "es2022", needs: [], says: "" },
  { at: "native", target: "esnext", needs: ["using"], says: " with native using" },
];

const programs = readdirSync(directory)
  .filter((file) => file.endsWith(".mjs"))
  .map((file) => {
    const [, needs = ""] = /^\/\/ needs: (.+)/.exec(readFileSync(join(directory, file), "utf8")) ?? [];
    return { file, needs: needs.split(/[ ,]+/).filter((word) => word !== "") };
  });

async function conform(runtime) {
  const lines = [];
  const counts = { passed: 0, failed: 0 };
  const started = Date.now();
  let name = runtime.name;
  let stop = () => {};
  let native = false;
  try {
    const command = await locate(runtime);
    const running = await runtime.start(command)();
    name = running.name;
    stop = running.stop;
    native = running.has.includes("using");
    const tasks = forms
      .filter(({ needs }) => needs.every((need) => running.has.includes(need)))
      .flatMap(({ at, says }) =>
        programs.map(({ file, needs }) => ({ at, file, needs, says, start: () => running.run(`${at}/${file}`) })),
      );
    if (running.judged && directory === OWN_PROGRAMS) {
      tasks.push({ at: "runner", file: "its own test runner", needs: [], says: "", start: running.judged });
    }
    for (const { at, file, needs, says, start } of tasks) {
      const missing = needs.filter((need) => !running.has.includes(need));
      if (missing.length > 0) {
        if (says === "") lines.push(`  ${file}: not for this runtime, it has no ${missing.join(", ")}`);
        continue;
      }
      try {
        const output = await start();
        const [, passed] = /^checks: (\d+) passed, 0 failed$/m.exec(output) ?? [];
        if (!(Number(passed) > 0)) throw new Error(`it did not say how many checks passed:\n${output}`);
        counts.passed += Number(passed);
        counts[at] = (counts[at] ?? 0) + Number(passed);
        lines.push(`  ${file}${says}: ${passed} passed`);
      } catch (error) {
        const output = `${error.stdout ?? ""}${error.stderr ?? ""}` || String(error.stack ?? error);
        counts.failed += Number(/^checks: \d+ passed, (\d+) failed$/m.exec(output)?.[1] ?? 1) || 1;
        lines.push(`  ${file}${says}: FAILED`, output.trimEnd());
      }
    }
  } catch (error) {
    if (runtime.missing === error.message && !process.env.CI) {
      lines.push(`  NOT TESTED ON ${name.toUpperCase()}: ${error.message}`);
    } else {
      counts.failed++;
      lines.push(`  FAILED to start: ${error.message}`);
    }
  } finally {
    await stop();
  }
  console.log(`${name} (${((Date.now() - started) / 1000).toFixed(1)} s)\n${lines.join("\n")}`);
  console.log(
    `  in all: ${counts.programs ?? 0} as es2022, ${native ? `${counts.native ?? 0} with` : "no"} native using`,
  );
  return counts;
}

const chosen = RUNTIMES.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
if (chosen.length === 0) {
  console.error(`Cannot find a runtime called ${wanted.join(", ")}: ${RUNTIMES.map(({ name }) => name).join(", ")}`);
  process.exit(2);
}

const total = { passed: 0, failed: 0, native: 0 };
try {
  await pack();
  // Two at a time: one is fetched or started while the other one runs.
  const queue = [...chosen];
  const worker = async () => {
    for (let runtime = queue.shift(); runtime !== undefined; runtime = queue.shift()) {
      const { passed, failed, native = 0 } = await conform(runtime);
      total.native += native;
      total.passed += passed;
      total.failed += failed;
    }
  };
  await Promise.all([worker(), worker()]);
} finally {
  rmSync(temporary, { recursive: true, force: true });
}
console.log(`${total.native} of the checks that passed ran with native using`);
console.log(`${total.passed} checks passed, ${total.failed} failed, on ${chosen.length} runtimes`);
if (process.env.LASTREF_RUNTIMES_REPORT) writeFileSync(process.env.LASTREF_RUNTIMES_REPORT, JSON.stringify(total));
process.exitCode = total.failed === 0 ? 0 : 1;
