// Refreshes the cost table of README.md from bench/RESULTS.md: node bench/costs.mjs (npm run bench does it by itself)
import { readFileSync, realpathSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const TITLE = /^(.*) \(Node (\d+)[\d.]*, /;
const ROW = /^(.{44}) +([\d.]+) (\w+) +([\d.]+) x (.*?) +(?:at most|a win|a loss)/;

/** What README.md shows: the sections of RESULTS.md, and how their rows are called there. */
const SHOWN = {
  "The core": {
    "incrRef + decrRef": "`incrRef` + `decrRef`",
    "open + free": "open + free",
    "dup + decrRef": "`dup` + `decrRef`",
    "a context of 10: open, own, free": "a context of 10",
    "bytes of a live handle": "a live handle",
    "bytes of a bundle": "`Handle`, `AutoMemory`, `defineResource` in a bundle, brotli",
  },
  HandleMap: { "acquire + release of a live key": "a keyed map: acquire + release" },
  "Leak tracking": {
    "tracking: count": "leak tracking, `count`",
    "tracking: sampled": "leak tracking, `sampled`",
    "tracking: full": "leak tracking, `full`",
  },
};

/** The table of what things cost, as Markdown, from the text of RESULTS.md. */
export function costTable(results) {
  const table = new Map();
  const nodes = new Set();
  let names;
  let node;
  for (const line of results.split("\n")) {
    const title = TITLE.exec(line);
    if (title !== null) [names, node] = [SHOWN[title[1]], title[2]];
    const row = ROW.exec(line);
    const name = names?.[row?.[1].trim()];
    if (name === undefined) continue;
    nodes.add(node);
    const [, , value, unit, ratio, against] = row;
    // What is compared with an aim and not with somebody's work is shown as it is.
    const absolute = unit === "bytes";
    const beside = absolute ? "" : against;
    const key = `${name}|${beside}`;
    const cells = table.get(key) ?? { name, beside, byNode: new Map() };
    cells.byNode.set(node, absolute ? `${Math.round(value)} bytes` : `${significant(value)} ${unit}, ${ratio} x`);
    table.set(key, cells);
  }
  const columns = [...nodes].sort();
  const order = Object.values(SHOWN).flatMap((shown) => Object.values(shown));
  const rows = [...table.values()].sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  return [
    `| work | ${columns.map((version) => `Node ${version}`).join(" | ")} | beside |`,
    `| --- |${columns.map(() => " --- |").join("")} --- |`,
    ...rows.map(
      ({ name, beside, byNode }) =>
        `| ${name} | ${columns.map((version) => byNode.get(version) ?? "").join(" | ")} | ${beside} |`,
    ),
  ].join("\n");
}

function significant(value) {
  return Number(value) < 10 ? value : String(Math.round(Number(value)));
}

const BLOCK = /(?<=<!-- costs -->\n)[\s\S]*?(?=<!-- \/costs -->)/;

/** README.md with the table of these results in it. */
export function withCosts(readme, results) {
  if (!BLOCK.test(readme)) throw new Error("Cannot find the block of costs in README.md");
  return readme.replace(BLOCK, () => `${costTable(results)}\n`);
}

export function refreshReadme() {
  const at = join(root, "README.md");
  writeFileSync(at, withCosts(readFileSync(at, "utf8"), readFileSync(join(root, "bench", "RESULTS.md"), "utf8")));
}

const started = process.argv[1];
if (started !== undefined && fileURLToPath(import.meta.url) === realpathSync(started)) refreshReadme();
