/** An object with nothing but a `then`: what a lazy query builder or a foreign promise looks like. */
export function thenable<T = unknown>(then: (...args: never[]) => unknown, on: object = {}): PromiseLike<T> {
  Reflect.set(on, "then", then);
  return on as PromiseLike<T>;
}
