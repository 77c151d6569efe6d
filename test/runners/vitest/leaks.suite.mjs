import { Handle } from "lastref";
import { afterEach, beforeAll, describe, expect, it, onTestFinished } from "vitest";

const open = (label) => Handle.of(label, () => {}, { kind: "key", label });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

let forAll;
const inAfterEach = [];
beforeAll(() => {
  forAll = open("shared by the file");
});
afterEach(() => {
  for (const handle of inAfterEach.splice(0)) handle.decrRef();
});

it("clean", () => {
  open("a").decrRef();
  expect(forAll.alive).toBe(true);
});
it("guilty: leaves a handle open", () => {
  open("forgotten");
});
it("clean: cleans up in afterEach", () => {
  inAfterEach.push(open("a"));
});
it("clean: cleans up when the test has finished", ({ onTestFinished: finished }) => {
  const [first, second] = [open("a"), open("b")];
  onTestFinished(() => void first.decrRef());
  finished(() => void second.decrRef());
});
it("clean: cleans up a little later", () => {
  const handle = open("a");
  setTimeout(() => handle.decrRef(), 5);
});
it("failing: keeps its own error", () => {
  open("not the point");
  throw new Error("own error");
});

let moved;
it("guilty: leaves a handle to the next test", () => {
  moved = open("left to another test");
});
it("clean: closes what another test has opened", () => {
  moved.decrRef();
});

describe.concurrent("at once", () => {
  it("clean: one of two at once", async () => {
    const handle = open("a");
    await pause(30);
    handle.decrRef();
  });
  it("guilty: the other one of two at once", async () => {
    await pause(10);
    open("of the guilty one");
    await pause(10);
  });
});
