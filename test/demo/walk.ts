import { readdirSync } from "node:fs";
import { join } from "node:path";

/** What a walk passed by, and why. */
export interface Passed {
  /** Directories left out because of their name. */
  skipped: number;
  /** Symbolic links, which are not followed. */
  links: number;
  /** Pipes, sockets and devices. */
  special: number;
  /** Directories and files that could not be read, with the reason. */
  readonly unreadable: string[];
}

export const SKIPPED_NAMES: readonly string[] = ["node_modules", ".git"];

/**
 * The regular files under a directory, in a stable order.
 *
 * Each directory is read at once, so that none is open while a file is: the demo compares the open descriptors of this
 * process with its own counts.
 */
export function* files(directory: string, skip: readonly string[], passed: Passed): Generator<string> {
  const waiting = [directory];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const below: string[] = [];
    for (const entry of entriesOf(next, passed)) {
      const path = join(next, entry.name);
      if (entry.isFile()) yield path;
      else if (entry.isSymbolicLink()) passed.links++;
      else if (!entry.isDirectory()) passed.special++;
      else if (skip.includes(entry.name)) passed.skipped++;
      else below.push(path);
    }
    waiting.push(...below.reverse());
  }
}

function entriesOf(directory: string, passed: Passed) {
  try {
    const entries = readdirSync(directory, { withFileTypes: true });
    return entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  } catch (error) {
    if (isExhausted(error)) throw error;
    passed.unreadable.push(`${directory}: ${reason(error)}`);
    return [];
  }
}

/** `EACCES: permission denied`, without the call and the path that Node appends. */
export function reason(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/, \w+( '.*)?$/s, "");
}

/** Whether it is this process that cannot open more, and not the file that cannot be opened. */
export function isExhausted(error: unknown): boolean {
  return ["EMFILE", "ENFILE"].includes((error as NodeJS.ErrnoException).code ?? "");
}
