export { settle } from "../leaks/settle";
export { assertNoLeaks } from "./assert";
export { assertCollectable } from "./collectable";
export { expectNoGrowth, type GrowthOptions } from "./growth";
export { type Hooks, leakGuard } from "./guard";
export { LeakError } from "./leak-error";
export { type LeakCheckOptions, withoutLeaks } from "./without-leaks";
