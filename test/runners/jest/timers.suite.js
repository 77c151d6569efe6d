const { Handle } = require("lastref");
const { trackLeaks } = require("lastref/leaks");
const { expectNoGrowth, leakGuard, settle, withoutLeaks } = require("lastref/testing");

// Every timer is fake from before anything is loaded: see timers.config.json.
const open = (label) => Handle.of(label, () => {}, { kind: "key", label });
leakGuard({ beforeEach, afterEach });

test("clean", () => {
  open("a").decrRef();
});
test("guilty: leaves a handle open", () => {
  open("forgotten");
});
test("clean: a body of its own", () => withoutLeaks(async () => void open("a").decrRef()));
test("guilty: a body of its own", () => withoutLeaks(async () => void open("in the body")));
test("clean: runs that do not grow", () => expectNoGrowth(() => void open("a").decrRef()));
test("clean: settles", () => settle());
test("clean: nothing is held too long by a clock that was put forward", () => {
  const late = [];
  const tracking = trackLeaks({ heldTooLong: 60_000, onLeak: (leak) => late.push(leak) });
  const handle = open("a");
  jest.advanceTimersByTime(3_600_000);
  expect(late).toEqual([]);
  handle.decrRef();
  tracking[Symbol.dispose ?? Symbol.for("Symbol.dispose")]();
});
