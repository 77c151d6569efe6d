export { leakReport, liveHandles } from "./report";
export { settle } from "./settle";
export { takeSnapshot } from "./snapshot";
export { touch } from "./touch";
export { trackLeaks } from "./tracking";
export type {
  Cached,
  Growth,
  HeapProfile,
  HeapProfileNode,
  Leak,
  LeakGroup,
  LeakReport,
  LeakReportJson,
  Level,
  LiveHandle,
  Snapshot,
  Touch,
  TrackOptions,
  Verdict,
} from "./types";
