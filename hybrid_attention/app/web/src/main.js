// The page: a list of files, one of them shown with its prediction.
import { chosen, dropped, MAX_FILES, open } from "./files.js";
import { expectedDice, maskOf, measure } from "./measure.js";
import { predict, start } from "./model.js";

const LOW_DICE = 0.7;
const CACHED_PIXELS = 60e6; // of probabilities, 4 bytes each
const [FILL, LINE, SHORT] = [[255, 200, 0], "#ffc800", "#5ad1ff"];

const $ = (id) => document.getElementById(id);
const state = { files: [], index: 0, frame: 0, shown: null, playing: null, names: [], normalThreshold: null, ready: null };
const opened = new Map(); // the file shown last, opened
const results = new Map(); // of frames, by "file frame", the oldest first

// ---- opening -------------------------------------------------------------------------------------------------------
function add(files) {
  if (!files.length) return say("There is no image in this folder.");
  const kept = files.slice(0, MAX_FILES).sort((one, other) => one.path.localeCompare(other.path, "en", { numeric: true }));
  say(files.length > MAX_FILES ? `More than ${MAX_FILES} files: the first ${MAX_FILES} are opened.` : "");
  opened.clear();
  results.clear();
  Object.assign(state, { files: kept, index: 0, frame: 0, playing: null });
  $("work").hidden = false;
  return show();
}

async function source(index) {
  if (!opened.has(index)) {
    opened.clear();
    opened.set(index, await open(state.files[index].file));
  }
  return opened.get(index);
}

// The image of a frame and what the model predicts for it.
async function predicted(index, frame) {
  const file = state.files[index];
  const key = `${index} ${frame}`;
  const { spacing, frames, frameTime, frame: read } = await source(index);
  const image = await read(frame);
  if (!results.has(key)) {
    await state.ready;
    const result = await predict({ rgba: image.data, width: image.width, height: image.height });
    if (state.files[index] !== file) throw new Stale();
    results.set(key, result);
    let pixels = [...results.values()].reduce((sum, { probability }) => sum + probability.length, 0);
    for (const [old, { probability }] of results) {
      if (pixels <= CACHED_PIXELS || old === key) break;
      pixels -= probability.length;
      results.delete(old);
    }
  }
  return { ...results.get(key), image, spacing, frames, frameTime, path: file.path, frame };
}

class Stale extends Error {}

// ---- showing -------------------------------------------------------------------------------------------------------
let latest = 0;
async function show() {
  const call = ++latest;
  const { path } = state.files[state.index];
  $("position").textContent = `${state.index + 1} of ${state.files.length}`;
  $("name").textContent = path;
  $("previous").disabled = state.index === 0;
  $("next").disabled = state.index === state.files.length - 1;
  if (!state.playing) $("status").textContent = "Computing …";
  try {
    const shown = await predicted(state.index, state.frame);
    if (call !== latest) return;
    state.shown = $("picture").prediction = shown; // there for scripts, too
    if (!state.playing) $("status").textContent = `Computed in ${Math.round(shown.milliseconds)} ms.`;
    draw();
  } catch (error) {
    if (call !== latest || error instanceof Stale) return;
    state.shown = $("picture").prediction = null;
    state.playing = null;
    $("status").textContent = "";
    say(`${path}: ${error.message}.`);
    clear();
  }
}

function say(text) {
  $("message").textContent = text;
  $("message").hidden = !text;
}

function clear() {
  for (const id of ["stage", "side", "loop"]) $(id).hidden = true;
}

// What is derived from a prediction at the chosen threshold.
function derived({ probability, image, spacing }) {
  const mask = maskOf(probability, Number($("threshold").value));
  return { mask, dice: expectedDice(probability, mask), size: measure(mask, image.width, image.height, spacing) };
}

function draw() {
  if (!state.shown) return;
  const { image, spacing, classes, frames, frame, path } = state.shown;
  const found = derived(state.shown);
  paint($("picture"), image, found);
  const unit = spacing ? "mm" : "pixels";
  const lesion = found.size && `${found.size.long.toFixed(1)} by ${found.size.short.toFixed(1)} ${unit}`;
  $("picture").setAttribute("aria-label", `${path}: ${lesion ? `lesion of ${lesion}` : "no lesion"}`);
  for (const id of ["stage", "side"]) $(id).hidden = false;
  $("loop").hidden = frames === 1;
  $("frame").max = frames;
  $("frame").value = frame + 1;
  $("frame-text").textContent = `${frame + 1} of ${frames}`;
  $("play").textContent = state.playing ? "Pause" : "Play";
  $("classes").replaceChildren(...classes.flatMap((value, i) => bar(state.names[i], value)));
  $("warning").textContent = warning(found, classes);
  $("warning").hidden = !$("warning").textContent;
  const digits = spacing ? 1 : 0;
  const rows = found.size
    ? [
        ["expected Dice", found.dice.toFixed(2)],
        ["long axis", `${found.size.long.toFixed(digits)} ${unit}`],
        ["short axis", `${found.size.short.toFixed(digits)} ${unit}`],
        ["area", spacing ? `${found.size.area.toFixed(1)} mm²` : `${found.size.area} pixels`],
      ]
    : [["no lesion found", ""]];
  rows.push(["image", `${image.width} x ${image.height}`]);
  $("measures").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
}

function warning({ size, dice }, classes) {
  const normal = classes[state.names.indexOf("normal")] >= (state.normalThreshold ?? Infinity);
  if (normal) return "The image is classified as normal, so no lesion is outlined.";
  return size && dice < LOW_DICE ? "Low expected Dice: the outline is uncertain, check it." : "";
}

function paint(canvas, image, { mask, size }) {
  const { width, height } = image;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.style.width = `min(100%, ${(70 * width) / height}vh)`;
  const context = canvas.getContext("2d");
  const picture = new ImageData(new Uint8ClampedArray(image.data), width, height);
  const opacity = Number($("opacity").value);
  const thick = Math.max(1, Math.round(Math.min(width, height) / 250));
  const outside = (x, y) => x < 0 || y < 0 || x >= width || y >= height || !mask[y * width + x];
  for (let y = 0, place = 0; y < height; y++)
    for (let x = 0; x < width; x++, place++) {
      if (!mask[place]) continue;
      const edge = outside(x - thick, y) || outside(x + thick, y) || outside(x, y - thick) || outside(x, y + thick);
      const share = edge && opacity > 0 ? 1 : opacity;
      for (let i = 0; i < 3; i++) picture.data[4 * place + i] += share * (FILL[i] - picture.data[4 * place + i]);
    }
  context.putImageData(picture, 0, 0);
  if (!size || !$("axes").checked) return;
  size.lines.forEach(([[x, y], [u, v]], i) => {
    context.beginPath();
    context.strokeStyle = [LINE, SHORT][i];
    context.lineWidth = thick;
    context.setLineDash(i ? [4 * thick, 3 * thick] : []);
    context.moveTo(x, y);
    context.lineTo(u, v);
    context.stroke();
  });
}

function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

function bar(name, value) {
  const share = document.createElement("progress");
  share.value = value;
  share.setAttribute("aria-label", name);
  const place = document.createElement("dd");
  place.append(share);
  return [element("dt", name), place, element("dd", `${(100 * value).toFixed(1)} %`)];
}

// ---- loops ---------------------------------------------------------------------------------------------------------
async function play() {
  if (!state.shown || state.shown.frames === 1) return;
  const own = state.playing ? null : {}; // each play has its own mark, so that an earlier one ends
  state.playing = own;
  draw();
  const times = [];
  while (own && state.playing === own) {
    const begin = performance.now();
    state.frame = (state.frame + 1) % state.shown.frames;
    await show();
    if (state.playing !== own) break;
    const rest = state.shown.frameTime - (performance.now() - begin);
    await new Promise((resolve) => (rest > 4 ? setTimeout(resolve, rest) : requestAnimationFrame(resolve)));
    times.push(performance.now() - begin);
    const last = times.slice(-10);
    $("rate").textContent = `${((1000 * last.length) / last.reduce((sum, time) => sum + time, 0)).toFixed(1)} frames/s`;
  }
}

function go(step) {
  const index = state.index + step;
  if (index < 0 || index >= state.files.length) return;
  say("");
  Object.assign(state, { index, frame: 0, playing: null });
  $("rate").textContent = "";
  show();
}

// ---- saving --------------------------------------------------------------------------------------------------------
function download(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function saveCanvas(canvas, kind) {
  const { path, frames, frame } = state.shown;
  const name = path.split("/").pop().replace(/\.[^.]+$/, "") + (frames > 1 ? `_${frame + 1}` : "");
  canvas.toBlob((blob) => download(blob, `${name}_${kind}.png`), "image/png");
}

function saveMask() {
  const { image } = state.shown;
  const { mask } = derived(state.shown);
  const canvas = document.createElement("canvas");
  const picture = new ImageData(image.width, image.height);
  mask.forEach((value, place) => picture.data.set([255 * value, 255 * value, 255 * value, 255], 4 * place));
  Object.assign(canvas, { width: image.width, height: image.height }).getContext("2d").putImageData(picture, 0, 0);
  saveCanvas(canvas, "mask");
}

async function saveTable() {
  const head = ["file", "frame", "width", "height", ...state.names.map((name) => `probability_${name}`), "threshold"];
  const rows = [[...head, "lesion_pixels", "expected_dice", "unit", "area", "long_axis", "short_axis", "error"]];
  const { files } = state;
  for (let index = 0; index < files.length; index++) {
    try {
      const { frames } = await source(index);
      for (let frame = 0; frame < frames; frame++) {
        $("status").textContent = `Table: image ${index + 1} of ${files.length}, frame ${frame + 1} of ${frames} …`;
        const one = await predicted(index, frame);
        const { mask, dice, size } = derived(one);
        const pixels = mask.reduce((sum, value) => sum + value, 0);
        const sizes = ["area", "long", "short"].map((name) => size?.[name].toFixed(3) ?? "");
        const classes = one.classes.map((value) => value.toFixed(6));
        const decided = [...classes, $("threshold").value, pixels, dice.toFixed(4), one.spacing ? "mm" : "pixel"];
        rows.push([one.path, frame + 1, one.image.width, one.image.height, ...decided, ...sizes, ""]);
      }
    } catch (error) {
      if (error instanceof Stale) return;
      rows.push([files[index].path, ...Array(rows[0].length - 2).fill(""), error.message]);
    }
  }
  $("status").textContent = "";
  const lines = rows.map((row) => row.map(cell).join(","));
  download(new Blob([lines.join("\r\n"), "\r\n"], { type: "text/csv" }), "lesions.csv");
}

// Quoted, and not as a formula that a spreadsheet would compute.
function cell(value) {
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// ---- controls ------------------------------------------------------------------------------------------------------
for (const id of ["opacity", "threshold"]) {
  const text = () => (document.querySelector(`output[for=${id}]`).textContent = Number($(id).value).toFixed(2));
  $(id).addEventListener("input", () => (text(), draw()));
  text();
}
$("axes").addEventListener("change", draw);
$("previous").addEventListener("click", () => go(-1));
$("next").addEventListener("click", () => go(1));
$("play").addEventListener("click", play);
$("frame").addEventListener("input", () => {
  Object.assign(state, { frame: Number($("frame").value) - 1, playing: null });
  show();
});
$("save-mask").addEventListener("click", saveMask);
$("save-overlay").addEventListener("click", () => saveCanvas($("picture"), "overlay"));
$("save-csv").addEventListener("click", saveTable);
for (const id of ["files", "folder"])
  $(id).addEventListener("change", () => {
    add(chosen($(id)));
    $(id).value = "";
  });
$("example").addEventListener("click", async () => {
  const blob = await (await fetch("example.png")).blob();
  add([{ file: blob, path: "example.png" }]);
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dragging"));
document.addEventListener("drop", async (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  add(await dropped(event.dataTransfer));
});
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input[type=range], select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowLeft") go(-1);
  else if (event.key === "ArrowRight") go(1);
  else if (event.key === " " && !event.target.matches("button, input, label")) {
    event.preventDefault();
    play();
  }
});

state.ready = start().then(({ facts, threads }) => {
  state.names = JSON.parse(facts.class_names ?? "[]") ?? [];
  state.normalThreshold = JSON.parse(facts.normal_threshold ?? "null");
  $("threshold").value = facts.threshold ?? 0.5;
  $("threshold").dispatchEvent(new Event("input"));
  const weights = facts.weights_sha256?.slice(0, 12);
  $("model").textContent = `Model ${facts.name} ${facts.version}, weights ${weights}, ${threads} threads: ${facts.intended_use}.`;
  $("status").textContent = "Ready.";
});
state.ready.catch((error) => {
  $("status").textContent = "";
  say(`The model can't be loaded: ${error.message}.`);
});
