// needs: DisposableStack
// What can be observed of a context is what can be observed of the runtime's own stacks, as one log each.
import { AsyncAutoMemory, AutoMemory } from "lastref";
import * as asynchronous from "../conformance/async-disposable-stack.mjs";
import * as synchronous from "../conformance/disposable-stack.mjs";
import { check, done, equal, ok } from "../harness.mjs";

/** The lines that tell the two apart. */
function differences(ours, native) {
  const lines = ours.flatMap((line, i) => (line === native[i] ? [] : [`ours: ${line}; native: ${native[i]}`]));
  return ours.length === native.length ? lines : [...lines, `${ours.length} and ${native.length} lines`];
}

await check("AutoMemory is a DisposableStack", () => {
  equal(differences(synchronous.observe(AutoMemory), synchronous.observe(globalThis.DisposableStack)), []);
});

await check("AsyncAutoMemory is an AsyncDisposableStack", async () => {
  const ours = await asynchronous.observe(AsyncAutoMemory);
  equal(differences(ours, await asynchronous.observe(globalThis.AsyncDisposableStack)), []);
});

await check("a class that differs is told apart", () => {
  class Eager extends AutoMemory {
    defer(onDispose) {
      super.defer(onDispose);
      super.defer(onDispose);
    }
  }
  ok(differences(synchronous.observe(Eager), synchronous.observe(AutoMemory)).length > 0, "differences");
});

done();
