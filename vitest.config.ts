import { defineConfig } from "vitest/config";

// Where to write what every test came to, as JSON, for a program that counts.
const report = process.env.LASTREF_TEST_REPORT;

const core = [
  "errors",
  "account",
  "owned-list",
  "loan",
  "handle",
  "async-handle",
  "resource",
  "auto-memory",
  "async-auto-memory",
  "panic",
];

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    execArgv: ["--expose-gc"],
    globalSetup: ["test/setup/build.ts"],
    testTimeout: 20_000,
    reporters: report ? ["default", ["json", { outputFile: report }]] : ["default"],
    coverage: {
      provider: "v8",
      include: core.map((name) => `src/${name}.ts`),
      thresholds: { lines: 95, branches: 95, statements: 95, functions: 95 },
    },
  },
});
