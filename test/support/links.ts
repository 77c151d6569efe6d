import { existsSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";

/** A link of a Markdown file to a place in the same project. */
export interface Link {
  readonly where: string;
  /** Relative to the root; the file itself where the link is to one of its own headings. */
  readonly file: string;
  readonly anchor: string;
}

/** The text outside of code. */
function prose(content: string): string[] {
  let inside = false;
  return content.split("\n").map((line) => {
    const fence = line.startsWith("```");
    if (fence) inside = !inside;
    return inside || fence ? "" : line.replace(/`[^`]*`/g, "`");
  });
}

export function linksOf(file: string, content: string): Link[] {
  return prose(content).flatMap((line, i) =>
    [...line.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, target = ""]) => {
      if (/^[a-z]+:/.test(target)) return [];
      const [path = "", anchor = ""] = target.split("#");
      const to = path === "" ? file : posix.join(posix.dirname(file), path);
      return [{ where: `${file}:${i + 1}`, file: to, anchor }];
    }),
  );
}

/** What a forge makes of the headings of a file. */
export function anchorsOf(content: string): Set<string> {
  let inside = false;
  const headings = content.split("\n").filter((line) => {
    if (line.startsWith("```")) inside = !inside;
    return !inside && /^#+ /.test(line);
  });
  return new Set(
    headings.map((line) =>
      line
        .replace(/^#+ /, "")
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, "")
        .replaceAll(" ", "-"),
    ),
  );
}

/** The links of one file that lead nowhere. */
export function brokenIn(file: string, root: string): string[] {
  return linksOf(file, readFileSync(join(root, file), "utf8")).flatMap(({ where, file: to, anchor }) => {
    if (!existsSync(join(root, to))) return [`${where}: there is no ${to}`];
    if (anchor === "" || anchorsOf(readFileSync(join(root, to), "utf8")).has(anchor)) return [];
    return [`${where}: ${to} has no heading #${anchor}`];
  });
}

/** All files that can be reached from one by links. */
export function linkedFrom(start: string, root: string): string[] {
  const found = new Set([start]);
  for (const file of found) {
    if (!file.endsWith(".md")) continue;
    for (const link of linksOf(file, readFileSync(join(root, file), "utf8"))) found.add(link.file);
  }
  return [...found];
}
