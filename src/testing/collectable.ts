import { isThenable } from "../account";
import { unfit } from "../errors";
import { pause } from "../leaks/clock";
import { collectAll } from "../leaks/settle";

const ROUNDS = 10;

/**
 * Asserts that what `make` makes can be collected once nobody holds it: nothing else, such as a cache or a listener,
 * keeps it alive. A canary planted beside it shows that collection could be seen.
 *
 * @param make Makes an object, or a promise of one, and keeps no reference to it.
 * @throws {Error} If the object is still reachable, and where collection cannot be asked for or seen.
 */
export async function assertCollectable(make: () => object | PromiseLike<object>): Promise<void> {
  if (typeof make !== "function") {
    throw unfit("assert", "a function", make);
  }
  const made = await reference(make);
  for (let round = 0; round < ROUNDS; round++) {
    // A weak reference that was made or read keeps its target until the end of the job.
    await pause();
    await collectAll();
    if (made.deref() === undefined) return;
  }
  throw new Error("Expected the object to be collectable: it is still reachable after everything else was collected");
}

/** In calls of their own, which end: no frame that waits has seen the object. */
function reference(make: () => object | PromiseLike<object>): WeakRef<object> | Promise<WeakRef<object>> {
  const made = make();
  return isThenable(made) ? Promise.resolve(made as PromiseLike<object>).then(weakly) : weakly(made);
}

function weakly(made: object): WeakRef<object> {
  if ((typeof made !== "object" || made === null) && typeof made !== "function") {
    throw unfit("assert", "an object to be made", made);
  }
  return new WeakRef(made);
}
