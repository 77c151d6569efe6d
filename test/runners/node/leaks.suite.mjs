import { afterEach, beforeEach, test } from "node:test";
import { Handle } from "lastref";
import { leakGuard, withoutLeaks } from "lastref/testing";

leakGuard({ beforeEach, afterEach });

const open = (label) => Handle.of(label, () => {}, { kind: "key", label });
const inAfterEach = [];
afterEach(() => {
  for (const handle of inAfterEach.splice(0)) handle.decrRef();
});

test("clean", () => {
  open("a").decrRef();
});
test("guilty: leaves a handle open", () => {
  open("forgotten");
});
test("clean: cleans up in afterEach", () => {
  inAfterEach.push(open("a"));
});
test("clean: cleans up after the test", (t) => {
  const handle = open("a");
  t.after(() => handle.decrRef());
});
test("failing: keeps its own error", () => {
  open("not the point");
  throw new Error("own error");
});
test("at once", { concurrency: true }, async (t) => {
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  await Promise.allSettled([
    t.test("clean: one of two at once", () =>
      withoutLeaks(async () => {
        const handle = open("a");
        await pause(20);
        handle.decrRef();
      }),
    ),
    t.test("clean: the other one of two at once", () =>
      withoutLeaks(async () => {
        await pause(10);
        open("b").decrRef();
      }),
    ),
  ]);
});
