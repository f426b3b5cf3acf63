// A frame with what was found on it, on any canvas: the page's and the saved picture's.

/** Of the largest components; further ones are faint. Told apart by letter too. */
export const COLOURS = ["#ffb000", "#56b4e9"];
const FAINT = "#c9c6bd";
const HALO = "rgba(10, 12, 14, .7)";
const FONT = '-apple-system, "Segoe UI", Inter, Roboto, "Liberation Sans", system-ui, sans-serif';

export const font = (size, weight = 400) => `${weight} ${size}px ${FONT}`;

const colour = (index) => COLOURS[index] ?? FAINT;

/** Holds the pixels of one frame, so that drawing it again at another size is cheap. */
export class Painter {
  #image = document.createElement("canvas");
  #tint = document.createElement("canvas");
  #frame = null;

  /** Takes a frame: image and mask together, or neither. */
  load(frame) {
    if (frame === this.#frame) return;
    this.#frame = null;
    const { width, height, gray, bits } = frame;
    const image = pixels(this.#image, width, height);
    const tint = pixels(this.#tint, width, height);
    for (let i = 0; i < gray.length; i++) {
      image.words[i] = 0xff000000 | (gray[i] * 0x010101);
      tint.words[i] = bits[i >> 3] & (0x80 >> (i & 7)) ? 0xffffffff : 0;
    }
    image.put();
    tint.put();
    const context = this.#tint.getContext("2d");
    context.globalCompositeOperation = "source-atop"; // colours lesion pixels alone
    context.fillStyle = FAINT;
    context.fillRect(0, 0, width, height);
    frame.components.forEach((part, index) => {
      context.fillStyle = context.strokeStyle = colour(index);
      context.lineWidth = 1.5; // the outline runs through the centres of the outer pixels
      const path = polygon(part.contour);
      context.fill(path);
      context.stroke(path);
    });
    context.globalCompositeOperation = "source-over";
    this.#frame = frame;
  }

  /**
   * Draws it with `scale` canvas pixels a pixel, its corner at (x, y); `line` is the width of
   * lines, and `fine` takes more time for the pixels between pixels.
   */
  draw(context, { x, y, scale, line, opacity, outline, fine }) {
    const { width, height, components } = this.#frame;
    context.save();
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = fine ? "high" : "medium";
    const box = [x, y, width * scale, height * scale];
    context.drawImage(this.#image, ...box);
    if (outline) {
      context.globalAlpha = opacity;
      context.drawImage(this.#tint, ...box);
      context.globalAlpha = 1;
      context.translate(x, y);
      context.scale(scale, scale);
      context.lineJoin = context.lineCap = "round";
      const unit = line / scale;
      for (const [index, part] of [...components.entries()].reverse()) {
        const path = smooth(part.contour);
        context.setLineDash([]);
        stroke(context, path, colour(index), unit);
        // Crosses at the ends of less would hide it.
        if (index < COLOURS.length && part.orthogonal_px > 12 * unit) calipers(context, part, colour(index), unit);
      }
      context.setTransform(1, 0, 0, 1, 0, 0);
      components.slice(0, COLOURS.length).forEach((part, index) => {
        if (components.length > 1) label(context, part, index, { x, y, scale, line });
      });
    }
    context.restore();
  }
}

function pixels(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const data = context.createImageData(width, height);
  return { words: new Uint32Array(data.data.buffer), put: () => context.putImageData(data, 0, 0) };
}

/** The path through pixel centres; the centre of pixel (0, 0) lies at (0.5, 0.5) of a canvas. */
function polygon(contour) {
  const path = new Path2D();
  for (let i = 0; i < contour.length; i += 2) path.lineTo(contour[i] + 0.5, contour[i + 1] + 0.5);
  path.closePath();
  return path;
}

/** The same without its stairs: through the middles between the points, bent towards them. */
function smooth(contour) {
  const count = contour.length / 2;
  if (count < 3) return polygon(contour);
  const at = (i) => [contour[2 * (i % count)] + 0.5, contour[2 * (i % count) + 1] + 0.5];
  const middle = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  const path = new Path2D();
  path.moveTo(...middle(at(count - 1), at(0)));
  for (let i = 0; i < count; i++) path.quadraticCurveTo(...at(i), ...middle(at(i), at(i + 1)));
  path.closePath();
  return path;
}

function stroke(context, path, shade, unit) {
  for (const [style, width] of [[HALO, 2.2 * unit], [shade, unit]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.stroke(path);
  }
}

/** The two diameters as sonographers set them: a cross at each end, dots between. */
function calipers(context, part, shade, unit) {
  for (const ends of [part.longest_ends, orthogonal(part)]) {
    const [a, b] = ends.map(([x, y]) => [x + 0.5, y + 0.5]);
    const dots = new Path2D();
    dots.moveTo(...a);
    dots.lineTo(...b);
    context.setLineDash([0, 4 * unit]);
    stroke(context, dots, shade, unit);
    context.setLineDash([]);
    const crosses = new Path2D();
    for (const [x, y] of [a, b]) {
      crosses.moveTo(x - 4 * unit, y);
      crosses.lineTo(x + 4 * unit, y);
      crosses.moveTo(x, y - 4 * unit);
      crosses.lineTo(x, y + 4 * unit);
    }
    stroke(context, crosses, shade, unit);
  }
}

/** Ends of the extent perpendicular to the longest diameter, midway between its extreme points. */
function orthogonal({ longest_ends: [a, b], orthogonal_px: extent, contour }) {
  const length = Math.hypot(b[0] - a[0], b[1] - a[1]);
  if (length === 0) return [a, b];
  const across = [-(b[1] - a[1]) / length, (b[0] - a[0]) / length];
  let [low, high] = [Infinity, -Infinity];
  let [first, last] = [a, a];
  for (let i = 0; i < contour.length; i += 2) {
    const point = [contour[i], contour[i + 1]];
    const offset = point[0] * across[0] + point[1] * across[1];
    if (offset < low) [low, first] = [offset, point];
    if (offset > high) [high, last] = [offset, point];
  }
  return [-1, 1].map((side) =>
    [0, 1].map((axis) => (first[axis] + last[axis]) / 2 + (side * across[axis] * extent) / 2),
  );
}

function label(context, part, index, { x, y, scale, line }) {
  const size = 8 * line;
  let corner = [-Infinity, 0, 0]; // the point farthest to the upper right
  for (let i = 0; i < part.contour.length; i += 2) {
    const [px, py] = [part.contour[i], part.contour[i + 1]];
    if (px - py > corner[0]) corner = [px - py, px, py];
  }
  const cx = x + (corner[1] + 0.5) * scale + 1.2 * size;
  const cy = y + (corner[2] + 0.5) * scale - 0.9 * size;
  context.beginPath();
  context.arc(cx, cy, size, 0, 2 * Math.PI);
  context.fillStyle = colour(index);
  context.fill();
  context.fillStyle = "#14120c";
  context.font = font(1.3 * size, 700);
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText("AB"[index], cx, cy + 0.06 * size);
}
