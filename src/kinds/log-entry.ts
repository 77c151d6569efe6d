import { checkObject, unfit } from "../errors";
import type { Handle } from "../handle";
import { defineResource, type ResourceStats } from "../resource";

/** One entry of a replicated log. */
export interface LogEntry {
  readonly index: number;
  readonly term: number;
  readonly type: "data" | "configuration" | "no-op";
  readonly data: Uint8Array | string | undefined;
}

/** Makes a log entry; the caller owes the handle's one reference. */
export interface LogEntryOpener {
  /** @throws {TypeError} If the index or the term is no natural number. */
  (fields: Pick<LogEntry, "index" | "term"> & Partial<LogEntry>): Handle<LogEntry>;
  /** Entries alive now, and so far; `bytes` counts their data, strings as UTF-8. */
  readonly stats: ResourceStats;
}

const Entries = /* @__PURE__ */ defineResource<LogEntry, [LogEntry]>({
  kind: "log-entry",
  open: (entry) => entry,
  free: () => {},
  label: ({ index, term }) => `${index} (term ${term})`,
  bytes: ({ data }) => (typeof data === "string" ? utf8Length(data) : (data?.byteLength ?? 0)),
});

export const logEntry: LogEntryOpener = /* @__PURE__ */ Object.defineProperties(
  (given: Parameters<LogEntryOpener>[0]): Handle<LogEntry> => {
    checkObject("make a log entry", given, "an object with index and term");
    const { index, term, type = "data", data } = given;
    checkIndex("make a log entry", "index", index);
    checkIndex("make a log entry", "term", term);
    return Entries.open(Object.freeze({ index, term, type, data }));
  },
  { name: { value: "logEntry" }, stats: { get: () => Entries.stats } },
) as LogEntryOpener;

export function checkIndex(verb: string, name: string, index: unknown): void {
  if (typeof index === "number" && Number.isInteger(index) && index >= 0) return;
  throw unfit(verb, `${name} to be a natural number`, index);
}

/** Bytes of a text in UTF-8, without making them: it is asked of every entry. */
function utf8Length(text: string): number {
  let bytes = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.codePointAt(i) as number;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    // The second half of a pair.
    if (code > 0xffff) i++;
  }
  return bytes;
}
