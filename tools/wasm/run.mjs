// Runs a program compiled for wasm32-wasip1 with its arguments and environment; it sees no file. Node's own module for
// this, node:wasi, is not used: in Node 20 it crashes behind programs whose tests all passed.
import { getRandomValues } from "node:crypto";
import { writeSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { argv, env, exit, hrtime } from "node:process";

const BAD_FILE = 8;

class Exit {
  constructor(code) {
    this.code = code;
  }
}

const texts = (list) => list.map((text) => new TextEncoder().encode(`${text}\0`));
const programArguments = texts(argv.slice(2));
const variables = texts(Object.entries(env).map(([name, value]) => `${name}=${value}`));

const module = await WebAssembly.compile(await readFile(argv[2]));
let memory;
const bytes = (place, length) => new Uint8Array(memory.buffer, place, length);
const setNumber = (place, value) => new DataView(memory.buffer).setUint32(place, value, true);
const number = (place) => new DataView(memory.buffer).getUint32(place, true);

function giveSizes(list, count, length) {
  setNumber(count, list.length);
  setNumber(length, list.reduce((sum, text) => sum + text.length, 0));
  return 0;
}

function give(list, places, text) {
  for (const [index, item] of list.entries()) {
    setNumber(places + 4 * index, text);
    bytes(text, item.length).set(item);
    text += item.length;
  }
  return 0;
}

const functions = {
  args_sizes_get: (count, length) => giveSizes(programArguments, count, length),
  args_get: (places, text) => give(programArguments, places, text),
  environ_sizes_get: (count, length) => giveSizes(variables, count, length),
  environ_get: (places, text) => give(variables, places, text),
  clock_time_get(_clock, _precision, into) {
    new DataView(memory.buffer).setBigUint64(into, hrtime.bigint(), true);
    return 0;
  },
  random_get(into, length) {
    getRandomValues(bytes(into, length));
    return 0;
  },
  fd_write(file, parts, count, written) {
    let total = 0;
    for (let part = parts; part < parts + 8 * count; part += 8) {
      total += writeSync(file, bytes(number(part), number(part + 4)));
    }
    setNumber(written, total);
    return 0;
  },
  proc_exit(code) {
    throw new Exit(code);
  },
};
// Whatever else a program asks for is about files.
const imports = WebAssembly.Module.imports(module).map(({ name }) => [name, functions[name] ?? (() => BAD_FILE)]);
const instance = await WebAssembly.instantiate(module, { wasi_snapshot_preview1: Object.fromEntries(imports) });
memory = instance.exports.memory;
try {
  instance.exports._start();
} catch (error) {
  if (!(error instanceof Exit)) {
    throw error;
  }
  exit(error.code);
}
