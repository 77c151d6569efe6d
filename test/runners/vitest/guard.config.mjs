// Without the setup file of the package: the suite calls leakGuard.
export default { test: { include: ["guard.suite.mjs"], execArgv: ["--expose-gc"] } };
