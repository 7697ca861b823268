// Files that were dropped or chosen, and their pixels. Everything stays in this page.
import { isDicom, openDicom } from "./dicom.js";

export const MAX_PIXELS = 16e6;
export const MAX_BYTES = { picture: 100e6, dicom: 500e6 };
export const MAX_FILES = 5000;
const NAMES = /\.(png|jpe?g|bmp|webp|gif|avif|dcm|dicom|ima)$|^[^.]+$/i;
const MASKS = /_(mask(_\d+)?|overlay|probability)\.\w+$/i; // ground truth, and what predict and this page save
const maybeImage = ({ name }) => NAMES.test(name) && !MASKS.test(name);

// Opens a file: {frames, frameTime, spacing, frame(index) -> ImageData}, of which a picture has one.
export async function open(file) {
  if (file.size === 0) throw new Error("it is empty");
  const start = new Uint8Array(await file.slice(0, 132).arrayBuffer());
  const kind = isDicom(start) ? "dicom" : "picture";
  if (file.size > MAX_BYTES[kind])
    throw new Error(`it has ${Math.round(file.size / 1e6)} MB; at most ${MAX_BYTES[kind] / 1e6} MB are read here`);
  if (kind === "dicom") return openDicom(new Uint8Array(await file.arrayBuffer()), decode, MAX_PIXELS);
  const pixels = await decode(file);
  return { frames: 1, frameTime: 0, spacing: null, frame: async () => pixels };
}

// The pixels of a picture as stored: no colour profile is applied, transparent is black.
async function decode(blob) {
  const [width, height] = await size(blob);
  if (width * height > MAX_PIXELS)
    throw new Error(`it has ${width} x ${height} pixels; at most ${MAX_PIXELS / 1e6} million are read here`);
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" }).catch(() => {
    throw new Error("it is damaged");
  });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

// Width and height as a picture's header states them, before its pixels are decoded.
function size(blob) {
  const image = new Image();
  const address = URL.createObjectURL(blob);
  return new Promise((resolve, reject) => {
    image.onload = () => resolve([image.naturalWidth, image.naturalHeight]);
    image.onerror = () => reject(new Error("it is not an image that this browser reads, or it is damaged"));
    image.src = address;
  }).finally(() => URL.revokeObjectURL(address));
}

// The files of a drop, those in folders included.
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => named(file, file.name));
  const files = [];
  for (const entry of entries) await collect(entry, files, entry.isDirectory);
  return files;
}

async function collect(entry, files, inFolder) {
  if (files.length > MAX_FILES) return;
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    if (!inFolder || maybeImage(file)) files.push(named(file, entry.fullPath.slice(1)));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const one of some) await collect(one, files, true);
  }
}

// The files of an input element; of a folder those that may be images.
export const chosen = (input) =>
  [...input.files]
    .filter((file) => !file.webkitRelativePath || maybeImage(file))
    .map((file) => named(file, file.webkitRelativePath || file.name));

const named = (file, path) => ({ file, path });
