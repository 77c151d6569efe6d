import { execFile, execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

// The declarations as older and newer compilers read them than the one that made them: from the first that has `using`.

const root = join(import.meta.dirname, "..");
const VERSIONS = ["5.2", "6", "7"];
const SECONDS = 1000;

const home = mkdtempSync(join(tmpdir(), "lastref-compilers-"));
const run = promisify(execFile);

/** Fetches the compilers side by side; each into a directory of its own. */
async function fetchCompilers(): Promise<string | undefined> {
  try {
    for (const version of VERSIONS) {
      const prefix = join(home, version);
      await run("npm", ["install", "--no-save", "--ignore-scripts", "--prefix", prefix, `typescript@${version}`]);
    }
    return undefined;
  } catch (error) {
    return `NOT COMPILED with TypeScript ${VERSIONS.join(", ")}: npm could not fetch them: ${error}`;
  }
}

const missing = await fetchCompilers();
if (missing !== undefined) {
  if (process.env.CI) throw new Error(missing);
  console.warn(missing);
}

beforeAll(() => {
  const packed = execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", home], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const [{ filename }] = JSON.parse(packed) as [{ filename: string }];
  mkdirSync(join(home, "node_modules"));
  execFileSync("tar", ["-xzf", join(home, filename), "-C", join(home, "node_modules")]);
  renameSync(join(home, "node_modules", "package"), join(home, "node_modules", "lastref"));
}, 60 * SECONDS);

afterAll(() => rmSync(home, { recursive: true, force: true }));

async function compile(version: string, file: string, text?: string, lib: string[] = []): Promise<string> {
  const project = mkdtempSync(join(home, "project-"));
  const config = {
    compilerOptions: {
      strict: true,
      skipLibCheck: false,
      noEmit: true,
      target: "es2022",
      module: "nodenext",
      moduleResolution: "nodenext",
      lib: ["es2022", ...lib],
      types: [],
    },
  };
  writeFileSync(join(project, "package.json"), JSON.stringify({ private: true, type: "module" }));
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify(config));
  if (text === undefined) copyFileSync(join(import.meta.dirname, "types", file), join(project, file));
  else writeFileSync(join(project, file), text);
  const tsc = join(home, version, "node_modules", "typescript", "bin", "tsc");
  try {
    return (await run(process.execPath, [tsc, "-p", project], { cwd: project })).stdout;
  } catch (error) {
    return (error as { stdout: string }).stdout || String(error);
  }
}

describe.skipIf(missing !== undefined).each(VERSIONS)("TypeScript %s", (version) => {
  it(
    "compiles a strict user without esnext.disposable, and one with `using`, with every declaration checked",
    async () => {
      expect(await compile(version, "consumer.ts")).toBe("");
      expect(await compile(version, "using.ts", undefined, ["esnext.disposable", "dom"])).toBe("");
    },
    120 * SECONDS,
  );

  it(
    "compiles a project that imports every entry of the package",
    async () => {
      const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { exports: object };
      const entries = Object.keys(exports).filter((entry) => !entry.endsWith(".json"));
      const text = entries.map((entry, i) => `export * as entry${i} from "${entry.replace(".", "lastref")}";\n`);
      expect(await compile(version, "entries.ts", text.join(""))).toBe("");
    },
    120 * SECONDS,
  );

  it(
    "is seen to fail where the types are wrong",
    async () => {
      const wrong = 'import { Handle } from "lastref";\nexport const n: number = Handle.of("a", () => {}).value;\n';
      expect(await compile(version, "wrong.ts", wrong)).toContain("wrong.ts(2,14): error TS2322");
    },
    120 * SECONDS,
  );
});
