import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const root = join(import.meta.dirname, "..", "..");

/** The package as a user gets it, packed and unpacked outside of this project. */
export interface Packed extends Disposable {
  readonly tarball: string;
  /** Where it was unpacked. */
  readonly directory: string;
  /** A project with the packed package installed, these files, and these of this project's development dependencies. */
  project(type: "module" | "commonjs", files: Record<string, string>, beside?: readonly string[]): string;
}

export function packed(): Packed {
  const home = mkdtempSync(join(tmpdir(), "lastref-consumers-"));
  const listed = execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", home], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const tarball = join(home, (JSON.parse(listed) as [{ filename: string }])[0].filename);
  execFileSync("tar", ["-xzf", tarball, "-C", home]);
  const directory = join(home, "package");
  let projects = 0;
  return {
    tarball,
    directory,
    project(type, files, beside = []) {
      const at = join(home, `project-${++projects}`);
      mkdirSync(join(at, "node_modules"), { recursive: true });
      cpSync(directory, join(at, "node_modules", "lastref"), { recursive: true });
      for (const name of beside) {
        mkdirSync(dirname(join(at, "node_modules", name)), { recursive: true });
        symlinkSync(join(root, "node_modules", name), join(at, "node_modules", name), "dir");
      }
      writeFileSync(join(at, "package.json"), JSON.stringify({ name: "consumer", private: true, type }));
      for (const [name, text] of Object.entries(files)) writeFileSync(join(at, name), text);
      return at;
    },
    [Symbol.dispose]: () => rmSync(home, { recursive: true, force: true }),
  };
}
