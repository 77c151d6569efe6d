import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

describe("test/run-ts.mjs", () => {
  let directory: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "lastref-run-ts-"));
  });

  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it("leaves no file behind when a signal ends the program", async () => {
    const program = join(directory, "program.ts");
    const temporary = join(directory, "tmp");
    mkdirSync(temporary);
    writeFileSync(program, `console.log(process.argv.slice(2).join()); setInterval(() => {}, 1000);`);
    for (const signal of ["SIGINT", "SIGKILL"] as const) {
      const child = spawn(process.execPath, [join(import.meta.dirname, "run-ts.mjs"), program, "a", "b"], {
        stdio: ["ignore", "pipe", "inherit"],
        env: { ...process.env, TMPDIR: temporary },
      });
      const ended = once(child, "exit");
      const [said] = (await once(child.stdout, "data")) as [Buffer];
      child.kill(signal);
      expect([`${said}`, await ended, readdirSync(temporary)]).toEqual(["a,b\n", [null, signal], []]);
    }
  });
});
