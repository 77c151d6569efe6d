jest.mock("lastref");
jest.mock("lastref/leaks");
const lastref = require("lastref");
const { liveHandles } = require("lastref/leaks");

test("clean: what Jest makes a mock of has everything in it", () => {
  const { defineResource, Handle } = jest.requireActual("lastref");
  expect(Object.keys(lastref)).toEqual(expect.arrayContaining(Object.keys(jest.requireActual("lastref"))));
  lastref.defineResource.mockReturnValue("mocked");
  expect([lastref.defineResource({}), liveHandles()]).toEqual(["mocked", undefined]);
  expect([typeof defineResource, typeof Handle.of]).toEqual(["function", "function"]);
});
