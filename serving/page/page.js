"use strict";
// Asks the API of the server that this page is from. Whatever comes back is put in as text, never as HTML.

const MODES = { dense: "Meaning (dense)", sparse: "Words (sparse)", hybrid: "Both (hybrid)" };
let unread = {}; // index -> documents that could not be read, of those that the caller may know of
let asking = new AbortController(); // of the question that is being answered: the next one ends it

// --- asking ---

function asked() {
  const filters = {};
  for (const name of ["section", "document"]) {
    const value = $(name).value.trim();
    if (value) filters[name] = value;
  }
  const body = { question: $("question").value, filters };
  if ($("limit").value) body.limit = Number($("limit").value);
  return body;
}

const path = (verb) => `indexes/${encodeURIComponent($("index").value)}/${verb}`;

// Runs one question; a later one ends it, and what it had yet to show is not shown.
async function run(work) {
  asking.abort();
  const mine = (asking = new AbortController());
  if (!$("index").value) await list();
  if (!$("index").value) return;
  if (!$("question").value.trim()) {
    say("Type a question first.", true);
    $("question").focus();
    return;
  }
  $("said").hidden = true;
  $("results").replaceChildren();
  document.querySelector("main").setAttribute("aria-busy", "true");
  try {
    await work(mine.signal);
  } catch (fault) {
    if (mine.signal.aborted) return;
    say(fault instanceof Refused ? fault.message : "The answer broke off. Ask again.", true);
  } finally {
    if (asking === mine) document.querySelector("main").removeAttribute("aria-busy");
  }
}

async function search(signal) {
  const chosen = document.querySelector("input[name=mode]:checked").value;
  const modes = chosen === "compare" ? Object.keys(MODES) : [chosen];
  say("Searching …");
  const bodies = modes.map((mode) => (mode ? { ...asked(), mode } : asked()));
  const found = await Promise.all(
    bodies.map(async (body) => (await request(path("search"), { body, signal })).json()),
  );
  $("results").className = found.length > 1 ? "compared" : "";
  $("results").replaceChildren(...found.map((each) => list_of(each, found.length > 1)));
  suggest(found.flatMap((each) => each.passages));
  const count = found[0].passages.length;
  if (found.every((each) => !each.passages.length)) say(nothing());
  else if (found.length > 1) say(`Three searches of ${found[0].index}, release ${found[0].release}.`);
  else say(`${count} ${count === 1 ? "passage" : "passages"} from ${found[0].index}, release ${found[0].release}.`);
}

function nothing() {
  const filtered = ["section", "document"].filter((name) => $(name).value.trim());
  if (!filtered.length) return "Nothing was found. Try other words, or search by meaning.";
  return `Nothing was found where ${filtered.map((name) => `${name} is “${$(name).value.trim()}”`).join(" and ")}. A filter is a whole name, such as those under a passage; clear it to search everywhere.`;
}

async function answer(signal) {
  say("Looking for an answer …");
  const answered = await request(path("answer"), { body: asked(), accept: "text/event-stream", signal });
  $("text").textContent = $("reason").textContent = "";
  $("said").hidden = false;
  let done = false;
  for await (const [name, data] of events(answered)) {
    if (name === "sentence") $("text").append(data.text);
    else if (name === "problem") throw new Refused(`The answer broke off: ${data.detail}`);
    else if (name === "answer") { done = true; show_answer(data); }
  }
  if (!done) throw new Refused("The answer broke off. Ask again.");
}

async function* events(answered) {
  const reader = answered.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const whole = (rest + value).split("\n\n");
    rest = whole.pop();
    for (const event of whole) {
      const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(event);
      yield [name, JSON.parse(data)];
    }
  }
}

// --- showing ---

function show_answer(said) {
  const cited = said.sentences.flatMap((each) => each.citations);
  $("text").replaceChildren(...linked(said.text, said.passages.length));
  $("reason").textContent = said.reason ? `Why: ${said.reason}.` : "";
  $("results").className = "";
  $("results").replaceChildren(list_of(said, false, cited));
  suggest(said.passages);
  say(`${said.answered ? "Answered from" : "Looked for in"} ${said.index}, release ${said.release}.`, false, said.text);
}

// [2] becomes a link to the second passage.
function linked(text, count) {
  return text.split(/(\[\d+\])/).map((part) => {
    const number = /^\[(\d+)\]$/.exec(part)?.[1];
    if (!number || Number(number) < 1 || Number(number) > count) return part;
    const link = element("a", part);
    link.href = `#passage-${number}`;
    link.setAttribute("aria-label", `passage ${number}`);
    return link;
  });
}

function list_of(found, compared, cited = []) {
  const part = element("section");
  part.append(element("h2", compared ? MODES[found.mode] : "Passages"));
  if (!found.passages.length) part.append(element("p", "Nothing was found."));
  const list = element("ol");
  found.passages.forEach((passage, at) => {
    const quotes = cited.filter((each) => each.number === at + 1);
    list.append(item(passage, at + 1, compared ? `${found.mode}-` : "", quotes));
  });
  part.append(list);
  return part;
}

function item(passage, number, prefix, quotes) {
  const made = element("li");
  made.id = `${prefix}passage-${number}`;
  made.tabIndex = -1;
  const place = [];
  if (passage.source && passage.source !== passage.document) place.push(passage.source);
  if (passage.copies.length) place.push(`also ${passage.copies.join(", ")}`);
  const pages = [...new Set(quotes.map((each) => each.page).filter((page) => page !== null))].sort((one, two) => one - two);
  if (pages.length) place.push(`cited from page ${pages.join(", ")}`);
  else if (passage.page !== null) place.push(`page ${passage.page}`);
  place.push(`part ${passage.position + 1}`, `score ${passage.score.toPrecision(3)}`);
  const about = element("p", "", "about");
  about.append(opener(passage.document), ` · ${place.join(" · ")}`);
  const text = element("div", "", "text");
  text.append(...shown(passage, quotes));
  made.append(element("h3", `${number}. ${passage.heading || passage.document}`), text, about);
  return made;
}

// A document's name opens it: the server gives its bytes as a file to keep, to those who may see it.
function opener(id) {
  const link = element("a", id);
  link.href = path(`documents/${id.split("/").map(encodeURIComponent).join("/")}`);
  link.addEventListener("click", async (event) => {
    event.preventDefault();
    try {
      const file = await (await request(link.getAttribute("href"))).blob();
      const kept = Object.assign(element("a"), { href: URL.createObjectURL(file), download: id.split("/").pop() });
      kept.click();
      setTimeout(() => URL.revokeObjectURL(kept.href), 60000);
      say(`${id} was saved as a file.`);
    } catch (fault) {
      if (!(fault instanceof Refused)) throw fault;
      say(fault.message, true);
    }
  });
  return link;
}

// --- a passage's text: tables are tables, code keeps its lines, a rule stands where a page ends ---

const FENCE = /^[ \t]*(`{3,}|~{3,})[^`]*$/;
const DELIMITER = /^[ \t]*\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

function shown(passage, quotes) {
  const letters = Array.from(passage.text);
  const part = (from, to) => marked(letters, passage.matches, quotes, from, to);
  const lines = lines_of(letters);
  const made = [];
  const cited = (line) => quotes.some((each) => each.start < line.to && line.from < each.end);
  const above = lines.findIndex((line) => line.page || cited(line) || !said_by(passage.heading, line.text));
  for (let at = above < 0 ? lines.length : above; at < lines.length; ) {
    const [end, node] = block(lines, at, part, passage.page);
    if (node) made.push(node);
    at = end;
  }
  return made;
}

// Whether a line at the beginning of a passage is one of its headings, which stand above it already.
function said_by(heading, line) {
  const bare = line.replace(/^ {0,3}#{1,6}[ \t]+|[ \t]+#+[ \t]*$/g, "").trim().toLowerCase();
  return /^[=-]*$/.test(bare) || ` > ${heading} > `.toLowerCase().includes(` > ${bare} > `);
}

// Lines with where they begin and end, in characters; a form feed is a line of its own.
function lines_of(letters) {
  const lines = [];
  let from = 0;
  let pages = 0;
  const push = (to) => { lines.push({ from, to, text: letters.slice(from, to).join("") }); from = to + 1; };
  letters.forEach((letter, at) => {
    if (letter === "\n") push(at);
    if (letter === "\f") { if (at > from) push(at); lines.push({ from: at, to: at + 1, text: "\f", page: (pages += 1) }); from = at + 1; }
  });
  if (from < letters.length) push(letters.length);
  return lines;
}

function block(lines, at, part, page) {
  const line = lines[at];
  if (line.page) return [at + 1, at + 1 < lines.length ? page_break((page ?? 1) + line.page) : null];
  if (!line.text.trim()) return [at + 1, null];
  const fence = FENCE.exec(line.text);
  const close = fence ? lines.findIndex((each, n) => n > at && each.text.trim().startsWith(fence[1])) : -1;
  if (close > at) return [close + 1, wrap("pre", close > at + 1 ? part(lines[at + 1].from, lines[close - 1].to) : [])];
  const run = (test) => { let end = at; while (end < lines.length && !lines[end].page && test(lines[end].text)) end += 1; return end; };
  const barred = run((text) => text.includes("|"));
  if (heads_table(lines, at)) return [barred, table(lines.slice(at, barred), "|", part)];
  const tabbed = run((text) => text.trim().includes("\t"));
  if (tabbed > at + 1) return [tabbed, table(lines.slice(at, tabbed), "\t", part)];
  const heading = /^ {0,3}#{1,6}[ \t]+(?=\S)/.exec(line.text);
  if (heading && at < 4) return [at + 1, wrap("p", part(line.from + Array.from(heading[0]).length, line.to), "heading")];
  let end = at + 1;
  while (end < lines.length && !lines[end].page && lines[end].text.trim() && !starts(lines, end)) end += 1;
  return [end, wrap("p", part(line.from, lines[end - 1].to))];
}

// Whether a table or a fenced block begins at a line.
function starts(lines, at) {
  const tabs = (text) => text.trim().includes("\t");
  return FENCE.test(lines[at].text) || (tabs(lines[at].text) && tabs(lines[at + 1]?.text ?? "")) || heads_table(lines, at);
}

// Whether cells stand between bars over a line that parts a head from its rows.
function heads_table(lines, at) {
  const below = lines[at + 1]?.text ?? "";
  return lines[at].text.includes("|") && below.includes("|") && DELIMITER.test(below);
}

function page_break(number) {
  const made = element("div", `page ${number}`, "page");
  made.prepend(element("hr"));
  return made;
}

function table(lines, mark, part) {
  const made = element("table");
  const drawn = mark === "|" ? 1 : -1; // the line of dashes below the head
  lines.forEach((line, row) => {
    if (row === drawn) return;
    const cells = element("tr");
    for (const [from, to] of cells_of(line, mark)) cells.append(wrap(row === 0 ? "th" : "td", part(from, to)));
    made.append(cells);
  });
  const around = element("div", "", "table");
  around.tabIndex = 0; // it scrolls sideways by keyboard
  around.setAttribute("role", "group");
  around.setAttribute("aria-label", "table");
  around.append(made);
  return around;
}

// Where the cells of a line begin and end, in characters of the passage.
function cells_of(line, mark) {
  const letters = Array.from(line.text);
  const borders = [-1];
  letters.forEach((letter, at) => { if (letter === mark && letters[at - 1] !== "\\") borders.push(at); });
  borders.push(letters.length);
  let cells = borders.slice(1).map((end, at) => [borders[at] + 1, end]);
  const blank = ([from, to]) => !letters.slice(from, to).join("").trim();
  if (mark === "|" && cells.length > 1) cells = cells.slice(blank(cells[0]) ? 1 : 0, blank(cells.at(-1)) ? -1 : undefined);
  return cells.map(([from, to]) => {
    while (from < to && /\s/.test(letters[from])) from += 1;
    while (to > from && /\s/.test(letters[to - 1])) to -= 1;
    return [line.from + from, line.from + to];
  });
}

function wrap(name, nodes, className = "") {
  const made = element(name, "", className);
  made.append(...nodes);
  return made;
}

// The characters from one place to another. Offsets count characters, as Python does, and not UTF-16 units.
function marked(letters, matches, quotes, first, last) {
  const inside = [...matches.flat(), ...quotes.flatMap((each) => [each.start, each.end])].filter((at) => first < at && at < last);
  const ordered = [...new Set([first, ...inside, last])].sort((one, two) => one - two);
  return ordered.slice(1).map((end, at) => {
    const start = ordered[at];
    let part = document.createTextNode(letters.slice(start, end).join(""));
    if (matches.some(([from, to]) => from <= start && end <= to)) part = wrapped("", part);
    if (quotes.some((each) => each.start <= start && end <= each.end)) part = wrapped("cited", part);
    return part;
  });
}

function wrapped(className, node) {
  const made = element("mark", "", className);
  made.append(node);
  return made;
}

// What was found is what a filter may name.
function suggest(passages) {
  const names = { documents: passages.flatMap((each) => [each.document, ...each.copies]) };
  names.sections = names.documents.filter((name) => name.includes("/")).map((name) => name.split("/")[0]);
  for (const [list, values] of Object.entries(names)) {
    $(list).replaceChildren(...[...new Set(values)].sort().map((value) => Object.assign(element("option"), { value })));
  }
}

// --- beginning ---

function tell_unread() {
  const left_out = unread[$("index").value] ?? [];
  const count = `${left_out.length} ${left_out.length === 1 ? "document" : "documents"}`;
  $("unread").hidden = !left_out.length;
  $("unread-count").textContent = `${count} could not be read and cannot be found`;
  $("unread-list").replaceChildren(...left_out.map((each) => element("li", `${each.document}: ${each.reason}`)));
}

async function list() {
  try {
    const { indexes } = await (await request("indexes")).json();
    const options = indexes.map(({ name }) => element("option", name));
    $("index").replaceChildren(...options);
    unread = Object.fromEntries(indexes.map((each) => [each.name, each.unread ?? []]));
    tell_unread();
    say(indexes.length ? "" : "No index is published here yet. `headrace index NAME` publishes one.", !indexes.length);
  } catch (fault) {
    if (!(fault instanceof Refused)) throw fault;
    say(fault.message, true);
  }
}

$("ask").addEventListener("submit", (event) => { event.preventDefault(); run(search); });
$("index").addEventListener("change", tell_unread);
$("answer").addEventListener("click", () => run(answer));
// A citation moves the focus to its passage, so that a keyboard and a screen reader go on from there.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#passage-']");
  if (link) { event.preventDefault(); const to = $(link.getAttribute("href").slice(1)); to.scrollIntoView({ block: "center" }); to.focus(); }
});
begin(list, () => $("question").focus());
