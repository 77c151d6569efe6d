import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { sourceOf } from "../run-ts.mjs";
import type { Snippet } from "./extract";

const root = join(import.meta.dirname, "../..");

/** Where an exported name comes from. */
interface Export {
  readonly from: string;
  readonly isType: boolean;
}

const config = ts.getParsedCommandLineOfConfigFile(join(root, "test/tsconfig.json"), undefined, {
  ...ts.sys,
  onUnRecoverableConfigFileDiagnostic: (diagnostic) => {
    throw new Error(ts.flattenDiagnosticMessageText(diagnostic.messageText, "\n"));
  },
});
const options: ts.CompilerOptions = {
  ...config?.options,
  noEmit: true,
  // A snippet shows one thing, and may leave the result lie.
  noUnusedLocals: false,
  noUnusedParameters: false,
};

const virtual = new Map<string, string>();
const host = ts.createCompilerHost(options, true);
const parsed = new Map<string, ts.SourceFile | undefined>();
const { fileExists, readFile, getSourceFile } = host;
host.fileExists = (path) => virtual.has(path) || fileExists(path);
host.readFile = (path) => virtual.get(path) ?? readFile(path);
host.getSourceFile = (path, ...rest) => {
  const code = virtual.get(path);
  if (code !== undefined) return ts.createSourceFile(path, code, ts.ScriptTarget.ESNext, true);
  if (!parsed.has(path)) parsed.set(path, getSourceFile(path, ...rest));
  return parsed.get(path);
};

/** The entries whose names a snippet may use without an import. The other ones act by being imported. */
export function entries(): string[] {
  const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { exports: object };
  const silent = ["./package.json", "./register", "./vitest"];
  return Object.keys(exports)
    .filter((key) => !silent.includes(key))
    .map((key) => key.replace(".", "lastref"));
}

let known: Map<string, Export> | undefined;

function exported(): Map<string, Export> {
  if (known !== undefined) return known;
  known = new Map();
  const files = entries().map((entry) => [entry, sourceOf(entry)] as const);
  const program = ts.createProgram(
    files.map(([, path]) => path),
    options,
    host,
  );
  const checker = program.getTypeChecker();
  for (const [from, path] of files) {
    const source = program.getSourceFile(path);
    const module = source && checker.getSymbolAtLocation(source);
    for (const symbol of module ? checker.getExportsOfModule(module) : []) {
      const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
      const isType = (target.flags & ts.SymbolFlags.Value) === 0;
      if (!known.has(symbol.name)) known.set(symbol.name, { from, isType });
    }
  }
  return known;
}

/** The snippet as a module, with imports of the names it uses on its first line. */
export function asModule(code: string): string {
  const file = ts.createSourceFile("snippet.ts", code, ts.ScriptTarget.ESNext, true);
  const used = new Set<string>();
  const declared = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node)) {
      const { parent } = node;
      const named = (parent as { name?: ts.Node }).name === node;
      if (ts.isPropertyAccessExpression(parent) && named) return;
      if (named && !ts.isPropertyAssignment(parent) && !ts.isShorthandPropertyAssignment(parent)) {
        // A method or a member of a type declares no name that could be meant elsewhere.
        if (!ts.isClassElement(parent) && !ts.isTypeElement(parent) && !ts.isObjectLiteralElement(parent)) {
          declared.add(node.text);
        }
      } else if (!(ts.isPropertyAssignment(parent) && named)) used.add(node.text);
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  const imports = new Map<string, string[]>();
  for (const name of used) {
    const known = exported().get(name);
    if (known === undefined || declared.has(name)) continue;
    const names = imports.get(known.from) ?? [];
    names.push(known.isType ? `type ${name}` : name);
    imports.set(known.from, names);
  }
  const lines = [...imports].map(([from, names]) => `import { ${names.join(", ")} } from "${from}"; `);
  return `${lines.join("")}${code}\nexport {};\n`;
}

/** Type-checks all snippets at once. The answer has the messages of each, in the order given. */
export function typeErrors(snippets: readonly Snippet[]): string[][] {
  virtual.clear();
  const paths = snippets.map((snippet, i) => {
    const path = join(root, "test/snippets", `snippet-${i}.ts`);
    virtual.set(path, asModule(snippet.code));
    return path;
  });
  const program = ts.createProgram(paths, options, host);
  return paths.map((path) => {
    const file = program.getSourceFile(path);
    const found = [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)];
    return found.map(({ start, messageText }) => {
      const line = file && start !== undefined ? file.getLineAndCharacterOfPosition(start).line : 0;
      return `line ${line + 1}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`;
    });
  });
}
