"use strict";
// What the pages share that ask the API of the server that they are from. Whatever comes back is put in as text, never
// as HTML.

const $ = (id) => document.getElementById(id);
const KEY = "headrace-key";

class Refused extends Error {}

// spoken: for a screen reader alone, of what others see elsewhere on the page.
function say(words, fault = false, spoken = "") {
  $("status").className = fault ? "fault" : "";
  $("status").replaceChildren(words, ...(spoken ? [element("span", ` ${spoken}`, "spoken")] : []));
}

function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

async function request(path, { body, accept = "application/json", signal } = {}) {
  const headers = { Accept: accept };
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  const method = body ? "POST" : "GET";
  let answer;
  try {
    answer = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
  } catch (fault) {
    if (fault.name === "AbortError") throw fault;
    throw new Refused("The server does not answer. Is it still running? Ask again when it is.");
  }
  if (!answer.ok) throw new Refused(await reason(answer));
  return answer;
}

async function reason(answer) {
  const said = await answer.json().catch(() => ({}));
  const detail = typeof said.detail === "string" ? said.detail : `the server said ${answer.status}.`;
  if (answer.status === 401) {
    $("key-part").open = true;
    return sessionStorage.getItem(KEY) ? "This key is not known here. Enter another under “API key”." : "This server wants a key. Enter it under “API key”.";
  }
  if (answer.status === 403) return `Not allowed: ${detail}`;
  if (answer.status === 429) return `Too many requests. Ask again in ${answer.headers.get("Retry-After") || "a few"} s.`;
  if (answer.status === 503) return `Not now: ${detail}`;
  return `This could not be answered: ${detail}`;
}

// A key in the address (#key=...) is kept for this tab and taken out of the address, and so of the history.
function take_key() {
  const key = /^#key=(\S+)$/.exec(location.hash)?.[1];
  if (!key) return false;
  sessionStorage.setItem(KEY, key);
  history.replaceState(null, "", location.pathname);
  return true;
}

// Looks for what there is, now and whenever a key comes. after: what follows a key that was typed in.
function begin(list, after) {
  $("key-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEY, $("key").value.trim());
    $("key").value = "";
    await list();
    if (!$("status").textContent) { say("The key is in use."); $("key-part").open = false; after(); }
  });
  window.addEventListener("hashchange", () => { if (take_key()) list(); });
  take_key();
  list();
}
