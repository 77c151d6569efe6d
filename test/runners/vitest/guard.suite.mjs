import { Handle } from "lastref";
import { leakGuard } from "lastref/testing";
import { afterEach, beforeEach, expect, test } from "vitest";

const open = (label) => Handle.of(label, () => {}, { kind: "key", label });
const above = [];
const below = [];

afterEach(() => above.pop()?.decrRef());
leakGuard({ beforeEach, afterEach });
afterEach(() => below.pop()?.decrRef());

test("clean: closed by a hook above the guard", () => {
  above.push(open("a"));
});

test("clean: closed by a hook below the guard", () => {
  below.push(open("b"));
});

test("guilty: forgets a handle", () => {
  expect(open("forgotten").owed).toBe(1);
});

// The hooks of tests with fixtures are read for the fixtures that they ask for.
const extended = test.extend({
  // biome-ignore lint/correctness/noEmptyPattern: vitest wants it so
  key: async ({}, use) => {
    const key = open("c");
    await use(key);
    key.decrRef();
  },
});

extended("clean: with a fixture", ({ key }) => {
  key.dup().decrRef();
});

extended("guilty: forgets one beside its fixture", ({ key }) => {
  key.dup();
});
