import { COLOURS, Painter, font } from "./paint.js";
import { drawStrip } from "./strip.js";
import { parse } from "./wire.js";

const RING = 150; // frames that are kept to step through ...
const RING_BYTES = 192 * 2 ** 20; // ... unless they are large
const QUIET_MS = 1200; // without a frame for so long the picture is not live
const NOTICE = "Research software, not a medical device";
const THEMES = ["auto", "light", "dark"];

/** What a health word means: name, sentence, and how grave. */
const HEALTH = {
  failed: ["Failed", "Nothing could be computed on this frame.", "bad"],
  nan: ["Not a number", "The network gave what is no number; there is no outline.", "bad"],
  out_of_range: ["Out of range", "The network gave what is no probability; there is no outline.", "bad"],
  late: ["Late", "The result came after the deadline; its outline is withheld.", "caution"],
  stale: ["Stale", "The result was too old when it was fetched; its outline is withheld.", "caution"],
  saturated: ["Saturated", "Half of the image or more is white: gain too high, or no ultrasound.", "caution"],
  empty: ["No lesion", "The network marks nothing on this frame.", "note"],
};
const OK = ["OK", "In time, and fit to be drawn.", "good"];
const OLD = { word: "Not live", text: "This frame is old, and no newer one comes.", level: "caution" };
const GRAVITY = ["good", "note", "caution", "bad"];

const $ = (id) => document.getElementById(id);
const picture = $("picture");
const painter = new Painter();
const number = new Intl.NumberFormat("en");

const ring = [];
let welcome = null;
let notice = null; // what the server says of the source
let socket = null;
let connected = false;
let retry = 500;
let last = null; // frame that came, shown or not
let lastAt = -Infinity;
let frozen = false;
let selected = 0; // of the ring, while frozen
let missed = 0; // frames since the freeze
let skipped = 0; // frames that this browser was too slow for
let pause = false; // whether what is missing before the next frame was wanted
let arrivals = [];
let scheduled = false;
let owed = null; // number of the frame that is not yet acknowledged

// The stream

function connect() {
  socket = new WebSocket(new URL("live", location.href.replace(/^http/, "ws")));
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") heard(JSON.parse(data));
    else came(parse(data));
  };
  socket.onclose = () => {
    connected = false;
    last = owed = null;
    if (welcome) announce("Connection lost");
    refresh();
    setTimeout(connect, retry);
    retry = Math.min(2 * retry, 4000);
  };
}

function heard(said) {
  if (said.kind === "welcome") {
    welcome = said;
    connected = true;
    retry = 500;
    notice = null;
    const { model } = said;
    $("source").textContent = said.source;
    $("model").textContent = [model.name, model.precision?.toUpperCase(), runner(model)].filter(Boolean).join(" · ");
    document.title = `${said.source} – edge-bts view`;
  } else {
    notice = said;
  }
  refresh();
}

const runner = (model) => [model.backend, model.backend_version].filter(Boolean).join(" ");

function came(frame) {
  lastAt = performance.now();
  arrivals = arrivals.filter((at) => lastAt - at < 1000).concat(lastAt);
  frame.lost = last && !pause ? Math.max(0, frame.dropped - last.dropped) : 0;
  frame.skipped = last && !pause ? Math.max(0, frame.order - last.order - 1) : 0;
  frame.pause = pause;
  skipped += frame.skipped;
  last = frame;
  owed = frame.number;
  if (frozen) {
    missed += 1;
    acknowledge();
    return;
  }
  pause = false;
  ring.push(frame);
  let bytes = ring.reduce((sum, kept) => sum + kept.bytes, 0);
  while (ring.length > RING || (bytes > RING_BYTES && ring.length > 1)) bytes -= ring.shift().bytes;
  schedule();
}

/** Tells the server that the next frame may come: after this one was drawn, so none piles up. */
function acknowledge() {
  if (owed !== null && socket.readyState === WebSocket.OPEN) socket.send(String(owed));
  owed = null;
}

function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    draw();
    acknowledge();
  });
}

document.addEventListener("visibilitychange", () => {
  pause ||= document.hidden; // a hidden page draws nothing and so is sent nothing
});

// The picture

const shown = () => (frozen ? ring[selected] : ring.at(-1));

function draw() {
  const frame = shown();
  if (!frame) return;
  $("nothing").hidden = true;
  const ratio = devicePixelRatio;
  const { clientWidth, clientHeight } = picture.parentElement;
  const scale = Math.min((clientWidth * ratio) / frame.width, (clientHeight * ratio) / frame.height);
  const [width, height] = [Math.round(frame.width * scale), Math.round(frame.height * scale)];
  if (picture.width !== width || picture.height !== height) {
    picture.width = width;
    picture.height = height;
    picture.style.width = `${width / ratio}px`;
    picture.style.height = `${height / ratio}px`;
  }
  painter.load(frame);
  const context = picture.getContext("2d");
  painter.draw(context, { x: 0, y: 0, scale, line: 1.8 * ratio, fine: frozen, ...looks() });
  if (frame.spacing_mm) ruler(context, frame, scale, ratio);
  picture.dataset.number = frame.number;
  tell(frame);
  drawStrip($("bars"), ring, {
    slots: RING,
    deadline: welcome?.deadline_ms ?? null,
    selected: frozen ? selected : null,
  });
  refresh();
}

const looks = () => ({
  opacity: $("opacity").value / 100,
  outline: $("mask").getAttribute("aria-pressed") === "true",
});

/** A bar of 10 mm, or of 1 where that is too long, in the lower right corner. */
function ruler(context, frame, scale, ratio) {
  const mm = (10 / frame.spacing_mm) * scale < 0.4 * frame.width * scale ? 10 : 1;
  const length = (mm / frame.spacing_mm) * scale;
  const [x, y] = [frame.width * scale - 16 * ratio, frame.height * scale - 16 * ratio];
  const path = new Path2D();
  path.moveTo(x - length, y - 5 * ratio);
  path.lineTo(x - length, y);
  path.lineTo(x, y);
  path.lineTo(x, y - 5 * ratio);
  for (const [shade, width] of [["rgba(10, 12, 14, .8)", 3.5], ["#e8e8e4", 1.5]]) {
    context.strokeStyle = shade;
    context.lineWidth = width * ratio;
    context.stroke(path);
  }
  context.font = font(12 * ratio, 500);
  context.textAlign = "right";
  context.textBaseline = "bottom";
  context.lineJoin = "round";
  context.strokeStyle = "rgba(10, 12, 14, .8)";
  context.strokeText(`${mm} mm`, x, y - 7 * ratio);
  context.fillStyle = "#e8e8e4";
  context.fillText(`${mm} mm`, x, y - 7 * ratio);
}

// What is said beside it

function health(frame) {
  const meanings = frame.health.map((word) => HEALTH[word] ?? [word, "", "bad"]);
  if (!meanings.length) meanings.push(OK);
  meanings.sort((a, b) => GRAVITY.indexOf(b[2]) - GRAVITY.indexOf(a[2]));
  return {
    word: meanings.map(([word]) => word).join(", "),
    text: frame.error || meanings[0][1],
    level: meanings[0][2],
  };
}

const fixed = (value) => value.toFixed(value < 100 ? 1 : 0);

/** The sizes of a component as [diameters, area], in mm where a pixel's size is known. */
function sizes(part) {
  const mm = part.longest_mm !== null;
  return mm
    ? [`${fixed(part.longest_mm)} × ${fixed(part.orthogonal_mm)} mm`, `${fixed(part.area_mm2)} mm²`]
    : [`${part.longest_px.toFixed(0)} × ${part.orthogonal_px.toFixed(0)} px`, `${number.format(part.area_px)} px`];
}

function tell(frame) {
  $("sizes").replaceChildren(
    ...frame.components.slice(0, COLOURS.length).map((part, index) => {
      const [diameters, area] = sizes(part);
      const item = document.createElement("li");
      const letter = element("i", "AB"[index]);
      letter.className = `letter l${index}`;
      const small = element("span", `area ${area}`);
      item.append(letter, element("b", diameters), small);
      return item;
    }),
  );
  const more = frame.found - COLOURS.length;
  const unknown = frame.components.length && !frame.spacing_mm ? "Pixel size unknown, so no millimetres." : "";
  const none = frame.components.length ? "" : frame.usable ? "No lesion found." : "Withheld: see Health.";
  set("sizes-note", [none, more > 0 ? `And ${more} smaller.` : "", unknown].filter(Boolean).join(" "));
  $("presence").value = frame.presence ?? 0;
  set("presence-value", frame.presence === null ? "–" : frame.presence.toFixed(2));
  const model = welcome?.model ?? {};
  facts({
    Rate: `${arrivals.length} fps`,
    Image: `${frame.width} × ${frame.height} px`,
    Pixel: frame.spacing_mm ? `${frame.spacing_mm.toPrecision(3)} mm` : "unknown",
    Inference: frame.times_ms.inference === undefined ? "–" : `${frame.times_ms.inference.toFixed(1)} ms`,
    Backend: runner(model),
    Precision: model.precision?.toUpperCase(),
    Frames: number.format(frame.number),
    Lost: `${number.format(frame.dropped)} dropped, ${number.format(skipped)} skipped`,
  });
  const ages = ring.map((kept) => kept.age_ms).sort((a, b) => a - b);
  const late = ring.filter((kept) => kept.health.includes("late")).length;
  set(
    "strip-text",
    `${frame.age_ms.toFixed(1)} ms · median ${ages[ages.length >> 1].toFixed(1)} · worst ${ages.at(-1).toFixed(1)} · ${late} late of ${ring.length}`,
  );
  describe(frame, health(frame).word);
}

/** Leaves a node alone that says it already: screen readers and selections notice a change. */
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const set = (id, text) => put($(id), text);

function element(name, text) {
  const node = document.createElement(name);
  node.textContent = text;
  return node;
}

function facts(said) {
  const list = $("facts");
  const entries = Object.entries(said).filter(([, value]) => value);
  if (list.childElementCount !== entries.length) {
    list.replaceChildren(
      ...entries.map(([name]) => {
        const row = document.createElement("div");
        row.append(element("dt", name), element("dd", ""));
        return row;
      }),
    );
  }
  entries.forEach(([, value], index) => {
    put(list.children[index].lastChild, value);
  });
}

// For who does not see it: the picture in words, at most every two seconds while it runs.

let described = -Infinity;

function describe(frame, word) {
  if (!frozen && performance.now() - described < 2000) return;
  described = performance.now();
  const parts = frame.components.map((part) => sizes(part).join(", area "));
  const lesions = parts.length ? `${frame.found} outlined: ${parts.slice(0, COLOURS.length).join("; ")}` : "nothing outlined";
  picture.setAttribute("aria-label", `Ultrasound frame ${frame.number}, ${lesions}. Health: ${word}.`);
  $("bars").setAttribute("aria-label", `Latency of the last ${ring.length} frames: ${$("strip-text").textContent}`);
}

function announce(text) {
  $("announce").textContent = text;
}

// Live, frozen, waiting

function refresh() {
  const quiet = performance.now() - lastAt > Math.max(QUIET_MS, welcome?.fps ? 2500 / welcome.fps : 0);
  const back = ring.length - 1 - selected;
  let [state, text] = ["live", "Live"];
  if (!connected) [state, text] = welcome ? ["lost", "Connection lost"] : ["connecting", "Connecting"];
  else if (frozen) [state, text] = ["frozen", "Frozen"];
  else if (quiet && notice?.state === "ended") [state, text] = ["ended", "Ended"];
  else if (quiet) [state, text] = ["waiting", "Waiting"];
  if ($("state").dataset.state !== state) announce(state === "frozen" ? "" : text);
  $("state").dataset.state = state;
  put($("state").lastElementChild, text);
  const reason = {
    connecting: "Connecting to edge-bts view",
    lost: "edge-bts view does not answer. If it was started again, open its new address.",
    waiting: notice?.text ?? "Waiting for an image",
    ended: notice?.text ?? "The source has ended.",
  }[state]; // none: what is shown is live, or frozen on purpose
  $("nothing").hidden = ring.length > 0;
  set("nothing-text", reason ?? "");
  const badge = frozen
    ? `Frozen${back ? `, ${back} ${back === 1 ? "frame" : "frames"} back` : ""}`
    : reason && ring.length ? `Not live. ${reason}` : "";
  $("badge").hidden = !badge;
  $("badge").dataset.state = frozen ? "frozen" : state;
  set("badge", badge);
  picture.dataset.state = state;
  const frame = shown();
  if (frame) {
    const { word, text, level } = reason ? OLD : health(frame);
    $("health").dataset.level = level;
    set("health-word", word);
    set("health-text", text);
  }
  set("position", frame ? `Frame ${number.format(frame.number)}${frozen && missed ? ` · ${number.format(missed)} newer` : ""}` : "");
  for (const id of ["freeze", "back", "forward", "save"]) $(id).disabled = !frame;
  $("forward").disabled ||= !frozen || selected === ring.length - 1;
  $("back").disabled ||= frozen ? selected === 0 : ring.length < 2;
  const time = $("time");
  time.disabled = !frame;
  time.value = RING - ring.length + (frozen ? selected : ring.length - 1); // under its bar
  time.setAttribute("aria-valuetext", frame ? `frame ${frame.number}` : "none");
}

function freeze(on, index = ring.length - 1) {
  if (!ring.length) return;
  if (on !== frozen) {
    frozen = on;
    missed = 0;
    pause ||= !on;
    $("freeze").setAttribute("aria-pressed", String(on));
    $("freeze").lastElementChild.textContent = on ? "Go live" : "Freeze";
  }
  selected = Math.max(0, Math.min(ring.length - 1, index));
  draw();
  announce(on ? `Frozen. ${picture.getAttribute("aria-label")}` : "Live");
}

const step = (by) => freeze(true, (frozen ? selected : ring.length - 1) + by);

function fill(by) {
  $("opacity").value = Number($("opacity").value) + by;
  filled();
}

function filled() {
  set("opacity-value", `${$("opacity").value} %`);
  draw();
}

function toggleMask() {
  const on = $("mask").getAttribute("aria-pressed") !== "true";
  $("mask").setAttribute("aria-pressed", String(on));
  announce(on ? "Outline on" : "Outline off");
  draw();
}

function nextTheme() {
  const root = document.documentElement;
  const theme = THEMES[(THEMES.indexOf(root.dataset.theme ?? "auto") + 1) % THEMES.length];
  root.dataset.theme = theme;
  set("theme-name", theme[0].toUpperCase() + theme.slice(1));
  draw();
}

// The picture that is saved: pixels of the source, enlarged by a whole factor, and what was found

function save() {
  const frame = shown();
  if (!frame) return;
  const scale = Math.max(1, Math.round(1024 / Math.max(frame.width, frame.height)));
  const [width, height] = [frame.width * scale, frame.height * scale];
  const sheet = Math.max(width, 640);
  const size = Math.max(14, Math.round(sheet / 60));
  const pad = Math.round(0.9 * size);
  const canvas = document.createElement("canvas");
  canvas.width = sheet;
  canvas.height = height + 2 * pad + 4 * Math.round(1.5 * size);
  const context = canvas.getContext("2d");
  context.fillStyle = "#101316";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const x = Math.floor((sheet - width) / 2);
  painter.load(frame);
  painter.draw(context, { x, y: 0, scale, line: Math.max(1.5, scale * 0.7), fine: true, ...looks() });
  const found = frame.components.slice(0, COLOURS.length).map((part, index) => {
    const [diameters, area] = sizes(part);
    return [`${frame.components.length > 1 ? `${"AB"[index]}  ` : ""}${diameters}, area ${area}`, COLOURS[index]];
  });
  const { word } = health(frame);
  const when = new Date(frame.time * 1000).toISOString();
  const lines = [
    [found.length ? found.map(([text]) => text).join("    ") : frame.usable ? "No lesion found" : "Outline withheld", COLOURS[found.length ? 0 : 9] ?? "#ecedee", 600],
    [`Health: ${word}   Latency: ${frame.age_ms.toFixed(1)} ms   Frame ${frame.number}   ${when}`, "#c6cacf", 400],
    [`${welcome.source}   ${$("model").textContent}   edge-bts ${welcome.version}`, "#c6cacf", 400],
    [NOTICE, "#ecedee", 600],
  ];
  context.textBaseline = "middle";
  lines.forEach(([text, shade, weight], index) => {
    context.font = font(size, weight);
    context.fillStyle = shade;
    context.fillText(text, pad, height + pad + (index + 0.5) * 1.5 * size, sheet - 2 * pad);
  });
  canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `edge-bts-frame-${String(frame.number).padStart(6, "0")}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    announce(`Saved ${link.download}`);
  }, "image/png");
}

// Hands

$("freeze").onclick = () => freeze(!frozen);
$("back").onclick = () => step(-1);
$("forward").onclick = () => step(1);
$("save").onclick = save;
$("mask").onclick = toggleMask;
$("opacity").oninput = filled;
$("time").oninput = () => freeze(true, Number($("time").value) - RING + ring.length);
$("theme").onclick = nextTheme;
$("help-open").onclick = () => $("help").showModal();
$("help-close").onclick = () => $("help").close();
$("help").onclick = (event) => event.target === $("help") && $("help").close();

const KEYS = {
  " ": () => freeze(!frozen),
  f: () => freeze(!frozen),
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  Home: () => freeze(true, 0),
  End: () => freeze(true),
  "[": () => fill(-5),
  "]": () => fill(5),
  m: toggleMask,
  s: save,
  t: nextTheme,
  "?": () => $("help").showModal(),
};

addEventListener("keydown", (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const own = event.target instanceof HTMLInputElement && key.length > 1; // arrows move a slider
  const pressed = event.target instanceof HTMLButtonElement && key === " ";
  if (event.ctrlKey || event.altKey || event.metaKey || own || pressed || $("help").open || !KEYS[key]) return;
  event.preventDefault();
  KEYS[key]();
});

new ResizeObserver(draw).observe(picture.parentElement);
new ResizeObserver(draw).observe($("bars"));
$("time").max = RING - 1;
setInterval(refresh, 250);
refresh();
connect();
