// The page in a real browser, as readers use it. Told by the environment:
// PAGE_DIGITS, PAGE_PHOTOS, PAGE_LOCKED  addresses of servers: of digits and photographs both (corrections are kept), of
//                           photographs alone and unseen by any run's folder, and one that asks for the token "open-sesame"
// PAGE_SEVERAL    the address of one whose pictures may show a "disc" and "stripes"
// PAGE_PICTURES   a folder: first.png and second.png, which the photograph model knows as classes "first" and "second",
//                 both.png, which shows a disc and stripes, neither.png, which shows none of them,
//                 broken.png, notes.txt, odd.png, which is like no digit
// PAGE_KEPT       the folder of corrected pictures
// PAGE_MODULES    where playwright-core and axe-core are installed
// PAGE_BROWSER    the browser's program
// PAGE_SHOTS      where to put pictures of the page, if anywhere

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";

const { PAGE_DIGITS: digits, PAGE_PHOTOS: photos, PAGE_LOCKED: locked, PAGE_PICTURES: pictures, PAGE_KEPT: kept } = process.env;
const { PAGE_SEVERAL: several } = process.env;
const { PAGE_MODULES: modules, PAGE_BROWSER: program = "/usr/bin/chromium", PAGE_SHOTS: shots } = process.env;
const require = createRequire(join(modules, "index.js"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const picture = (name) => join(pictures, name);
const TOKEN = "open-sesame";

let browser;
before(async () => {
  browser = await chromium.launch({
    executablePath: program,
    args: [
      "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
      "--no-first-run", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
    ],
  });
});
after(() => browser?.close());

/** Opens a page; what it complains about fails the test. What a test provokes is named. */
async function open(t, address, { expected = [], ...options } = {}) {
  const context = await browser.newContext({ locale: "en-GB", viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => {
    const text = message.text();
    if (["error", "warning"].includes(message.type()) && !expected.some((part) => text.includes(part))) {
      complaints.push(text);
    }
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  // Nothing is loaded from anywhere else.
  const own = new URL(address).origin;
  page.on("request", (request) => {
    const { protocol, origin } = new URL(request.url());
    if (protocol.startsWith("http") && origin !== own) complaints.push(`asked ${request.url()}`);
  });
  t.after(async () => {
    await context.close();
    assert.deepEqual(complaints, []);
  });
  await page.goto(address);
  return page;
}

async function assertAccessible(page, where) {
  // Not by a script element, which the page's policy forbids.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  }));
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
  assert.deepEqual(found, [], where);
}

async function shoot(page, name, options = {}) {
  if (shots) await page.screenshot({ path: join(shots, `${name}.png`), ...options });
}

const cards = (page) => page.locator(".answers .result");
const verdict = (page, place = 0) => cards(page).nth(place).locator(".verdict .name");
const answered = (page, count) => page.waitForFunction((count) => {
  const cards = [...document.querySelectorAll(".answers .result")];
  return cards.length === count && cards.every((card) => !card.classList.contains("pending"));
}, count);

test("a picture is chosen and named, with bars that add up and the time it took", async (t) => {
  const page = await open(t, photos);
  assert.equal(await page.locator("h1").innerText(), "What does the picture show?");
  await page.setInputFiles("#file", picture("first.png"));
  await answered(page, 1);
  assert.equal(await verdict(page).innerText(), "first");
  const shares = await page.locator(".bars meter").evaluateAll((bars) => bars.map((bar) => bar.value));
  assert.equal(shares.length, 2);
  assert.ok(Math.abs(shares[0] + shares[1] - 1) < 0.01 && shares[0] > shares[1], String(shares));
  assert.match(await page.locator(".bars .percent").first().innerText(), /^\d+\.\d\u00a0%$/);
  assert.match(await page.locator(".time").innerText(), /^[\d.]+ ms$/);
  await page.waitForFunction(() => document.querySelector("#said").textContent.startsWith("first.png: first, "));
  await assertAccessible(page, "an answer");
});

test("several pictures at once are answered one by one, and a bad one spoils no other", async (t) => {
  const page = await open(t, photos, { expected: ["status of 415", "status of 422"] });
  await page.setInputFiles("#file", ["first.png", "broken.png", "second.png", "notes.txt"].map(picture));
  await answered(page, 4);
  assert.equal(await verdict(page, 0).innerText(), "first");
  assert.equal(await verdict(page, 2).innerText(), "second");
  const problem = (place) => cards(page).nth(place).locator(".problem .sentence").innerText();
  assert.match(await problem(1), /cannot be read; the file may be damaged/);
  assert.match(await problem(3), /not a picture that can be read/);
  await page.waitForFunction(() => document.querySelector("#said").textContent === "4 pictures answered");
  await assertAccessible(page, "errors");
  await shoot(page, "several");
  await page.getByRole("button", { name: "Remove broken.png" }).click();
  assert.equal(await cards(page).count(), 3);
  await page.getByRole("button", { name: "Clear all" }).click();
  assert.equal(await page.locator(".answers").isVisible(), false);
});

test("a model of several labels is told of, with figures by class", async (t) => {
  const page = await open(t, several);
  await page.getByRole("link", { name: "About the model" }).click();
  await page.locator("#card").waitFor();
  assert.ok(await page.getByText(/^Mean average precision on \d+ test pictures/).isVisible());
  assert.equal(await page.locator(".matrix").count(), 0);
  assert.equal(await page.locator("table tbody tr").count(), 2);
  await assertAccessible(page, "a model of several labels");
  await shoot(page, "about-several", { fullPage: true });
});

test("a picture may show several classes, or none", async (t) => {
  const page = await open(t, several);
  await page.setInputFiles("#file", ["both.png", "neither.png"].map(picture));
  await answered(page, 2);
  const names = (await verdict(page, 0).innerText()).split(", ").sort();
  assert.deepEqual(names, ["disc", "stripes"]);
  assert.equal(await cards(page).nth(0).locator(".share").innerText(), "");
  assert.deepEqual(await cards(page).nth(0).locator(".bars .shown:not([hidden])").count(), 2);
  assert.equal(await verdict(page, 1).innerText(), "none of the classes");
  assert.equal(await cards(page).nth(1).locator(".bars .chosen").count(), 0);
  await assertAccessible(page, "several classes");
  await shoot(page, "several-classes");
  await page.setInputFiles("#file", picture("both.png"));
  await answered(page, 3);
  await page.waitForFunction(() => /^both\.png: (disc, stripes|stripes, disc)$/.test(document.querySelector("#said").textContent));
});

test("pictures are dropped and pasted", async (t) => {
  const page = await open(t, photos);
  const bytes = readFileSync(picture("second.png")).toString("base64");
  for (const kind of ["drop", "paste"]) {
    await page.evaluate(async ({ kind, bytes }) => {
      const content = Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0));
      const carried = new DataTransfer();
      carried.items.add(new File([content], "image.png", { type: "image/png" }));
      const event = kind === "drop"
        ? new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true })
        : new ClipboardEvent("paste", { clipboardData: carried, bubbles: true, cancelable: true });
      document.body.dispatchEvent(event);
    }, { kind, bytes });
  }
  await answered(page, 2);
  assert.equal(await verdict(page, 0).innerText(), "second");
  assert.equal(await cards(page).nth(0).locator(".file").innerText(), "pasted picture");
  assert.equal(await cards(page).nth(1).locator(".file").innerText(), "image.png");
});

test("what spoke for the answer is shown when asked for, and hidden again", async (t) => {
  const page = await open(t, photos);
  await page.setInputFiles("#file", picture("first.png"));
  await answered(page, 1);
  const why = page.getByRole("button", { name: "Show why" });
  await why.click();
  const overlay = page.locator(".overlay");
  await overlay.waitFor();
  assert.match(await overlay.getAttribute("src"), /^data:image\/png;base64,/);
  assert.equal(await why.getAttribute("aria-pressed"), "true");
  assert.ok(await page.getByText("Bright is what spoke for this answer.").isVisible());
  await assertAccessible(page, "an explanation");
  await shoot(page, "explained");
  await why.click();
  assert.equal(await overlay.isVisible(), false);
});

test("a photo is taken", async (t) => {
  const page = await open(t, photos, { permissions: ["camera"] });
  await page.getByRole("button", { name: "Take a photo" }).click();
  const shutter = page.getByRole("button", { name: "Take it" });
  await page.waitForFunction(() => !document.querySelector(".shoot").disabled);
  await assertAccessible(page, "the camera");
  await shutter.click();
  await answered(page, 1);
  assert.equal(await cards(page).locator(".file").innerText(), "photo");
});

const draw = async (page, lines) => {
  const box = await page.locator(".draw canvas").boundingBox();
  for (const line of lines) {
    const [first, ...rest] = line.map(([x, y]) => [box.x + x * box.width, box.y + y * box.height]);
    await page.mouse.move(...first);
    await page.mouse.down();
    for (const place of rest) await page.mouse.move(...place, { steps: 6 });
    await page.mouse.up();
  }
};
const drawn = (page, name) => page.waitForFunction((name) => document.querySelector(".draw .verdict .name")?.textContent === name, name);
const ring = Array.from({ length: 25 }, (_, step) => [
  0.5 + 0.2 * Math.sin((step / 24) * 2 * Math.PI), 0.5 - 0.34 * Math.cos((step / 24) * 2 * Math.PI),
]);
const two = [[0.3, 0.3], [0.4, 0.17], [0.6, 0.17], [0.68, 0.32], [0.3, 0.83], [0.72, 0.83]];

test("a digit is drawn, and the answer follows each stroke", async (t) => {
  const page = await open(t, digits);
  const box = page.locator(".draw");
  assert.ok(await box.isVisible());
  await draw(page, [ring]);
  await drawn(page, "0");
  await shoot(page, "drawn");
  await assertAccessible(page, "a drawing");
  await page.getByRole("button", { name: "Clear", exact: true }).click();
  assert.equal(await box.locator(".result").count(), 0);
  // Small and in a corner: it is brought to the size of the training pictures.
  await draw(page, [two.map(([x, y]) => [0.05 + 0.3 * x, 0.6 + 0.3 * y])]);
  await drawn(page, "2");
  await page.getByRole("button", { name: "Undo" }).click();
  assert.equal(await box.locator(".result").count(), 0);
});

test("a digit is drawn by keyboard", async (t) => {
  const page = await open(t, digits);
  await page.locator(".draw canvas").focus();
  for (const [key, times] of [["ArrowUp", 8], [" ", 1], ["ArrowDown", 16], [" ", 1]]) {
    for (let time = 0; time < times; time++) await page.keyboard.press(key);
  }
  await drawn(page, "1");
  await page.keyboard.press("Delete");
  assert.equal(await page.locator(".draw .result").count(), 0);
});

test("drawing is offered for small grey pictures only", async (t) => {
  const page = await open(t, photos);
  assert.equal(await page.locator(".draw").count(), 0);
});

test("what is like nothing known is called unknown, with a reason", async (t) => {
  const page = await open(t, digits);
  await page.setInputFiles("#file", picture("odd.png"));
  await answered(page, 1);
  assert.equal(await verdict(page).innerText(), "Unknown");
  assert.ok(await page.getByText("unlike all that the model has learned from").isVisible());
  assert.ok(await page.locator(".bars.muted").isVisible());
  await assertAccessible(page, "an unknown picture");
  await shoot(page, "unknown");
});

test("a sign that is dark on light is inverted, and answered anew", async (t) => {
  const page = await open(t, digits);
  await draw(page, [two]);
  await drawn(page, "2");
  const inverted = await page.evaluate(async () => {
    const drawing = document.querySelector(".draw .picture");
    await drawing.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: drawing.naturalWidth, height: drawing.naturalHeight });
    const context = canvas.getContext("2d");
    context.fillStyle = "white";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.globalCompositeOperation = "difference";
    context.drawImage(drawing, 0, 0);
    return canvas.toDataURL("image/png").split(",")[1];
  });
  await page.setInputFiles("#file", { name: "paper.png", mimeType: "image/png", buffer: Buffer.from(inverted, "base64") });
  await answered(page, 1);
  await page.getByRole("button", { name: "Invert" }).click();
  await page.waitForFunction(() => document.querySelector(".answers .verdict .name")?.textContent === "2");
});

test("the browser's language is spoken, a switch is remembered, and answers stay", async (t) => {
  const page = await open(t, photos, { locale: "zh-CN" });
  assert.equal(await page.locator("h1").innerText(), "图片里是什么？");
  assert.equal(await page.locator("html").getAttribute("lang"), "zh-CN");
  await page.setInputFiles("#file", picture("first.png"));
  await answered(page, 1);
  await assertAccessible(page, "Chinese");
  await shoot(page, "chinese", { fullPage: true });
  await page.getByRole("link", { name: "English" }).click();
  await page.waitForFunction(() => document.documentElement.lang === "en");
  assert.equal(await page.locator("h1").innerText(), "What does the picture show?");
  assert.equal(await verdict(page).innerText(), "first");
  await page.reload();
  assert.equal(await page.locator("html").getAttribute("lang"), "en");
  assert.equal(new URL(page.url()).searchParams.has("language"), false);
});

test("a wrong answer is corrected and the picture kept under the right name", async (t) => {
  const page = await open(t, digits);
  const model = await page.locator(".models a").nth(1).innerText();
  await page.locator(".models a").nth(1).click();
  await page.waitForFunction((model) => document.getElementById("page")?.dataset.model === model, model);
  await page.setInputFiles("#file", picture("first.png"));
  await answered(page, 1);
  const correct = async (fill) => {
    await page.getByRole("button", { name: "Wrong?" }).click();
    await assertAccessible(page, "a correction");
    await shoot(page, "correction");
    await fill();
    await page.getByRole("button", { name: "Keep the picture" }).click();
  };
  await correct(async () => {
    await page.getByRole("button", { name: "Keep the picture" }).click();
    assert.ok(await page.getByText("Choose a class or write a name.").isVisible());
    await page.getByLabel("Right class").selectOption("second");
  });
  await page.locator(".kept", { hasText: "Kept as “second”" }).waitFor();
  assert.equal(readdirSync(join(kept, model, "second")).length, 1);
  await page.setInputFiles("#file", picture("second.png"));
  await answered(page, 2);
  await correct(() => page.getByLabel("or another name").fill("第三 类"));
  await page.locator(".kept", { hasText: "Kept as “第三 类”" }).waitFor();
  assert.deepEqual(
    readFileSync(join(kept, model, "第三 类", readdirSync(join(kept, model, "第三 类"))[0])),
    readFileSync(picture("second.png")),
  );
});

test("a name that leads out of the folder is refused in plain words", async (t) => {
  const page = await open(t, digits, { expected: ["status of 400"] });
  await page.setInputFiles("#file", picture("odd.png"));
  await answered(page, 1);
  await page.getByRole("button", { name: "Wrong?" }).click();
  await page.getByLabel("or another name").fill("../../elsewhere");
  await page.getByRole("button", { name: "Keep the picture" }).click();
  await page.getByText("This name cannot be used.").waitFor();
});

test("nothing is kept, and nothing offered, where the server does not collect", async (t) => {
  const page = await open(t, photos);
  await page.setInputFiles("#file", picture("first.png"));
  await answered(page, 1);
  assert.equal(await page.locator(".wrong").count(), 0);
});

test("another model answers on the same pictures", async (t) => {
  const page = await open(t, digits);
  await page.setInputFiles("#file", picture("first.png"));
  await answered(page, 1);
  await page.locator(".models a").nth(1).click();
  await page.waitForFunction(() => document.querySelector(".answers .verdict .name")?.textContent === "first");
});

test("the page works by keyboard alone", async (t) => {
  const page = await open(t, photos);
  const focused = () => page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.id);
  // The browser is told of it long before a key opens the dialog: told at the same moment, it may open its own.
  const chooser = new Promise((opened) => page.once("filechooser", opened));
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Skip to the content");
  await page.keyboard.press("Enter");
  const reached = [];
  for (let step = 0; step < 8; step++) {
    await page.keyboard.press("Tab");
    reached.push(await focused());
    if (reached.at(-1) === "file") break;
  }
  assert.equal(reached.at(-1), "file", reached.join(", "));
  await page.keyboard.press("Space");
  await (await chooser).setFiles(picture("first.png"));
  await answered(page, 1);
  let here = "";
  for (let step = 0; step < 8 && here !== "Show why"; step++) {
    await page.keyboard.press("Tab");
    here = await focused();
  }
  assert.equal(here, "Show why");
  await page.keyboard.press("Space");
  await page.locator(".overlay").waitFor();
});

test("without programs a form gives the same answer", async (t) => {
  const page = await open(t, photos, { javaScriptEnabled: false, expected: ["status of 415", "status of 422"] });
  await page.setInputFiles("#file", ["first.png", "broken.png"].map(picture));
  await page.getByRole("button", { name: "Recognise" }).click();
  assert.equal(await verdict(page).innerText(), "first");
  assert.ok(await cards(page).nth(0).locator("img").isVisible());
  assert.match(await cards(page).nth(1).locator(".problem").innerText(), /cannot be read/);
  await shoot(page, "without-programs", { fullPage: true });
  await page.getByRole("link", { name: "中文" }).click();
  assert.equal(await page.locator("h1").innerText(), "图片里是什么？");
});

test("the model is told of: accuracy, confusion, samples, card", async (t) => {
  const page = await open(t, digits);
  await page.getByRole("link", { name: "About the model" }).click();
  await page.locator("#confusion").waitFor();
  assert.match(await page.locator(".headline").innerText(), /^\d+\.\d\u00a0%$/);
  assert.ok(await page.getByText(/95 % interval is \d/).isVisible());
  assert.equal(await page.locator(".matrix tbody tr").count(), 10);
  assert.ok((await page.locator(".samples img").count()) >= 8);
  assert.ok(await page.getByText("8 × 8, grey").isVisible());
  assert.match(await page.locator(".facts").innerText(), /Trained\n20\d\d-\d\d-\d\d/);
  await assertAccessible(page, "the model");
  await shoot(page, "about", { fullPage: true });
  await page.goBack();
  await page.locator(".zone").waitFor();
});

test("what is not known of a model is left out with a sentence", async (t) => {
  const page = await open(t, photos);
  await page.getByRole("link", { name: "About the model" }).click();
  await page.locator("#card").waitFor();
  assert.equal(await page.locator(".matrix").count(), 0);
  assert.ok(await page.getByText("its confusion matrix and figures by class cannot be shown").isVisible());
});

test("a server with a token tells nothing without it", async (t) => {
  const page = await open(t, locked, { expected: ["status of 401"] });
  assert.equal(await page.getByText("first").count(), 0);
  await assertAccessible(page, "the lock");
  await shoot(page, "lock");
  const field = page.getByLabel("Token");
  await field.fill("guess");
  await page.getByRole("button", { name: "Continue" }).click();
  await page.getByText("That is not the token.").waitFor();
  await field.fill(TOKEN);
  await page.getByRole("button", { name: "Continue" }).click();
  await page.locator(".zone").waitFor();
  await page.setInputFiles("#file", picture("first.png"));
  await answered(page, 1);
  assert.equal(await verdict(page).innerText(), "first");
  // The tab remembers.
  await page.reload();
  await page.locator(".zone").waitFor();
});

test("a token is asked for without programs too", async (t) => {
  const page = await open(t, locked, { javaScriptEnabled: false, expected: ["status of 401"] });
  await page.getByLabel("Token").fill("guess");
  await page.getByRole("button", { name: "Continue" }).click();
  assert.ok(await page.getByText("That is not the token.").isVisible());
  await page.getByLabel("Token").fill(TOKEN);
  await page.getByRole("button", { name: "Continue" }).click();
  await page.setInputFiles("#file", picture("second.png"));
  await page.getByRole("button", { name: "Recognise" }).click();
  assert.equal(await verdict(page).innerText(), "second");
});

test("a phone shows it all without scrolling sideways, by day and by night", async (t) => {
  for (const colorScheme of ["light", "dark"]) {
    for (const [name, address] of [["digits", digits], ["photos", photos]]) {
      const page = await open(t, address, { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, colorScheme });
      await page.setInputFiles("#file", picture("first.png"));
      await answered(page, 1);
      const sideways = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.equal(await sideways(), 0);
      await assertAccessible(page, `${name} on a phone, ${colorScheme}`);
      await shoot(page, `phone-${name}-${colorScheme}`, { fullPage: true });
      await page.goto(await page.getByRole("link", { name: "About the model" }).getAttribute("href").then((path) => new URL(path, address).href));
      assert.equal(await sideways(), 0);
      await assertAccessible(page, `about ${name} on a phone, ${colorScheme}`);
      await shoot(page, `phone-about-${name}-${colorScheme}`, { fullPage: true });
    }
  }
});

test("a server that ends is told of in plain words", async (t) => {
  const page = await open(t, photos, { expected: ["ERR_FAILED"] });
  await page.route("**/predict*", (route) => route.abort());
  await page.setInputFiles("#file", picture("first.png"));
  await page.locator(".problem").getByText("The server cannot be reached.").waitFor();
  await shoot(page, "unreachable");
  await page.unroute("**/predict*");
  await page.getByRole("button", { name: "Try again" }).click();
  await page.waitForFunction(() => document.querySelector(".answers .verdict .name")?.textContent === "first");
});

test("a busy server is asked again", async (t) => {
  const page = await open(t, photos, { expected: ["status of 503"] });
  let refused = 0;
  await page.route("**/predict*", (route) => refused++ < 2
    ? route.fulfill({ status: 503, headers: { "retry-after": "1" }, json: { error: "too many pictures wait already" } })
    : route.continue());
  await page.setInputFiles("#file", picture("first.png"));
  await answered(page, 1);
  assert.equal(await verdict(page).innerText(), "first");
  assert.equal(refused, 3);
});
