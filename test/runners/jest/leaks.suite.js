const { Handle } = require("lastref");
const { leakGuard, withoutLeaks } = require("lastref/testing");

const open = (label) => Handle.of(label, () => {}, { kind: "key", label });
const inAfterEach = [];
afterEach(() => {
  for (const handle of inAfterEach.splice(0)) handle.decrRef();
});
// Below the file's own hooks, so that the check runs after them.
leakGuard({ beforeEach, afterEach });

test("clean", () => {
  open("a").decrRef();
  expect(Handle.of(1, () => {}).decrRef()).toBe(true);
});
test("guilty: leaves a handle open", () => {
  open("forgotten");
});
test("clean: cleans up in afterEach", () => {
  inAfterEach.push(open("a"));
});
test("clean: cleans up a little later", () => {
  const handle = open("a");
  setTimeout(() => handle.decrRef(), 5);
});
let moved;
test("guilty: leaves a handle to the next test", () => {
  moved = open("left to another test");
});
test("clean: closes what another test has opened", () => {
  moved.decrRef();
});
test("failing: keeps its own error", () => {
  open("not the point");
  throw new Error("own error");
});
test("clean: a body of its own", () => withoutLeaks(async () => void open("a").decrRef()));
test("guilty: a body of its own", () => withoutLeaks(() => void open("in the body")));
