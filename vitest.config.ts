import { defineConfig } from "vitest/config";

// Where to write what every test came to, as JSON, for a program that counts.
const report = process.env.LASTREF_TEST_REPORT;

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    execArgv: ["--expose-gc"],
    testTimeout: 20_000,
    reporters: report ? ["default", ["json", { outputFile: report }]] : ["default"],
  },
});
