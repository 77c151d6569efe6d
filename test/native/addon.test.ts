import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import build from "../setup/build";

const here = import.meta.dirname;
const root = join(here, "..", "..");
const SECONDS = 1000;

function works(command: string): boolean {
  try {
    execFileSync(command, ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** The node-gyp that npm brings. */
function findGyp(): string | undefined {
  const npm = process.env.npm_execpath ?? join(execFileSync("npm", ["root", "-g"], { encoding: "utf8" }).trim(), "npm");
  for (let at = npm; dirname(at) !== at; at = dirname(at)) {
    const gyp = join(at, "node_modules", "node-gyp", "bin", "node-gyp.js");
    if (existsSync(gyp)) return gyp;
  }
  return undefined;
}

const gyp = findGyp();
const missing = [
  ...["cc", "make", "python3"].filter((tool) => !works(tool)),
  ...(gyp === undefined ? ["node-gyp (it comes with npm)"] : []),
];
if (missing.length > 0) {
  const message = `THE NATIVE ADDON IS NOT TESTED: missing ${missing.join(", ")} (on Debian: apt-get install build-essential python3)`;
  if (process.env.CI) throw new Error(message);
  console.warn(message);
}

describe.skipIf(missing.length > 0)("an addon that counts its mallocs and frees", () => {
  let directory: string;
  let addon: string;

  beforeAll(() => {
    build();
    directory = mkdtempSync(join(tmpdir(), "lastref-addon-"));
    for (const file of ["binding.gyp", "blocks.c"]) cpSync(join(here, "addon", file), join(directory, file));
    // The headers that came with this Node, if any; else node-gyp fetches them.
    const prefix = dirname(dirname(process.execPath));
    const headers = existsSync(join(prefix, "include", "node", "node_api.h")) ? [`--nodedir=${prefix}`] : [];
    execFileSync(process.execPath, [gyp as string, "rebuild", ...headers], { cwd: directory, stdio: "pipe" });
    addon = join(directory, "build", "Release", "blocks.node");
  }, 240 * SECONDS);

  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  function walk(...args: string[]): string {
    const program = [join(root, "test", "run-ts.mjs"), join(here, "addon", "walk.ts"), addon, ...args];
    return execFileSync(process.execPath, program, { cwd: root, encoding: "utf8" });
  }

  it(
    "agrees with `stats` all through 100,000 random operations, and has nothing left at exit",
    () => {
      const output = walk("100000", "20261121");
      expect(output).toMatch(
        /^100000 steps: \d{5} blocks, \d{3,} at once, \d{4,} calls refused, 0 live\nat exit: 0 blocks and 0 bytes were not freed\n$/,
      );
    },
    60 * SECONDS,
  );

  it(
    "says at exit what a walk that forgets its last handles has left",
    () => {
      expect(walk("5000", "7", "forget")).toMatch(/ 3 live\nat exit: 3 blocks and \d+ bytes were not freed\n$/);
    },
    60 * SECONDS,
  );
});
