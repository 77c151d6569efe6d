import ts from "typescript";

/** What one line of a snippet claims about itself. */
export interface Claim {
  /** Counted from the snippet's first line, which is 0. */
  readonly line: number;
  readonly kind: "prints" | "is" | "throws";
  readonly text: string;
}

/** A snippet that reports what each of its claims came to, by a global function `claim`. */
export interface Instrumented {
  readonly code: string;
  readonly claims: readonly Claim[];
}

interface Edit {
  readonly at: number;
  readonly end: number;
  readonly text: string;
}

export function instrument(code: string): Instrumented {
  const file = ts.createSourceFile("snippet.ts", code, ts.ScriptTarget.ESNext, true);
  const claims: Claim[] = [];
  const edits: Edit[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isExpressionStatement(node)) {
      const found = claimOf(node, file);
      if (found !== undefined) edits.push(...editsFor(node, claims.push(found) - 1, found.kind, file));
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  let result = code;
  for (const { at, end, text } of edits.sort((a, b) => b.at - a.at)) {
    result = result.slice(0, at) + text + result.slice(end);
  }
  return { code: result, claims };
}

function claimOf(statement: ts.ExpressionStatement, file: ts.SourceFile): Claim | undefined {
  const [range] = ts.getTrailingCommentRanges(file.text, statement.end) ?? [];
  if (range === undefined || range.kind !== ts.SyntaxKind.SingleLineCommentTrivia) return undefined;
  const text = file.text.slice(range.pos + 2, range.end).trim();
  const { line } = file.getLineAndCharacterOfPosition(range.pos);
  if (logCall(statement) !== undefined) return { line, kind: "prints", text };
  const is = /^(true|false|undefined)(?=$|:)/.exec(text);
  if (is !== null) return { line, kind: "is", text: is[0] };
  const throws = /^throws (\w+(: .*)?)$/.exec(text);
  if (throws !== null) return { line, kind: "throws", text: throws[1] as string };
  return undefined;
}

function logCall({ expression }: ts.ExpressionStatement): ts.CallExpression | undefined {
  if (!ts.isCallExpression(expression) || expression.expression.getText() !== "console.log") return undefined;
  return expression;
}

function editsFor(node: ts.ExpressionStatement, claim: number, kind: Claim["kind"], file: ts.SourceFile): Edit[] {
  const { expression } = node;
  const start = expression.getStart(file);
  const call = logCall(node);
  if (kind === "prints" && call !== undefined) {
    const open = call.expression.end;
    const rest = call.arguments.length > 0 ? ", " : "";
    return [{ at: start, end: file.text.indexOf("(", open) + 1, text: `claim.prints(${claim}${rest}` }];
  }
  const [before, after] =
    kind === "is"
      ? [`claim.is(${claim}, (`, "))"]
      : ts.isAwaitExpression(expression)
        ? [`await claim.rejects(${claim}, async () => (`, "))"]
        : [`claim.throws(${claim}, () => (`, "))"];
  return [
    { at: start, end: start, text: before },
    { at: expression.end, end: expression.end, text: after },
  ];
}

/** The code that runs before a snippet and writes down what happens, as JSON into the file that `REPORT` names. */
export const harness = `
import { writeFileSync as write } from "node:fs";
import { format } from "node:util";
const seen = [];
let failure;
const text = (error) => (error instanceof Error ? error.name + ": " + error.message : "Uncaught " + format(error));
process.on("uncaughtExceptionMonitor", (error) => { failure = text(error); });
process.on("exit", () => write(process.env.REPORT, JSON.stringify({ seen, failure })));
const saw = (claim, text) => { seen.push([claim, text]); };
globalThis.claim = {
  prints(claim, ...values) { saw(claim, format(...values)); console.log(...values); },
  is(claim, value) { saw(claim, String(value)); return value; },
  throws(claim, call) { try { call(); } catch (error) { saw(claim, text(error)); return; } saw(claim, "nothing thrown"); },
  async rejects(claim, call) { try { await call(); } catch (error) { saw(claim, text(error)); return; } saw(claim, "nothing thrown"); },
};
`;
