// Writes what the questions were answered into bench/RESULTS.md, the costs into README.md, and draws bench/growth.svg.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { cpus, totalmem } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { refreshReadme } from "./costs.mjs";

const here = dirname(fileURLToPath(import.meta.url));

/**
 * @param {{ question: string, output: string }[]} answers
 * @param {string} peers
 * @param {string} points
 * @param {string} targets which targets are met
 */
export async function writeResults(answers, peers, points, targets) {
  // The figures took minutes: they are written with or without a picture.
  const plotted = await draw(peers, points).catch((error) => {
    console.error(`Cannot draw growth.svg, which stays as it was: ${error.message}`);
    return existsSync(join(here, "growth.svg"));
  });
  const installed = (name, from) => {
    const file = join(from, "node_modules", name, "package.json");
    return existsSync(file) ? `${name} ${JSON.parse(readFileSync(file, "utf8")).version}` : undefined;
  };
  const root = dirname(here);
  const versions = [
    ...["quickjs-emscripten-core", "effect"].map((name) => installed(name, root)),
    ...["monaco-editor", "@lumino/disposable", "disposablestack", "manifold-3d"].map((name) => installed(name, peers)),
  ].filter(Boolean);
  const sections = Map.groupBy ? Map.groupBy(answers, ({ question }) => question) : grouped(answers);
  const text = [
    "# Results",
    "",
    "Written by `npm run bench`: every question of this directory, as its program printed the answer. A ratio is ours / theirs,",
    "so below 1 is a win and above 1 a loss; the numbers of one machine are worth little, the ratios more.",
    "",
    `- Machine: ${cpus().length} x ${cpus()[0]?.model.trim() ?? "unknown"}, ${Math.round(totalmem() / 2 ** 30)} GB, ${process.platform} ${process.arch}`,
    `- Peers: ${versions.join(", ")} (VS Code's lifecycle is the one in monaco-editor, embind's classes those of manifold-3d)`,
    "",
    "## Targets",
    "",
    "```text",
    targets.trim(),
    "```",
    "",
    ...[...sections].flatMap(([question, given]) => [
      `## ${question}`,
      "",
      ...given.flatMap(({ output }) => ["```text", output.trim(), "```", ""]),
    ]),
    ...(plotted ? ["![The cost of a handle by how many are live](growth.svg)", ""] : []),
  ];
  writeFileSync(join(here, "RESULTS.md"), text.join("\n"));
  refreshReadme();
}

/** `Map.groupBy` is not on Node 20. */
function grouped(answers) {
  const groups = new Map();
  for (const answer of answers) groups.set(answer.question, [...(groups.get(answer.question) ?? []), answer]);
  return groups;
}

async function draw(peers, points) {
  if (!existsSync(points)) return false;
  const values = readFileSync(points, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  const load = createRequire(join(peers, "/"));
  const [vega, lite] = await Promise.all(["vega", "vega-lite"].map((name) => import(resolveModule(load, name))));
  const { spec } = lite.compile({
    background: "white",
    width: 360,
    height: 240,
    data: { values },
    facet: { column: { field: "node", title: null, header: { labelExpr: "'Node ' + datum.value" } } },
    spec: {
      mark: { type: "line", point: true },
      encoding: {
        x: {
          field: "live",
          type: "quantitative",
          scale: { type: "log" },
          title: "live at once",
          axis: { format: "~s", values: [10, 100, 1_000, 10_000, 100_000, 1_000_000] },
        },
        y: { field: "ns", type: "quantitative", title: "ns per thing, opened and closed" },
        color: { field: "name", type: "nominal", title: null, sort: null, legend: { labelLimit: 0 } },
      },
    },
  });
  const svg = await new vega.View(vega.parse(spec), { renderer: "none" }).toSVG();
  writeFileSync(join(here, "growth.svg"), svg);
  return true;
}

/** The ES module of a fetched package. */
function resolveModule(load, name) {
  const at =
    load.resolve
      .paths(name)
      ?.map((path) => join(path, name))
      .find((path) => existsSync(path)) ?? name;
  const { exports, module, main } = JSON.parse(readFileSync(join(at, "package.json"), "utf8"));
  const entry = exports?.["."]?.default ?? exports?.default ?? module ?? main;
  return join(at, typeof entry === "string" ? entry : "index.js");
}
