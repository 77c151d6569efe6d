// Compiled with lib esnext.disposable or @types/node, as a user of the using statement does.
import { AsyncAutoMemory, AutoMemory, defineAsyncResource, Handle } from "lastref";

export async function statements(): Promise<void> {
  const Link = defineAsyncResource({ kind: "link", open: async (to: string) => to, free: async () => {} });
  using handle = Handle.of(1, () => {});
  using memory = new AutoMemory();
  await using link = await Link.open("a");
  await using context = new AsyncAutoMemory();
  memory.use(handle.dup());
  context.use(link.dup());
  const disposable: Disposable = memory;
  const asyncDisposable: AsyncDisposable = context;
  return void [disposable, asyncDisposable];
}
