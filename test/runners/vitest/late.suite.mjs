import { Handle } from "lastref";
import { withoutLeaks } from "lastref/testing";
import { it } from "vitest";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

it("clean, but a late callback of it opens a handle", () => {
  setTimeout(() => Handle.of("late", () => {}, { kind: "key", label: "late" }), 20);
});
it("clean, but a late callback of a body of it opens a handle", () =>
  withoutLeaks(() => {
    setTimeout(() => Handle.of("late", () => {}, { kind: "key", label: "of the body" }), 20);
  }));
it("clean: another test", async () => {
  await pause(40);
});
