// needs: node
import { createRequire } from "node:module";
import * as esm from "lastref";
import { check, done, equal, ok, refused } from "../harness.mjs";

const cjs = createRequire(import.meta.url)("lastref");

await check("the CommonJS copy has the same names", () => {
  const names = (copy) =>
    Object.keys(copy)
      .filter((name) => name !== "default" && name !== "module.exports")
      .sort();
  equal(names(cjs), names(esm));
});

await check("each copy's context owns the other copy's handles", () => {
  for (const [one, other] of [
    [esm, cjs],
    [cjs, esm],
  ]) {
    const log = [];
    one.AutoMemory.run((memory) => {
      const handle = memory.use(other.Handle.of("a", (name) => void log.push(name)));
      equal([handle.value, log], ["a", []]);
    });
    {
      using memory = new one.AutoMemory();
      memory.hold(memory.use(other.Handle.of("b", (name) => void log.push(name))));
    }
    equal(log, ["a", "b"]);
  }
});

await check("a panic set in one copy is heard of the other", () => {
  const heard = [];
  cjs.setPanic((error) => heard.push(error.code));
  try {
    const handle = esm.Handle.of("a", () => {});
    handle.decrRef();
    equal([handle.decrRef(), heard], [false, ["ERR_REFCOUNT"]]);
  } finally {
    esm.setPanic("throw");
  }
  const handle = cjs.Handle.of("a", () => {});
  handle.decrRef();
  ok(refused(() => handle.decrRef(), "ERR_REFCOUNT").message.startsWith("decrRefCount"), "the assertion");
});

done();
