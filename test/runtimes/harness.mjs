// The least a conformance program needs, on any runtime: no test runner, no node: module, no global but console.
// A program that fails ends by an unhandled error, which every runtime reports and turns into an exit code.

const failures = [];
let passed = 0;

/** Runs one check, asynchronous or not. */
export async function check(name, body) {
  try {
    await body();
    passed++;
  } catch (error) {
    failures.push(name);
    console.error(`FAILED: ${name}\n${error?.stack ?? error}`);
  }
}

/** Says how many checks passed, in a line that the runner counts; throws if one failed. */
export function done() {
  console.log(`checks: ${passed} passed, ${failures.length} failed`);
  if (failures.length > 0) throw new Error(`${failures.length} checks failed: ${failures.join("; ")}`);
}

function show(value) {
  return JSON.stringify(value, (_, part) =>
    part === undefined || typeof part === "bigint" || typeof part === "number" ? String(part) : part,
  );
}

export function equal(actual, expected) {
  if (show(actual) !== show(expected)) throw new Error(`expected ${show(expected)}, received ${show(actual)}`);
}

export function ok(value, what) {
  if (!value) throw new Error(`expected ${what}`);
}

/** The error that `body` throws; it must have this code, or this name where it is the language's own. */
export function refused(body, codeOrName) {
  let result;
  try {
    result = body();
  } catch (error) {
    if (error.code === codeOrName || error.name === codeOrName) return error;
    throw new Error(`expected ${codeOrName}, received ${error}`);
  }
  throw new Error(`expected ${codeOrName}, received the result ${String(result)}`);
}

/** The same for a promise that rejects. */
export async function rejected(promise, codeOrName) {
  const settled = await promise.then(
    (value) => () => value,
    (error) => () => {
      throw error;
    },
  );
  return refused(settled, codeOrName);
}
