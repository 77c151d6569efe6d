import { count, named } from "../account";
import type { Sites } from "../tracker";
import { CONTEXT } from "./finds";
import { topOf } from "./stack";
import type { Leak, LeakGroup, LiveHandle } from "./types";

const GROUPS_PRINTED = 10;
const HANDLES_PRINTED = 5;
const COLUMN = 16;

export function printAge(ms: number): string {
  if (ms < 1000) return `${ms} ms`;
  if (ms < 120_000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 7_200_000 ? `${Math.round(ms / 60_000)} min` : `${(ms / 3_600_000).toFixed(1)} h`;
}

/** `    opened        main (app.ts:1:2)`, with the further lines under the first. */
function field(name: string, text: string): string {
  return `  ${name.padEnd(COLUMN)}${text.replaceAll("\n", `\n  ${" ".repeat(COLUMN)}`)}`;
}

/** Where an account's use was ended by somebody else than its holder. */
interface Ends {
  readonly moved?: string | undefined;
  readonly revoked?: string | undefined;
}

/** The message of a refused call, with where its account was opened and closed, as far as that was written down. */
export function withSites(message: string, { opened, closed, by, moved, revoked }: Sites & Ends): string {
  const lines = [message];
  if (opened) lines.push(`  opened: ${opened}`);
  if (moved) lines.push(`  last moved: ${moved}`);
  if (revoked) lines.push(`  revoked: ${revoked}`);
  if (closed) lines.push(`  given back first: ${closed}`);
  if (by) lines.push(`  by: ${by}`);
  return lines.join("\n");
}

const siteText = (site: string): string => (site === "" ? "(no stack was taken)" : site);
const top = (site: string): string => siteText(topOf(site));

function holderLine(handle: LiveHandle, name: string): string {
  const holder = handle.holder === "" ? "" : `${handle.holder}: `;
  return field(name, `${holder}owes ${handle.owed}, for ${printAge(handle.age)}, since ${top(handle.opened)}`);
}

function standing(leak: Leak): string {
  if (leak.kind === CONTEXT) return `with ${count(leak.handles.length, "handle")} that nobody pays for now`;
  if (leak.verdict === "over-released" || leak.verdict === "use-after-free") return "";
  if (leak.givenBack) return "given back after all";
  return `${leak.refCount} of ${leak.taken} still held`;
}

/** The part of a leak below its headline. */
function details(leak: Leak, site: string): string[] {
  const lines: string[] = [];
  const misuse = leak.verdict === "over-released" || leak.verdict === "use-after-free";
  if (misuse) lines.push(field("called", siteText(site)));
  lines.push(field("opened", siteText(leak.opened)));
  if (leak.created !== "" && leak.created !== leak.opened) lines.push(field("created", top(leak.created)));
  if (leak.kind === CONTEXT) {
    const shown = leak.handles.slice(0, HANDLES_PRINTED);
    for (const handle of shown) {
      lines.push(
        field("owned", `${named(handle.kind, handle.label)}, owes ${handle.owed}, since ${top(handle.opened)}`),
      );
    }
    if (leak.handles.length > shown.length) lines.push(field("", `and ${leak.handles.length - shown.length} more`));
  } else if (!misuse) {
    lines.push(holderLine(leak, "held by"));
    const shown = leak.handles.slice(0, HANDLES_PRINTED);
    for (const handle of shown) lines.push(holderLine(handle, "also held by"));
    const others = shown.reduce((left, { owed }) => left - owed, leak.refCount - leak.owed);
    if (others > 0) lines.push(field("", `and others, which owe ${others}`));
  }
  for (const site of leak.unmatched) lines.push(field("unpaid incrRef", top(site)));
  if (leak.unmatchedDropped > 0) lines.push(field("", `and ${leak.unmatchedDropped} more, whose place is not kept`));
  const last = leak.touches.at(-1);
  if (last !== undefined) {
    const at = last.site === "" ? "" : ` at ${top(last.site)}`;
    lines.push(field("last touch", `${last.hint}${at}`));
  }
  if (leak.first !== "") lines.push(field(leak.verdict === "two-owners" ? "first owner" : "closed first", leak.first));
  lines.push(field("fix", leak.hint));
  return lines;
}

function headline(verdict: string, what: string, rest: string): string {
  return [verdict, what, rest].filter((part) => part !== "").join("  ");
}

/** One leak for a person. */
export function printLeak(leak: Leak): string {
  return [headline(leak.verdict, named(leak.kind, leak.label), standing(leak)), ...details(leak, leak.opened)].join(
    "\n",
  );
}

function printGroup(group: LeakGroup): string {
  const [example] = group.examples;
  if (example === undefined) return headline(group.verdict, group.kind, `${group.count} times`);
  if (group.count === 1 && group.estimate === 1) {
    const head = headline(group.verdict, named(example.kind, example.label), standing(example));
    return [head, ...details(example, group.site)].join("\n");
  }
  const estimate = group.estimate > group.count ? `, standing for about ${group.estimate}` : "";
  const bytes = group.bytes > 0 ? `, ${group.bytes} bytes` : "";
  const head = headline(group.verdict, group.kind, `${group.count} from one site${estimate}${bytes}; one of them:`);
  return [
    head,
    field("for example", `${named(example.kind, example.label)}, ${standing(example)}`),
    ...details(example, group.site),
  ].join("\n");
}

/** The groups for a person: at most ten, and how many more there are. */
export function printGroups(groups: readonly LeakGroup[]): string {
  const printed = groups.slice(0, GROUPS_PRINTED).map(printGroup);
  const more = groups.length - printed.length;
  if (more > 0) printed.push(`and ${more} more`);
  return printed.join("\n\n");
}
