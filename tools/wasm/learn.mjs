// Trains and predicts in WebAssembly, as a browser would: the module is given nothing. It may name what wasm-bindgen would
// write for it, since the reader of zip files can ask for random numbers; nothing here does.
import { readFile } from "node:fs/promises";
import { argv, exit } from "node:process";

const module = await WebAssembly.compile(await readFile(argv[2]));
const imports = {};
for (const { module: from, name } of WebAssembly.Module.imports(module)) {
  if (!from.startsWith("__wbindgen")) {
    console.error(`the module wants ${name} of ${from}`);
    exit(1);
  }
  imports[from] ??= {};
  imports[from][name] = () => {
    throw new Error(`the module called ${name}`);
  };
}
const { exports } = await WebAssembly.instantiate(module, imports);
for (const [name, learn] of [["mlp", exports.learn_mlp], ["cnn", exports.learn_cnn]]) {
  const begin = performance.now();
  const probability = learn();
  const seconds = ((performance.now() - begin) / 1000).toFixed(2);
  console.log(`${name}: a new picture's class has a probability of ${probability.toFixed(3)} at least, in ${seconds} s`);
  if (!(probability > 0.8)) {
    exit(1);
  }
}
