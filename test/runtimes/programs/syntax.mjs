import { AsyncAutoMemory, AutoMemory, defineAsyncResource, defineResource, Handle, SuppressedError } from "lastref";
import { check, done, equal, ok, refused, rejected } from "../harness.mjs";

const log = [];
const Key = defineResource({
  kind: "key",
  open: (name) => name,
  free: (name) => {
    log.push(name);
    if (name.startsWith("bad")) throw new Error(name);
  },
});
const Link = defineAsyncResource({
  kind: "link",
  open: async (name) => name,
  free: async (name) => {
    await Promise.resolve();
    log.push(name);
  },
});
const logged = () => log.splice(0);

await check("`using` closes a handle at the end of its block", () => {
  {
    using key = Key.open("a");
    using other = key.dup();
    equal([other.value, key.refCount, logged()], ["a", 2, []]);
  }
  equal([logged(), Key.stats.live], [["a"], 0]);
});

await check("closing early inside `using` is legal, a second time is the assertion", () => {
  {
    using key = Key.open("a");
    key.decrRef();
    refused(() => key.decrRef(), "ERR_REFCOUNT");
  }
  equal(logged(), ["a"]);
});

await check("`using` a context pays for what it owns, past failing frees", () => {
  const body = () => {
    using memory = new AutoMemory();
    for (const name of ["a", "bad 1", "b", "bad 2"]) memory.open(Key, name);
    throw new RangeError("the body fails");
  };
  const error = refused(body, "SuppressedError");
  if (globalThis.SuppressedError !== undefined) {
    ok(error instanceof SuppressedError && SuppressedError === globalThis.SuppressedError, "the language's own class");
  }
  equal(
    [error.suppressed.message, error.error.error.message, error.error.suppressed.message],
    ["the body fails", "bad 1", "bad 2"],
  );
  equal(logged(), ["bad 2", "b", "bad 1", "a"]);
});

await check("`await using` waits for handles and contexts", async () => {
  {
    await using link = await Link.open("a");
    await using memory = new AsyncAutoMemory();
    await memory.open(Link, "b");
    memory.hold(link);
    equal(logged(), []);
  }
  equal([logged(), Link.stats.live], [["b", "a"], 0]);
  const body = async () => {
    await using memory = new AsyncAutoMemory();
    memory.open(Key, "bad");
  };
  await rejected(body(), "Error");
  equal(logged(), ["bad"]);
});

await check("`for (using ...)` closes one handle per turn", () => {
  for (using key of ["a", "b"].map((name) => Key.open(name))) equal(key.alive, true);
  equal(logged(), ["a", "b"]);
});

await check("the language's own stacks own handles, and a context owns a stack", () => {
  if (typeof DisposableStack !== "function") return;
  using memory = new AutoMemory();
  const stack = memory.use(new DisposableStack());
  const key = stack.use(Key.open("a"));
  stack.use(Handle.of("b", (name) => void log.push(name)));
  memory.freeAll();
  equal([stack.disposed, key.alive, logged()], [true, false, ["b", "a"]]);
});

done();
