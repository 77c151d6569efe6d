// What the detector owes on every runtime, with collection exposed: node --expose-gc, deno --v8-flags=--expose-gc.
import { AutoMemory, Handle } from "lastref";
import { leakReport, liveHandles, settle, trackLeaks } from "lastref/leaks";
import { assertNoLeaks, withoutLeaks } from "lastref/testing";
import { check as checks, done, ok } from "../harness.mjs";

const check = (what, holds) => ok(holds, what);
const open = (label) => Handle.of(label, () => {}, { kind: "key", label });

const COUNT = 200;

class Connection {
  connect(label) {
    this.handle = open(label);
  }
}

await checks("collected", async () => {
  const leaks = [];
  using _tracking = trackLeaks({ level: "full", onLeak: (leak) => leaks.push(leak) });
  const kept = open("kept");
  // Far from this frame: an engine that scans its stack for anything that looks like a pointer finds few of them.
  const drop = (depth) => {
    if (depth > 0) return drop(depth - 1) + 0;
    for (let i = 0; i < COUNT; i++) {
      new Connection().connect("dropped");
      open("closed").decrRef();
      new AutoMemory().use(open("of a context"));
    }
    return 0;
  };
  drop(20);
  for (let round = 0; round < 3; round++) await settle();
  const of = (label) => leaks.filter((leak) => leak.label === label);
  const contexts = leaks.filter(({ kind }) => kind === "context");
  // A conservative collector keeps some: nearly all must be found, none twice, and nothing else.
  check(`dropped: ${of("dropped").length} of ${COUNT}`, of("dropped").length >= COUNT * 0.95);
  check(`dropped twice: ${of("dropped").length}`, of("dropped").length <= COUNT);
  check(`contexts: ${contexts.length} of ${COUNT}`, contexts.length >= COUNT * 0.95 && contexts.length <= COUNT);
  check("closed handles are no leaks", of("closed").length === 0);
  check(
    "what can be reached is no leak",
    of("kept").length === 0 && liveHandles().some(({ label }) => label === "kept"),
  );
  check(`a site: ${of("dropped")[0]?.opened}`, of("dropped")[0]?.opened.includes("leaks.mjs:"));
  check("the report", String(leakReport()).includes("dropped  key"));
  kept.decrRef();
});

await checks("exact", async () => {
  withoutLeaks(() => open("a").decrRef());
  const forgotten = [];
  let caught;
  try {
    withoutLeaks(() => forgotten.push(open("forgotten")));
  } catch (error) {
    caught = error;
  }
  check("a leak fails its body", caught?.code === "ERR_LEAK" && caught.message.includes("forgotten"));
  for (const handle of forgotten) handle.decrRef();
  using _tracking = trackLeaks();
  assertNoLeaks();
});

// A browser has nothing that follows a body through its awaits.
if (typeof process === "object") {
  await checks("bodies at once", async () => {
    const forgotten = [];
    const bodies = [
      withoutLeaks(async () => {
        await undefined;
        forgotten.push(open("guilty"));
      }),
      withoutLeaks(async () => {
        using _handle = open("clean");
        await new Promise((resolve) => setTimeout(resolve, 20));
      }),
    ];
    const outcomes = await Promise.allSettled(bodies);
    check("bodies at once are told apart", outcomes.map(({ status }) => status).join() === "rejected,fulfilled");
    for (const handle of forgotten) handle.decrRef();
  });
}

await checks("sites in errors", () => {
  using _tracking = trackLeaks();
  const handle = open("a");
  handle.decrRef();
  try {
    handle.decrRef();
  } catch (error) {
    check("the first close", error.code === "ERR_REFCOUNT" && error.closed.includes("leaks.mjs:"));
    check("the opening", error.opened.includes("leaks.mjs:"));
  }
});

done();
