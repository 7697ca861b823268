// DICOM files of 8-bit grey or colour pixels, uncompressed or JPEG baseline: the tissue of each frame, and its spacing.
import * as dicomParser from "dicom-parser";

const RAW = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"];
const JPEG = "1.2.840.10008.1.2.4.50";
const CHANNELS = { MONOCHROME1: 1, MONOCHROME2: 1, RGB: 3, YBR_FULL: 3, YBR_FULL_422: 3 };
const [TWO_DIMENSIONAL, TISSUE, CENTIMETRES] = [1, 1, 3];

export const isDicom = (bytes) => String.fromCharCode(...bytes.subarray(128, 132)) === "DICM";

// Returns {frames, frameTime (ms), spacing ([height, width] of a pixel in mm, or null), frame(index) -> ImageData}.
export function openDicom(bytes, decodeJpeg, maxPixels) {
  let data;
  try {
    data = dicomParser.parseDicom(bytes);
  } catch (error) {
    throw new Error(`it is a damaged DICOM file (${error?.exception ?? error?.message ?? error})`);
  }
  const syntax = data.string("x00020010");
  const kind = data.string("x00280004");
  const [rows, columns, bits] = ["x00280010", "x00280011", "x00280100"].map((tag) => data.uint16(tag));
  const frames = Number(data.string("x00280008") ?? 1);
  const pixels = data.elements.x7fe00010;
  const elsewhere = "; hybrid-attention predict reads more kinds";
  if (!pixels || !rows || !columns) throw new Error("it is a DICOM file without pixels");
  if (!RAW.includes(syntax) && syntax !== JPEG)
    throw new Error(`its pixels are compressed (${syntax}); uncompressed and JPEG baseline are read here${elsewhere}`);
  if (bits !== 8) throw new Error(`its pixels have ${bits} bits; 8 are read here${elsewhere}`);
  if (!(kind in CHANNELS) || (syntax === JPEG ? kind === "RGB" : kind === "YBR_FULL_422"))
    throw new Error(`its photometric interpretation is ${kind}, which is not read here${elsewhere}`);
  if (rows * columns > maxPixels) throw new Error(`it has ${columns} x ${rows} pixels, more than ${maxPixels / 1e6} million`);
  const channels = CHANNELS[kind];
  const size = rows * columns * channels;
  const held = syntax === JPEG ? pixels.fragments?.length ?? 0 : Math.floor(pixels.length / size);
  if (!Number.isInteger(frames) || frames < 1 || held < frames || pixels.dataOffset + (pixels.length ?? 0) > bytes.length)
    throw new Error(`it states ${frames} frames, but has pixels of ${held}`);
  const { box, spacing } = tissue(data, columns, rows);

  async function frame(index) {
    const whole = syntax === JPEG ? await jpegFrame(index) : new ImageData(rgba(index), columns, rows);
    if (whole.width !== columns || whole.height !== rows) throw new Error("its JPEG frame has another size than it states");
    if (kind === "MONOCHROME1" && syntax === JPEG) invert(whole.data);
    return cropped(whole, box);
  }

  function jpegFrame(index) {
    const table = pixels.basicOffsetTable;
    const encoded = table?.length === frames
      ? dicomParser.readEncapsulatedImageFrame(data, pixels, index)
      : dicomParser.readEncapsulatedPixelDataFromFragments(data, pixels, index, held === frames ? 1 : held);
    return decodeJpeg(new Blob([encoded], { type: "image/jpeg" }));
  }

  function rgba(index) {
    const stored = bytes.subarray(pixels.dataOffset + index * size, pixels.dataOffset + (index + 1) * size);
    const result = new Uint8ClampedArray(rows * columns * 4).fill(255);
    const [step, plane] = data.uint16("x00280006") === 1 ? [1, rows * columns] : [channels, 1];
    for (let place = 0; place < rows * columns; place++) {
      const [first, second, third] = [0, plane, 2 * plane].map((offset) => stored[place * step + offset]);
      const colour = channels === 1 ? [first, first, first] : [first, second, third];
      result.set(kind === "YBR_FULL" ? toRgb(colour) : colour, 4 * place);
    }
    if (kind === "MONOCHROME1") invert(result);
    return result;
  }

  const frameTime = Number(data.string("x00181063")) || 1000 / (Number(data.string("x00180040")) || 25);
  return { frames, frameTime, spacing, frame };
}

// The box around the regions of tissue, [left, top, right, bottom], and the size of a pixel.
function tissue(data, columns, rows) {
  const regions = (data.elements.x00186011?.items ?? [])
    .map((item) => item.dataSet)
    .filter((item) => item.uint16("x00186012") === TWO_DIMENSIONAL && item.uint16("x00186014") === TISSUE);
  const corner = (tag) => regions.map((item) => item.uint32(tag));
  const box = regions.length
    ? [
        Math.min(...corner("x00186018")),
        Math.min(...corner("x0018601a")),
        Math.min(Math.max(...corner("x0018601c")) + 1, columns),
        Math.min(Math.max(...corner("x0018601e")) + 1, rows),
      ]
    : [0, 0, columns, rows];
  if (!(box[0] < box[2] && box[1] < box[3])) throw new Error(`its region of tissue, ${box}, is outside the frame`);
  const stated = regions.map(regionSpacing).filter(Boolean);
  const agree = stated.length === regions.length && stated.every((one) => one.every((side, i) => close(side, stated[0][i])));
  const own = data.string("x00280030")?.split("\\").map(Number);
  const spacing = stated.length ? (agree ? stated[0] : null) : own?.length === 2 && Math.min(...own) > 0 ? own : null;
  return { box, spacing };
}

const close = (one, other) => Math.abs(one - other) <= 1e-3 * other;

function regionSpacing(item) {
  const units = [item.uint16("x00186024"), item.uint16("x00186026")];
  const [across, down] = ["x0018602c", "x0018602e"].map((tag) => Math.abs(item.double(tag) ?? 0) * 10);
  return units.every((unit) => unit === CENTIMETRES) && across > 0 && down > 0 ? [down, across] : null;
}

function toRgb([y, blue, red]) {
  return [y + 1.402 * (red - 128), y - 0.344136 * (blue - 128) - 0.714136 * (red - 128), y + 1.772 * (blue - 128)];
}

function invert(rgba) {
  for (let place = 0; place < rgba.length; place++) if (place % 4 !== 3) rgba[place] = 255 - rgba[place];
}

function cropped(whole, [left, top, right, bottom]) {
  if (right - left === whole.width && bottom - top === whole.height) return whole;
  const part = new ImageData(right - left, bottom - top);
  for (let row = 0; row < part.height; row++) {
    const from = 4 * ((top + row) * whole.width + left);
    part.data.set(whole.data.subarray(from, from + 4 * part.width), 4 * row * part.width);
  }
  return part;
}
