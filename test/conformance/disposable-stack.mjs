// What can be observed of a DisposableStack, as a log: the same lines from the language's own class and from another
// one that claims to behave alike. Run by itself it prints the log of the runtime's own class.

export const disposeSymbol = Symbol.dispose ?? Symbol.for("Symbol.dispose");
export const asyncDisposeSymbol = Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose");

/** @param {any} value what is logged of it: errors by class and text of ours, functions and objects by type */
export function show(value) {
  if (value instanceof Error) {
    const name = value.name === "SuppressedError" ? "SuppressedError" : value.constructor.name;
    if (name === "SuppressedError") return `SuppressedError(${show(value.error)} over ${show(value.suppressed)})`;
    return value.ours ? `${name}(${value.message})` : name;
  }
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "symbol" || typeof value === "bigint") return String(value);
  if (value === null || (typeof value !== "object" && typeof value !== "function")) return String(value);
  return typeof value;
}

/** How a key is written down: the runtimes describe their dispose symbols differently. */
export function keyOf(key) {
  if (key === disposeSymbol) return "[Symbol.dispose]";
  return key === asyncDisposeSymbol ? "[Symbol.asyncDispose]" : String(key);
}

/** The property `name` of a prototype, own or inherited. */
function member(Stack, name) {
  for (let on = Stack.prototype; on !== null; on = Object.getPrototypeOf(on)) {
    const descriptor = Object.getOwnPropertyDescriptor(on, name);
    if (descriptor !== undefined) return descriptor;
  }
  throw new Error(`no ${String(name)}`);
}

/** An object with nothing but a `then`. */
export function thenable(then) {
  const object = {};
  Reflect.set(object, "then", then);
  return object;
}

export function failure(message, Class = Error) {
  return Object.assign(new Class(message), { ours: true });
}

/** Calls `body`, and gives what it returned or threw as text. */
export function attempt(body) {
  try {
    return `-> ${show(body())}`;
  } catch (error) {
    return `throws ${show(error)}`;
  }
}

/** Everything that is no object, no callable, and the like. */
export const oddities = [undefined, null, true, false, 0, 1, "", "text", Symbol("s"), 1n, {}, [], () => {}];

/** The shape of the class and of its members. `names` are those of the prototype that the language settles. */
export function shape(Stack, names, log) {
  log(
    `constructor: ${typeof Stack}, length ${Stack.length}, prototype of ${Object.getPrototypeOf(Stack) === Function.prototype}`,
  );
  log(`call without new ${attempt(() => Reflect.apply(Stack, undefined, []))}`);
  log(`new: own keys ${Reflect.ownKeys(new Stack()).length}, instance ${new Stack() instanceof Stack}`);
  const prototype = Object.getOwnPropertyDescriptor(Stack, "prototype");
  log(`prototype: ${prototype.writable} ${prototype.enumerable} ${prototype.configurable}`);
  log(`prototype of prototype: ${Object.getPrototypeOf(Stack.prototype) === Object.prototype}`);
  log(`constructor property: ${Stack.prototype.constructor === Stack}`);
  for (const name of names) {
    const d = member(Stack, name);
    const value = d.value ?? d.get;
    const kind = d.get ? `get, set ${d.set}` : `writable ${d.writable}`;
    log(`${keyOf(name)}: ${kind}, enumerable ${d.enumerable}, configurable ${d.configurable}`);
    log(`${keyOf(name)}: function named ${value.name}, length ${value.length}`);
    log(`${keyOf(name)}: own prototype ${Object.hasOwn(value, "prototype")}`);
    log(`${keyOf(name)}: new ${attempt(() => Reflect.construct(value, []))}`);
  }
  class Sub extends Stack {}
  log(`subclass: ${new Sub() instanceof Sub} ${Object.getPrototypeOf(new Sub()) === Sub.prototype}`);
  const Other = function Other() {};
  log(`newTarget: ${Object.getPrototypeOf(Reflect.construct(Stack, [], Other)) === Other.prototype}`);
  const reads = [];
  Reflect.construct(Stack, [], spy(reads, class {}));
  log(`of newTarget are read ${reads}`);
}

/** Brand checks: every member on every wrong receiver. */
export function brands(Stack, members, log) {
  for (const [name, ...args] of members) {
    for (const receiver of [...oddities, Stack.prototype, Object.create(Stack.prototype), new Proxy(new Stack(), {})]) {
      const descriptor = member(Stack, name);
      const method = descriptor.value ?? descriptor.get;
      const touched = [];
      const said = args.map((arg) => (arg === "spy" ? spy(touched) : arg));
      log(`${keyOf(name)} on ${show(receiver)} ${attempt(() => Reflect.apply(method, receiver, said))} ${touched}`);
    }
  }
}

/** An object whose every property that is read is written to `reads`. */
export function spy(reads, on = {}) {
  return new Proxy(on, {
    get(target, key, receiver) {
      reads.push(`get ${keyOf(key)}`);
      return Reflect.get(target, key, receiver);
    },
    has(target, key) {
      reads.push(`has ${keyOf(key)}`);
      return Reflect.has(target, key);
    },
    getPrototypeOf(target) {
      reads.push("getPrototypeOf");
      return Reflect.getPrototypeOf(target);
    },
    ownKeys(target) {
      reads.push("ownKeys");
      return Reflect.ownKeys(target);
    },
    getOwnPropertyDescriptor(target, key) {
      reads.push(`descriptor ${keyOf(key)}`);
      return Reflect.getOwnPropertyDescriptor(target, key);
    },
  });
}

/** @param {any} Stack the class to observe */
export function observe(Stack) {
  const lines = [];
  let section = "";
  const log = (line) => lines.push(`${section}: ${line}`);
  const dispose = disposeSymbol;

  section = "shape";
  shape(Stack, ["use", "adopt", "defer", "move", "dispose", "disposed", dispose], log);
  log(`dispose is [Symbol.dispose]: ${Stack.prototype.dispose === Stack.prototype[dispose]}`);

  section = "brand";
  const members = [
    ["use", "spy"],
    ["use", null],
    ["adopt", 1, "spy"],
    ["adopt", 1, 1],
    ["defer", "spy"],
    ["defer", 1],
  ];
  brands(Stack, [...members, ["move"], ["dispose"], ["disposed"], [dispose]], log);

  section = "use arguments";
  for (const value of oddities) {
    log(`${show(value)} ${attempt(() => new Stack().use(value))}`);
    log(`method ${show(value)} ${attempt(() => typeof new Stack().use({ [dispose]: value }))}`);
    log(
      `on a function ${show(value)} ${attempt(() => typeof new Stack().use(Object.assign(() => {}, { [dispose]: value })))}`,
    );
  }
  log(`nothing ${attempt(() => new Stack().use())}`);
  log(`adopt nothing ${attempt(() => new Stack().adopt())}`);
  log(`defer nothing ${attempt(() => new Stack().defer())}`);
  Object.defineProperty(Number.prototype, dispose, {
    value: () => log("a number was disposed of"),
    configurable: true,
  });
  log(`a primitive whose prototype has the method ${attempt(() => new Stack().use(5))}`);
  delete Number.prototype[dispose];

  section = "use reads";
  {
    const reads = [];
    const stack = new Stack();
    const value = spy(reads, { [dispose]: () => log("disposed") });
    log(`returns the same ${stack.use(value) === value}`);
    log(`reads ${reads}`);
    stack.dispose();
    log(`reads ${reads}`);
  }
  for (const method of [undefined, null, 5, {}]) {
    const reads = [];
    const stack = new Stack();
    log(`${show(method)} ${attempt(() => stack.use(spy(reads, { [dispose]: method })))} reads ${reads}`);
    log(`left usable ${attempt(() => stack.dispose())}`);
  }
  {
    let got = 0;
    const stack = new Stack();
    const value = {
      get [dispose]() {
        const n = ++got;
        return () => log(`method ${n} runs`);
      },
    };
    stack.use(value);
    stack.use(value);
    stack.dispose();
    log(`got ${got} times`);
    const throwing = {
      get [dispose]() {
        throw failure("getter");
      },
    };
    log(`getter that throws ${attempt(() => new Stack().use(throwing))}`);
  }
  {
    const stack = new Stack();
    const value = { [dispose]: () => log("the method at use runs") };
    stack.use(value);
    value[dispose] = () => log("a later method runs");
    stack.dispose();
  }

  section = "calls";
  for (const way of ["use", "adopt", "defer"]) {
    const stack = new Stack();
    const value = {};
    function called(...args) {
      const self = this === undefined ? "undefined" : this === value ? "the value" : typeof this;
      log(`${way}: this is ${self}, ${args.length} argument(s), the value ${args[0] === value}`);
      return "ignored";
    }
    value[dispose] = called;
    const returned =
      way === "use" ? stack.use(value) : way === "adopt" ? stack.adopt(value, called) : stack.defer(called);
    log(`${way} returns ${returned === value ? "the value" : show(returned)}`);
    log(`dispose ${attempt(() => stack.dispose())}`);
  }
  for (const value of oddities) {
    const stack = new Stack();
    log(
      `adopt ${show(value)} ${attempt(() => stack.adopt(value, (got) => log(`gets ${show(got)} ${got === value}`)))}`,
    );
    stack.dispose();
    log(`adopt with ${show(value)} ${attempt(() => new Stack().adopt(1, value))}`);
    log(`defer ${show(value)} ${attempt(() => new Stack().defer(value))}`);
  }
  {
    const reads = [];
    const stack = new Stack();
    stack.adopt(spy(reads), () => {});
    stack.defer(spy(reads, () => {}));
    stack.dispose();
    log(`adopt and defer read ${reads}`);
    const refused = [
      () => stack.adopt(spy(reads), spy(reads)),
      () => new Stack().adopt(spy(reads), spy(reads)),
      () => new Stack().defer(spy(reads)),
    ];
    for (const call of refused) log(`refused: ${attempt(call)} reads ${reads}`);
  }

  section = "order";
  {
    const stack = new Stack();
    stack.defer(() => log("1"));
    stack.use({ [dispose]: () => log("2") });
    stack.adopt(3, (n) => log(`${n}`));
    stack.use(null);
    stack.use(undefined);
    const twice = { [dispose]: () => log("twice") };
    stack.use(twice);
    stack.use(twice);
    log(`disposed ${stack.disposed}`);
    log(`dispose ${attempt(() => stack.dispose())} disposed ${stack.disposed}`);
    log(`again ${attempt(() => stack.dispose())} ${attempt(() => stack[dispose]())}`);
  }

  section = "after the end";
  for (const end of ["dispose", "move"]) {
    const stack = new Stack();
    stack[end]();
    const reads = [];
    for (const value of [spy(reads), null, undefined, 5]) log(`use ${show(value)} ${attempt(() => stack.use(value))}`);
    log(
      `adopt ${attempt(() => stack.adopt(1, () => {}))} ${attempt(() => stack.adopt(1, 1))} ${attempt(() => stack.adopt())}`,
    );
    log(`defer ${attempt(() => stack.defer(() => {}))} ${attempt(() => stack.defer(1))}`);
    log(`move ${attempt(() => stack.move())}`);
    log(`dispose ${attempt(() => stack.dispose())} disposed ${stack.disposed} reads ${reads}`);
  }

  section = "move";
  {
    class Sub extends Stack {}
    const stack = new Sub();
    stack.defer(() => log("the moved one runs"));
    const moved = stack.move();
    log(`${moved === stack} ${moved instanceof Sub} ${Object.getPrototypeOf(moved) === Stack.prototype}`);
    log(`${stack.disposed} ${moved.disposed}`);
    stack.dispose();
    log("the old one was disposed of");
    moved.defer(() => log("a later one runs"));
    moved.dispose();
    class Species extends Stack {
      static get [Symbol.species]() {
        log("species is read");
        return Stack;
      }
    }
    Object.defineProperty(Species.prototype, "constructor", {
      get() {
        log("constructor is read");
        return Stack;
      },
    });
    new Species().move().dispose();
  }

  section = "failures";
  const failing = (...errors) => {
    const stack = new Stack();
    for (const error of errors) {
      stack.defer(() => {
        log(`runs ${show(error)}`);
        throw error;
      });
      stack.defer(() => log("runs between"));
    }
    return attempt(() => stack.dispose());
  };
  log(failing(failure("only")));
  log(failing(failure("first"), failure("second")));
  log(failing(failure("first"), failure("second", TypeError), failure("third")));
  log(failing(undefined));
  log(failing(null, undefined, 5));
  {
    const stack = new Stack();
    const a = failure("a");
    const b = failure("b");
    for (const error of [a, b])
      stack.defer(() => {
        throw error;
      });
    let caught;
    try {
      stack.dispose();
    } catch (error) {
      caught = error;
    }
    log(`error is the newer ${caught.error === a}, suppressed the older ${caught.suppressed === b}`);
    for (const key of ["error", "suppressed"]) {
      const d = Object.getOwnPropertyDescriptor(caught, key);
      log(`${key}: ${d.writable} ${d.enumerable} ${d.configurable}`);
    }
    log(`${caught instanceof Error} ${Object.prototype.toString.call(caught)} ${caught.name} ${typeof caught.message}`);
    log(`disposed ${stack.disposed}, again ${attempt(() => stack.dispose())}`);
  }

  section = "re-entrancy";
  {
    const stack = new Stack();
    stack.defer(() => log("the first added runs last"));
    stack.defer(() => {
      log(`inside: disposed ${stack.disposed}`);
      log(`inside: dispose ${attempt(() => stack.dispose())}`);
      log(`inside: use ${attempt(() => stack.use({ [dispose]() {} }))}`);
      log(`inside: defer ${attempt(() => stack.defer(() => {}))}`);
      log(`inside: move ${attempt(() => stack.move())}`);
      throw failure("inside");
    });
    stack.defer(() => log("the last added runs first"));
    log(`dispose ${attempt(() => stack.dispose())}`);
  }
  {
    const outer = new Stack();
    const inner = outer.use(new Stack());
    inner.defer(() => log("inner"));
    outer.defer(() => log("outer"));
    outer.dispose();
    log(`inner disposed ${inner.disposed}`);
  }

  section = "independence";
  {
    const stack = new Stack();
    const push = Array.prototype.push;
    const apply = Function.prototype.apply;
    const call = Function.prototype.call;
    const f = () => log("runs");
    f.call = f.apply = () => log("an own call or apply was used");
    Function.prototype.call = Function.prototype.apply = () => {
      throw failure("patched");
    };
    try {
      stack.defer(f);
      stack.adopt(1, f);
      stack.use({ [dispose]: f });
      stack.dispose();
    } finally {
      Function.prototype.call = call;
      Function.prototype.apply = apply;
      Array.prototype.push = push;
    }
  }
  return lines;
}

if (
  globalThis.process?.argv[1]?.endsWith("disposable-stack.mjs") &&
  !process.argv[1].endsWith("async-disposable-stack.mjs")
) {
  process.stdout.write(JSON.stringify(observe(globalThis.DisposableStack)));
}
