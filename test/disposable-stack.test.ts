import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { AutoMemory } from "../src/auto-memory";
import { observe } from "./conformance/disposable-stack.mjs";
import { nativeRuntime } from "./support/native-runtime";

const program = join(import.meta.dirname, "conformance", "disposable-stack.mjs");

describe("AutoMemory as a DisposableStack", () => {
  const ours = observe(AutoMemory);

  it.runIf(nativeRuntime)("gives the log that the language's own class gives", () => {
    const native: unknown = JSON.parse(execFileSync(nativeRuntime as string, [program], { encoding: "utf8" }));
    expect(ours).toEqual(native);
  });

  it("gives the log that was written down from the language's own class", async () => {
    await expect(`${ours.join("\n")}\n`).toMatchFileSnapshot("conformance/disposable-stack.log");
  });

  it("gives another log when it differs: the comparison can fail", () => {
    class Eager extends AutoMemory {
      override use<T extends Disposable | null | undefined>(value: T): T {
        void value?.[Symbol.dispose];
        return super.use(value);
      }
    }
    expect(observe(Eager)).not.toEqual(ours);
  });
});
