/**
 * Puts fault points into code that knows nothing of them, by the TypeScript compiler: what can be forced is found, not marked.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { build } from "esbuild";
import ts from "typescript";

/** Which functions of a file get points. What is written inside a function belongs to it. */
export interface Target {
  /** Relative to the project. */
  readonly file: string;
  /** `name`, `Class.method`, `Class.#method`, `Class.constructor`. @default all of the file */
  readonly functions?: readonly string[];
  /**
   * `"everywhere"`: before each statement, and at each call and `await`. Otherwise where the code leaves the library's
   * hands: at each call of a function that one of these types declares (what users write), and at each `await`.
   */
  readonly at: "everywhere" | readonly string[];
}

export interface Point {
  readonly id: number;
  readonly kind: "statement" | "call" | "await";
  readonly function: string;
  /** `src/handle-map.ts:12, this.options.open(key, context)` */
  readonly text: string;
}

/** A module with points in it. */
export interface Injected<M> {
  readonly module: M;
  readonly points: readonly Point[];
}

/** What the points call. */
export interface Hook {
  /** Before a call, an `await` or a statement. @returns What the next two are given. */
  before(id: number): number;
  /** After a call has done its work. @returns The result that the code goes on with. */
  called(at: number, result: unknown): unknown;
  /** @returns What is awaited instead of the operand. */
  awaited(at: number, operand: unknown): unknown;
  /** @returns Whether the function is to return here. */
  statement(id: number): boolean;
}

/** The name under which the points find it on the global object. */
const HOOK = "__lastrefFault";

/** Forces nothing. */
const QUIET: Hook = {
  before: (id) => id,
  called: (_, result) => result,
  awaited: (_, operand) => operand,
  statement: () => false,
};

/** @returns The hook that the points called before. */
export function setHook(hook: Hook): Hook {
  const hooks = globalThis as { [HOOK]?: Hook };
  const before = hooks[HOOK] ?? QUIET;
  hooks[HOOK] = hook;
  return before;
}

const root = process.cwd();

/**
 * Loads a copy of `modules` in which the targets have points. It is one bundle: whatever a trial uses of the library
 * comes from `module`.
 *
 * @throws {Error} If a function is not found, or has no point.
 */
export async function inject<M>(modules: readonly string[], targets: readonly Target[]): Promise<Injected<M>> {
  setHook(QUIET);
  const points: Point[] = [];
  const program = programOf(targets.map(({ file }) => file));
  const codes = new Map(targets.map((target) => [join(root, target.file), instrument(program, target, points)]));
  const directory = mkdtempSync(join(tmpdir(), "lastref-inject-"));
  const contents = modules.map((path) => `export * from ${JSON.stringify(join(root, path))};`).join("\n");
  try {
    const { outputFiles } = await build({
      stdin: { contents, resolveDir: root },
      logLevel: "error",
      bundle: true,
      write: false,
      format: "esm",
      platform: "node",
      target: "node20",
      external: ["node:*", "typescript", "esbuild"],
      plugins: [
        {
          name: "inject",
          setup(builder) {
            builder.onLoad({ filter: /\.ts$/ }, ({ path }) => {
              const contents = codes.get(path);
              return contents === undefined ? undefined : { contents, loader: "ts" };
            });
          },
        },
      ],
    });
    const path = join(directory, "module.mjs");
    writeFileSync(path, outputFiles[0]?.text ?? "");
    return { module: (await import(/* @vite-ignore */ pathToFileURL(path).href)) as M, points };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

function programOf(files: readonly string[]): ts.Program {
  const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile);
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  return ts.createProgram(
    files.map((file) => join(root, file)),
    { ...options, types: [] },
  );
}

function instrument(program: ts.Program, target: Target, points: Point[]): string {
  const source = program.getSourceFile(join(root, target.file));
  if (source === undefined) throw new Error(`Cannot inject into ${target.file}: there is no such file`);
  const injector = new Injector(program.getTypeChecker(), source, target, points);
  const { transformed } = ts.transform(source, [injector.transform]);
  for (const name of target.functions ?? []) {
    if (!points.some((point) => point.function === name && point.text.startsWith(`${target.file}:`))) {
      throw new Error(`Cannot inject into ${name} of ${target.file}: it is not there, or has no point`);
    }
  }
  return ts.createPrinter().printFile(transformed[0] as ts.SourceFile);
}

/** The name of a function as a target gives it. */
function nameOf(node: ts.Node): string | undefined {
  if (ts.isFunctionDeclaration(node)) return node.name?.text;
  const isMember = ts.isMethodDeclaration(node) || ts.isAccessor(node) || ts.isPropertyDeclaration(node);
  if (!isMember && !ts.isConstructorDeclaration(node)) return undefined;
  const owner = ts.isClassLike(node.parent) ? (node.parent.name?.text ?? "") : "";
  return `${owner}.${isMember ? node.name.getText() : "constructor"}`;
}

class Injector {
  readonly #checker: ts.TypeChecker;
  readonly #source: ts.SourceFile;
  readonly #target: Target;
  readonly #points: Point[];
  /** The target that the visited node is in. */
  #inside: string | undefined = undefined;

  constructor(checker: ts.TypeChecker, source: ts.SourceFile, target: Target, points: Point[]) {
    this.#checker = checker;
    this.#source = source;
    this.#target = target;
    this.#points = points;
  }

  readonly transform: ts.TransformerFactory<ts.SourceFile> = (context) => {
    const visit = (node: ts.Node): ts.VisitResult<ts.Node> => {
      const name = nameOf(node);
      if (this.#inside === undefined && name !== undefined && (this.#target.functions?.includes(name) ?? true)) {
        this.#inside = name;
        const changed = ts.visitEachChild(node, visit, context);
        this.#inside = undefined;
        return changed;
      }
      if (this.#inside === undefined) return ts.visitEachChild(node, visit, context);
      return this.#inTarget(node, (child) => ts.visitEachChild(child, visit, context));
    };
    return (source) => ts.visitNode(source, visit) as ts.SourceFile;
  };

  /** @param deeper Visits what a node is made of. */
  #inTarget(node: ts.Node, deeper: <N extends ts.Node>(node: N) => N): ts.VisitResult<ts.Node> {
    const { factory } = ts;
    if (ts.isAwaitExpression(node)) {
      const id = this.#point("await", node);
      const { expression } = deeper(node);
      return factory.updateAwaitExpression(node, hook("awaited", hook("before", number(id)), expression));
    }
    if (ts.isCallExpression(node) && this.#isPoint(node)) {
      const id = this.#point("call", node);
      return hook("called", hook("before", number(id)), deeper(node));
    }
    if (this.#target.at === "everywhere" && ts.isStatement(node) && !ts.isBlock(node) && inList(node)) {
      const id = this.#point("statement", node);
      const force = factory.createIfStatement(hook("statement", number(id)), factory.createReturnStatement());
      const both = [force, deeper(node)] as const;
      // A branch without braces gets some.
      return ts.isBlock(node.parent) || ts.isCaseOrDefaultClause(node.parent) ? [...both] : factory.createBlock(both);
    }
    return deeper(node);
  }

  #point(kind: Point["kind"], node: ts.Node): number {
    const { line } = this.#source.getLineAndCharacterOfPosition(node.getStart(this.#source));
    const code = node.getText(this.#source).replace(/\s+/g, " ").replace(/;$/, "");
    const text = `${this.#target.file}:${line + 1}, ${code.length > 70 ? `${code.slice(0, 67)}...` : code}`;
    return this.#points.push({ id: this.#points.length, kind, function: this.#inside as string, text }) - 1;
  }

  #isPoint(call: ts.CallExpression): boolean {
    if (call.expression.kind === ts.SyntaxKind.SuperKeyword) return false;
    // In the middle of `a?.b().c()`: what follows is skipped together with it.
    if (ts.isOptionalChain(call) && ts.isOptionalChain(call.parent)) return false;
    const { at } = this.#target;
    if (at === "everywhere") return true;
    for (
      let node: ts.Node | undefined = this.#checker.getResolvedSignature(call)?.declaration;
      node;
      node = node.parent
    ) {
      if (ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node) || ts.isClassLike(node)) {
        return node.name !== undefined && at.includes(node.name.text);
      }
      if (ts.isFunctionLike(node) && "body" in node && node.body !== undefined) return false;
    }
    return false;
  }
}

/** A statement among others, or a branch. What a loop or a `for` is headed by is neither. */
function inList(node: ts.Statement): boolean {
  const { parent } = node;
  if (ts.isBlock(parent) || ts.isCaseOrDefaultClause(parent)) return true;
  return ts.isIfStatement(parent) || ts.isIterationStatement(parent, false);
}

function hook(method: string, ...args: ts.Expression[]): ts.CallExpression {
  const { factory } = ts;
  const object = factory.createPropertyAccessExpression(factory.createIdentifier("globalThis"), HOOK);
  return factory.createCallExpression(factory.createPropertyAccessExpression(object, method), undefined, args);
}

function number(value: number): ts.Expression {
  return ts.factory.createNumericLiteral(value);
}
