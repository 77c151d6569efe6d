import process from "node:process";

/** How long a progress line stands before the next: on a terminal it is replaced, in a log it stays. */
const TERMINAL_EVERY = 80;
const LOG_EVERY = 2000;

/** Standard output with one line of progress below it. Nothing that is written after the reader has gone is an error. */
export class Screen {
  readonly #out: NodeJS.WriteStream;
  readonly #onGone: () => void;
  #shown = false;
  #last: number;

  /** @param onGone Called once the reader has closed the pipe. */
  constructor(onGone: () => void, out: NodeJS.WriteStream = process.stdout) {
    this.#out = out;
    this.#onGone = onGone;
    // A program of a fraction of a second needs no progress in its log.
    this.#last = performance.now();
    out.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
      this.#onGone();
    });
  }

  line(text = ""): void {
    this.clear();
    this.#out.write(`${plain(text)}\n`);
  }

  /** @param text Called only if a line is due. */
  progress(text: () => string): void {
    const now = performance.now();
    if (now - this.#last < (this.#out.isTTY ? TERMINAL_EVERY : LOG_EVERY)) return;
    this.#last = now;
    if (!this.#out.isTTY) {
      this.#out.write(`${text()}\n`);
      return;
    }
    this.#out.write(`\r\x1b[K${text().slice(0, Math.max(0, (this.#out.columns || 80) - 1))}`);
    this.#shown = true;
  }

  clear(): void {
    if (!this.#shown) return;
    this.#shown = false;
    this.#out.write("\r\x1b[K");
  }
}

/** One line: a file's name may hold a line break, or what a terminal obeys. */
export function plain(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`);
}

/** Rows under a head, the first column to the left and the others to the right. */
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string[] {
  const cells = [head, ...rows].map((row) => row.map(String));
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  return cells.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("  "),
  );
}

/** `12.3 MB` */
export function size(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let n = bytes;
  let unit = 0;
  for (; n >= 1000 && unit < units.length - 1; unit++) n /= 1000;
  return `${unit === 0 ? n : n.toFixed(1)} ${units[unit]}`;
}
