/// <reference path="./node.d.ts" />
/**
 * Tracks leaks from the first line of a program on: `node --import lastref/register app.js`.
 *
 * - `LASTREF_LEAKS`: the level, `count` (the default), `sampled` or `full`.
 * - `LASTREF_LEAKS_EXIT_CODE`: the exit code if handles are still open, or were dropped, when the process ends (default:
 *   as it is); at level `count` those of kinds made with `watch: true`.
 *
 * Publishes to the diagnostics channels `lastref:open`, `lastref:free` and `lastref:leak`, and prints one summary at the
 * exit, after the program's own listeners of it, but for those added in the turn that calls `process.exit()`. A process
 * that a signal ends has none, nor has a worker thread that is terminated.
 *
 * @module register
 */
import { channel } from "node:diagnostics_channel";
import { writeSync } from "node:fs";
import process from "node:process";
import { TextEncoder } from "node:util";
import { isMainThread, threadId } from "node:worker_threads";
import type { Account } from "./leaks/account-record";
import { detector } from "./leaks/detector";
import { isMisuse } from "./leaks/finds";
import { leakReport } from "./leaks/report";
import { track } from "./leaks/tracking";
import type { Level } from "./leaks/types";

const asked = process.env.LASTREF_LEAKS || "count";
const known: readonly string[] = ["count", "sampled", "full"];
if (!known.includes(asked)) {
  process.emitWarning(
    `LASTREF_LEAKS: expected "count", "sampled" or "full", received ${JSON.stringify(asked)}; the level is "count"`,
  );
}
const level = known.includes(asked) ? (asked as Level) : "count";

const askedCode = process.env.LASTREF_LEAKS_EXIT_CODE || "0";
const exitCode = /^\d+$/.test(askedCode) && Number(askedCode) <= 255 ? Number(askedCode) : undefined;
if (exitCode === undefined) {
  process.emitWarning(
    `LASTREF_LEAKS_EXIT_CODE: expected a number from 0 to 255, received ${JSON.stringify(askedCode)}; a leak exits with 1`,
  );
}

const opens = channel("lastref:open");
const frees = channel("lastref:free");
const leaks = channel("lastref:leak");

function messageOf(account: Account): object {
  const { family, label, first, holder = "", owed } = account;
  return { kind: family.kind, label, id: first.id, holder, owed };
}

/** Written at once: nothing asynchronous runs any more. A pipe that is full is tried again for a moment. */
function writeOut(text: string): void {
  let rest = new TextEncoder().encode(text);
  for (let attempt = 0; rest.length > 0 && attempt < 1000; attempt++) {
    try {
      rest = rest.subarray(writeSync(2, rest));
    } catch (error) {
      if ((error as { code?: string }).code !== "EAGAIN") return;
    }
  }
}

function summarize(): void {
  const report = leakReport();
  // A check that was asked for and could not fail says so.
  const unchecked = exitCode !== 0 && report.level === "count" && detector().lastId === 0;
  if (report.groups.length === 0 && !unchecked) return;
  const where = isMainThread ? "" : `in worker ${threadId}, `;
  writeOut(`${where}at exit: ${report}\n`);
  // A misuse was an error already, and leaves nothing open.
  const left = report.groups.some((group) => !isMisuse(group));
  if (left && !process.exitCode) process.exitCode = exitCode ?? 1;
}

function moveLast(): void {
  process.off("exit", summarize);
  process.on("exit", summarize);
}

// The other copy of the library may have been asked for as well.
if (detector().observer === undefined) {
  detector().observer = {
    opened(account) {
      if (opens.hasSubscribers) opens.publish(messageOf(account));
    },
    freed(account) {
      if (frees.hasSubscribers) frees.publish(messageOf(account));
    },
    leaked(leak) {
      if (leaks.hasSubscribers) leaks.publish(leak);
    },
  };
  track({ level }, true);
  process.on("exit", summarize);
  // What the program does at the exit comes first: it may be its cleanup.
  process.on("newListener", (event, listener) => {
    if (event === "exit" && listener !== summarize) process.nextTick(moveLast);
  });
}
