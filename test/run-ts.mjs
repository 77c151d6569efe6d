// Runs a TypeScript program of this project on any Node: node [node options] test/run-ts.mjs [--source] <file.ts> [arguments]
//
// The file and what it imports by a relative path is bundled into one temporary module; "lastref" and its entries mean
// the built package in dist/, or with --source the files of src/ as they are now; every other package is left alone.
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { isBuiltin } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** The file that an entry of the package ("lastref", "lastref/leaks") is built from. */
export function sourceOf(entry) {
  const name = entry === "lastref" ? "index" : entry.slice("lastref/".length);
  const places = [`src/${name}.ts`, `src/${name}/index.ts`, `src/testing/${name}.ts`].map((path) => join(root, path));
  const found = places.find((path) => existsSync(path));
  if (found === undefined) throw new Error(`Cannot find the source of "${entry}": none of ${places.join(", ")} exists`);
  return found;
}

/** The built file of an entry of the package. */
function builtOf(entry) {
  const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const target = exports[entry.replace("lastref", ".")]?.import?.default;
  if (target === undefined) throw new Error(`Cannot find "${entry}": package.json exports no such entry`);
  const path = join(root, target);
  if (!existsSync(path)) throw new Error(`Cannot find ${path}: the package has to be built first (npm run build)`);
  return path;
}

/** An esbuild plugin that resolves packages from this project's root, wherever the bundle is put. */
export function packages({ source = false } = {}) {
  return {
    name: "packages",
    setup(builder) {
      builder.onResolve({ filter: /^[^./]/ }, async ({ path, kind, pluginData }) => {
        if (kind === "entry-point" || pluginData === "asked" || isBuiltin(path)) return undefined;
        try {
          if (/^lastref(\/|$)/.test(path)) {
            return source ? { path: sourceOf(path) } : { path: pathToFileURL(builtOf(path)).href, external: true };
          }
        } catch (error) {
          return { errors: [{ text: error.message }] };
        }
        const found = await builder.resolve(path, { kind, resolveDir: root, pluginData: "asked" });
        if (found.errors.length > 0) return { errors: found.errors };
        return { path: pathToFileURL(found.path).href, external: true };
      });
    },
  };
}

/** Bundles one program; the result is one ES module with an inline source map. `first` is run before all else of it. */
export async function bundle(entry, outfile, { source = false, first = "" } = {}) {
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    sourcemap: "inline",
    banner: { js: first },
    logLevel: "error",
    plugins: [packages({ source })],
  });
}

async function main() {
  const given = process.argv.slice(2);
  const source = given[0] === "--source";
  const [file, ...args] = source ? given.slice(1) : given;
  if (file === undefined) {
    console.error("Usage: node [node options] test/run-ts.mjs [--source] <file.ts> [arguments]");
    process.exitCode = 2;
    return;
  }
  const directory = mkdtempSync(join(tmpdir(), "lastref-run-"));
  // Where it never runs.
  process.once("exit", () => rmSync(directory, { recursive: true, force: true }));
  const outfile = join(directory, `${basename(file, ".ts")}.mjs`);
  try {
    // Once it runs it has been read: a signal that ends it leaves nothing behind.
    const rm = `(await import("node:fs")).rmSync(${JSON.stringify(directory)}, { recursive: true, force: true });`;
    await bundle(resolve(file), outfile, { source, first: rm });
  } catch {
    // esbuild has printed its errors.
    process.exitCode = 1;
    return;
  }
  process.argv = [process.argv[0], resolve(file), ...args];
  process.setSourceMapsEnabled(true);
  await import(pathToFileURL(outfile).href);
}

const started = process.argv[1];
if (started !== undefined && import.meta.url === pathToFileURL(realpathSync(started)).href) await main();
