// The model in its worker, as two functions.
const waiting = new Map();
let worker;
let count = 0;

function ask(task, content) {
  const id = count++;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, task, content });
  });
}

// Loads the model beside the page; returns its metadata and the number of threads.
export function start() {
  worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data: { id, result, error } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(result);
    else reject(new Error(error));
  };
  worker.onerror = (event) => waiting.forEach(({ reject }) => reject(new Error(event.message || "the worker failed")));
  return ask("start", new URL(".", document.baseURI).href);
}

// image: {rgba, width, height}; returns probability (Float32Array by rows), classes, expectedDice, milliseconds.
export const predict = (image) => ask("predict", image);
