// Native resources that every runtime has: the memory of a WebAssembly module, and the ports of a message channel.
import { AutoMemory, defineAsyncResource, defineResource } from "lastref";
import { check, done, equal, refused } from "../harness.mjs";

// (module (memory (export "memory") 1) with `allocate` giving out 1,024 bytes at a time, `release` taking the newest back
// and `taken` telling how many are out)
const allocator = new Uint8Array([
  0x00,
  0x61,
  0x73,
  0x6d,
  0x01,
  0x00,
  0x00,
  0x00, // "\0asm", version 1
  0x01,
  0x05,
  0x01,
  0x60,
  0x00,
  0x01,
  0x7f, // types: () -> i32
  0x03,
  0x04,
  0x03,
  0x00,
  0x00,
  0x00, // functions: three of that type
  0x05,
  0x03,
  0x01,
  0x00,
  0x01, // memory: one page
  0x06,
  0x06,
  0x01,
  0x7f,
  0x01,
  0x41,
  0x00,
  0x0b, // global: i32, mutable, 0
  0x07,
  0x27,
  0x04, // exports
  0x06,
  0x6d,
  0x65,
  0x6d,
  0x6f,
  0x72,
  0x79,
  0x02,
  0x00, // "memory"
  0x08,
  0x61,
  0x6c,
  0x6c,
  0x6f,
  0x63,
  0x61,
  0x74,
  0x65,
  0x00,
  0x00, // "allocate"
  0x07,
  0x72,
  0x65,
  0x6c,
  0x65,
  0x61,
  0x73,
  0x65,
  0x00,
  0x01, // "release"
  0x05,
  0x74,
  0x61,
  0x6b,
  0x65,
  0x6e,
  0x00,
  0x02, // "taken"
  0x0a,
  0x22,
  0x03, // code
  0x0f,
  0x00,
  0x23,
  0x00,
  0x41,
  0x01,
  0x6a,
  0x24,
  0x00,
  0x23,
  0x00,
  0x41,
  0x80,
  0x08,
  0x6c,
  0x0b, // ++n; n * 1024
  0x0b,
  0x00,
  0x23,
  0x00,
  0x41,
  0x01,
  0x6b,
  0x24,
  0x00,
  0x23,
  0x00,
  0x0b, // --n; n
  0x04,
  0x00,
  0x23,
  0x00,
  0x0b, // n
]);

await check("memory of a WebAssembly module is given back by the last account", async () => {
  const { instance } = await WebAssembly.instantiate(allocator);
  const { memory, allocate, release, taken } = instance.exports;
  const Piece = defineResource({
    kind: "wasm memory",
    open: () => new Uint8Array(memory.buffer, allocate(), 1024),
    free: () => void release(),
    bytes: 1024,
  });
  const [first, second] = [Piece.open(), Piece.open()];
  equal([first.value.byteOffset, second.value.byteOffset, taken(), Piece.stats.bytes], [1024, 2048, 2, 2048]);
  const reader = second.dup("reader");
  second.value.fill(7);
  second.decrRef();
  equal([reader.value[1023], taken()], [7, 2]);
  equal([reader.decrRef(), taken()], [true, 1]);
  refused(() => reader.decrRef(), "ERR_REFCOUNT");
  equal([first.decrRef(), taken(), Piece.stats.bytes], [true, 0, 0]);
  {
    using context = new AutoMemory();
    for (let i = 0; i < 10; i++) context.open(Piece);
    equal(taken(), 10);
  }
  equal([taken(), Piece.stats.live], [0, 0]);
});

await check("a message port is closed when its last holder has let go", async () => {
  const Port = defineResource({ kind: "port", free: (port) => port.close() });
  const { port1, port2 } = new MessageChannel();
  const [here, there] = [Port.wrap(port1), Port.wrap(port2)];
  const answerer = there.dup("answerer");
  there.decrRef();
  answerer.value.onmessage = ({ data }) => answerer.value.postMessage(data * 2);
  const answer = await new Promise((resolve) => {
    here.value.onmessage = ({ data }) => resolve(data);
    here.value.postMessage(21);
  });
  equal([answer, Port.stats.live], [42, 2]);
  AutoMemory.run((context) => {
    context.use(here);
    context.use(answerer);
  });
  equal([Port.stats.live, here.alive, answerer.alive], [0, false, false]);
  refused(() => here.value, "ERR_USE_AFTER_FREE");
});

await check("a stream's reader is released by an asynchronous free", async () => {
  const cancelled = [];
  const Reader = defineAsyncResource({
    kind: "reader",
    open: (stream) => stream.getReader(),
    free: async (reader) => {
      await reader.cancel("no longer needed");
      reader.releaseLock();
    },
  });
  const stream = new ReadableStream({
    pull: (controller) => controller.enqueue("piece"),
    cancel: (reason) => void cancelled.push(reason),
  });
  await using reader = await Reader.open(stream);
  await using other = reader.dup();
  equal([(await reader.value.read()).value, await reader.decrRef(), stream.locked], ["piece", false, true]);
  equal([await other.decrRef(), stream.locked, cancelled], [true, false, ["no longer needed"]]);
});

done();
