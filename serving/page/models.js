"use strict";
// A form for the columns that a model takes, each by its kind, and the model's answer.

const FIELDS = {
  text: () => Object.assign(element("textarea"), { rows: 3 }),
  media: (column) => Object.assign(element("input"), { type: "file", accept: `${column.media}/*` }),
  graph: () => Object.assign(element("textarea"), { rows: 3, placeholder: '{"nodes": ["C", "C", "O"], "edges": [[0, 1], [1, 2]]}' }),
};
const MOST_DRAWN = 40; // nodes of a picture
let models = {}; // name -> what the server says of it
let recorded = {}; // column -> the sound that was recorded in place of a chosen file

function field(column) {
  const part = element("div", "", "wide");
  const label = element("label", column.required ? column.name : `${column.name} (may be left out)`);
  const made = (FIELDS[column.kind] ?? (() => Object.assign(element("input"), { type: "text" })))(column);
  made.id = label.htmlFor = `input-${column.name}`;
  made.autocomplete = "off";
  part.append(label, made);
  if (column.kind === "media") {
    const player = element("div", "", "player");
    made.addEventListener("change", () => { delete recorded[column.name]; play(player, column, made.files[0]); });
    if (column.media === "audio" && navigator.mediaDevices) part.append(recorder(column, player));
    part.append(player);
  }
  return part;
}

// Shows a picture, or lets a sound be heard; the browser reads the file itself.
function play(place, column, file) {
  place.querySelectorAll("[src]").forEach((old) => URL.revokeObjectURL(old.src));
  place.replaceChildren();
  if (!file) return;
  const shown = element(column.media === "audio" ? "audio" : "img");
  if (column.media === "audio") Object.assign(shown, { controls: true, ariaLabel: "the sound that is asked about" });
  else shown.alt = "the picture that is asked about";
  shown.src = URL.createObjectURL(file);
  place.append(shown);
}

// A button that records a sound and, pressed again, ends that. What a browser records in its own format goes out as WAV.
function recorder(column, player) {
  const button = Object.assign(element("button", "Record"), { type: "button" });
  let running = null;
  button.addEventListener("click", async () => {
    if (running) { running.stop(); return; }
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      const parts = [];
      running = new MediaRecorder(stream);
      running.addEventListener("dataavailable", (event) => parts.push(event.data));
      running.addEventListener("stop", async () => {
        stream.getTracks().forEach((track) => track.stop());
        running = null;
        button.textContent = "Record";
        recorded[column.name] = await as_wav(new Blob(parts));
        $(`input-${column.name}`).value = "";
        play(player, column, recorded[column.name]);
        say("Recorded.");
      });
      running.start();
      button.textContent = "Stop recording";
      say("Recording …");
    } catch (fault) {
      say(`Nothing is recorded: ${fault.message}`, true);
    }
  });
  return button;
}

// 16 bits, one channel. Source of the head: Microsoft, "Multimedia Programming Interface and Data Specifications", 1991.
async function as_wav(blob) {
  const sound = await new AudioContext().decodeAudioData(await blob.arrayBuffer());
  const samples = sound.getChannelData(0);
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const word = (at, text) => [...text].forEach((letter, n) => view.setUint8(at + n, letter.charCodeAt(0)));
  word(0, "RIFF"); view.setUint32(4, 36 + 2 * samples.length, true); word(8, "WAVEfmt ");
  [[16, 16], [24, sound.sampleRate], [28, 2 * sound.sampleRate], [40, 2 * samples.length]].forEach(([at, value]) => view.setUint32(at, value, true));
  [[20, 1], [22, 1], [32, 2], [34, 16]].forEach(([at, value]) => view.setUint16(at, value, true));
  word(36, "data");
  samples.forEach((value, n) => view.setInt16(44 + 2 * n, Math.max(-1, Math.min(1, value)) * 32767, true));
  return new Blob([view], { type: "audio/wav" });
}

// --- asking ---

async function value_of(column) {
  const input = $(`input-${column.name}`);
  if (column.kind === "media") {
    const file = recorded[column.name] ?? input.files[0];
    return file && (await in_base64(file));
  }
  const text = input.value;
  if (!text.trim()) return undefined;
  if (column.kind === "number" || column.kind === "time") return numbers(text, column.kind);
  if (["spans", "labels", "graph"].includes(column.kind)) { try { return JSON.parse(text); } catch { return text; } }
  if (column.kind === "links") return names(text);
  return text;
}

// One value, or several with commas between them: of a series, its steps.
function numbers(text, kind) {
  const parts = text.replace(/^\s*\[|\]\s*$/g, "").split(/[,;\n]+/).map((part) => part.trim()).filter(Boolean);
  const values = parts.map((part) => (kind === "number" && !Number.isNaN(Number(part)) ? Number(part) : part));
  return values.length > 1 ? values : values[0];
}

// Names of other rows, with commas, blanks or line ends between them; or as a JSON list.
function names(text) {
  if (!text.trim().startsWith("[")) return text.split(/[\s,;]+/).filter(Boolean);
  try { return JSON.parse(text); } catch { return text; }
}

function in_base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result.replace(/^.*?base64,/, "")));
    reader.addEventListener("error", () => reject(new Refused("The file cannot be read.")));
    reader.readAsDataURL(file);
  });
}

async function ask() {
  const model = models[$("model").value];
  if (!model) return;
  $("said").hidden = true;
  const input = {};
  for (const column of model.inputs) {
    const value = await value_of(column);
    if (value !== undefined) input[column.name] = value;
    else if (column.required) {
      say(`${column.media ? "Choose a file for" : "Fill in"} ${column.name} first.`, true);
      $(`input-${column.name}`).focus();
      return;
    }
  }
  say("Asking …");
  const said = await (await request(`models/${encodeURIComponent(model.name)}/predict`, { body: { inputs: [input] } })).json();
  const answer = said.answers[0];
  $("results").replaceChildren(...in_place(answer, input), ...linked(answer, input, model.inputs), shown(answer));
  $("said").hidden = false;
  say(`Answered by ${said.model}, version ${said.version}.`);
}

// --- showing ---

// An answer as a person reads it: an object is a table of its values, a list of objects one with a row each.
function shown(value) {
  if (Array.isArray(value) && value.length && value.every((each) => each && typeof each === "object" && !Array.isArray(each))) {
    const names = [...new Set(value.flatMap(Object.keys))];
    return table([names, ...value.map((row) => names.map((name) => row[name]))], false);
  }
  if (Array.isArray(value)) return element("span", value.map(words).join(", ") || "none");
  if (value && typeof value === "object") return table(Object.entries(value), true);
  if (typeof value === "string" && value.startsWith("data:image/")) return Object.assign(element("img"), { src: value, alt: "the answer, a picture" });
  return element("span", words(value));
}

// The texts that were asked about, with the parts of them marked that the answer names: by start and end, counted in
// characters as Python does, and by what stands there.
function in_place(answer, input) {
  const said = answer && typeof answer === "object" ? answer : {};
  const parts = [said, ...Object.values(said).filter(Array.isArray).flat()].filter((part) => part && part.start < part.end);
  return Object.values(input).filter((text) => typeof text === "string").flatMap((text) => {
    const letters = Array.from(text);
    const cut = (from, to) => letters.slice(from, to).join("");
    const named = parts.filter((part) => Object.values(part).includes(cut(part.start, part.end)));
    if (!named.length) return [];
    const made = element("p", "", "text");
    let at = 0;
    for (const part of named.sort((one, two) => one.start - two.start)) {
      made.append(cut(at, part.start), Object.assign(element("mark", cut(part.start, part.end)), { title: part.label ?? "" }));
      at = part.end;
    }
    made.append(cut(at, letters.length));
    return [made];
  });
}

// The graph that was asked about; or a row in the middle of those that it was linked to, with what the answer calls it.
function linked(answer, input, columns) {
  const whole = columns.map((each) => input[each.name]).find((each) => each && each.nodes && each.edges);
  if (whole) return [graph(whole.nodes.slice(0, MOST_DRAWN).map(node_name), whole.edges.filter((edge) => Math.max(...edge) < MOST_DRAWN), "the graph that was asked about", false)];
  const column = columns.find((each) => each.kind === "links" && Array.isArray(input[each.name]) && input[each.name].length);
  if (!column) return [];
  const others = input[column.name].slice(0, MOST_DRAWN).map(String);
  const middle = words(Object.values(answer)[0]);
  return [graph([middle, ...others], others.map((_, at) => [0, at + 1]), `${middle}, linked to ${others.join(", ")}`)];
}

// What is known of a node, in a word.
function node_name(node) {
  return words(node && typeof node === "object" ? (node.kind ?? Object.values(node)[0]) : node);
}

// Nodes in a circle, if `middle` the first within it, and the lines between them. links: pairs of places.
function graph(nodes, links, told, middle = true) {
  const svg = (name, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    return made;
  };
  const place = (at) => {
    const angle = (2 * Math.PI * (at - middle)) / Math.max(nodes.length - middle, 1);
    return middle && !at ? [200, 130] : [200 + 140 * Math.cos(angle), 130 + 95 * Math.sin(angle)];
  };
  const made = svg("svg", { viewBox: "0 0 400 260", role: "img", "aria-label": told, class: "graph" });
  for (const [from, to] of links) {
    const [[x1, y1], [x2, y2]] = [place(from), place(to)];
    made.append(svg("line", { x1, y1, x2, y2 }));
  }
  for (const [at, name] of nodes.entries()) {
    const [cx, cy] = place(at);
    const text = svg("text", { x: cx, y: cy - 14 });
    text.textContent = name.length > 14 ? `${name.slice(0, 13)}…` : name;
    made.append(svg("circle", { cx, cy, r: middle && !at ? 10 : 7 }), text);
  }
  return made;
}

function words(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "object") return JSON.stringify(value);
  return typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(4))) : String(value);
}

// heads: whether the first cell of each row, and not the first row, says what the others are.
function table(rows, heads) {
  const made = element("table");
  for (const [at, row] of rows.entries()) {
    const line = element("tr");
    for (const [place, cell] of row.entries()) {
      const head = heads ? place === 0 : at === 0;
      const box = element(head ? "th" : "td", head ? cell : "");
      if (head) box.scope = heads ? "row" : "col";
      else box.append(shown(cell));
      line.append(box);
    }
    made.append(line);
  }
  const around = Object.assign(element("div", "", "table"), { tabIndex: 0, role: "group", ariaLabel: "table" }); // scrolls
  around.append(made);
  return around;
}

function choose() {
  const model = models[$("model").value];
  recorded = {};
  $("said").hidden = true;
  $("inputs").replaceChildren(...(model?.inputs ?? []).map((column) => {
    const row = element("div", "", "row");
    row.append(field(column));
    return row;
  }));
}

async function list() {
  try {
    const found = (await (await request("models")).json()).models;
    models = Object.fromEntries(found.map((each) => [each.name, each]));
    $("model").replaceChildren(...found.map(({ name }) => element("option", name)));
    choose();
    say(found.length ? "" : "No model is served here yet. `headrace run NAME` makes one a champion.", !found.length);
  } catch (fault) {
    if (!(fault instanceof Refused)) throw fault;
    say(fault.message, true);
  }
}

$("model").addEventListener("change", choose);
$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await ask();
  } catch (fault) {
    if (!(fault instanceof Refused)) throw fault;
    say(fault.message, true);
  }
});
begin(list, () => $("model").focus());
