// What can be observed of an AsyncDisposableStack, as a log, ticks of the microtask queue included. Run by itself it
// prints the log of the runtime's own class.
import {
  asyncDisposeSymbol,
  attempt,
  brands,
  disposeSymbol,
  failure,
  keyOf,
  oddities,
  shape,
  show,
  spy,
  thenable,
} from "./disposable-stack.mjs";

const turn = () => new Promise((resolve) => setTimeout(resolve));

/** @param {any} Stack the class to observe */
export async function observe(Stack) {
  const lines = [];
  let section = "";
  const log = (line) => lines.push(`${section}: ${line}`);
  const dispose = disposeSymbol;
  const asyncDispose = asyncDisposeSymbol;

  /** How the promise settles, and in which turn of the microtask queue. */
  const settled = async (start, note = "") => {
    let ticks = 0;
    let done = false;
    const count = async () => {
      while (!done && ticks < 50) {
        await undefined;
        ticks++;
      }
    };
    let promise;
    try {
      promise = start();
    } catch (error) {
      log(`${note} throws synchronously ${show(error)}`);
      return;
    }
    log(`${note} gives a ${promise?.constructor === Promise ? "promise" : show(promise)}`);
    const counting = count();
    let said = "";
    promise.then(
      (value) => {
        said = `resolves ${show(value)}`;
        done = true;
      },
      (error) => {
        said = `rejects ${show(error)}`;
        done = true;
      },
    );
    await turn();
    await counting;
    log(`${note} ${said || "is pending"} after ${ticks} tick(s)`);
  };

  section = "shape";
  shape(Stack, ["use", "adopt", "defer", "move", "disposeAsync", "disposed", asyncDispose], log);
  log(`disposeAsync is [Symbol.asyncDispose]: ${Stack.prototype.disposeAsync === Stack.prototype[asyncDispose]}`);
  log(`no [Symbol.dispose]: ${dispose in Stack.prototype}`);

  section = "brand";
  brands(
    Stack,
    [
      ["use", "spy"],
      ["use", null],
      ["adopt", 1, "spy"],
      ["adopt", 1, 1],
      ["defer", "spy"],
      ["defer", 1],
      ["move"],
      ["disposed"],
    ],
    log,
  );
  for (const receiver of [...oddities, Stack.prototype, Object.create(Stack.prototype), new Proxy(new Stack(), {})]) {
    await settled(() => Reflect.apply(Stack.prototype.disposeAsync, receiver, []), `disposeAsync on ${show(receiver)}`);
  }
  {
    const reads = [];
    await settled(() => Reflect.apply(Stack.prototype.disposeAsync, spy(reads), []), "disposeAsync on a spy");
    log(`reads ${reads}`);
  }

  section = "use arguments";
  for (const value of oddities) {
    log(`${show(value)} ${attempt(() => new Stack().use(value))}`);
    for (const symbol of [asyncDispose, dispose]) {
      log(`${keyOf(symbol)} ${show(value)} ${attempt(() => new Stack().use({ [symbol]: value }))}`);
    }
    log(`both, async ${show(value)} ${attempt(() => new Stack().use({ [asyncDispose]: value, [dispose]() {} }))}`);
    log(`adopt with ${show(value)} ${attempt(() => new Stack().adopt(1, value))}`);
    log(`defer ${show(value)} ${attempt(() => new Stack().defer(value))}`);
  }
  log(
    `nothing ${attempt(() => new Stack().use())} ${attempt(() => new Stack().adopt())} ${attempt(() => new Stack().defer())}`,
  );

  section = "use reads";
  for (const asyncMethod of [undefined, null, 5, () => {}]) {
    for (const method of [undefined, null, 5, () => {}]) {
      const reads = [];
      const stack = new Stack();
      const value = spy(reads, { [asyncDispose]: asyncMethod, [dispose]: method });
      log(`${show(asyncMethod)} and ${show(method)} ${attempt(() => stack.use(value) === value)} reads ${reads}`);
      await settled(() => stack.disposeAsync());
      log(`reads ${reads.length}`);
    }
  }
  for (const symbol of [asyncDispose, dispose]) {
    const throwing = Object.defineProperty({}, symbol, {
      get() {
        throw failure("getter");
      },
    });
    log(`getter that throws ${attempt(() => new Stack().use(throwing))}`);
  }
  {
    const stack = new Stack();
    const value = { [asyncDispose]: () => log("the method at use runs") };
    stack.use(value);
    value[asyncDispose] = () => log("a later method runs");
    await stack.disposeAsync();
  }

  section = "calls";
  for (const way of ["use", "use sync", "adopt", "defer"]) {
    const stack = new Stack();
    const value = {};
    function called(...args) {
      const self = this === undefined ? "undefined" : this === value ? "the value" : typeof this;
      log(`${way}: this is ${self}, ${args.length} argument(s), the value ${args[0] === value}`);
      return "ignored";
    }
    value[way === "use sync" ? dispose : asyncDispose] = called;
    const returned = way.startsWith("use")
      ? stack.use(value)
      : way === "adopt"
        ? stack.adopt(value, called)
        : stack.defer(called);
    log(`${way} returns ${returned === value ? "the value" : show(returned)}`);
    await settled(() => stack.disposeAsync(), way);
  }
  for (const value of oddities) {
    const stack = new Stack();
    log(`adopt ${show(value)} ${attempt(() => stack.adopt(value, (got) => log(`gets ${got === value}`)))}`);
    await stack.disposeAsync();
  }
  {
    const reads = [];
    const stack = new Stack();
    stack.adopt(spy(reads), () => {});
    stack.defer(spy(reads, () => {}));
    await stack.disposeAsync();
    attempt(() => stack.adopt(spy(reads), spy(reads)));
    attempt(() => new Stack().adopt(spy(reads), spy(reads)));
    attempt(() => new Stack().defer(spy(reads)));
    log(`adopt and defer read ${reads}`);
  }

  section = "ticks";
  const entries = {
    null: (stack) => stack.use(null),
    undefined: (stack) => stack.use(undefined),
    "async method": (stack) => stack.use({ async [asyncDispose]() {} }),
    "async method, plain result": (stack) => stack.use({ [asyncDispose]: () => 5 }),
    "sync method": (stack) => stack.use({ [dispose]() {} }),
    "sync method, promise": (stack) => stack.use({ [dispose]: () => new Promise(() => {}) }),
    "sync method, thenable": (stack) => stack.use({ [dispose]: () => thenable(() => log("then was called")) }),
    thenable: (stack) => stack.use({ [asyncDispose]: () => thenable((resolve) => resolve()) }),
    adopt: (stack) => stack.adopt(1, () => {}),
    "async defer": (stack) => stack.defer(async () => {}),
    "late defer": (stack) => stack.defer(() => Promise.resolve().then(() => {})),
    "async method that throws": (stack) =>
      stack.use({
        [asyncDispose]() {
          throw failure("a");
        },
      }),
    "sync method that throws": (stack) =>
      stack.use({
        [dispose]() {
          throw failure("s");
        },
      }),
    "defer that throws": (stack) =>
      stack.defer(() => {
        throw failure("d");
      }),
    "defer that rejects": (stack) => stack.defer(() => Promise.reject(failure("r"))),
  };
  await settled(() => new Stack().disposeAsync(), "nothing");
  for (const [a, first] of Object.entries(entries)) {
    const stack = new Stack();
    first(stack);
    await settled(() => stack.disposeAsync(), a);
    await settled(() => stack.disposeAsync(), `${a}, again`);
    for (const [b, second] of Object.entries(entries)) {
      const pair = new Stack();
      first(pair);
      second(pair);
      await settled(() => pair[asyncDispose](), `${a} + ${b}`);
    }
  }
  {
    const stack = new Stack();
    let n = 0;
    let over = false;
    const each = (name, result) => () => {
      log(`${name} runs in tick ${n}`);
      return result();
    };
    stack.defer(each("first", () => {}));
    stack.use({ [dispose]: each("sync", () => {}) });
    stack.use(null);
    stack.defer(each("async", async () => {}));
    stack.use({ [asyncDispose]: each("late", () => Promise.resolve().then(() => {})) });
    const done = stack.disposeAsync().then(() => {
      over = true;
    });
    log("the last one has run synchronously");
    while (!over && n < 50) {
      await undefined;
      n++;
    }
    await done;
    log(`over in tick ${n}`);
  }

  section = "order";
  {
    const stack = new Stack();
    stack.defer(async () => {
      await turn();
      log("1");
    });
    stack.use({ [dispose]: () => log("2") });
    stack.adopt(3, async (n) => {
      await turn();
      log(`${n}`);
    });
    stack.use(undefined);
    log(`disposed ${stack.disposed}`);
    const done = stack.disposeAsync();
    log(`at once: disposed ${stack.disposed}`);
    await settled(() => stack.disposeAsync(), "a second call while the first is under way");
    await done;
    log("done");
  }

  section = "after the end";
  for (const end of ["disposeAsync", "move"]) {
    const stack = new Stack();
    stack[end]();
    const reads = [];
    for (const value of [spy(reads), null, undefined, 5]) log(`use ${show(value)} ${attempt(() => stack.use(value))}`);
    log(
      `adopt ${attempt(() => stack.adopt(1, () => {}))} ${attempt(() => stack.adopt(1, 1))} ${attempt(() => stack.adopt())}`,
    );
    log(`defer ${attempt(() => stack.defer(() => {}))} ${attempt(() => stack.defer(1))}`);
    log(`move ${attempt(() => stack.move())} disposed ${stack.disposed} reads ${reads}`);
    await settled(() => stack.disposeAsync(), "disposeAsync");
  }

  section = "move";
  {
    class Sub extends Stack {}
    const stack = new Sub();
    stack.defer(() => log("the moved one runs"));
    const moved = stack.move();
    log(`${moved === stack} ${moved instanceof Sub} ${Object.getPrototypeOf(moved) === Stack.prototype}`);
    log(`${stack.disposed} ${moved.disposed}`);
    await stack.disposeAsync();
    moved.defer(() => log("a later one runs"));
    await moved.disposeAsync();
    const nulls = new Stack();
    nulls.use(null);
    const taken = nulls.move();
    await settled(() => nulls.disposeAsync(), "null, the old one");
    await settled(() => taken.disposeAsync(), "null, moved");
  }

  section = "failures";
  const failing = async (errors) => {
    const stack = new Stack();
    for (const [i, error] of errors.entries()) {
      if (i % 3 === 0) stack.defer(() => Promise.reject(error));
      if (i % 3 === 1)
        stack.use({
          [dispose]() {
            throw error;
          },
        });
      if (i % 3 === 2)
        stack.use({
          [asyncDispose]() {
            throw error;
          },
        });
      stack.defer(() => log("runs between"));
    }
    await settled(() => stack.disposeAsync(), `${errors.length} failure(s)`);
    log(`disposed ${stack.disposed}`);
    await settled(() => stack.disposeAsync(), "again");
  };
  await failing([failure("only")]);
  await failing([failure("first"), failure("second"), failure("third"), failure("fourth")]);
  await failing([undefined, null]);

  section = "re-entrancy";
  {
    const stack = new Stack();
    stack.defer(() => log("the first added runs last"));
    stack.defer(async () => {
      log(`inside: disposed ${stack.disposed}`);
      log(`inside: use ${attempt(() => stack.use({ [dispose]() {} }))}`);
      log(`inside: defer ${attempt(() => stack.defer(() => {}))}`);
      log(`inside: move ${attempt(() => stack.move())}`);
      await stack.disposeAsync();
      log("inside: a second disposeAsync did not wait");
      throw failure("inside");
    });
    stack.defer(() => log("the last added runs first"));
    await settled(() => stack.disposeAsync(), "dispose");
  }
  {
    const outer = new Stack();
    const inner = outer.use(new Stack());
    inner.defer(async () => log("inner"));
    outer.defer(() => log("outer"));
    await outer.disposeAsync();
    log(`inner disposed ${inner.disposed}`);
  }
  return lines;
}

if (globalThis.process?.argv[1]?.endsWith("async-disposable-stack.mjs")) {
  process.stdout.write(JSON.stringify(await observe(globalThis.AsyncDisposableStack)));
}
