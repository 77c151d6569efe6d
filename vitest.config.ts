import { defineConfig } from "vitest/config";

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
];

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    execArgv: ["--expose-gc"],
    globalSetup: ["test/setup/build.ts"],
    testTimeout: 20_000,
    coverage: {
      provider: "v8",
      include: core.map((name) => `src/${name}.ts`),
      thresholds: { lines: 95, branches: 95, statements: 95, functions: 95 },
    },
  },
});
