// Generates by POST /v1/dar/stream, one request a picture, and keeps every preview with its tokens.
const byId = (id) => document.getElementById(id);
const running = new Set();
let model = null;

const optional = (id, read = Number) => (byId(id).value.trim() === "" ? undefined : read(byId(id).value.trim()));

function settings() {
  return {
    guidance_scale: optional("guidance", String),
    num_inference_steps: optional("steps"),
    temperature: optional("temperature"),
    top_k: optional("top-k"),
    top_p: optional("top-p"),
  };
}

const plain = (name) => name.trim().toLowerCase().replace(/[\s_-]+/g, " ");

// Takes a part of a name for the name, where it is a part of no other; numbers are the server's to read.
function completed(text) {
  const part = plain(text);
  if (/^\d+$/.test(part) || model === null || model.classes.some((name) => plain(name) === part)) return text.trim();
  const found = model.classes.filter((name) => plain(name).includes(part));
  return found.length === 1 ? found[0] : text.trim();
}

function headers() {
  const key = byId("key").value;
  return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

function say(text) {
  byId("message").textContent = text;
  byId("message").hidden = !text;
}

async function failure(response) {
  const body = await response.json().catch(() => ({}));
  return new Error(body.error?.message ?? `the server answered ${response.status}`);
}

// Yields the data of each event; frames end with a blank line.
async function* events(body, signal) {
  const response = await fetch("v1/dar/stream", { method: "POST", headers: headers(), body: JSON.stringify(body), signal });
  if (!response.ok) throw await failure(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    const frames = text.split("\n\n");
    text = frames.pop();
    for (const frame of frames) {
      const line = frame.split("\n").find((each) => each.startsWith("data: "));
      if (!line) continue;
      const data = JSON.parse(line.slice(6));
      if (data.error) throw new Error(data.error.message);
      yield data;
    }
  }
}

function newCard(request) {
  const card = byId("card").content.firstElementChild.cloneNode(true);
  card.classList.toggle("large", model.image_size >= 128);
  card.querySelector("h2").textContent = `${request.class}, waiting`;
  return card;
}

function show(card, previews, step) {
  const preview = previews[step - 1];
  const picture = card.querySelector("img");
  const source = `data:image/png;base64,${preview.b64_png}`;
  picture.src = source;
  picture.alt = `${preview.class}, seed ${preview.seed}, after step ${step} of ${preview.num_steps}`;
  card.querySelector(".timeline output").textContent = `${step} of ${preview.num_steps}, ${preview.tokens.length} tokens`;
  const link = card.querySelector("[data-do=download]");
  link.href = source;
  link.download = `${preview.class.replace(/[^\p{L}\p{N}]+/gu, "-")}-seed-${preview.seed}-step-${step}.png`;
}

async function generate(request, card) {
  const slider = card.querySelector(".timeline input");
  const previews = [];
  const stop = new AbortController();
  let followed = true; // until the user moves the slider
  slider.addEventListener("input", () => {
    followed = slider.value === slider.max;
    if (previews.length) show(card, previews, Number(slider.value));
  });
  running.add(stop);
  byId("stop").disabled = false;
  try {
    for await (const data of events(request, stop.signal)) {
      previews.push(data);
      slider.max = previews.length;
      if (followed) slider.value = previews.length;
      show(card, previews, Number(slider.value));
      const kept = request.kept_tokens ? `, ${request.kept_tokens.length} tokens kept` : "";
      card.querySelector("h2").textContent = `${data.class}, seed ${data.seed}${kept}`;
      if (data.type === "dar.completed") finish(card, { ...request, seed: data.seed }, data);
    }
  } catch (error) {
    if (!previews.length) card.remove();
    if (error.name !== "AbortError") say(`No picture: ${error.message}`);
  } finally {
    running.delete(stop);
    byId("stop").disabled = running.size === 0;
  }
}

function finish(card, request, data) {
  card.dataset.state = "finished";
  const vary = card.querySelector(".vary");
  const groups = vary.elements.groups;
  const told = vary.querySelector("output");
  groups.max = model.num_groups;
  groups.value = Math.max(1, Math.round(model.num_groups / 4));
  vary.elements.class.value = request.class; // as asked: several classes may have one name
  vary.elements.seed.value = data.seed + 1;
  const tell = () => { told.textContent = `${groups.value} of ${model.num_groups}`; };
  groups.addEventListener("input", tell);
  tell();
  vary.addEventListener("submit", (event) => {
    event.preventDefault();
    say("");
    const kept = data.tokens.slice(0, (Number(groups.value) * model.num_tokens) / model.num_groups);
    const changed = { class: completed(vary.elements.class.value), seed: Number(vary.elements.seed.value), kept_tokens: kept };
    const variation = { ...request, ...changed };
    const varied = newCard(variation);
    card.after(varied);
    generate(variation, varied);
  });
  const does = {
    vary: () => { vary.hidden = !vary.hidden; },
    python: () => copy(pythonFor(request)),
    curl: () => copy(curlFor(request)),
  };
  card.addEventListener("click", (event) => does[event.target.dataset.do]?.());
}

const given = (request) => Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined));

function pythonFor(request) {
  const { class: wanted, num_inference_steps: steps, ...others } = given(request);
  const named = { ...others, ...(steps === undefined ? {} : { steps }) };
  const keywords = Object.entries(named).map(([name, value]) => `, ${name}=${JSON.stringify(value)}`).join("");
  return `from dar import DARPipeline\n\npipe = DARPipeline.from_pretrained()  # or the model that this server has\npipe(${JSON.stringify(wanted)}${keywords}).images[0].save("picture.png")\n`;
}

function curlFor(request) {
  const body = JSON.stringify(given(request)).replaceAll("'", "'\\''");
  const address = new URL("v1/dar/stream", location.href);
  return `curl -N ${address} -H 'content-type: application/json' -d '${body}'\n`;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    say(`The browser does not let this page copy. Here it is: ${text}`);
  }
}

byId("wanted").addEventListener("submit", (event) => {
  event.preventDefault();
  say("");
  const first = optional("seed") ?? Math.floor(Math.random() * 2 ** 31);
  const wanted = completed(byId("class").value);
  const requests = Array.from({ length: Number(byId("count").value) }, (_, i) => ({ class: wanted, seed: first + i, ...settings() }));
  const cards = requests.map(newCard);
  byId("pictures").prepend(...cards);
  requests.forEach((request, i) => generate(request, cards[i]));
});

byId("stop").addEventListener("click", () => running.forEach((stop) => stop.abort()));

async function connect() {
  const response = await fetch("v1/dar/model", { headers: headers() });
  if (!response.ok) throw await failure(response);
  model = await response.json();
  byId("model").textContent =
    `${model.id}: ${model.image_size} × ${model.image_size} pixels, ${model.num_tokens} tokens in ${model.num_groups} groups, ${model.classes.length} classes`;
  byId("classes").replaceChildren(...model.classes.map((name) => Object.assign(document.createElement("option"), { value: name })));
  if (!byId("class").value) byId("class").value = model.classes[0];
  byId("guidance").placeholder = model.settings.guidance_scale;
  byId("steps").placeholder = model.steps.default;
  byId("steps").max = model.steps.largest;
}

async function begin() {
  try {
    await connect();
    say("");
  } catch (error) {
    byId("model").textContent = "not connected";
    say(`The server cannot be asked: ${error.message}`);
  }
}

// What is typed replaces the class that is there, so that all others can be found.
document.addEventListener("focusin", (event) => { if (event.target.name === "class") event.target.select(); });

byId("key").addEventListener("change", begin);
begin();
