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
    pool: "forks",
    execArgv: ["--expose-gc"],
    globalSetup: ["test/setup/build.ts"],
    testTimeout: 20_000,
    reporters: report ? ["default", ["json", { outputFile: report }]] : ["default"],
    projects: [
      {
        extends: true,
        test: { name: "all", include: ["test/**/*.test.ts"], exclude: ["test/leases/**"], sequence: { groupOrder: 0 } },
      },
      {
        // Deadlines of a few hundred milliseconds: after everything else, and one file at a time.
        extends: true,
        test: {
          name: "leases",
          include: ["test/leases/**/*.test.ts"],
          fileParallelism: false,
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
    coverage: {
      provider: "v8",
      include: core.map((name) => `src/${name}.ts`),
      thresholds: { lines: 95, branches: 95, statements: 95, functions: 95 },
    },
  },
});
