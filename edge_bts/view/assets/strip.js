// The latency strip: one bar a frame that is kept, newest at the right.

const AXIS = 48; // width of its labels
const MARKS = [5, 10, 20, 50, 100, 200, 500, 1000, 2000];

/** Draws `frames` on a canvas of `slots` places. Colours come from the style sheet. */
export function drawStrip(canvas, frames, { slots, deadline, selected }) {
  const ratio = devicePixelRatio;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width) return;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  const shades = {};
  const shade = (name) => (shades[name] ??= style.getPropertyValue(`--${name}`));
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const base = height - 17; // below it: what was dropped, and what was skipped
  const worst = Math.max(10, ...frames.map((frame) => frame.age_ms));
  const most = Math.max(1.15 * (deadline ?? 0), 1.15 * worst);
  const up = (ms) => base - (base - 8) * Math.sqrt(Math.min(ms, most) / most); // small ones show too

  context.font = `10px ${style.fontFamily}`;
  context.textBaseline = "middle";
  let free = base - 8; // the lowest place for a label
  const taken = deadline ? up(deadline) : -Infinity;
  for (const mark of MARKS) {
    const y = up(mark);
    if (mark >= most || y > free || y < 6 || Math.abs(y - taken) < 13) continue;
    free = y - 13;
    context.fillStyle = shade("line");
    context.fillRect(0, Math.round(y), width - AXIS, 1);
    context.fillStyle = shade("soft");
    context.textAlign = "right";
    context.fillText(`${mark} ms`, width, y);
  }
  const pitch = (width - AXIS) / slots;
  const gap = Math.min(1.5, pitch / 4);
  const place = (index) => (slots - frames.length + index) * pitch;
  frames.forEach((frame, index) => {
    const x = place(index);
    const late = frame.health.includes("late") || frame.health.includes("stale");
    const top = up(frame.age_ms);
    context.globalAlpha = selected === null || selected === index ? 1 : 0.5;
    context.fillStyle = shade(frame.usable ? "intime" : "late");
    context.fillRect(x, top, pitch - gap, base - top);
    if (late || !frame.usable) context.fillRect(x - gap / 2, top - 4, pitch, 2.5); // not by colour alone
    context.globalAlpha = 1;
    if (frame.pause) {
      context.fillStyle = shade("line");
      context.fillRect(x - gap / 2, 0, 1, base);
    }
    if (frame.lost) {
      context.fillStyle = shade("dropped");
      triangle(context, x + (pitch - gap) / 2, base + 2, 3.5);
    }
    if (frame.skipped) {
      context.strokeStyle = shade("dropped");
      context.lineWidth = 1.2;
      context.beginPath();
      context.arc(x + (pitch - gap) / 2, base + 13, 2.3, 0, 2 * Math.PI);
      context.stroke();
    }
  });
  context.fillStyle = shade("axis");
  context.fillRect(0, base, width - AXIS, 1);
  if (deadline) {
    const y = Math.round(up(deadline)) + 0.5;
    context.strokeStyle = context.fillStyle = shade("late");
    context.lineWidth = 1;
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(0, y);
    context.lineTo(width - AXIS, y);
    context.stroke();
    context.setLineDash([]);
    context.textAlign = "right";
    context.fillText(`${deadline} ms`, width, y);
  }
  if (selected !== null && frames.length) {
    context.fillStyle = shade("ink");
    context.fillRect(place(selected) + (pitch - gap) / 2 - 0.5, 0, 1, base);
  }
}

function triangle(context, x, y, size) {
  context.beginPath();
  context.moveTo(x - size, y + 1.6 * size);
  context.lineTo(x + size, y + 1.6 * size);
  context.lineTo(x, y);
  context.fill();
}
