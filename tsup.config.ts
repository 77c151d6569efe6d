import { writeFile } from "node:fs/promises";
import { defineConfig } from "tsup";

// One entry per core file: a bundler then drops the files nobody imports, and the CJS entries share their state.
const core = [
  "errors",
  "tracker",
  "account",
  "flat",
  "owned-list",
  "loan",
  "handle",
  "async-kind",
  "async-handle",
  "resource",
  "panic",
  "auto-memory",
  "async-auto-memory",
  "host",
  "map-options",
  "closing",
  "map-entry",
  "map-room",
  "map-waits",
  "map-refusals",
  "map-life",
  "map-entrance",
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
    leases: "src/leases/index.ts",
    register: "src/register.ts",
  },
  external: ["vitest", /^node:/],
  format: ["esm", "cjs"],
  target: "es2022",
  platform: "neutral",
  splitting: true,
  // By rollup, which then writes the CommonJS too: else optional chains become calls of helpers there.
  treeshake: true,
  // Which it leaves out, and without it Jest's jest.mock("lastref") has nothing in it.
  banner: ({ format }) =>
    format === "cjs" ? { js: `Object.defineProperty(exports, "__esModule", { value: true });` } : {},
  dts: true,
  clean: true,
  // Chunks that nobody else's bundle is named like: src/leaks/stack.ts tells its own files by it.
  esbuildOptions(options) {
    options.chunkNames = "lastref-chunk-[hash]";
  },
  // vitest cannot be required, and so its setup file cannot: say so in words.
  async onSuccess() {
    const message =
      'Cannot require "lastref/vitest": it is an ES module. Name it in setupFiles of vitest.config, or import it';
    await writeFile("dist/vitest.cjs", `"use strict";\nthrow new Error(${JSON.stringify(message)});\n`);
  },
});
