import { isMisuse } from "./finds";
import { parseStack } from "./stack";
import type { HeapProfile, HeapProfileNode, LeakGroup } from "./types";

interface Node {
  readonly callFrame: HeapProfileNode["callFrame"];
  selfSize: number;
  readonly id: number;
  readonly children: Node[];
}

/**
 * The handles by call site, in the format of the V8 sampling heap profiler. A leaf's size is that of the handles opened
 * there; unless all sizes are known every handle counts as 1. Wrong calls hold nothing, and are not in it.
 */
export function heapProfile(all: readonly LeakGroup[], unit?: "count" | "bytes"): HeapProfile {
  const groups = all.filter((group) => !isMisuse(group));
  const width = unit ?? (groups.every((group) => group.bytes > 0) ? "bytes" : "count");
  let ids = 0;
  const nodeOf = (functionName: string, url = "", line = 0, column = 0): Node => ({
    callFrame: { functionName, scriptId: "0", url, lineNumber: line - 1, columnNumber: column - 1 },
    selfSize: 0,
    id: ++ids,
    children: [],
  });
  const head = nodeOf("(root)");
  const samples: { size: number; nodeId: number; ordinal: number }[] = [];
  for (const group of groups) {
    const size = width === "bytes" ? group.bytes : group.estimate;
    if (size === 0) continue;
    let node = head;
    // Outermost first, as a flame chart grows.
    const frames = parseStack(group.site.replaceAll(/^/gm, "    at ")).reverse();
    for (const { name, file, line, column } of frames) {
      const functionName = name === "" ? "(anonymous)" : name;
      let child = node.children.find(
        ({ callFrame: call }) =>
          call.functionName === functionName &&
          call.url === file &&
          call.lineNumber === line - 1 &&
          call.columnNumber === column - 1,
      );
      if (child === undefined) {
        child = nodeOf(functionName, file, line, column);
        node.children.push(child);
      }
      node = child;
    }
    const leaf = nodeOf(`${group.count} ${group.kind}, ${group.verdict}`);
    node.children.push(leaf);
    leaf.selfSize = size;
    samples.push({ size, nodeId: leaf.id, ordinal: samples.length + 1 });
  }
  return { head, samples };
}
