const { Handle } = require("lastref");
const { leakGuard } = require("lastref/testing");

// Above the file's own hooks, or in a setup file: the check runs before them, and accuses a clean test.
leakGuard({ beforeEach, afterEach });
const inAfterEach = [];
afterEach(() => {
  for (const handle of inAfterEach.splice(0)) handle.decrRef();
});

test("accused: cleans up in a later afterEach", () => {
  inAfterEach.push(Handle.of("a", () => {}, { kind: "key", label: "a" }));
});

// The hooks of a describe run before those of the file.
describe("a describe", () => {
  const inItsOwn = [];
  afterEach(() => {
    for (const handle of inItsOwn.splice(0)) handle.decrRef();
  });
  test("clean: cleans up in the afterEach of its describe", () => {
    inItsOwn.push(Handle.of("b", () => {}, { kind: "key", label: "b" }));
  });
});
