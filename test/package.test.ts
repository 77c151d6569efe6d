import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { linkedFrom } from "./support/links";

// What is published: reproducible, complete, and nothing that runs at install. Its users are tested in consumers.test.ts.

const root = join(import.meta.dirname, "..");
const home = mkdtempSync(join(tmpdir(), "lastref-package-"));
const SECONDS = 1000;
const run = promisify(execFile);

interface Manifest {
  readonly exports: Record<string, string | Record<string, { types: string; default: string }>>;
  readonly scripts: Record<string, string>;
  readonly publishConfig: object;
}

const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as Manifest;

afterAll(() => rmSync(home, { recursive: true, force: true }));

/** A copy of what a checkout has, built from its sources. */
async function build(name: string): Promise<string> {
  const at = join(home, name);
  for (const part of [
    "src",
    "package.json",
    "tsconfig.json",
    "tsup.config.ts",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "bench/RESULTS.md",
    "bench/growth.svg",
  ]) {
    cpSync(join(root, part), join(at, part), { recursive: true });
  }
  symlinkSync(join(root, "node_modules"), join(at, "node_modules"), "dir");
  await run(join(root, "node_modules", ".bin", "tsup"), ["--silent"], { cwd: at });
  return at;
}

async function pack(at: string): Promise<{ sha256: string; files: string[] }> {
  const { stdout } = await run("npm", ["pack", "--json", "--ignore-scripts"], { cwd: at });
  const [{ filename, files }] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }];
  const sha256 = createHash("sha256")
    .update(readFileSync(join(at, filename)))
    .digest("hex");
  rmSync(join(at, filename));
  return { sha256, files: files.map(({ path }) => path) };
}

describe("the package", () => {
  it(
    "is the same file, byte for byte, when it is built and packed again elsewhere",
    async () => {
      const [first, second] = [await build("first"), await build("second")];
      const packed = await pack(first);
      expect((await pack(second)).sha256).toBe(packed.sha256);
      utimesSync(join(second, "dist", "index.js"), 0, 0);
      expect((await pack(second)).sha256).toBe(packed.sha256);
      chmodSync(join(second, "dist", "index.js"), 0o755);
      expect((await pack(second)).sha256).not.toBe(packed.sha256);
      const loose = packed.files.filter(
        (file) =>
          !/^(dist\/[\w.-]+\.(c?js|d\.c?ts)|LICENSE|[A-Z]+\.md|package\.json|(src|bench)\/[\w/]+\.(md|svg))$/.test(
            file,
          ),
      );
      expect(loose).toEqual([]);
      const entries = Object.values(manifest.exports).flatMap((entry) =>
        typeof entry === "string" ? [entry] : Object.values(entry).flatMap((target) => Object.values(target)),
      );
      expect(packed.files).toEqual(expect.arrayContaining(entries.map((path) => path.replace("./", ""))));
      const linked = linkedFrom("README.md", root);
      expect(linked).toEqual(expect.arrayContaining(["src/Core.md", "src/leases/Leases.md", "bench/RESULTS.md"]));
      expect(packed.files).toEqual(expect.arrayContaining(linked));
    },
    120 * SECONDS,
  );

  it("runs nothing when it is installed, and is published with provenance", () => {
    const atInstall = ["preinstall", "install", "postinstall", "prepare", "preprepare", "postprepare"];
    expect(Object.keys(manifest.scripts).filter((name) => atInstall.includes(name))).toEqual([]);
    // npm would compile an addon by itself.
    expect(readdirSync(root)).not.toContain("binding.gyp");
    expect(manifest.publishConfig).toEqual({ access: "public", provenance: true });
  });
});
