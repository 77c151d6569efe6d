import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    pool: "forks",
    execArgv: ["--expose-gc"],
    globalSetup: ["test/setup/build.ts"],
    testTimeout: 20_000,
  },
});
