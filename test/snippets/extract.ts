/**
 * The rules by which a code block of the documentation is checked. Every block marked `ts`, in a Markdown file or in a
 * doc comment, is one program of its own:
 *
 * - It is type-checked, strictly, and run as a module. Marked `ts no-run` it is only type-checked.
 * - What lastref exports need not be imported; everything else is.
 * - `console.log(x); // text` has to print exactly `text`, each time, and at least once.
 * - `call(); // true`, `false` or `undefined`, alone or followed by a colon and a remark, has to return that.
 * - `call(); // throws NameOfError`, alone or followed by a colon and the message, has to throw that.
 * - A block marked `text` right below it has to be all that it prints; an error that nobody catches is printed as
 *   `Name: message`. `...` stands for anything on a line; alone on a line, for any number of lines. Lines and columns are
 *   those of the block as it stands here, in a file called `app.ts`; only how many milliseconds something took may differ.
 * - Without such a block it must not end in an error.
 */
export interface Snippet {
  /** `README.md:12`, where the first line of its code is. */
  readonly where: string;
  readonly code: string;
  /** The block marked `text` below it. */
  readonly output: string | undefined;
  readonly run: boolean;
}

/** Documentation that the rules above leave unchecked. */
export interface Loose {
  readonly where: string;
  readonly problem: string;
}

export interface Extract {
  readonly snippets: readonly Snippet[];
  readonly loose: readonly Loose[];
}

interface Line {
  readonly at: number;
  readonly text: string;
}

export function fromMarkdown(file: string, content: string): Extract {
  return blocksOf(
    file,
    content.split("\n").map((text, i) => ({ at: i + 1, text })),
  );
}

/** Takes the doc comments of a TypeScript file for Markdown. */
export function fromSource(file: string, content: string): Extract {
  const snippets: Snippet[] = [];
  const loose: Loose[] = [];
  let comment: Line[] | undefined;
  for (const [i, raw] of content.split("\n").entries()) {
    if (/^\s*\/\*\*/.test(raw)) comment = [];
    comment?.push({ at: i + 1, text: raw.replace(/^\s*(\/\*\*|\*\/|\*) ?/, "") });
    if (comment === undefined || !raw.includes("*/")) continue;
    const found = blocksOf(file, comment);
    snippets.push(...found.snippets);
    loose.push(...found.loose);
    const example = comment.find(({ text }) => /^@example\b/.test(text));
    if (example !== undefined && found.snippets.length === 0) {
      loose.push({ where: `${file}:${example.at}`, problem: "an @example without a block marked ts" });
    }
    comment = undefined;
  }
  return { snippets, loose };
}

function blocksOf(file: string, lines: readonly Line[]): Extract {
  const snippets: Snippet[] = [];
  const loose: Loose[] = [];
  let last: { index: number; end: number } | undefined;
  for (let i = 0; i < lines.length; i++) {
    const { at, text } = lines[i] as Line;
    const fence = /^```(\S*)\s*(.*)$/.exec(text);
    if (fence === null) continue;
    const length = lines.slice(i + 1).findIndex((line) => line.text.startsWith("```"));
    const where = `${file}:${at + 1}`;
    if (length === -1) {
      loose.push({ where, problem: "a block without an end" });
      break;
    }
    const body = lines.slice(i + 1, i + 1 + length).map((line) => line.text);
    const end = i + 1 + length;
    if (fence[1] === "ts") {
      last = { index: snippets.length, end };
      snippets.push({ where, code: body.join("\n"), output: undefined, run: fence[2] !== "no-run" });
    } else if (fence[1] === "") {
      loose.push({ where, problem: "a block that does not say what it is" });
    } else if (fence[1] === "text") {
      const above = last && lines.slice(last.end + 1, i).every((line) => line.text.trim() === "") ? last : undefined;
      const snippet = snippets[above?.index ?? -1];
      if (above === undefined || snippet === undefined || !snippet.run) {
        loose.push({ where, problem: "a block marked text that is no program's output" });
      } else {
        snippets[above.index] = { ...snippet, output: body.join("\n") };
      }
      last = undefined;
    }
    i = end;
  }
  return { snippets, loose };
}
