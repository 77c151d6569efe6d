export { LeakError } from "../errors";
export { settle } from "../leaks/settle";
export { assertNoLeaks } from "./assert";
export { assertCollectable } from "./collectable";
export { expectNoGrowth, type GrowthOptions } from "./growth";
export { type Hooks, leakGuard } from "./guard";
export { type LeakCheckOptions, withoutLeaks } from "./without-leaks";
