import { execFile, execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundle } from "../run-ts.mjs";
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

// A second opinion: the addon's own count is enough without it.
const valgrind = works("valgrind");
if (!valgrind)
  console.warn("THE ADDON'S COUNT HAS NO SECOND OPINION: missing valgrind (on Debian: apt-get install valgrind)");

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

  /** The blocks that valgrind finds unfreed at exit, and the addon's wrong reads and writes. */
  async function opinion(program: string, ...args: string[]): Promise<{ unfreed: number; wrong: number }> {
    const log = join(directory, `valgrind-${args.length}.log`);
    const flags = ["--leak-check=full", "--show-leak-kinds=all", `--log-file=${log}`];
    // Without compiled code: valgrind would have to translate it anew each time.
    await promisify(execFile)("valgrind", [...flags, process.execPath, "--jitless", program, addon, ...args]);
    const records = readFileSync(log, "utf8").split(/^==\d+== \n/m);
    const ours = records.filter((record) => record.includes("blocks.node"));
    let unfreed = 0;
    for (const record of ours) {
      const [, blocks] = / in ([\d,]+) blocks are .*\n.*: malloc \(.*\n.*: allocate \(/.exec(record) ?? [];
      unfreed += Number(blocks?.replaceAll(",", "") ?? 0);
    }
    return { unfreed, wrong: ours.filter((record) => /Invalid |uninitialised/.test(record)).length };
  }

  if (valgrind) {
    it(
      "has freed every block by valgrind's count too, and those of a forgetful walk it has not",
      async () => {
        const program = join(directory, "walk.mjs");
        await bundle(join(here, "addon", "walk.ts"), program, { source: true });
        const [clean, forgetful] = [await opinion(program, "2000", "7"), await opinion(program, "2000", "7", "forget")];
        expect(clean).toEqual({ unfreed: 0, wrong: 0 });
        expect(forgetful).toEqual({ unfreed: 3, wrong: 0 });
      },
      180 * SECONDS,
    );
  }
});
