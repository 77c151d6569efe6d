// The declarations of the two copies describe the same things, in both directions.
import type * as esm from "lastref" with { "resolution-mode": "import" };
import type * as cjs from "lastref" with { "resolution-mode": "require" };

type Both<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
function agree<T extends true>(): T | undefined {
  return undefined;
}

agree<Both<esm.Handle<string>, cjs.Handle<string>>>();
agree<Both<esm.AsyncHandle<string>, cjs.AsyncHandle<string>>>();
agree<Both<esm.WeakHandle<esm.Handle<string>>, cjs.WeakHandle<cjs.Handle<string>>>>();
agree<Both<esm.Loan<string>, cjs.Loan<string>>>();
agree<Both<esm.AsyncLoan<string>, cjs.AsyncLoan<string>>>();
agree<Both<esm.AutoMemory, cjs.AutoMemory>>();
agree<Both<esm.AsyncAutoMemory, cjs.AsyncAutoMemory>>();
agree<Both<esm.Resource<string, [number]>, cjs.Resource<string, [number]>>>();
agree<Both<esm.AsyncResource<string, [number]>, cjs.AsyncResource<string, [number]>>>();
agree<Both<esm.ResourceDefinition<string, [number]>, cjs.ResourceDefinition<string, [number]>>>();
agree<Both<esm.LastrefError, cjs.LastrefError>>();
agree<Both<esm.RefCountError, cjs.RefCountError>>();
agree<Both<typeof esm.Handle, typeof cjs.Handle>>();
agree<Both<typeof esm.AutoMemory, typeof cjs.AutoMemory>>();
agree<Both<typeof esm.defineResource, typeof cjs.defineResource>>();
