import { spawn } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { build, type Plugin } from "esbuild";
import { packages, sourceOf } from "../run-ts.mjs";
import type { Snippet } from "./extract";
import { type Claim, harness, instrument } from "./instrument";
import { asModule, entries } from "./types";

const root = join(import.meta.dirname, "../..");
const TIME_LIMIT = 15_000;

/** Bundled snippets, in a directory of their own. */
export interface Programs extends Disposable {
  /**
   * Runs the snippet with this number in a process of its own, in an empty directory with a `package.json`.
   *
   * @returns What is wrong with it; nothing if all that it says of itself is true.
   */
  run(index: number): Promise<string[]>;
}

interface Report {
  readonly seen: readonly (readonly [claim: number, text: string])[];
  readonly failure?: string;
}

/**
 * Bundles all snippets at once, from the files of src/ as they are. A snippet is `app.ts` in a directory of its own, and the
 * library is beside them, as it is where it was installed: what a report says of lines and columns is what a reader sees.
 */
export async function bundleAll(snippets: readonly Snippet[]): Promise<Programs> {
  const directory = mkdtempSync(join(tmpdir(), "lastref-snippets-"));
  const dispose = (): void => rmSync(directory, { recursive: true, force: true });
  const instrumented = snippets.map(({ code }) => instrument(asModule(code)));
  writeFileSync(join(directory, "harness.mjs"), harness);
  await bundleLibrary(directory);
  const broken: (string[] | undefined)[] = [];
  await Promise.all(
    instrumented.map(async ({ code }, i) => {
      try {
        await build({
          stdin: { contents: code, loader: "ts", resolveDir: join(directory, `${i}`), sourcefile: "app.ts" },
          outfile: join(directory, `${i}`, "app.mjs"),
          bundle: true,
          format: "esm",
          platform: "node",
          target: "node20",
          sourcemap: "inline",
          logLevel: "silent",
          plugins: [library(directory), packages()],
        });
      } catch (error) {
        broken[i] = [`cannot be bundled: ${(error as Error).message}`];
      }
    }),
  );
  return {
    run: async (i) => broken[i] ?? check(snippets[i] as Snippet, instrumented[i]?.claims ?? [], directory, i),
    [Symbol.dispose]: dispose,
  };
}

const nameOf = (entry: string): string => entry.replaceAll("/", "-");

/** Builds the library into `dist/` of the directory, as the package is: by those names it knows its own frames. */
async function bundleLibrary(directory: string): Promise<void> {
  await build({
    entryPoints: Object.fromEntries(entries().map((entry) => [nameOf(entry), sourceOf(entry)])),
    outdir: join(directory, "dist"),
    chunkNames: "lastref-chunk-[hash]",
    outExtension: { ".js": ".mjs" },
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: "node20",
    external: ["vitest"],
    logLevel: "silent",
  });
}

function library(directory: string): Plugin {
  return {
    name: "library",
    setup(builder) {
      builder.onResolve({ filter: /^lastref(\/|$)/ }, ({ path }) => ({
        path: pathToFileURL(join(directory, "dist", `${nameOf(path)}.mjs`)).href,
        external: true,
      }));
    },
  };
}

async function check(snippet: Snippet, claims: readonly Claim[], directory: string, index: number): Promise<string[]> {
  const report = join(directory, `${index}.json`);
  const cwd = join(directory, `${index}`);
  cpSync(join(root, "package.json"), join(cwd, "package.json"));
  const { out, err, timedOut } = await node(join(cwd, "app.mjs"), join(directory, "harness.mjs"), report, cwd);
  if (timedOut) return [`does not end within ${TIME_LIMIT} ms`];
  const { seen, failure } = JSON.parse(readFileSync(report, "utf8")) as Report;

  const wrong: string[] = [];
  for (const [i, { line, kind, text }] of claims.entries()) {
    const came = seen.filter(([claim]) => claim === i).map(([, text]) => text);
    if (came.length === 0) wrong.push(`line ${line + 1} is never run, and claims: ${text}`);
    for (const what of came) {
      const right = kind === "throws" ? what === text || what.startsWith(`${text}: `) : matches(what, text);
      if (!right) wrong.push(`line ${line + 1} claims: ${text}, and it is: ${what}`);
    }
  }
  const printed = failure === undefined ? out : `${out}${failure}\n`;
  if (snippet.output !== undefined) {
    if (!matches(timeless(printed.trimEnd()), timeless(snippet.output.trimEnd()))) {
      wrong.push(`claims to print:\n${snippet.output}\nand prints:\n${printed}`);
    }
  } else if (failure !== undefined) {
    wrong.push(`ends with ${failure}\n${err}`);
  }
  return wrong;
}

/** How long something was held differs from run to run. */
function timeless(text: string): string {
  return text.replace(/\bfor \d+ ms\b/g, "for some ms");
}

/** Whether a text is as expected; `...` stands for anything on a line, and alone on a line for any lines. */
export function matches(text: string, expected: string): boolean {
  const pattern = expected
    .split("\n")
    .map((line) =>
      line.trim() === "..."
        ? "(?:.*\\n)*?.*"
        : line
            .split("...")
            .map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"))
            .join(".*"),
    )
    .join("\\n");
  return new RegExp(`^${pattern}$`).test(text);
}

function node(program: string, harness: string, report: string, cwd: string) {
  return new Promise<{ out: string; err: string; timedOut: boolean }>((resolve, reject) => {
    const child = spawn(
      process.execPath,
      ["--expose-gc", "--enable-source-maps", "--import", `file://${harness}`, program],
      {
        cwd,
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...process.env, REPORT: report, NODE_OPTIONS: "", FORCE_COLOR: "0" },
      },
    );
    let out = "";
    let err = "";
    let timedOut = false;
    const limit = setTimeout(() => {
      timedOut = true;
      child.kill("SIGKILL");
    }, TIME_LIMIT);
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      err += text;
    });
    child.on("error", reject).on("close", () => {
      clearTimeout(limit);
      resolve({ out, err, timedOut });
    });
  });
}
