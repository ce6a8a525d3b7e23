// What the console can do with scripts on: every page works without them.
"use strict";

// Copy buttons.
for (const text of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain copied";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  text.after(button);
}

// The overview is loaded again every few seconds, unless somebody reads with the keyboard in it.
const refresh = document.querySelector("[data-refresh]");
if (refresh) {
  const label = document.createElement("label");
  const box = document.createElement("input");
  label.className = "check";
  box.type = "checkbox";
  box.checked = true;
  label.append(box, `every ${refresh.dataset.refresh} s`);
  const old = document.createElement("span");
  old.className = "badge bad";
  old.hidden = true;
  old.setAttribute("role", "status");
  refresh.prepend(old, label);
  let since = new Date();
  const load = async () => {
    const shown = document.querySelector("[data-live]");
    if (!box.checked || document.hidden || shown.contains(document.activeElement)) return;
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
    const well = answer && answer.ok && !answer.redirected;
    if (well) since = new Date();
    old.hidden = well;
    old.textContent = well ? "" : `not refreshed since ${since.toISOString().slice(11, 19)}`;
    if (!well) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-live]");
    if (fresh && !shown.contains(document.activeElement)) shown.replaceWith(fresh);
  };
  setInterval(load, 1000 * refresh.dataset.refresh);
}

// The live page.
const live = document.getElementById("live");
if (live && window.EventSource) {
  const rows = live.tBodies[0], empty = document.getElementById("live-empty"), state = document.getElementById("live-state");
  const pause = document.getElementById("live-pause"), most = 200;
  const waiting = [];
  let paused = false;
  document.querySelector("[data-needs-script]").hidden = false;
  const cell = (row, className, content) => {
    const td = row.insertCell();
    td.className = className;
    if (content !== undefined && content !== null) td.append(content);
  };
  const link = (page, id) => {
    if (!id) return null;
    const a = document.createElement("a");
    a.href = `/console/${page}?id=${encodeURIComponent(id)}`;
    a.textContent = id; // never as HTML
    return a;
  };
  const number = (n) => (n === undefined ? null : String(n).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f"));
  const show = (change) => {
    const row = rows.insertRow(0);
    row.className = "fresh";
    const at = document.createElement("time");
    at.dateTime = change.at;
    at.textContent = change.at.slice(0, 19).replace("T", " ");
    cell(row, "", at);
    cell(row, "", change.type);
    cell(row, "id", link("user", change.userID));
    cell(row, "id", link("group", change.groupID));
    cell(row, "num strong", number(change.state ? change.state.unreadCount : undefined));
    cell(row, "num", number(change.position));
    while (rows.rows.length > most) rows.deleteRow(-1);
    empty.hidden = true;
  };
  const tell = (text, className) => {
    if (state.textContent !== text) state.textContent = text;
    state.className = `badge ${className}`;
  };
  const source = new EventSource(live.dataset.events);
  const heard = (event) => {
    const change = JSON.parse(event.data);
    if (!paused) return show(change);
    waiting.push(change);
    if (waiting.length > most) waiting.shift();
    tell(`paused, ${waiting.length} waiting`, "wait");
  };
  for (const type of ["state.changed", "state.removed", "group.advanced", "reminder.due", "resync"]) source.addEventListener(type, heard);
  source.addEventListener("open", () => { if (paused) tell("paused", "wait"); else tell("live", "good"); });
  source.addEventListener("error", () => {
    tell(source.readyState === EventSource.CLOSED ? "ended: load the page again" : "connecting again", "bad");
  });
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", paused);
    pause.textContent = paused ? "Resume" : "Pause";
    if (paused) return tell("paused", "wait");
    for (const change of waiting.splice(0)) show(change);
    tell("live", "good");
  });
  document.getElementById("live-clear").addEventListener("click", () => {
    rows.replaceChildren();
    waiting.length = 0;
    empty.hidden = false;
  });
}
