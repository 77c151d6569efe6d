import { defineConfig } from "tsup";

// One entry per core file: a bundler then drops the files nobody imports, and the CJS entries share their state.
const core = [
  "errors",
  "tracker",
  "account",
  "owned-list",
  "loan",
  "handle",
  "async-handle",
  "resource",
  "auto-memory",
  "async-auto-memory",
  "host",
  "map-entry",
  "handle-map",
  "kinds/index",
  "index",
];

export default defineConfig({
  entry: Object.fromEntries(core.map((name) => [name, `src/${name}.ts`])),
  format: ["esm", "cjs"],
  target: "es2022",
  platform: "neutral",
  splitting: true,
  dts: true,
  clean: true,
});
