// Pictures and their answers, as cards. Each picture is asked for by itself, so that answers appear as they come and one
// bad picture spoils no other.

import { collect, predict } from "./api.js";
import { percent, say } from "./words.js";

/** Pictures that are asked for at once. */
const AT_ONCE = 3;

/** Newest first. They outlive a change of language or model. */
const entries = [];
/** Pictures that wait for their turn. */
const waiting = [];
let running = 0;
/** Answers since the reader was last told. */
let news = [];

/** A picture, its answer and its card. */
export class Entry {
  constructor(file, name) {
    this.file = file;
    this.name = name;
    this.address = URL.createObjectURL(file);
    this.answer = undefined;
    this.problem = undefined;
    this.explained = undefined;
    this.shown = false;
    this.kept = undefined;
    this.asked = undefined;
  }

  /** Builds the card and shows what is known so far. */
  card() {
    this.element = document.getElementById("card").content.firstElementChild.cloneNode(true);
    const picture = this.part(".picture");
    picture.addEventListener("load", () => {
      picture.classList.toggle("small", Math.max(picture.naturalWidth, picture.naturalHeight) <= 96);
    });
    // Formats that the browser cannot show, though the server reads them.
    picture.addEventListener("error", () => this.part(".frame").classList.add("blank"));
    picture.src = this.address;
    picture.alt = say("picture_of", { file: this.name });
    this.part(".file").textContent = this.name;
    this.part(".why").addEventListener("click", () => this.explain());
    this.part(".again").addEventListener("click", () => ask(this));
    this.part(".invert")?.addEventListener("click", () => this.invert());
    this.part(".wrong")?.addEventListener("click", () => this.correct());
    const remove = this.part(".remove");
    remove.setAttribute("aria-label", say("remove", { file: this.name }));
    remove.addEventListener("click", () => discard(this));
    this.show();
    return this.element;
  }

  part(selector) {
    return this.element.querySelector(selector);
  }

  /** Brings the card up to date. */
  show() {
    const { answer, problem } = this;
    const unknown = Boolean(answer?.unknown);
    const [likeliest] = answer?.predictions ?? [];
    this.element.classList.toggle("pending", !answer && !problem);
    this.element.classList.toggle("failed", Boolean(problem));
    const name = this.part(".name");
    const { classes, share } = said(answer?.predictions ?? []);
    name.textContent = unknown ? page().dataset.unknown : (classes ?? say("looking"));
    this.part(".share").textContent = share === undefined || unknown ? "" : percent(share);
    this.part(".verdict").hidden = Boolean(problem);
    this.part(".problem").hidden = !problem;
    this.part(".problem .sentence").textContent = problem?.message ?? "";
    this.part(".problem .detail").textContent = problem?.detail ?? "";
    this.part(".unknown-note").hidden = !unknown;
    this.part(".nearest").hidden = !unknown;
    const bars = this.part(".bars");
    bars.hidden = !likeliest;
    bars.classList.toggle("muted", unknown);
    bars.classList.toggle("several", likeliest?.chosen !== undefined);
    showBars(bars, answer?.predictions ?? []);
    this.part(".why").hidden = !likeliest;
    this.part(".again").hidden = !problem;
    if (this.part(".invert")) this.part(".invert").hidden = !likeliest;
    if (this.part(".wrong")) this.part(".wrong").hidden = !likeliest || Boolean(this.kept);
    this.part(".time").textContent = answer?.milliseconds === undefined ? "" : say("milliseconds", { n: answer.milliseconds.toFixed(1) });
    this.part(".kept").hidden = !this.kept;
    this.part(".kept").textContent = this.kept ? say("kept", { class: this.kept }) : "";
    this.showExplanation();
  }

  showExplanation() {
    const on = this.shown && Boolean(this.explained);
    const overlay = this.part(".overlay");
    overlay.hidden = !on;
    if (on) {
      overlay.src = this.explained;
      overlay.alt = say("explained", { file: this.name });
    }
    this.part(".why").setAttribute("aria-pressed", this.shown);
    this.part(".why-note").hidden = !on;
    this.element.classList.toggle("explained", on);
  }

  /** Shows what spoke for the answer, or hides it again. */
  async explain() {
    this.shown = !this.shown;
    this.showExplanation();
    if (!this.shown || this.explained) return;
    const file = this.file;
    try {
      const result = await predict(page().dataset.model, file, { explain: true });
      if (file === this.file) this.explained = result.overlay;
    } catch (problem) {
      this.shown = false;
      announce(problem.message);
    }
    this.showExplanation();
  }

  /** Dark becomes light: signs on paper are dark, those on training pictures often light. */
  async invert() {
    const bitmap = await createImageBitmap(this.file).catch(() => undefined);
    if (!bitmap) return;
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0);
    context.globalCompositeOperation = "difference";
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
    URL.revokeObjectURL(this.address);
    this.file = new File([blob], this.file.name, { type: "image/png" });
    this.address = URL.createObjectURL(this.file);
    this.part(".picture").src = this.address;
    ask(this);
  }

  /** Opens the form that names the right class, or closes it. */
  correct() {
    const button = this.part(".wrong");
    const open = this.part(".correction");
    const close = () => {
      this.part(".correction")?.remove();
      button.setAttribute("aria-expanded", "false");
      button.focus();
    };
    if (open) return close();
    const form = document.getElementById("correction").content.firstElementChild.cloneNode(true);
    const problem = form.querySelector(".problem");
    const { class: choice, other } = form.elements;
    // Either names the class; the later one counts.
    choice.addEventListener("change", () => { if (choice.value) other.value = ""; });
    other.addEventListener("input", () => { if (other.value) choice.value = ""; });
    form.querySelector(".cancel").addEventListener("click", close);
    form.addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const name = other.value.trim() || choice.value;
      problem.hidden = Boolean(name);
      problem.textContent = say("choose_class");
      if (!name) return choice.focus();
      const submit = form.querySelector("[type=submit]");
      submit.disabled = true;
      try {
        await collect(page().dataset.model, name, this.file);
        this.kept = name;
        form.remove();
        this.show();
        announce(say("kept", { class: name }));
        this.part(".why").focus();
      } catch (error) {
        submit.disabled = false;
        problem.textContent = [error.message, error.detail].filter(Boolean).join(" ");
        problem.hidden = false;
      }
    });
    this.part(".answer").append(form);
    button.setAttribute("aria-expanded", "true");
    choice.focus();
  }

  /** Forgets what was said of the picture. */
  forget() {
    Object.assign(this, { answer: undefined, problem: undefined, explained: undefined, shown: false, kept: undefined });
  }

  sentence() {
    const { answer, problem, name: file } = this;
    if (problem) return say("said_error", { file, error: problem.message });
    if (answer.unknown) return say("said_unknown", { file });
    const { classes, share } = said(answer.predictions);
    if (share === undefined) return say("said_several", { file, class: classes });
    return say("said", { file, class: classes, percent: percent(share) });
  }
}

/** What a picture is said to show, and how likely that is where it is one class. */
function said(predictions) {
  const [likeliest] = predictions;
  if (!likeliest) return {};
  if (likeliest.chosen === undefined) return { classes: likeliest.class, share: likeliest.probability };
  const chosen = predictions.filter((prediction) => prediction.chosen);
  if (!chosen.length) return { classes: say("none_of_them") };
  if (chosen.length === 1) return { classes: chosen[0].class, share: chosen[0].probability };
  return { classes: chosen.map((prediction) => prediction.class).join(say("and")) };
}

/** Bars that are there already move to their new length. */
function showBars(bars, predictions) {
  const template = document.getElementById("bar").content.firstElementChild;
  while (bars.children.length > predictions.length) bars.lastElementChild.remove();
  predictions.forEach(({ class: name, probability, chosen }, place) => {
    const bar = bars.children[place] ?? bars.appendChild(template.cloneNode(true));
    bar.querySelector(".class").textContent = name;
    bar.querySelector("meter").value = probability;
    bar.querySelector(".percent").textContent = percent(probability);
    bar.classList.toggle("chosen", Boolean(chosen));
    bar.querySelector(".shown").hidden = !chosen;
  });
}

function page() {
  return document.getElementById("page");
}

/** Which model, and which version of it, the page asks. */
function asking() {
  const { model, version } = page().dataset;
  return `${model} ${version}`;
}

/** Says something to those who listen. */
export function announce(sentence) {
  const said = document.getElementById("said");
  if (said) said.textContent = sentence;
}

/** Takes pictures in, the first of them on top. */
export function add(files, name) {
  const added = [...files].map((file) => new Entry(file, name ?? file.name));
  if (!added.length) return;
  entries.unshift(...added);
  list().prepend(...added.map((entry) => entry.card()));
  arrange();
  added.forEach(ask);
  list().firstElementChild.scrollIntoView({ block: "nearest" });
}

/** Shows the pictures that are there already on a page that was just sent. */
export function restore() {
  if (!entries.length) return;
  list().replaceChildren(...entries.map((entry) => entry.card()));
  entries.filter((entry) => entry.asked !== asking()).forEach((entry) => {
    entry.forget();
    entry.show();
    ask(entry);
  });
  arrange();
}

/** Connects what the list needs beside its cards. */
export function startAnswers() {
  document.querySelector(".clear-all").addEventListener("click", () => {
    entries.splice(0).forEach((entry) => URL.revokeObjectURL(entry.address));
    waiting.length = 0;
    list().replaceChildren();
    arrange();
    document.getElementById("file").focus();
  });
  restore();
}

function list() {
  return document.querySelector(".answers .results");
}

function arrange() {
  document.querySelector(".answers").hidden = !list().children.length;
  document.querySelector(".clear-all").hidden = entries.length < 2;
  list().classList.toggle("many", list().children.length > 3);
  document.body.classList.toggle("answered", entries.length > 0);
}

function discard(entry) {
  const next = entry.element.nextElementSibling ?? entry.element.previousElementSibling;
  URL.revokeObjectURL(entry.address);
  for (const places of [entries, waiting]) {
    const place = places.indexOf(entry);
    if (place >= 0) places.splice(place, 1);
  }
  entry.element.remove();
  arrange();
  (next?.querySelector(".remove") ?? document.getElementById("file")).focus();
}

function ask(entry) {
  entry.forget();
  entry.show();
  waiting.push(entry);
  next();
}

async function next() {
  if (running >= AT_ONCE || !waiting.length) return;
  const entry = waiting.shift();
  running++;
  entry.asked = asking();
  const { model } = page().dataset;
  try {
    const busy = () => { entry.part(".name").textContent = say("waiting"); };
    entry.answer = await predict(model, entry.file, { waiting: busy });
  } catch (problem) {
    entry.problem = problem;
  }
  running--;
  if (entries.includes(entry)) news.push(entry);
  // The reader may be on another page by now.
  if (page() && document.getElementById("card")) {
    entry.show();
    if (!running && !waiting.length) {
      announce(news.length === 1 ? news[0].sentence() : say("said_many", { n: news.length }));
      news = [];
    }
  }
  next();
}
