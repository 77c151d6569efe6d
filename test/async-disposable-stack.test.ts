import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { AsyncAutoMemory } from "../src/async-auto-memory";
import { observe } from "./conformance/async-disposable-stack.mjs";
import { nativeRuntime } from "./support/native-runtime";

const program = join(import.meta.dirname, "conformance", "async-disposable-stack.mjs");

describe("AsyncAutoMemory as an AsyncDisposableStack", async () => {
  const ours = await observe(AsyncAutoMemory);

  it.runIf(nativeRuntime)("gives the log that the language's own class gives", () => {
    const native: unknown = JSON.parse(execFileSync(nativeRuntime as string, [program], { encoding: "utf8" }));
    expect(ours).toEqual(native);
  });

  it("gives the log that was written down from the language's own class", async () => {
    await expect(`${ours.join("\n")}\n`).toMatchFileSnapshot("conformance/async-disposable-stack.log");
  });

  it("gives another log when it settles one tick later: the comparison can fail", async () => {
    class Late extends AsyncAutoMemory {
      override async disposeAsync(): Promise<void> {
        await super.disposeAsync();
      }
    }
    expect(await observe(Late)).not.toEqual(ours);
  });
});
