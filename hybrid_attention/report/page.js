"use strict";
// The case table and the case browser. All data are in the page; overlays are composed here.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const element = (id) => document.getElementById(id);
  const OUTLINE = "#ffffff";

  function make(tag, properties = {}, ...children) {
    const node = Object.assign(document.createElement(tag), properties);
    node.append(...children);
    return node;
  }

  const percent = (value) => (value === null ? "n/a" : (100 * value).toFixed(1));
  const defined = (values) => values.filter((value) => value !== null);
  // the score of the comparison, one number per run
  const chosen = (item) => item.scores.map((scores) => scores[data.chosen]);
  const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);
  const spread = (item) => {
    const values = defined(chosen(item));
    return values.length > 1 ? Math.max(...values) - Math.min(...values) : null;
  };

  // undefined values stay last in either direction
  function compare(first, second, direction) {
    if (first === null || second === null) return (first === null) - (second === null);
    if (typeof first === "string") return direction * first.localeCompare(second, "en", { numeric: true });
    return direction * (first - second);
  }

  // ---- the table of cases
  const columns = [
    { title: "case", value: (item) => item.id, text: true },
    { title: "class", value: (item) => item.class, text: true },
    { title: "lesion, % of image", value: (item) => item.area },
    ...data.runs.map((run, index) => ({ title: run.name, value: (item) => chosen(item)[index] })),
    ...(data.runs.length > 1 ? [{ title: "spread", value: spread }] : []),
  ];
  let tableOrder = data.cases.map((_, index) => index);
  const rows = data.cases.map((item, index) => {
    const name = make("button", { type: "button", textContent: item.id });
    name.addEventListener("click", () => {
      show(index);
      element("browser").scrollIntoView();
      element("case-title").focus({ preventScroll: true }); // so that the arrow keys step
    });
    const cells = columns.slice(1).map((column) => {
      const value = column.value(item);
      return make("td", { textContent: column.text ? value : percent(value), className: column.text ? "text" : "" });
    });
    return make("tr", {}, make("td", {}, name), ...cells);
  });

  function sortTable(index, direction) {
    const { value } = columns[index];
    const values = data.cases.map(value);
    tableOrder = data.cases.map((_, k) => k).sort((a, b) => compare(values[a], values[b], direction) || a - b);
    element("case-table").tBodies[0].append(...tableOrder.map((k) => rows[k]));
    element("case-table").querySelectorAll("thead th").forEach((head, k) => {
      if (k === index) head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    if (element("order").value === "table") arrange();
  }

  function fillTable() {
    const heads = columns.map((column, index) => {
      const button = make("button", { type: "button", textContent: column.title });
      const head = make("th", { scope: "col", className: column.text ? "text" : "" }, button);
      button.addEventListener("click", () => sortTable(index, head.getAttribute("aria-sort") === "ascending" ? -1 : 1));
      return head;
    });
    element("case-table").tHead.append(make("tr", {}, ...heads));
    element("case-table").tBodies[0].append(...rows);
  }

  // ---- the order of the browser
  let order = [];
  let current = 0;

  function fillControls() {
    const orders = [["worst", "worst first"], ["best", "best first"], ["table", "all, as the table is sorted"]];
    if (data.runs.length > 1) orders.unshift(["spread", "largest disagreement first"]);
    element("order").append(...orders.map(([value, title]) => make("option", { value, textContent: title })));
    const judges = [["mean", "mean of the runs"], ...data.runs.map((run, index) => [String(index), run.name])];
    element("judge").append(...judges.map(([value, title]) => make("option", { value, textContent: title })));
    element("order").addEventListener("change", () => arrange(true));
    element("judge").addEventListener("change", () => arrange(true));
    element("previous").addEventListener("click", () => step(-1));
    element("next").addEventListener("click", () => step(1));
    document.addEventListener("keydown", (event) => {
      const busy = event.target.closest("select, input, .scroll") || event.ctrlKey || event.altKey || event.metaKey;
      const moves = { ArrowLeft: -1, ArrowRight: 1 };
      if (busy || !(event.key in moves)) return;
      event.preventDefault();
      step(moves[event.key]);
    });
  }

  function arrange(fromStart = false) {
    const kind = element("order").value;
    const judge = element("judge").value;
    element("judge-label").hidden = data.runs.length < 2 || kind === "spread" || kind === "table";
    const judged = (item) => (judge === "mean" ? mean(defined(chosen(item))) : chosen(item)[Number(judge)]);
    const value = kind === "spread" ? spread : judged;
    const values = data.cases.map(value);
    const direction = kind === "worst" ? 1 : -1;
    order = kind === "table" ? tableOrder
      : data.cases.map((_, k) => k).sort((a, b) => compare(values[a], values[b], direction) || a - b);
    show(fromStart ? order[0] : current);
  }

  function step(by) {
    const place = order.indexOf(current) + by;
    if (place >= 0 && place < order.length) show(order[place]);
  }

  // ---- the pictures of a case
  const decode = async (source) => {
    if (!source) return null;
    const picture = new Image();
    picture.src = source;
    await picture.decode();
    return picture;
  };

  function pixels(picture, width, height, smooth) {
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingEnabled = smooth;
    context.drawImage(picture, 0, 0, width, height);
    return context.getImageData(0, 0, width, height);
  }

  // Colour each pixel: paint(index) returns [red, green, blue, opacity] or null for the grey of the image.
  function painted(grey, paint) {
    const result = new ImageData(new Uint8ClampedArray(grey.data), grey.width, grey.height);
    for (let index = 0; index < grey.width * grey.height; index++) {
      const colour = paint(index);
      if (!colour) continue;
      for (let channel = 0; channel < 3; channel++) {
        const place = 4 * index + channel;
        result.data[place] = (1 - colour[3]) * result.data[place] + colour[3] * colour[channel];
      }
    }
    return result;
  }

  const on = (mask, index) => mask.data[4 * index] > 127;

  function overlay(grey, truth, mask) {
    const { tp, fp, fn, alpha } = data.colours;
    return painted(grey, (index) => {
      const [predicted, true_] = [on(mask, index), on(truth, index)];
      if (!predicted && !true_) return null;
      return [...(predicted && true_ ? tp : predicted ? fp : fn), alpha];
    });
  }

  function coloured(grey, map, table, alpha) {
    return painted(grey, (index) => {
      const level = 3 * map.data[4 * index];
      return [table[level], table[level + 1], table[level + 2], alpha];
    });
  }

  // A canvas a few times as large as the picture, the outline of the truth between the pixels.
  function canvasOf(picture, truth, label) {
    const scale = Math.max(1, Math.round(512 / Math.max(picture.width, picture.height)));
    const canvas = make("canvas", { width: picture.width * scale, height: picture.height * scale });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", label);
    const small = new OffscreenCanvas(picture.width, picture.height);
    small.getContext("2d").putImageData(picture, 0, 0);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
    if (truth) {
      context.strokeStyle = OUTLINE;
      context.lineWidth = 3;
      context.stroke(outline(truth, scale));
    }
    return canvas;
  }

  function outline(mask, scale) {
    const path = new Path2D();
    const { width, height } = mask;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const here = on(mask, y * width + x);
        if (x + 1 < width && here !== on(mask, y * width + x + 1)) {
          path.moveTo((x + 1) * scale, y * scale);
          path.lineTo((x + 1) * scale, (y + 1) * scale);
        }
        if (y + 1 < height && here !== on(mask, (y + 1) * width + x)) {
          path.moveTo(x * scale, (y + 1) * scale);
          path.lineTo((x + 1) * scale, (y + 1) * scale);
        }
      }
    }
    return path;
  }

  function card(title, lines, canvases) {
    const figures = canvases.map(([caption, canvas]) => make("figure", {}, canvas, make("figcaption", { textContent: caption })));
    const texts = lines.map((line) => make("p", { textContent: line }));
    const pictures = make("div", { className: "pictures" }, ...figures);
    return make("div", { className: "card" }, make("h4", { textContent: title }), ...texts, ...(figures.length ? [pictures] : []));
  }

  async function runCard(item, index, stored, grey, truth) {
    const run = data.runs[index];
    const lines = [data.scores.map((name, k) => `${name} ${percent(item.scores[index][k])}`).join(" · ")];
    const predicted = item.predicted[index] ? ` · predicted class: ${item.predicted[index]}` : "";
    lines.push(`predicted: ${percent(item.predicted_share[index])} % of the image${predicted}`);
    if (!stored) return card(run.name, [...lines, "no pictures in this run"], []);
    const [mask, probability, gradcam] = await Promise.all([stored.mask, stored.probability, stored.gradcam].map(decode));
    const { width, height } = grey;
    const label = `${run.name}, ${item.id}: `;
    const canvases = [["overlay", canvasOf(overlay(grey, truth, pixels(mask, width, height, false)), truth, label + "overlay")]];
    if (probability) {
      const map = pixels(probability, width, height, true);
      canvases.push(["probability", canvasOf(coloured(grey, map, data.maps.probability, 1), truth, label + "probability")]);
    }
    if (gradcam) {
      const map = pixels(gradcam, width, height, true);
      canvases.push(["Grad-CAM", canvasOf(coloured(grey, map, data.maps.heat, 0.5), null, label + "Grad-CAM")]);
    } else if (run.gradcam) {
      lines.push("no Grad-CAM of this case");
    }
    return card(run.name, lines, canvases);
  }

  let request = 0;
  async function show(index) {
    current = index;
    const own = ++request;
    const item = data.cases[index];
    const kind = item.lesion ? "" : ", no lesion";
    element("case-title").textContent = `${item.id} (${item.class}${kind})`;
    element("position").textContent = `${order.indexOf(index) + 1} of ${order.length}`;
    element("previous").disabled = order.indexOf(index) === 0;
    element("next").disabled = order.indexOf(index) === order.length - 1;
    rows.forEach((row, k) => (k === index ? row.setAttribute("aria-current", "true") : row.removeAttribute("aria-current")));
    const block = element(`case-${index}`);
    const stored = block ? JSON.parse(block.textContent) : null;
    let cards;
    if (stored) {
      const [image, truth] = await Promise.all([stored.image, stored.truth].map(decode));
      const grey = pixels(image, image.width, image.height, false);
      const true_ = pixels(truth, image.width, image.height, false);
      const { tp, alpha } = data.colours;
      const pair = [
        ["image", canvasOf(grey, null, `${item.id}: image`)],
        ["truth", canvasOf(painted(grey, (k) => (on(true_, k) ? [...tp, alpha] : null)), true_, `${item.id}: truth`)],
      ];
      const others = data.runs.map((_, k) => runCard(item, k, stored.runs[k], grey, true_));
      cards = [card("Image and truth", [item.lesion ? `lesion: ${percent(item.area)} % of the image` : "no lesion"], pair)];
      cards.push(...(await Promise.all(others)));
    } else {
      cards = await Promise.all(data.runs.map((_, k) => runCard(item, k, null)));
    }
    if (own !== request) return; // the reader has gone on
    element("case-pictures").replaceChildren(...cards);
    element("case-pictures").dataset.shown = String(index);
  }

  function fillLegend() {
    if (!data.pictures) return;
    const colour = (name) => `rgb(${data.colours[name].join(",")})`;
    const patch = (name, text) => {
      const sample = make("i");
      sample.style.background = colour(name);
      return make("li", {}, sample, text);
    };
    const scale = (table, text) => {
      const canvas = make("canvas", { width: 256, height: 1 });
      const strip = new ImageData(256, 1);
      for (let k = 0; k < 256; k++) strip.data.set([...table.slice(3 * k, 3 * k + 3), 255], 4 * k);
      canvas.getContext("2d").putImageData(strip, 0, 0);
      return make("li", {}, canvas, text);
    };
    element("legend").append(
      patch("tp", "lesion, predicted (TP)"),
      patch("fp", "predicted, no lesion (FP)"),
      patch("fn", "lesion, missed (FN)"),
      make("li", {}, make("i", { className: "outline" }), "outline of the truth"),
      ...(data.kinds.includes("probabilities") ? [scale(data.maps.probability, "probability 0 to 1")] : []),
      ...(data.kinds.includes("gradcam") ? [scale(data.maps.heat, "Grad-CAM low to high")] : []),
    );
  }

  fillTable();
  fillControls();
  fillLegend();
  arrange(true);
})();
