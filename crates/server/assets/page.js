// Begins the page: takes pictures in that are chosen, dropped or pasted, and changes pages without losing them.

import { add, startAnswers } from "./answers.js";
import { authorisation, keepToken } from "./api.js";
import { startCamera } from "./camera.js";
import { startDrawing } from "./draw.js";
import { learnWords, say } from "./words.js";

/** Shows another page of this server; what a program holds stays. */
async function show(address, { token, replace } = {}) {
  const response = await fetch(address, { headers: authorisation(token) });
  const sent = new DOMParser().parseFromString(await response.text(), "text/html");
  if (response.status === 401 && token !== undefined) return false;
  if (token) keepToken(token);
  document.documentElement.lang = sent.documentElement.lang;
  document.title = sent.title;
  document.body.replaceWith(document.adoptNode(sent.body));
  // Where redirects led.
  if (replace) history.replaceState(null, "", response.url);
  start();
  return true;
}

/** Asks for the token, unless the tab knows it already. */
function unlock(form) {
  const token = form.elements.token;
  const problem = form.querySelector(".problem");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    const right = await show(location.href, { token: token.value.trim() }).catch(() => false);
    if (right) return document.getElementById("content").focus({ preventScroll: true });
    problem.hidden = false;
    token.select();
  });
}

function start() {
  const page = document.getElementById("page");
  if (!page) return;
  learnWords(page);
  const file = document.getElementById("file");
  file.addEventListener("change", () => {
    add(file.files);
    // The same picture may be chosen again.
    file.value = "";
  });
  startAnswers();
  startDrawing();
  startCamera();
}

/** Links of the page itself, unless the reader wants them elsewhere. */
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='/']");
  if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  const language = link.classList.contains("language");
  if (!language) history.pushState(null, "", link.href);
  show(link.href, { replace: true }).then(() => {
    if (language) return document.querySelector("a.language").focus();
    scrollTo(0, 0);
    document.getElementById("content").focus({ preventScroll: true });
  }, () => { location.href = link.href; });
});
addEventListener("popstate", () => {
  // A jump within the page changes nothing else.
  if (!location.hash) show(location.href).catch(() => location.reload());
});

const takes = () => document.getElementById("page") && document.querySelector(".zone");
const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
let depth = 0;
const dragging = (by) => {
  depth = Math.max(0, by ? depth + by : 0);
  document.body.classList.toggle("dragging", depth > 0);
};
document.addEventListener("dragenter", (event) => { if (takes() && carriesFiles(event)) dragging(1); });
document.addEventListener("dragleave", (event) => { if (carriesFiles(event)) dragging(-1); });
document.addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
document.addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  dragging(0);
  if (takes()) add(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  const files = event.clipboardData?.files;
  if (!files?.length || !takes()) return;
  event.preventDefault();
  add(files, files.length === 1 && files[0].name === "image.png" ? say("pasted") : undefined);
});

const lock = document.getElementById("lock");
if (lock) {
  const known = Object.keys(authorisation()).length > 0;
  unlock(lock);
  if (known) show(location.href).catch(() => {});
} else {
  start();
}
