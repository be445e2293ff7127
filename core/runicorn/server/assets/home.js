"use strict";
// A list of the newest runs. Everything from the API is set as text, never as markup.
const SHOWN = 200;
const POLL_MS = 5000;
const SOON_MS = 1000;
const $ = (id) => document.getElementById(id);
let runs = [];
let next = 0;

function cell(row, text, className) {
  const td = row.insertCell();
  td.textContent = text;
  if (className) td.className = className;
}

function metric(run) {
  if (typeof run.best_metric_value !== "number") return "";
  return `${run.best_metric_name ?? "best"} ${Number(run.best_metric_value.toPrecision(6))}`;
}

function draw() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = runs.filter((run) => {
    const text = [run.project, run.name, run.id, run.status].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
  found.sort((a, b) => (b.created_time ?? 0) - (a.created_time ?? 0));
  const body = document.createElement("tbody");
  for (const run of found.slice(0, SHOWN)) {
    const row = body.insertRow();
    cell(row, run.project ?? "");
    cell(row, run.name ?? "");
    cell(row, run.id, "id");
    cell(row, run.status, ["running", "finished", "failed", "interrupted"].includes(run.status) ? run.status : "");
    cell(row, metric(run));
    cell(row, run.created_time ? new Date(run.created_time * 1000).toLocaleString() : "");
  }
  $("runs").replaceChildren(...body.children);
  const more = found.length > SHOWN ? `, the newest ${SHOWN} are shown` : "";
  $("note").textContent = runs.length ? `${found.length} of ${runs.length} runs${more}` : "No runs yet.";
}

async function json(path) {
  const response = await fetch(path);
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail);
  return body;
}

async function refresh() {
  try {
    const health = await json("/api/health");
    $("health").textContent = `${health.status} · ${health.storage}`;
    $("health").className = health.status;
    runs = await json("/api/runs");
    draw();
  } catch (error) {
    $("note").textContent = `The list cannot be read: ${error.message}`;
  }
  refreshIn(document.hidden ? 6 * POLL_MS : POLL_MS);
}

function refreshIn(ms) {
  clearTimeout(next);
  next = setTimeout(refresh, ms);
}

// Live events only say that something has changed; what, the list says. Without them it is polled all the same.
function listen() {
  const address = new URL("/api/events/ws?type=run.", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const live = new WebSocket(address);
  let waiting = false;
  live.onmessage = (message) => {
    if (waiting || document.hidden || JSON.parse(message.data).type === "heartbeat") return;
    waiting = true;
    setTimeout(() => { waiting = false; refresh(); }, SOON_MS);
  };
  live.onclose = () => setTimeout(listen, POLL_MS);
}

$("filter").addEventListener("input", draw);
refresh();
listen();
