"use strict";

// The page: an event stream says what has changed; racks are drawn when they are opened.  docs/web.md has the events.

const OPEN_AT_ONCE = 200; // nodes: with more, racks begin closed
const IN_A_GROUP = 100; // nodes that have no other ones below them
const LOG_LINES = 5000; // older lines are dropped
const JOBS = 500; // the newest
const AGAIN_MS = 3000; // before it connects again
const STATES = ["up", "plain", "drained", "silent", "unreachable", "down"];

const nodes = new Map();
const jobs = new Map();
const opened = new Map(); // racks that somebody opened or closed, by name
let control = false;
let onlyNotUp = false;
let unanswered = ""; // why the master does not answer; "" if it does
let log = null;
let panel = null; // {kind, name}: what the dialog shows

const $ = (id) => document.getElementById(id);

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

function since(seconds) {
  if (!seconds) return "";
  const date = new Date(seconds * 1000);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? date.toLocaleTimeString() : date.toLocaleString();
}

function gib(bytes) {
  return (bytes / 2 ** 30).toFixed(1);
}

function byPlace(one, other) {
  const a = one.split("/").map(Number), b = other.split("/").map(Number);
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

// Nodes with others below them make a rack; the rest is shown by the hundred.
function racks() {
  const masters = new Set();
  for (const name of nodes.keys()) if (name.includes("/")) masters.add(name.split("/")[0]);
  const found = new Map();
  for (const name of [...nodes.keys()].sort(byPlace)) {
    const first = name.split("/")[0];
    const begin = Math.floor((Number(first) - 1) / IN_A_GROUP) * IN_A_GROUP + 1;
    const rack = masters.has(first) ? `rack ${first}` : `${begin}–${begin + IN_A_GROUP - 1}`;
    if (!found.has(rack)) found.set(rack, []);
    if (!onlyNotUp || nodes.get(name).state !== "up") found.get(rack).push(name);
  }
  return found;
}

function counted(names) {
  const counts = new Map();
  for (const name of names) {
    const state = nodes.get(name).state;
    counts.set(state, (counts.get(state) || 0) + 1);
  }
  return STATES.filter((state) => counts.has(state)).map((state) => `${counts.get(state)} ${state}`).join(", ");
}

function nodeItem(name) {
  const node = nodes.get(name);
  const item = element("li");
  const button = element("button", undefined, node.state);
  button.type = "button";
  button.dataset.node = name;
  button.append(element("span", name), " ", element("span", node.state === "up" ? "" : node.state, "state"), element("br"));
  const load = node.load === null ? "" : ` · load ${node.load}`;
  button.append(element("span", `${node.host} · ${node.jobs} ${node.jobs === 1 ? "job" : "jobs"}${load}`, "small"));
  button.addEventListener("click", () => showNode(name));
  item.append(button);
  return item;
}

function fill(rack, names) {
  const focused = document.activeElement && document.activeElement.dataset.node;
  const list = element("ul", undefined, "nodes");
  list.append(...names.map(nodeItem));
  rack.querySelector("ul").replaceWith(list);
  if (focused && list.contains(document.activeElement) === false) {
    const again = list.querySelector(`[data-node="${focused}"]`);
    if (again) again.focus();
  }
}

function drawNodes() {
  const all = [...nodes.keys()];
  const none = unanswered ? "Nothing is known of the nodes until the master answers." : "No node is connected.";
  setText($("summary"), all.length ? `${all.length} nodes: ${counted(all)}` : none);
  const place = $("racks");
  const found = racks();
  const present = new Map([...place.children].map((rack) => [rack.dataset.rack, rack]));
  for (const [name, rack] of present) if (!found.has(name) || !found.get(name).length) rack.remove();
  for (const [name, members] of found) {
    if (!members.length) continue;
    let rack = place.querySelector(`[data-rack="${name}"]`);
    if (!rack) {
      rack = element("details");
      rack.dataset.rack = name;
      rack.append(element("summary"), element("ul", undefined, "nodes"));
      rack.open = opened.get(name) ?? (all.length <= OPEN_AT_ONCE || onlyNotUp);
      rack.addEventListener("toggle", () => {
        opened.set(name, rack.open);
        if (rack.open) fill(rack, racks().get(name) || []);
      });
      place.append(rack);
    }
    setText(rack.querySelector("summary"), `${name}: ${members.length} nodes, ${counted(members)}`);
    if (rack.open) fill(rack, members);
  }
}

function stateOf(job) {
  if (job.state !== "ended") return [job.state, job.state];
  return job.status ? [`failed, status ${job.status}`, "failed"] : ["done", "done"];
}

function drawJobs() {
  const rows = [...jobs.values()].sort((one, other) => other.job - one.job);
  $("jobs").hidden = !rows.length;
  setText($("other-jobs"), unanswered ? "" : rows.length === 0 ? "No jobs on record." : rows.length > JOBS ? `${rows.length - JOBS} older ones are not shown.` : "");
  const focused = document.activeElement && document.activeElement.dataset.job;
  const drawn = rows.slice(0, JOBS).map((job) => {
    const row = element("tr");
    const cell = element("td");
    const button = element("button", String(job.job));
    button.type = "button";
    button.dataset.job = job.job;
    button.setAttribute("aria-label", `Job ${job.job}`);
    button.addEventListener("click", () => showJob(String(job.job)));
    cell.append(button, job.name ? ` ${job.name}` : "");
    const [words, kind] = stateOf(job);
    row.append(cell, element("td", job.user), element("td", job.nodes), element("td", words, kind),
      element("td", since(job.ended || job.started)), element("td", job.command));
    return row;
  });
  $("jobs").tBodies[0].replaceChildren(...drawn);
  if (focused) {
    const again = $("jobs").querySelector(`[data-job="${focused}"]`);
    if (again) again.focus();
  }
}

const KINDS = { program: "program and files", cp: "copy to nodes", get: "copy from nodes" };

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) bytes /= 1024, unit++;
  return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
}

function drawTransfers() {
  const rows = [...jobs.values()].filter((job) => job.transfer).sort((one, other) => other.job - one.job);
  $("transfers").hidden = !rows.length;
  const focused = document.activeElement && document.activeElement.dataset.transfer;
  $("transfers").querySelector("tbody").replaceChildren(...rows.slice(0, JOBS).map((job) => {
    const way = job.transfer;
    const row = element("tr");
    const first = element("td");
    const button = element("button", String(job.job));
    button.type = "button";
    button.dataset.transfer = job.job;
    button.setAttribute("aria-label", `Transfer of job ${job.job}`);
    button.addEventListener("click", () => showJob(String(job.job)));
    first.append(button, job.name ? ` ${job.name}` : "");
    const bytes = element("td", way.total ? `${size(way.bytes)} of ${size(way.total)} ` : size(way.bytes));
    if (way.total) {
      const bar = element("progress");
      bar.max = way.total;
      bar.value = way.bytes;
      bar.setAttribute("aria-label", `Job ${job.job}, bytes`);
      bytes.append(bar);
    }
    row.append(first, element("td", job.user), element("td", job.nodes), element("td", KINDS[way.kind] || way.kind), bytes,
      element("td", `${way.complete} of ${way.nodes} done`), element("td", way.rate === null ? "" : `${size(way.rate)}/s`));
    return row;
  }));
  const again = focused && $("transfers").querySelector(`[data-transfer="${focused}"]`);
  if (again) again.focus();
}

function facts(pairs) {
  const rows = [];
  for (const [name, value] of pairs) if (value !== "" && value !== null) rows.push(element("dt", name), element("dd", String(value)));
  $("facts").replaceChildren(...rows);
}

function open(kind, name, title) {
  closeLog();
  panel = { kind, name };
  setText($("panel-title"), title);
  setText($("told"), "");
  $("actions").replaceChildren();
  $("log").hidden = true;
  drawPanel();
  if (!$("panel").open) $("panel").showModal();
}

function drawPanel() {
  if (panel === null) return;
  if (panel.kind === "node") {
    const node = nodes.get(panel.name);
    if (!node) return facts([["State", "no longer in the tree"]]);
    return facts([["Host", node.host], ["Address", node.address], ["State", node.state], ["Since", since(node.since)],
      ["Why", node.why], ["No private view", node.plain_because], ["Jobs", node.jobs], ["Load", node.load],
      ["Memory", node.memory === null ? null : `${gib(node.memory - node.available)} of ${gib(node.memory)} GiB in use`], ["Version", node.version]]);
  }
  const job = jobs.get(panel.name);
  if (!job) return facts([["State", "no longer on record"]]);
  for (const button of $("actions").children) button.disabled = job.state !== "running";
  return facts([["Command", job.command], ["Name", job.name], ["User", job.user], ["Nodes", job.nodes],
    ["State", stateOf(job)[0]], ["Began", since(job.started)], ["Ended", since(job.ended)]]);
}

function showNode(name) {
  open("node", name, `Node ${name}`);
}

function showJob(name) {
  open("job", name, `Job ${name}`);
  if (control) {
    for (const [label, signal] of [["Terminate", 15], ["Kill", 9]]) {
      const button = element("button", label);
      button.type = "button";
      button.addEventListener("click", () => end(name, signal));
      $("actions").append(button);
    }
  }
  drawPanel();
  $("log").replaceChildren();
  $("log").hidden = false;
  follow(name);
}

async function end(name, signal) {
  const answer = await fetch(`/api/v1/jobs/${name}/kill`, {
    method: "POST", headers: { ...shown(), "content-type": "application/json" }, body: JSON.stringify({ signal }),
  });
  setText($("told"), answer.ok ? `Signal ${signal} was sent.` : (await answer.text()).trim());
}

function follow(name) {
  const place = $("log");
  const unfinished = new Map(); // the line that a node's stream has not ended yet
  log = new AbortController();
  const output = (row) => {
    const atEnd = place.scrollTop + place.clientHeight >= place.scrollHeight - 4;
    if (row.text !== undefined) addText(place, unfinished, row);
    else if (row.skipped) addLine(place, row.node, `${row.skipped} bytes were not kept`, "stderr");
    else if (row.unreached) addLine(place, row.node, `not reached: ${row.unreached}`, "stderr");
    else if (row.ended && row.ended !== "exit status 0") addLine(place, row.node, row.ended, "stderr");
    while (place.childElementCount > LOG_LINES) place.firstElementChild.remove();
    if (atEnd) place.scrollTop = place.scrollHeight;
  };
  const trouble = (row) => setText($("told"), row.trouble);
  let ended = false;
  const { signal } = log;
  listen(`/api/v1/jobs/${name}/log`, { output, trouble, end: () => { ended = true; } }, signal).catch(() => {}).then(() => {
    if (!ended && !signal.aborted) trouble({ trouble: "gproc web does not answer; open the job again for its output" });
  });
}

function addText(place, unfinished, row) {
  const key = `${row.node} ${row.stream}`;
  const parts = row.text.split("\n");
  parts.forEach((part, index) => {
    let line = index === 0 ? unfinished.get(key) : undefined;
    if (!line && (part || index < parts.length - 1)) line = addLine(place, row.node, "", row.stream);
    if (line) line.lastChild.append(part);
    unfinished.set(key, index === parts.length - 1 && part ? line : index === 0 && parts.length === 1 ? line : undefined);
  });
}

function addLine(place, node, text, kind) {
  const line = element("div");
  line.append(element("span", `${node}: `, "node"), element("span", text, kind));
  place.append(line);
  return line;
}

function closeLog() {
  if (log) log.abort();
  log = null;
}

function change(row) {
  setText($("master"), row.master ? `master on ${row.master}, since ${since(row.since)}` : "");
  unanswered = row.trouble || "";
  setText($("link"), unanswered);
  $("link").className = unanswered ? "bad" : "";
  for (const name of row.gone_nodes) nodes.delete(name);
  for (const name of row.gone_jobs) jobs.delete(name);
  for (const node of row.nodes) nodes.set(node.node, node);
  for (const job of row.jobs) jobs.set(String(job.job), job);
  drawNodes();
  if (row.jobs.length || row.gone_jobs.length) {
    drawTransfers();
    drawJobs();
  }
  drawPanel();
}

// The token is in the address after "#", which no browser sends.  It is kept for this tab and this port alone.
function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found === null) return;
  sessionStorage.setItem("token", found);
  history.replaceState(null, "", location.pathname);
}

function shown() {
  const token = sessionStorage.getItem("token");
  return token === null ? {} : { authorization: `Bearer ${token}` };
}

// Read a stream of events to its end; false if the token is wrong.  EventSource could not send the token.
async function listen(path, on, signal) {
  const answer = await fetch(path, { headers: shown(), signal });
  if (answer.status === 401) return false;
  if (!answer.ok) throw new Error(await answer.text());
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return true;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(event) || [];
      if (name in on) on[name](JSON.parse(data));
    }
  }
}

function warn(text) {
  setText($("link"), text);
  $("link").className = "bad";
}

const about = (row) => {
  control = row.control;
  nodes.clear(); // it begins anew: everything comes again
  jobs.clear();
  drawTransfers();
};

async function connect() {
  for (;;) {
    try {
      if (!await listen("/api/v1/events", { about, change })) {
        return warn("Open the address that gproc web printed at its start: it ends with a token, and this one's is wrong or missing.");
      }
    } catch { /* said below */ }
    warn("gproc web does not answer; trying again");
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

$("which").addEventListener("change", (event) => {
  onlyNotUp = event.target.value === "not-up";
  $("racks").replaceChildren();
  drawNodes();
});
$("panel").addEventListener("close", () => {
  closeLog();
  panel = null;
});
takeToken();
window.addEventListener("hashchange", () => location.reload());
connect();
