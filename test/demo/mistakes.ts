import { fstatSync } from "node:fs";
import process from "node:process";
import type { Handle, LastrefError, Resource } from "lastref";

/** One mistake, made on purpose. */
export interface Mistake {
  readonly title: string;
  readonly code: string;
  /** Makes the mistake with a handle that it is given, and throws. */
  make(file: Handle<number>): void;
}

const mistakes: readonly Mistake[] = [
  {
    title: "A double close",
    code: "file.decrRef(); file.decrRef();",
    make(file) {
      file.decrRef();
      file.decrRef();
    },
  },
  {
    title: "A use after close",
    code: "file.decrRef(); fstatSync(file.value);",
    make(file) {
      file.decrRef();
      fstatSync(file.value);
    },
  },
  {
    title: "A close under another holder",
    code: 'const reader = file.dup("reader"); file.decrRef(); file.decrRef();',
    make(file) {
      using reader = file.dup("reader");
      file.decrRef();
      try {
        file.decrRef();
      } finally {
        // The mistake was the first holder's; the second one reads on.
        fstatSync(reader.value);
      }
    },
  },
];

/**
 * Makes each mistake, and says what its author would see.
 *
 * @returns How many of them went unnoticed.
 */
export function makeMistakes(
  File: Resource<number, [path: string]>,
  path: string,
  say: (line?: string) => void,
): number {
  let unnoticed = 0;
  for (const { title, code, make } of mistakes) {
    say();
    say(`${title}: ${code}`);
    using file = File.open(path);
    try {
      make(file);
      say("  nobody noticed");
      unnoticed++;
    } catch (error) {
      for (const line of seen(error as LastrefError)) say(`  ${line}`);
    }
  }
  return unnoticed;
}

/** An error as the runtime prints it, without the frames of the runtime itself. */
function seen(error: LastrefError): string[] {
  const here = `${process.cwd()}/`;
  const lines = (error.stack ?? String(error)).split("\n");
  const frames = lines.filter((line) => /^\s+at .*\/mistakes\.ts:/.test(line)).map((line) => line.replace(here, ""));
  const head = lines.filter((line) => !/^\s+at /.test(line));
  return [...head, ...frames.slice(0, 1), `code: ${error.code}, refCount: ${error.refCount}, owed: ${error.owed}`];
}
