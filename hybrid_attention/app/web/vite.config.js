// Builds ../static: the page, ONNX Runtime for WebAssembly (the binary compressed: 3.7 instead of 14 MB), an example.
import { createHash } from "node:crypto";
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { defineConfig } from "vite";

const runtime = dirname(createRequire(import.meta.url).resolve("onnxruntime-web"));
const sources = ["index.html", "package-lock.json", "vite.config.js", ...readdirSync("src").sort().map((name) => `src/${name}`)];
const static_ = join(import.meta.dirname, "..", "static");

export default defineConfig({
  base: "./",
  resolve: { alias: { "onnxruntime-web/wasm": join(runtime, "ort.wasm.min.mjs") } },
  build: { outDir: static_, emptyOutDir: true, modulePreload: false, target: "es2022" },
  worker: { format: "es" },
  plugins: [
    {
      name: "runtime",
      writeBundle() {
        const name = "ort-wasm-simd-threaded";
        copyFileSync(join(runtime, `${name}.mjs`), join(static_, "ort.mjs"));
        writeFileSync(join(static_, "ort.wasm.gz"), gzipSync(readFileSync(join(runtime, `${name}.wasm`)), { level: 9 }));
        const digest = createHash("sha256");
        for (const name of sources) digest.update(readFileSync(name)); // a test compares it with the sources
        writeFileSync(join(static_, "source.sha256"), digest.digest("hex"));
      },
    },
  ],
});
