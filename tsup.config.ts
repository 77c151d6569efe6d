import { rm } from "node:fs/promises";
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
  "index",
];

export default defineConfig({
  entry: {
    ...Object.fromEntries(core.map((name) => [name, `src/${name}.ts`])),
    leaks: "src/leaks/index.ts",
    kinds: "src/kinds/index.ts",
    testing: "src/testing/index.ts",
    vitest: "src/testing/vitest.ts",
    register: "src/register.ts",
  },
  external: ["vitest", /^node:/],
  format: ["esm", "cjs"],
  target: "es2022",
  platform: "neutral",
  splitting: true,
  dts: true,
  clean: true,
  // vitest is ESM only, and so is its setup file.
  async onSuccess() {
    await Promise.all(["vitest.cjs", "vitest.d.cts"].map((file) => rm(`dist/${file}`, { force: true })));
  },
});
