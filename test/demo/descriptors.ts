import { readdirSync, readlinkSync } from "node:fs";

const WHERE = "/proc/self/fd";

/** What the operating system says of this process. */
export interface Descriptors {
  readonly files: number;
  readonly sockets: number;
}

/**
 * Counts what this process has opened since the counter was made, as the operating system sees it.
 *
 * @returns `undefined` where the operating system does not say (`/proc/self/fd` is Linux).
 */
export function descriptorCounter(): (() => Descriptors) | undefined {
  const before = targets();
  if (before === undefined) return undefined;
  return () => {
    let files = 0;
    let sockets = 0;
    for (const [fd, target] of targets() ?? []) {
      if (before.get(fd) === target) continue;
      if (target.startsWith("socket:")) sockets++;
      else if (target.startsWith("/")) files++;
    }
    return { files, sockets };
  };
}

function targets(): Map<string, string> | undefined {
  let names: string[];
  try {
    names = readdirSync(WHERE);
  } catch {
    return undefined;
  }
  const found = new Map<string, string>();
  for (const fd of names) {
    try {
      found.set(fd, readlinkSync(`${WHERE}/${fd}`));
    } catch {
      // The descriptor that read the directory itself is gone by now.
    }
  }
  return found;
}
