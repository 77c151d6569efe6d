// Reads a directory tree with every operating-system resource in a handle, then makes three mistakes on purpose.
import { createHash } from "node:crypto";
import { closeSync, openSync, read, realpathSync, statSync } from "node:fs";
import type { Socket } from "node:net";
import { relative, resolve } from "node:path";
import process from "node:process";
import { promisify } from "node:util";
import { AsyncAutoMemory, type AsyncHandle, defineResource, type Handle } from "lastref";
import { type Descriptors, descriptorCounter } from "./descriptors";
import { makeMistakes } from "./mistakes";
import { ask, Connection, Listener, listen, portOf, type Result, send, type Totals } from "./results";
import { plain, Screen, size, table } from "./screen";
import { files, isExhausted, type Passed, reason, SKIPPED_NAMES } from "./walk";

const MAX_OPEN = 64;
const CONNECTIONS = 4;
const CHUNK = 64 * 1024;
const NEWLINE = 10;

const usage = `Usage: npm run demo -- [--all] [directory]

Counts the lines and computes the SHA-256 of every file below the directory (default: this project).
  --all   also walks ${SKIPPED_NAMES.join(" and ")}`;

/** An open file. The whole resource: how it is opened, how it is freed, and its name in errors. */
const File = defineResource({
  kind: "file",
  open: (path: string) => openSync(path, "r"),
  free: closeSync,
  label: (fd, path) => `${path} (fd ${fd})`,
});

const readAt = promisify(read);

/** Hands a file's bytes to `take`, piece by piece. Positions are given, so two readers of one descriptor do not collide. */
async function readThrough(file: Handle<number>, take: (piece: Buffer) => void): Promise<number> {
  const buffer = Buffer.allocUnsafe(CHUNK);
  let position = 0;
  for (;;) {
    const { bytesRead } = await readAt(file.value, buffer, 0, CHUNK, position);
    if (bytesRead === 0) return position;
    take(buffer.subarray(0, bytesRead));
    position += bytesRead;
  }
}

/** The first reader. It closes its own account, whatever the other one does. */
async function countLines(file: Handle<number>): Promise<number> {
  try {
    let lines = 0;
    let last = NEWLINE;
    await readThrough(file, (piece) => {
      for (let at = piece.indexOf(NEWLINE); at !== -1; at = piece.indexOf(NEWLINE, at + 1)) lines++;
      last = piece[piece.length - 1] ?? last;
    });
    return last === NEWLINE ? lines : lines + 1;
  } finally {
    file.decrRef();
  }
}

/** The second reader, with an account of its own. */
async function hash(file: Handle<number>): Promise<{ sha256: string; bytes: number }> {
  try {
    const sum = createHash("sha256");
    const bytes = await readThrough(file, (piece) => sum.update(piece));
    return { sha256: sum.digest("hex"), bytes };
  } finally {
    file.decrRef();
  }
}

/**
 * Opens a file, shares it between two readers, and lets go of it at once: the reader that ends last closes it. The
 * context owns all three accounts until then.
 */
async function inspect(memory: AsyncAutoMemory, path: string, onOpen: () => void): Promise<Result> {
  const file = memory.open(File, path);
  onOpen();
  const counting = countLines(memory.hold(file, "line counter"));
  const hashing = hash(memory.hold(file, "hasher"));
  file.decrRef();
  await Promise.allSettled([counting, hashing]);
  return { path, lines: await counting, ...(await hashing) };
}

/** Reads the whole tree, and says whether every count agrees with every other. */
async function readTree(
  directory: string,
  skip: readonly string[],
  screen: Screen,
  gone: AbortSignal,
): Promise<boolean> {
  const passed: Passed = { skipped: 0, links: 0, special: 0, unreadable: [] };
  const here: Totals = { files: 0, lines: 0, bytes: 0 };
  const there: Totals = { files: 0, lines: 0, bytes: 0 };
  const descriptors = descriptorCounter();
  const started = performance.now();
  let peakSeen = 0;
  let socketsSeen = 0;
  let sent: Totals | undefined;
  let failure: unknown;

  await AsyncAutoMemory.run(async (memory) => {
    const listener = await listen(memory, there);
    const connections: AsyncHandle<Socket>[] = [];
    for (let i = 0; i < CONNECTIONS; i++) connections.push(await memory.open(Connection, portOf(listener.value)));

    const onOpen = (): void => {
      if (descriptors === undefined || File.stats.live <= peakSeen) return;
      const seen = descriptors();
      peakSeen = Math.max(peakSeen, seen.files);
      socketsSeen = Math.max(socketsSeen, seen.sockets);
    };
    const progress = (): string =>
      `${here.files} files, ${size(here.bytes)}, ${File.stats.live} open, ${memory.size} owned by the context`;

    const paths = files(directory, skip, passed);
    const worker = async (connection: AsyncHandle<Socket>): Promise<void> => {
      for (const path of paths) {
        if (gone.aborted || failure !== undefined) return;
        try {
          const result = await inspect(memory, path, onOpen);
          await send(connection, { ...result, path: relative(directory, path) });
          here.files++;
          here.lines += result.lines;
          here.bytes += result.bytes;
        } catch (error) {
          if (!isFileError(error)) throw error;
          passed.unreadable.push(`${path}: ${reason(error)}`);
        }
        screen.progress(progress);
      }
    };
    const workers = Array.from({ length: MAX_OPEN }, async (_, i) => {
      try {
        await worker(connections[i % CONNECTIONS] as AsyncHandle<Socket>);
      } catch (error) {
        failure ??= error;
      }
    });
    // Everybody has stopped before the context takes the files away.
    await Promise.all(workers);
    if (failure !== undefined) throw failure;
    for (const connection of connections) await ask(connection);
    // The server has answered on every connection, so it holds its ends of them all.
    socketsSeen = Math.max(socketsSeen, descriptors?.().sockets ?? 0);
    sent = { ...there };
  });

  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const left = descriptors?.();
  screen.line(`Read ${directory} in ${seconds} s, at most ${MAX_OPEN} files open at once`);
  screen.line();
  for (const line of table(["files", "lines", "bytes"], [[here.files, here.lines, here.bytes]])) screen.line(line);
  screen.line();
  for (const line of countsTable(peakSeen, socketsSeen, left)) screen.line(line);
  screen.line();
  for (const line of passedBy(passed, skip)) screen.line(line);

  const agreed = sameTotals(here, sent);
  screen.line(
    agreed
      ? `The server at the other end of ${CONNECTIONS} connections counted the same.`
      : `The server counted differently: ${JSON.stringify(sent)}`,
  );
  return agreed && (left === undefined || (left.files === 0 && left.sockets === 0 && peakSeen === File.stats.peak));
}

/** What was opened and freed, and what the operating system saw of it. */
function countsTable(peakSeen: number, socketsSeen: number, left: Descriptors | undefined): string[] {
  const head = ["kind", "opened", "peak", "freed", "live"];
  const rows = [File, Connection, Listener].map(({ kind, stats }) => [
    kind,
    stats.opened,
    stats.peak,
    stats.freed,
    stats.live,
  ]);
  if (left === undefined) return [...table(head, rows), "(this system has no /proc/self/fd to compare with)"];
  const seen: (string | number)[][] = [
    [`${peakSeen} at the peak`, left.files],
    [`${socketsSeen} sockets at the peak`, left.sockets],
    ["", ""],
  ];
  return table(
    [...head, "/proc/self/fd", "now"],
    rows.map((row, i) => [...row, ...(seen[i] ?? [])]),
  );
}

function passedBy(passed: Passed, skip: readonly string[]): string[] {
  const lines: string[] = [];
  if (skip.length > 0) lines.push(`Left out: ${skip.join(" and ")} (${passed.skipped} found; --all reads them too)`);
  if (passed.links > 0) lines.push(`Not followed: ${passed.links} symbolic link${passed.links === 1 ? "" : "s"}`);
  if (passed.special > 0) lines.push(`Not opened: ${passed.special} (pipes, sockets and devices)`);
  const { unreadable } = passed;
  if (unreadable.length > 0) {
    lines.push(`Not readable: ${unreadable.length}`);
    lines.push(...unreadable.slice(0, 5).map((line) => `  ${line}`));
    if (unreadable.length > 5) lines.push(`  and ${unreadable.length - 5} more`);
  }
  return lines;
}

function sameTotals(a: Totals, b: Totals | undefined): boolean {
  return b !== undefined && a.files === b.files && a.lines === b.lines && a.bytes === b.bytes;
}

/** An error of the operating system about a file, which is the tree's fault and not the program's. */
function isFileError(error: unknown): boolean {
  const { syscall = "" } = error as NodeJS.ErrnoException;
  return ["open", "read"].includes(syscall) && !isExhausted(error);
}

/** The directory to read. `npm run` changes the working directory, and says where it was called from. */
function directoryFrom(given: string | undefined): string {
  if (given === undefined) return realpathSync(process.cwd());
  const path = resolve(process.env.INIT_CWD ?? process.cwd(), given);
  if (!statSync(path).isDirectory()) throw new Error("ENOTDIR: not a directory");
  return realpathSync(path);
}

async function main(): Promise<void> {
  const given = process.argv.slice(2);
  const all = given.includes("--all");
  const names = given.filter((argument) => argument !== "--all");
  if (names.includes("--help")) {
    console.log(usage);
    return;
  }
  if (names.length > 1 || names[0]?.startsWith("-")) {
    console.error(usage);
    process.exitCode = 1;
    return;
  }
  let directory: string;
  try {
    directory = directoryFrom(names[0]);
  } catch (error) {
    console.error(plain(`Cannot read directory "${names[0]}": ${reason(error)}`));
    process.exitCode = 1;
    return;
  }
  const gone = new AbortController();
  const screen = new Screen(() => gone.abort());
  let agreed: boolean;
  try {
    agreed = await readTree(directory, all ? [] : SKIPPED_NAMES, screen, gone.signal);
  } catch (error) {
    if (!isExhausted(error)) throw error;
    screen.clear();
    console.error(`Cannot keep ${MAX_OPEN} files open: ${reason(error)} (ulimit -n says how many may be)`);
    process.exitCode = 1;
    return;
  }
  if (gone.signal.aborted) return;

  screen.line();
  screen.line("Now three mistakes, made on purpose:");
  const unnoticed = makeMistakes(File, process.argv[1] as string, (line) => screen.line(line));
  screen.line();
  const live = [File, Connection, Listener].reduce((sum, { stats }) => sum + stats.live, 0);
  screen.line(live === 0 ? "No live handle is left." : `${live} handles are still live.`);
  if (!agreed || unnoticed > 0 || live > 0) process.exitCode = 1;
}

await main();
