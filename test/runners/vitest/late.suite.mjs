import { Handle } from "lastref";
import { it } from "vitest";

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

it("clean, but a late callback of it opens a handle", () => {
  setTimeout(() => Handle.of("late", () => {}, { kind: "key", label: "late" }), 20);
});
it("clean: another test", async () => {
  await pause(40);
});
