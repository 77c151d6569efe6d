/**
 * Stacks: captured unread, because reading one costs three times as much; read late, and without trusting anything that
 * a program may have done to `Error`.
 */

import { elapsed } from "./clock";

type Formatter = (error: Error, frames: readonly unknown[]) => unknown;

const errors = Error as unknown as { stackTraceLimit?: unknown; prepareStackTrace?: Formatter };

/** Frames of the library itself on top of a stack, from the user's call down to the capture. */
export const OPEN_FRAMES = 8;
export const DUP_FRAMES = 7;
export const CLOSE_FRAMES = 6;
export const END_FRAMES = 10;

/** What could not be recorded, for the report's blind spots. */
export const stackTrouble = { formatterFailed: 0, lost: 0 };

/**
 * How many frames are captured where a resource is opened, where it gets another account, where a context pays for it, and
 * elsewhere; 0 for none.
 */
export interface Depths {
  readonly openLimit: number;
  readonly dupLimit: number;
  readonly closeLimit: number;
  readonly endLimit: number;
  /** Whether captures are timed. */
  readonly budgeted: boolean;
  /** Milliseconds that stacks have taken, where they are timed. */
  spent: number;
}

/**
 * The stack of the caller, unread. It keeps the receivers of its frames alive, so whoever takes one must drop or read it
 * by the next macrotask.
 *
 * One function, called from the record's own methods: every frame costs, the library's as much as the user's.
 */
export function capture(
  depths: Depths | undefined,
  at: "openLimit" | "dupLimit" | "closeLimit" | "endLimit",
): Error | undefined {
  if (depths === undefined || depths.openLimit === 0) return undefined;
  const began = depths.budgeted ? elapsed() : 0;
  const before = errors.stackTraceLimit;
  let taken: Error;
  if (typeof before !== "number") taken = captureAnyway(depths[at]);
  else {
    try {
      errors.stackTraceLimit = depths[at];
      taken = new Error();
      errors.stackTraceLimit = before;
    } catch {
      // Frozen: the stack is as deep as the runtime has it.
      taken = new Error();
    }
  }
  if (depths.budgeted) depths.spent += elapsed() - began;
  return taken;
}

/** With a limit that was deleted, or is no number: without one the engine records nothing. */
function captureAnyway(limit: number): Error {
  const before = Object.getOwnPropertyDescriptor(errors, "stackTraceLimit");
  const set = { value: limit, writable: true, enumerable: true, configurable: true };
  if (!Reflect.defineProperty(errors, "stackTraceLimit", set)) return new Error();
  const taken = new Error();
  if (before === undefined) Reflect.deleteProperty(errors, "stackTraceLimit");
  else Reflect.defineProperty(errors, "stackTraceLimit", before);
  return taken;
}

/** The text of a captured stack; empty where none can be had. */
export function readStack(taken: Error): string {
  const formatter = formatterOf();
  let restore: (() => void) | undefined;
  if (formatter !== undefined) restore = guardFormatter(formatter);
  try {
    const { stack } = taken;
    if (typeof stack === "string" && stack !== "") return stack;
  } catch {
    // The program's own formatter threw, and could not be replaced.
  } finally {
    restore?.();
  }
  stackTrouble.lost++;
  return "";
}

function formatterOf(): Formatter | undefined {
  try {
    const { prepareStackTrace } = errors;
    return typeof prepareStackTrace === "function" ? prepareStackTrace : undefined;
  } catch {
    return undefined;
  }
}

/** The program's formatter goes on mapping sources, but where it throws or returns no frames they are printed plainly. */
function guardFormatter(formatter: Formatter): (() => void) | undefined {
  const before = Object.getOwnPropertyDescriptor(errors, "prepareStackTrace");
  const guarded: Formatter = (error, frames) => {
    try {
      const text = formatter.call(errors, error, frames);
      if (typeof text === "string" && (text.includes("\n") || frames.length === 0)) return text;
    } catch {
      // Counted below.
    }
    stackTrouble.formatterFailed++;
    return ["Error", ...frames.map((frame) => `    at ${frame}`)].join("\n");
  };
  const set = { value: guarded, writable: true, enumerable: true, configurable: true };
  if (!Reflect.defineProperty(errors, "prepareStackTrace", set)) return undefined;
  return () => {
    if (before === undefined) Reflect.deleteProperty(errors, "prepareStackTrace");
    else Reflect.defineProperty(errors, "prepareStackTrace", before);
  };
}

/** One call on a stack. Lines and columns count from 1; 0 where unknown. */
export interface Frame {
  readonly name: string;
  /** Relative to the working directory where it is below it. */
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

const V8_FRAME = /^\s+at (?:async (?!\())?(?:(.*?) \((?=.*\)$))?(.*?)(?::(\d+))?(?::(\d+))?\)?$/;
const OTHER_FRAME = /^(.*?)@(.*?)(?::(\d+))?(?::(\d+))?$/;

/** The frames of a stack's text, the engine's own left out. */
export function parseStack(text: string): Frame[] {
  const frames: Frame[] = [];
  for (const line of text.split("\n")) {
    const parts = V8_FRAME.exec(line) ?? (line.includes("@") && !line.startsWith(" ") ? OTHER_FRAME.exec(line) : null);
    if (parts === null) continue;
    const [, name = "", file = "", row = "0", column = "0"] = parts;
    // "index 0" is the place of a promise in Promise.all.
    if (file === "" || file === "native" || /^(<anonymous>|node:|bun:|ext:|\[native|index \d+$)/.test(file)) continue;
    frames.push({
      name: name === "<anonymous>" ? "" : name,
      file: pathOf(file),
      line: Number(row),
      column: Number(column),
    });
  }
  return frames;
}

function pathOf(url: string): string {
  let path = url.replace(/\?[^/]*$/, "");
  if (!path.startsWith("file://")) return path;
  path = path.slice("file://".length).replace(/^\/([A-Za-z]:)/, "$1");
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

function workingDirectory(): string {
  try {
    const { process } = globalThis as { process?: { cwd?(): string } };
    const path = process?.cwd?.().replaceAll("\\", "/");
    return path ? `${path}/` : "";
  } catch {
    return "";
  }
}

const root = workingDirectory();

/** The file this code is in: one of the package, of its sources, or a bundle. */
const here = parseStack(readStack(captureAnyway(1)))[0]?.file.replaceAll("\\", "/") ?? "";

/**
 * The directory all files of this copy of the library are in; its frames are nobody's leak. Empty in a bundle: whatever is
 * beside that, or in it, is the program's as well.
 */
const own = /^(.*\/(?:dist|src)\/)(?:lastref-chunk-\w+\.[cm]?js|leaks\/stack\.ts)$/.exec(here)?.[1] ?? "";

/** Frames of the library on top of a site, at most, that cannot be told from the program's: in a bundle of both. */
export const UNTOLD = own === "" && !here.includes("/node_modules/") ? OPEN_FRAMES : 0;

/** The first frame of a site that may be the program's, with what cannot be told from it. */
export function topOf(site: string): string {
  return site.split("\n", 1 + UNTOLD).join("\n");
}

/** The frames that a reader can do something about, at most `depth` of the program's, paths relative to the project. */
export function userFrames(text: string, depth: number): Frame[] {
  const all = parseStack(text);
  const isOwn = (frame: Frame): boolean => own !== "" && frame.file.replaceAll("\\", "/").startsWith(own);
  const others = all.filter((frame) => !isOwn(frame));
  const users = others.filter((frame) => !/[\\/]node_modules[\\/]/.test(frame.file));
  // Called by a package only: rather too many frames than none.
  const best = [users, others, all].find((frames) => frames.length > 0) ?? [];
  return best.slice(0, depth + UNTOLD).map((frame) => {
    const file = frame.file.replaceAll("\\", "/");
    return root !== "" && file.startsWith(root) ? { ...frame, file: file.slice(root.length) } : frame;
  });
}

export function printFrame(frame: Frame): string {
  const at = `${frame.file}:${frame.line}${frame.column > 0 ? `:${frame.column}` : ""}`;
  return frame.name === "" ? at : `${frame.name} (${at})`;
}
