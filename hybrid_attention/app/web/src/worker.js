// Computes the model outside the page's own thread, one image after the other.
import * as ort from "onnxruntime-web/wasm";

let session;

async function start(folder) {
  const [binary, model] = await Promise.all([fetched(folder, "ort.wasm.gz"), fetched(folder, "model.onnx")]);
  ort.env.wasm.wasmBinary = isGzip(binary) ? await unzipped(binary) : binary; // some servers unzip by themselves
  ort.env.wasm.wasmPaths = { mjs: new URL("ort.mjs", folder).href };
  ort.env.wasm.numThreads = crossOriginIsolated ? Math.min(navigator.hardwareConcurrency ?? 1, 8) : 1;
  const facts = metadata(new Uint8Array(model));
  session = await ort.InferenceSession.create(new Uint8Array(model), { executionProviders: ["wasm"] });
  return { facts, threads: ort.env.wasm.numThreads };
}

async function fetched(folder, name) {
  const response = await fetch(new URL(name, folder));
  if (!response.ok) throw new Error(`${name} is missing on this server (status ${response.status})`);
  return response.arrayBuffer();
}

const isGzip = (buffer) => new DataView(buffer).getUint16(0) === 0x1f8b;
const unzipped = (buffer) =>
  new Response(new Blob([buffer]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();

// The metadata of an ONNX file: field 14 of its protobuf message, pairs of key (1) and value (2), each a string.
function metadata(bytes) {
  const facts = {};
  for (const [field, entry] of fields(bytes)) {
    if (field !== 14) continue;
    const [key, value] = [...fields(entry)].map(([, text]) => new TextDecoder().decode(text));
    facts[key] = value;
  }
  return facts;
}

function* fields(bytes) {
  let place = 0;
  const number = () => {
    let value = 0;
    for (let factor = 1; ; factor *= 128) {
      const byte = bytes[place++];
      value += (byte & 127) * factor;
      if (!(byte & 128)) return value;
    }
  };
  while (place < bytes.length) {
    const tag = number();
    const length = number(); // of a number field: its value
    if (tag % 8 === 2) yield [tag >> 3, bytes.subarray(place, (place += length))];
    else if (tag % 8 !== 0) throw new Error("model.onnx is not an ONNX file");
  }
}

// rgba: the pixels of an ImageData
async function predict({ rgba, width, height }) {
  const rgb = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    rgb[to++] = rgba[from];
    rgb[to++] = rgba[from + 1];
    rgb[to++] = rgba[from + 2];
  }
  const begin = performance.now();
  const found = await session.run({ image: new ort.Tensor("uint8", rgb, [height, width, 3]) });
  return {
    probability: found.probability.data,
    classes: [...found.class_probability.data],
    expectedDice: found.expected_dice.data[0],
    milliseconds: performance.now() - begin,
  };
}

let queue = Promise.resolve();
self.onmessage = ({ data: { id, task, content } }) => {
  queue = queue.then(async () => {
    try {
      const result = await (task === "start" ? start(content) : predict(content));
      self.postMessage({ id, result }, result.probability ? [result.probability.buffer] : []);
    } catch (error) {
      self.postMessage({ id, error: String(error?.message ?? error) });
    }
  });
};
