// Draw a sign and see what it is, after each stroke. Strokes are kept as lines and drawn anew for the model: of its pens'
// width, as large and as central as things are on its training pictures.

import { predict } from "./api.js";
import { Entry, announce } from "./answers.js";
import { say } from "./words.js";

/** Width of the pen on the screen, as a share of the canvas. */
const PEN = 0.07;
/** Steps of the pen that the keyboard moves, as shares of the canvas. */
const STEP = 0.04;
const SMALL_STEP = 0.01;
/** A drawing is enlarged by no more than this: a dot stays one. */
const LARGEST_SCALE = 3;
/** Pixels sent for each pixel of the model. */
const FINENESS = 8;

/** Kept when the page is sent anew in another language. */
let strokes = [];

/** Connects the canvas, where the page has one. */
export function startDrawing() {
  const section = document.querySelector(".draw");
  if (!section) return;
  const canvas = section.querySelector("canvas");
  const context = canvas.getContext("2d");
  const light = section.dataset.light === "true";
  const [paper, ink] = light ? ["#000000", "#ffffff"] : ["#ffffff", "#000000"];
  const [undo, clear] = [section.querySelector(".undo"), section.querySelector(".clear")];
  let stroke;
  let pen;
  let entry;
  let stop = new AbortController();
  section.hidden = false;

  const draw = () => {
    paint(context, canvas.width, strokes.concat(stroke ? [stroke] : []), PEN, paper, ink);
    if (!strokes.length && !stroke) invite(context, canvas, ink);
    if (pen) mark(context, canvas.width, pen);
    undo.disabled = clear.disabled = !strokes.length;
  };

  const finish = () => {
    if (!stroke) return;
    strokes.push(stroke);
    stroke = undefined;
    draw();
    recognise();
  };

  const erase = () => {
    strokes = [];
    stroke = undefined;
    draw();
    recognise();
    announce(say("cleared"));
  };

  async function recognise() {
    stop.abort();
    section.querySelector(".empty").hidden = strokes.length > 0;
    if (!strokes.length) {
      entry?.element.remove();
      entry = undefined;
      return;
    }
    stop = new AbortController();
    const { signal } = stop;
    const file = await picture(strokes, section.dataset, paper, ink);
    if (signal.aborted) return;
    try {
      const answer = await predict(document.getElementById("page").dataset.model, file, { signal });
      if (!signal.aborted) show(file, answer);
    } catch (problem) {
      if (!signal.aborted) show(file, undefined, problem);
    }
  }

  /** The card stays: its bars move. */
  function show(file, answer, problem) {
    if (!entry) {
      entry = new Entry(file, say("drawing"));
      section.querySelector(".results").replaceChildren(entry.card());
    }
    URL.revokeObjectURL(entry.address);
    entry.forget();
    Object.assign(entry, { file, answer, problem, address: URL.createObjectURL(file) });
    entry.part(".picture").src = entry.address;
    entry.part(".correction")?.remove();
    entry.part(".wrong")?.setAttribute("aria-expanded", "false");
    entry.show();
    announce(entry.sentence());
  }

  const place = (event) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    return [(event.clientX - left) / width, (event.clientY - top) / height];
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    pen = undefined;
    stroke = [place(event)];
    draw();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!stroke || pen) return;
    // A fast hand moves more often than the screen shows.
    const moves = event.getCoalescedEvents?.() ?? [];
    stroke.push(...(moves.length ? moves : [event]).map(place));
    draw();
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, finish);

  canvas.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? SMALL_STEP : STEP;
    const way = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (event.key === "Delete" || event.key === "Backspace") erase();
    else if (event.key === " ") {
      pen ??= [0.5, 0.5];
      if (stroke) finish();
      else stroke = [[...pen]];
      announce(say(stroke ? "pen_down" : "pen_up"));
    } else if (way) {
      pen = (pen ?? [0.5, 0.5]).map((at, axis) => Math.min(1, Math.max(0, at + way[axis])));
      stroke?.push([...pen]);
    } else return;
    event.preventDefault();
    draw();
  });
  canvas.addEventListener("blur", () => {
    pen = undefined;
    finish();
    draw();
  });
  undo.addEventListener("click", () => {
    strokes.pop();
    draw();
    recognise();
    if (undo.disabled) canvas.focus();
  });
  clear.addEventListener("click", () => {
    erase();
    canvas.focus();
  });
  draw();
  if (strokes.length) recognise();
}

/** Draws lines on a square; their places are shares of its side. */
function paint(context, side, lines, pen, paper, ink) {
  context.fillStyle = paper;
  context.fillRect(0, 0, side, side);
  Object.assign(context, { strokeStyle: ink, lineWidth: pen * side, lineCap: "round", lineJoin: "round" });
  for (const line of lines) {
    context.beginPath();
    line.forEach(([x, y]) => context.lineTo(x * side, y * side));
    // A line of no length is a dot.
    if (line.length === 1) context.lineTo(line[0][0] * side + 0.01, line[0][1] * side);
    context.stroke();
  }
}

/** What an empty canvas is for. */
function invite(context, { width, dataset }, ink) {
  Object.assign(context, { fillStyle: ink, globalAlpha: 0.4, textAlign: "center", textBaseline: "middle" });
  context.font = `${width / 16}px ${getComputedStyle(document.body).fontFamily}`;
  context.fillText(dataset.hint, width / 2, width / 2);
  context.globalAlpha = 1;
}

/** Where the keyboard's pen is. */
function mark(context, side, [x, y]) {
  Object.assign(context, { strokeStyle: "#d9641e", lineWidth: 4 });
  context.beginPath();
  context.arc(x * side, y * side, 16, 0, 7);
  context.stroke();
}

/** The drawing as the model's training pictures are: as large, as central, as thick. */
async function picture(lines, { side, extent }, paper, ink) {
  const pixels = Number(side);
  // Lines are little more than one pixel wide on the smallest pictures, and nearly three on those of 28.
  const pen = (0.75 + 0.06 * pixels) / pixels;
  const points = lines.flat();
  const [left, right] = [Math.min(...points.map(([x]) => x)), Math.max(...points.map(([x]) => x))];
  const [top, bottom] = [Math.min(...points.map(([, y]) => y)), Math.max(...points.map(([, y]) => y))];
  const length = Math.max(right - left, bottom - top, 1e-6);
  const scale = Math.min((Number(extent) - pen) / length, LARGEST_SCALE);
  const moved = lines.map((line) => line.map(([x, y]) => [
    0.5 + scale * (x - (left + right) / 2),
    0.5 + scale * (y - (top + bottom) / 2),
  ]));
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = FINENESS * pixels;
  paint(canvas.getContext("2d"), canvas.width, moved, pen, paper, ink);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
  return new File([blob], "drawing.png", { type: "image/png" });
}
