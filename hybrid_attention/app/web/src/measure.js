// A lesion's mask, size and expected Dice, as hybrid_attention.transforms computes them in Python.

export function maskOf(probability, threshold) {
  const mask = new Uint8Array(probability.length);
  for (let place = 0; place < mask.length; place++) mask[place] = probability[place] >= threshold ? 1 : 0;
  return mask;
}

// 2 · (sum of the probabilities in the mask) / (its pixels + sum of all probabilities); 0 for an empty mask.
export function expectedDice(probability, mask) {
  let [inside, total, pixels] = [0, 0, 0];
  for (let place = 0; place < mask.length; place++) {
    total += probability[place];
    inside += probability[place] * mask[place];
    pixels += mask[place];
  }
  return pixels ? (2 * inside) / (pixels + total) : 0;
}

// Of the largest lesion: area, longest and shortest diameter (Feret) with their ends as [x, y] in pixels; or null.
export function measure(mask, width, height, spacing) {
  const lesion = largest(mask, width, height);
  if (!lesion) return null;
  const [high, wide] = spacing ?? [1, 1];
  const hull = convexHull(edges(lesion, width, height).map(([x, y]) => [x * wide, y * high]));
  const back = ([x, y]) => [x / wide, y / high];
  let long = [hull[0], hull[0]];
  for (const one of hull) for (const other of hull) if (distance(one, other) > distance(...long)) long = [one, other];
  const short = hull.map((start, i) => calliper(hull, start, hull[(i + 1) % hull.length]));
  const narrow = short.reduce((least, one) => (distance(...one) < distance(...least) ? one : least));
  return {
    area: lesion.reduce((sum, value) => sum + value, 0) * high * wide,
    long: distance(...long),
    short: distance(...narrow),
    lines: [long.map(back), narrow.map(back)],
  };
}

const distance = ([x, y], [u, v]) => Math.hypot(x - u, y - v);

// From the corner that is farthest from a side of the hull to its foot on that side.
function calliper(hull, start, end) {
  const length = distance(start, end);
  const [dx, dy] = [(end[0] - start[0]) / length, (end[1] - start[1]) / length];
  const depth = ([x, y]) => Math.abs((x - start[0]) * dy - (y - start[1]) * dx);
  const far = hull.reduce((most, one) => (depth(one) > depth(most) ? one : most));
  const along = (far[0] - start[0]) * dx + (far[1] - start[1]) * dy;
  return [far, [start[0] + along * dx, start[1] + along * dy]];
}

// The largest component, connected at edges or corners, as a mask.
function largest(mask, width, height) {
  const label = new Int32Array(mask.length);
  const sizes = [0];
  const stack = [];
  for (let seed = 0; seed < mask.length; seed++) {
    if (!mask[seed] || label[seed]) continue;
    const number = sizes.push(0) - 1;
    label[seed] = number;
    stack.push(seed);
    while (stack.length) {
      const place = stack.pop();
      sizes[number]++;
      const [column, row] = [place % width, Math.floor(place / width)];
      for (let y = Math.max(row - 1, 0); y <= Math.min(row + 1, height - 1); y++)
        for (let x = Math.max(column - 1, 0); x <= Math.min(column + 1, width - 1); x++) {
          const next = y * width + x;
          if (!mask[next] || label[next]) continue;
          label[next] = number;
          stack.push(next);
        }
    }
  }
  if (sizes.length === 1) return null;
  const number = sizes.indexOf(Math.max(...sizes));
  return mask.map((_, place) => (label[place] === number ? 1 : 0));
}

// The centres of the outer pixel edges of the first and last pixel in each row, [x, y]; a pixel's centre is at .5.
function edges(lesion, width, height) {
  const points = [];
  for (let row = 0; row < height; row++) {
    const line = lesion.subarray(row * width, (row + 1) * width);
    const first = line.indexOf(1);
    if (first < 0) continue;
    const last = line.lastIndexOf(1);
    points.push([first, row + 0.5], [last + 1, row + 0.5]);
    for (const column of [first, last]) points.push([column + 0.5, row], [column + 0.5, row + 1]);
  }
  return points;
}

// Andrew's monotone chain.
function convexHull(points) {
  points.sort(([x, y], [u, v]) => x - u || y - v);
  const half = (ordered) => {
    const chain = [];
    for (const [x, y] of ordered) {
      while (chain.length > 1) {
        const [[a, b], [c, d]] = chain.slice(-2);
        if ((c - a) * (y - b) - (d - b) * (x - a) > 0) break;
        chain.pop();
      }
      chain.push([x, y]);
    }
    return chain.slice(0, -1);
  };
  return [...half(points), ...half(points.slice().reverse())];
}
