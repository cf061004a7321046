// The page: its state, the controls that change it, and the pictures that the server answers with.
// state -> JSON over one WebSocket -> webp. One request is in flight; of what changes meanwhile, the newest state is sent.

const BEGIN = {
  networks: [0], x: 0, y: 0, latent: null, label: null, psi: 1, cutoff: null, mix_seed: 1, mix_layers: [],
  strengths: [], direction_layers: null, noise_seed: null, noise_off: [],
};
const KINDS = { latent: "string", label: "number", cutoff: "number", direction_layers: "list", noise_seed: "number" };
const ROW = 100, NUM_SEEDS = 2 ** 32, MOST_XY = 1e8; // The point (x, y) of whole numbers is the seed x + ROW y.
const PLANE_PX = 76; // Distance of two seeds on the plane.
const MOST_HISTORY = 100, MOST_UPLOAD_BYTES = 20 * 2 ** 20, AGAIN_MS = 1000;

const $ = (id) => document.getElementById(id);
let state = BEGIN, about = null, names = [], past = [], place = -1;
const abouts = new Map(); // What is known of each network that was shown.

// ---- the state and its address

function change(changes, event, isDone = true) {
  state = { ...state, ...changes };
  say("");
  show();
  request(event ? event.timeStamp : performance.now());
  if (isDone) remember();
}

const seedAt = (x, y) => (Math.round(x) + ROW * Math.round(y)) % NUM_SEEDS;
const pointOf = (seed) => ({ x: seed % ROW, y: Math.floor(seed / ROW), latent: null });
const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000;
const inRange = (element) => element.value !== "" && element.checkValidity();

function writeAddress() {
  const changed = Object.entries(state).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(BEGIN[name]));
  const text = changed.length ? "#" + encodeURIComponent(JSON.stringify(Object.fromEntries(changed))) : "#";
  if (text !== (location.hash || "#")) history.replaceState(null, "", text);
}

const kindOf = (value) => (Array.isArray(value) ? "list" : typeof value);

function readAddress() {
  try {
    const found = { ...BEGIN, ...JSON.parse(decodeURIComponent(location.hash.slice(1)) || "{}") };
    const isRight = ([name, value]) => BEGIN[name] === null && value === null
      || kindOf(value) === (KINDS[name] ?? kindOf(BEGIN[name]));
    const hasNetworks = found.networks.length && found.networks.every((i) => names[i] !== undefined);
    if (Object.keys(found).length === Object.keys(BEGIN).length && Object.entries(found).every(isRight) && hasNetworks)
      return [found, ""];
  } catch { /* It is no JSON. */ }
  return [BEGIN, "The address after # is no state of this page; it begins anew."];
}

function say(text, isError = false) {
  $("message").textContent = text;
  $("message").classList.toggle("error", isError);
}

// ---- pictures

const LOST = "The server cannot be reached; trying again.";
let socket = null, inFlight = null, waiting = null, number = 0, shownText = "";

function connect() {
  socket = new WebSocket(`${location.protocol.replace("http", "ws")}//${location.host}/draw`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    if ($("message").textContent === LOST) say("");
    request(performance.now());
  };
  socket.onmessage = ({ data }) => answer(data);
  socket.onclose = () => {
    inFlight = null;
    say(LOST, true);
    setTimeout(connect, AGAIN_MS);
  };
}

function request(changedMs) {
  waiting = { state, changedMs };
  if (inFlight || socket?.readyState !== WebSocket.OPEN) return;
  inFlight = { ...waiting, number: ++number };
  waiting = null;
  socket.send(JSON.stringify({ number, state: inFlight.state }));
}

function answer(data) {
  const sent = inFlight;
  inFlight = null;
  if (waiting) request(waiting.changedMs);
  if (typeof data === "string") return say(JSON.parse(data).error, true);
  const length = new DataView(data).getUint32(0), head = JSON.parse(new TextDecoder().decode(data.slice(4, 4 + length)));
  let begin = 4 + length;
  const parts = head.sizes.map((size) => data.slice(begin, (begin += size)));
  if (sent && sent.number === head.number) paint(sent, head, parts);
}

async function paint(sent, head, parts) {
  const images = await Promise.all(parts.map((part) => createImageBitmap(new Blob([part], { type: "image/webp" }))));
  if (sent.state.networks.join() !== state.networks.join()) return;
  const canvases = [...document.querySelectorAll("canvas")];
  canvases.forEach((canvas, i) => {
    if (canvas.width !== images[i].width) canvas.width = canvas.height = images[i].width;
    canvas.getContext("2d").drawImage(images[i], 0, 0);
    canvas.setAttribute("aria-label", `Picture of ${names[sent.state.networks[i]]}, ${describe(sent.state)}`);
  });
  shownText = JSON.stringify(sent.state);
  const entry = past.find((one) => !one.picture && one.text === shownText);
  if (entry) { entry.picture = small(canvases[0]); showHistory(); }
  await new Promise(requestAnimationFrame);
  await new Promise((done) => { const { port1, port2 } = new MessageChannel(); port1.onmessage = done; port2.postMessage(0); });
  const shownMs = performance.now() - sent.changedMs; // From the event to the frame that has the picture.
  $("times").textContent = `model ${head.draw_ms.toFixed(0)} ms, shown after ${shownMs.toFixed(0)} ms`;
  document.dispatchEvent(new CustomEvent("painted", { detail: { number: sent.number, shownMs, ...head } }));
}

function describe({ x, y, latent }) {
  if (latent) return "an upload";
  return Number.isInteger(x) && Number.isInteger(y) ? `seed ${seedAt(x, y)}` : `between seeds, at ${x.toFixed(2)}, ${y.toFixed(2)}`;
}

function small(canvas) {
  const copy = document.createElement("canvas");
  copy.width = copy.height = 64;
  copy.getContext("2d").drawImage(canvas, 0, 0, 64, 64);
  return copy.toDataURL("image/webp", 0.8);
}

// ---- history

function remember() {
  const text = JSON.stringify(state);
  if (past[place]?.text !== text) {
    const picture = text === shownText ? small(document.querySelector("canvas")) : null;
    past = [...past.slice(0, place + 1), { text, state, picture }].slice(-MOST_HISTORY);
    place = past.length - 1;
  }
  writeAddress();
  showHistory();
}

async function goTo(next) {
  if (!past[next]) return;
  place = next;
  say("");
  await setState(past[next].state);
  writeAddress();
  showHistory();
}

function showHistory() {
  const hasFocus = $("history").contains(document.activeElement);
  $("undo").disabled = place <= 0;
  $("redo").disabled = place >= past.length - 1;
  $("history").replaceChildren(...past.map((entry, i) => {
    const item = document.createElement("li"), button = document.createElement("button"), image = new Image(52, 52);
    button.type = "button";
    button.setAttribute("aria-current", i === place);
    button.onclick = () => goTo(i);
    image.alt = `${i + 1}: ${describe(entry.state)}`;
    image.src = entry.picture ?? "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";
    button.append(image);
    item.append(button);
    return item;
  }));
  const current = $("history").querySelector("[aria-current=true]");
  $("history").scrollLeft = current ? current.offsetLeft - $("history").clientWidth / 2 : 0;
  if (hasFocus) current?.focus();
}

// ---- controls show the state

function show() {
  const { x, y } = state;
  for (const name of ["x", "y"]) if (document.activeElement !== $(name)) $(name).value = +state[name].toFixed(2);
  if (document.activeElement !== $("seed")) $("seed").value = seedAt(x, y);
  $("label").value = state.label ?? 0;
  $("psi").value = state.psi;
  $("psi").nextElementSibling.textContent = state.psi.toFixed(2);
  $("cutoff").value = state.cutoff ?? about.num_layers;
  $("cutoff").nextElementSibling.textContent = state.cutoff ?? "all";
  if (document.activeElement !== $("mix_seed")) $("mix_seed").value = state.mix_seed;
  $("noise-own").checked = state.noise_seed === null;
  if (document.activeElement !== $("noise_seed")) $("noise_seed").value = state.noise_seed ?? "";
  $("is-latent").hidden = state.latent === null;
  document.querySelectorAll("#directions input").forEach((slider, i) => {
    slider.value = state.strengths[i] ?? 0;
    slider.nextElementSibling.textContent = Number(slider.value).toFixed(1);
  });
  document.querySelectorAll(".layers").forEach((row) => {
    const chosen = layersOf(row.dataset.field);
    row.querySelectorAll("input").forEach((box, i) => { box.checked = chosen.includes(i); });
  });
  document.querySelectorAll("#networks input").forEach((box, i) => { box.checked = state.networks.includes(i); });
  showPlane();
}

function showPlane() {
  const plane = $("plane"), { width, height } = plane.getBoundingClientRect(), { x, y } = state, parts = [];
  const reach = { x: Math.ceil(width / 2 / PLANE_PX), y: Math.ceil(height / 2 / PLANE_PX) };
  for (let j = Math.max(0, Math.floor(y) - reach.y); j <= Math.ceil(y) + reach.y; j++)
    for (let i = Math.max(0, Math.floor(x) - reach.x); i <= Math.ceil(x) + reach.x; i++) {
      const left = width / 2 + (i - x) * PLANE_PX, top = height / 2 + (j - y) * PLANE_PX;
      const isNear = Math.abs(i - x) < 1 && Math.abs(j - y) < 1 && !state.latent;
      parts.push(`<circle cx="${left}" cy="${top}" r="5" class="${isNear ? "near" : ""}"/>`);
      parts.push(`<text x="${left}" y="${top + 19}">${seedAt(i, j)}</text>`);
    }
  parts.push(`<path d="M${width / 2 - 9} ${height / 2}h18M${width / 2} ${height / 2 - 9}v18"/>`);
  plane.innerHTML = parts.join("");
  plane.setAttribute("aria-label", `Plane of seeds, at ${describe({ ...state, latent: null })}`);
}

// ---- layers: a row of boxes for each of mixing, noise and directions

function layersFor(field) {
  return field === "noise_off" ? about.noise_layers : about.layers_px.map((_, i) => i);
}

function layersOf(field) {
  const all = layersFor(field);
  if (field === "noise_off") return all.filter((i) => !state.noise_off.includes(i));
  return state[field] ?? all;
}

function setLayers(field, layers, event) {
  const all = layersFor(field);
  if (field === "noise_off") return change({ noise_off: all.filter((i) => !layers.includes(i)) }, event);
  const isAll = field === "direction_layers" && layers.length === all.length;
  change({ [field]: isAll ? null : layers.toSorted((a, b) => a - b) }, event);
}

function buildLayers(row) {
  const field = row.dataset.field, { layers_px: sizes, bounds: [middle, fine] } = about;
  const all = layersFor(field), boxes = document.createElement("div"), buttons = document.createElement("div");
  boxes.className = "boxes";
  buttons.className = "row";
  for (const px of new Set(all.map((i) => sizes[i]))) {
    const group = document.createElement("span");
    group.append(`${px} px`, ...all.filter((i) => sizes[i] === px).map((i) => {
      const box = Object.assign(document.createElement("input"), { type: "checkbox", title: `layer ${i}, ${px} px` });
      box.setAttribute("aria-label", box.title);
      box.onchange = (event) => {
        const others = layersOf(field).filter((one) => one !== i);
        setLayers(field, box.checked ? [...others, i] : others, event);
      };
      return box;
    }));
    boxes.append(group);
  }
  const sets = {
    coarse: all.filter((i) => i < middle), middle: all.filter((i) => i >= middle && i < fine),
    fine: all.filter((i) => i >= fine), all, none: [],
  };
  for (const [name, layers] of Object.entries(sets)) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
    button.onclick = (event) => setLayers(field, layers, event);
    buttons.append(button);
  }
  row.replaceChildren(row.querySelector("legend"), boxes, buttons);
}

// ---- the network's own controls

// Takes changes that may name other networks; other controls can change the state until those are known.
async function setState(changes) {
  const { networks } = { ...state, ...changes };
  $("networks").inert = true;
  try {
    for (const network of networks.filter((one) => !abouts.has(one))) {
      say("compiling ...");
      abouts.set(network, await json(await fetch(`about/${network}`)));
      say("");
    }
  } catch (error) {
    if (about) show();
    return say(error.message, true);
  } finally {
    $("networks").inert = false;
  }
  const first = abouts.get(networks[0]), isOther = about !== first;
  about = first;
  state = fitting({ ...state, ...changes });
  if (isOther) build();
  buildPictures();
  show();
  if (!socket) connect();
  request(performance.now());
}

async function json(response) {
  const found = await response.json();
  if (found.error) throw new Error(found.error);
  return found;
}

// What a network lacks is left out of the state: a row of layers shows those that there are.
function fitting(old) {
  const isThere = (i) => i < about.layers_px.length;
  return {
    ...old,
    label: about.classes.length ? Math.min(old.label ?? 0, about.classes.length - 1) : null,
    psi: about.has_mean ? old.psi : 1,
    cutoff: old.cutoff < about.num_layers ? old.cutoff : null,
    mix_layers: old.mix_layers.filter(isThere),
    strengths: old.strengths.slice(0, about.directions.length),
    direction_layers: old.direction_layers?.filter(isThere) ?? null,
    noise_off: old.noise_off.filter((i) => about.noise_layers.includes(i)),
    noise_seed: about.noise_layers.length ? old.noise_seed : null,
  };
}

function build() {
  $("label").replaceChildren(...about.classes.map((name, i) => new Option(name, i)));
  $("cutoff").max = about.num_layers;
  $("directions").replaceChildren(...about.directions.map((name, i) => {
    const row = document.createElement("label"), slider = document.createElement("input");
    row.className = "slider";
    Object.assign(slider, { type: "range", min: -5, max: 5, step: 0.1 });
    listen(slider, () => ({ strengths: about.directions.map((_, j) => (i === j ? +slider.value : state.strengths[j] ?? 0)) }));
    row.append(name, slider, Object.assign(document.createElement("span"), { className: "value" }));
    return row;
  }));
  document.querySelectorAll(".layers").forEach(buildLayers);
  const isThere = {
    networks: names.length > 1, classes: about.classes.length, psi: about.has_mean, mixing: about.num_layers > 1,
    noise: about.noise_layers.length, directions: about.directions.length,
  };
  for (const [name, value] of Object.entries(isThere)) $(`of-${name}`).hidden = !value;
  $("controls").hidden = false;
}

function buildNetworks(most) {
  $("networks").replaceChildren(...names.map((name, i) => {
    const label = document.createElement("label"), box = document.createElement("input");
    label.className = "row";
    box.type = "checkbox";
    box.onchange = async () => {
      const others = state.networks.filter((one) => one !== i), chosen = box.checked ? [...others, i] : others;
      if (!chosen.length || chosen.length > most) {
        say(`Choose 1 to ${most} networks.`, true);
        return show();
      }
      say("");
      await setState({ networks: chosen.toSorted((a, b) => a - b) });
      remember();
    };
    label.append(box, name);
    return label;
  }));
}

function buildPictures() {
  const shown = [...document.querySelectorAll("figure")].map((figure) => figure.dataset.network);
  if (shown.join() === state.networks.join()) return;
  $("pictures").replaceChildren(...state.networks.map((network) => {
    const figure = document.createElement("figure"), canvas = document.createElement("canvas");
    const caption = document.createElement("figcaption"), name = document.createElement("span");
    figure.dataset.network = network;
    canvas.width = canvas.height = about.resolution;
    canvas.setAttribute("role", "img");
    drag(canvas, () => canvas.clientWidth / 4);
    name.textContent = names.length > 1 ? names[network] : "";
    caption.append(name, ...[["Save PNG", "png", ".png"], ["Save latent", "latent", ".safetensors"]].map(([text, path, end]) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: text });
      button.onclick = () => save(path, end, network);
      return button;
    }));
    figure.append(canvas, caption);
    return figure;
  }));
}

// ---- what controls do

function listen(element, changesFn) {
  element.addEventListener("input", (event) => { if (inRange(element)) change(changesFn(), event, false); });
  element.addEventListener("change", () => { if (inRange(element)) remember(); else show(); });
}

function drag(element, pxFn, clickFn = () => {}) {
  let last = null, hasMoved = false;
  element.addEventListener("pointerdown", (event) => {
    last = event;
    hasMoved = false;
    element.setPointerCapture(event.pointerId);
  });
  element.addEventListener("pointermove", (event) => {
    if (!last) return;
    const dx = event.clientX - last.clientX, dy = event.clientY - last.clientY;
    if (!hasMoved && Math.hypot(dx, dy) < 3) return;
    hasMoved = true;
    last = event;
    move(-dx / pxFn(), -dy / pxFn(), event, false);
  });
  for (const name of ["pointerup", "pointercancel"])
    element.addEventListener(name, (event) => {
      if (!last) return;
      last = null;
      if (hasMoved) remember();
      else clickFn(event);
    });
}

const onPlane = (value) => Math.max(0, Math.min(MOST_XY, Math.round(value * 1e4) / 1e4));

function move(dx, dy, event, isDone = true) {
  change({ x: onPlane(state.x + dx), y: onPlane(state.y + dy), latent: null }, event, isDone);
}

function toPoint(event) {
  const box = $("plane").getBoundingClientRect(), of = (at, middle, now) => onPlane(Math.round(now + (at - middle) / PLANE_PX));
  const x = of(event.clientX, box.left + box.width / 2, state.x), y = of(event.clientY, box.top + box.height / 2, state.y);
  change({ x, y, latent: null }, event);
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function press(event) {
  const arrow = event.target === $("plane") && !event.ctrlKey && !event.altKey && ARROWS[event.key];
  if (arrow) {
    const step = event.shiftKey ? 1 : 0.1;
    move(arrow[0] * step, arrow[1] * step, event);
    event.preventDefault();
  }
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && event.target.type !== "number") {
    goTo(place + (event.shiftKey ? 1 : -1));
    event.preventDefault();
  }
}

async function save(path, end, network) {
  const response = await fetch(path, { method: "POST", body: JSON.stringify({ ...state, networks: [network] }) });
  if (!response.ok) return say((await response.json()).error, true);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await response.blob());
  link.download = describe(state).replaceAll(/[^\w.-]+/g, "-") + end;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

let stopping = null;

async function upload(file) {
  if (!file) return;
  if (file.size > MOST_UPLOAD_BYTES) return say(`${file.name} has more than 20 MB; make it smaller.`, true);
  stopping?.abort();
  stopping = new AbortController();
  $("projection").hidden = false;
  $("progress").removeAttribute("value");
  $("left").textContent = "";
  let first = null;
  try {
    const how = { method: "POST", body: file, signal: stopping.signal };
    const response = await fetch(`upload/${state.networks[0]}`, how), reader = response.body.getReader();
    let text = "";
    for (let part; !(part = await reader.read()).done;) {
      text += new TextDecoder().decode(part.value);
      const lines = text.split("\n"), line = lines.at(-1) || lines.at(-2);
      if (line?.endsWith("}")) first = showProgress(JSON.parse(line), first);
    }
    const { latent, error } = JSON.parse(text.trim().split("\n").at(-1));
    if (error) say(`${file.name}: ${error}`, true);
    else change({ latent, mix_layers: [], strengths: [], noise_off: [], noise_seed: null });
  } catch (error) {
    say(error.name === "AbortError" ? "The projection was stopped." : `The upload failed: ${error.message}.`, true);
  }
  $("projection").hidden = true;
  $("file").value = "";
}

// Returns the first progress that was told, from which the time that is left is reckoned.
function showProgress({ done, all }, first) {
  if (!done) return first;
  Object.assign($("progress"), { value: done, max: all });
  const now = { done, ms: performance.now() };
  if (!first) return now;
  if (done > first.done) {
    const secondsLeft = (now.ms - first.ms) / (done - first.done) * (all - done) / 1000;
    $("left").textContent = `${Math.ceil(secondsLeft)} s left`;
  }
  return first;
}

// ---- the start

function begin() {
  const on = (id, changesFn) => $(id).addEventListener("click", (event) => change(changesFn(), event));
  for (const name of ["x", "y"]) listen($(name), () => ({ [name]: +$(name).value, latent: null }));
  listen($("seed"), () => pointOf(+$("seed").value));
  listen($("psi"), () => ({ psi: +$("psi").value }));
  listen($("cutoff"), () => ({ cutoff: +$("cutoff").value < about.num_layers ? +$("cutoff").value : null }));
  listen($("label"), () => ({ label: +$("label").value }));
  listen($("mix_seed"), () => ({ mix_seed: +$("mix_seed").value }));
  listen($("noise_seed"), () => ({ noise_seed: +$("noise_seed").value }));
  $("noise-own").onchange = (event) => change({ noise_seed: $("noise-own").checked ? null : 0 }, event);
  on("random", () => pointOf(randomSeed()));
  on("snap", () => ({ x: Math.round(state.x), y: Math.round(state.y), latent: null }));
  on("mix-random", () => ({ mix_seed: randomSeed() }));
  on("straight", () => ({ strengths: [], direction_layers: null }));
  on("to-seeds", () => ({ latent: null }));
  $("reset").onclick = async () => { await setState({ ...BEGIN, networks: state.networks }); remember(); };
  $("undo").onclick = () => goTo(place - 1);
  $("redo").onclick = () => goTo(place + 1);
  $("cancel").onclick = () => stopping.abort();
  $("file").onchange = () => upload($("file").files[0]);
  $("controls").onsubmit = (event) => event.preventDefault();
  drag($("plane"), () => PLANE_PX, toPoint);
  document.addEventListener("keydown", press);
  addEventListener("resize", () => about && showPlane());
  addEventListener("hashchange", toAddress);
  document.addEventListener("dragover", (event) => { event.preventDefault(); $("stage").classList.add("drop"); });
  for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => $("stage").classList.remove("drop"));
  document.addEventListener("drop", (event) => { event.preventDefault(); upload(event.dataTransfer.files[0]); });
}

async function toAddress() {
  const [found, error] = readAddress();
  await setState(found);
  remember();
  if (error) say(error, true);
}

async function start() {
  begin();
  try {
    const found = await json(await fetch("networks"));
    names = found.networks;
    buildNetworks(found.most);
    await toAddress();
  } catch (error) {
    say(`The page could not begin: ${error.message}`, true);
  }
}

start();
