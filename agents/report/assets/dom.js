/* Elements, numbers and what the page remembers. Text of runs only ever becomes text. */

let data = JSON.parse(document.getElementById("data").textContent);

const state = {
  query: "", env: "", algo: "", status: "", sort: "name", down: false,
  chosen: new Set(), comparing: false, metric: "", axis: "steps", lines: "seeds",
  hidden: new Set(), theme: "auto",
};

const byId = (id) => document.getElementById(id);

/** An element: attributes, "on…" listeners, and children that are elements or text. */
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, String(value));
  }
  made.append(...children.flat().filter((child) => child != null && child !== ""));
  return made;
}

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const decimal = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

/** A number of four digits that count; where it would be long, with its power of ten. */
function digits(value) {
  const size = Math.abs(value);
  return size >= 1e12 || (size > 0 && size < 1e-6) ? value.toExponential(3) : decimal.format(value);
}

function percent(share) {
  if (share == null) return "";
  return Math.abs(share) < 1e6 ? `${tenth.format(share * 100)}%` : `${digits(share * 100)}%`;
}

function score(of) {
  if (!of) return "";
  const interval = of.ci95 == null ? "" : ` ± ${digits(of.ci95)}`;
  return digits(of.mean) + interval;
}

function duration(seconds) {
  if (seconds < 90) return `${number.format(seconds)} s`;
  if (seconds < 5400) return `${number.format(seconds / 60)} min`;
  return `${decimal.format(Math.round(seconds / 360) / 10)} h`;
}

const plural = (count, word) => `${number.format(count)} ${word}${count === 1 ? "" : "s"}`;

/** A row of buttons of which one is pressed; arrow keys need no help, each is in the tab order. */
function segmented(label, options, chosen, choose) {
  const buttons = Object.entries(options).map(([value, text]) =>
    el("button", {
      type: "button", "aria-pressed": value === chosen ? "true" : "false", "data-value": value,
      onclick: () => {
        for (const each of buttons)
          each.setAttribute("aria-pressed", each.dataset.value === value ? "true" : "false");
        choose(value);
      },
    }, text));
  return el("div", { class: "segmented", role: "group", "aria-label": label }, buttons);
}

function select(label, options, chosen, choose) {
  const box = el("select", { "aria-label": label, onchange: () => choose(box.value) },
    options.map(([value, text]) => el("option", { value, selected: value === chosen }, text)));
  return box;
}

function field(label, control) {
  return el("label", { class: "field" }, el("span", {}, label), control);
}

/** Replace what is in an element; what has the keyboard there has it afterwards, by its place. */
function refill(parent, ...children) {
  const controls = () => [...parent.querySelectorAll("button, input, select")];
  const place = controls().indexOf(document.activeElement);
  parent.replaceChildren(...children);
  if (place >= 0) controls()[place]?.focus({ preventScroll: true });
}

const note = (...text) => el("p", { class: "note" }, ...text);

function distinct(values) {
  return [...new Set(values)].sort((a, b) => a.localeCompare(b));
}

/** Runs that the filter, and the comparison where there is one, let through, by number. */
function visible() {
  const words = state.query.toLowerCase().split(/\s+/).filter(Boolean).map(matching);
  return data.runs.map((_, i) => i).filter((i) => {
    const run = data.runs[i];
    if (state.comparing && !state.chosen.has(i)) return false;
    if (state.env && run.env !== state.env) return false;
    if (state.algo && run.algo !== state.algo) return false;
    if (state.status && run.state !== state.status) return false;
    return words.every((matches) => matches(run));
  });
}

/**
 * Whether a run has a word of the filter. `name=value` is the whole value where any run has it, so
 * that algo=ppo is not ppo-lstm; where none has, it is a part of a value, as any other word is.
 */
function matching(word) {
  if (data.runs.some((run) => fields(run).has(word))) return (run) => fields(run).has(word);
  const [name, value] = [word.slice(0, word.indexOf("=") + 1), word.slice(word.indexOf("=") + 1)];
  const partly = (field) => field.startsWith(name) && field.slice(name.length).includes(value);
  return (run) => searchable(run).includes(word) || (name && [...fields(run)].some(partly));
}

const texts = new WeakMap(), fieldsOf = new WeakMap();

/** Each column and setting of a run as name=value. */
function fields(run) {
  if (!fieldsOf.has(run)) {
    const settings = Object.entries(run.config).map(([name, value]) => `${name}=${value}`);
    // A column is searched by its heading and by the name that files have for it.
    const columns = [`agent=${run.algo}`, `algo=${run.algo}`, `env=${run.env}`,
      `environment=${run.env}`, `state=${run.state}`, `seed=${run.seed ?? ""}`];
    fieldsOf.set(run, new Set([...columns, ...settings].map((each) => each.toLowerCase())));
  }
  return fieldsOf.get(run);
}

function searchable(run) {
  if (!texts.has(run)) {
    const words = [run.name, run.env, run.algo, run.state, variantOf(run)].join("\n").toLowerCase();
    texts.set(run, [words, ...fields(run)].join("\n"));
  }
  return texts.get(run);
}

/** Tell each run its group, once for each version of the data. */
function index() {
  data.groups.forEach((group, g) => group.runs.forEach((i) => { data.runs[i].group = g; }));
  const parts = data.runs.map((run) => /^(.+)__(\w+)__(\d+)__(\d{8})-(\d{6}(?:-\d+)?)$/.exec(
    run.name.split("/").at(-1)));
  const short = parts.map((of, i) =>
    (of ? `${of[1].replace(/^ALE-/, "")} · ${of[2]} · seed ${of[3]}` : data.runs[i].name));
  const count = new Map();
  for (const each of short) count.set(each, (count.get(each) ?? 0) + 1);
  data.runs.forEach((run, i) => {
    const when = parts[i] && count.get(short[i]) > 1 ? ` · ${parts[i][4].slice(4)}-${parts[i][5]}` : "";
    run.short = short[i] + when;
  });
}

/** A run in a legend: its environment, agent and seed, and its time where that is not enough. */
const shortName = (run) => run.short;

const variantOf = (run) => data.groups[run.group].variant;

/** Groups with a run that is shown, by number. */
function visibleGroups(shown) {
  const set = new Set(shown);
  return data.groups.map((_, g) => g).filter((g) => data.groups[g].runs.some((i) => set.has(i)));
}

function remember(key, value) {
  try {
    localStorage.setItem(`joystick-${key}`, value);
  } catch { /* A page from a file may have no storage. */ }
}

function recall(key) {
  try {
    return localStorage.getItem(`joystick-${key}`);
  } catch {
    return null;
  }
}

function download(name, type, content) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** CSV of rows; text that a spreadsheet would take for a formula gets a quote before it. */
function csv(rows) {
  const cell = (value) => {
    if (value == null) return "";
    if (typeof value === "number") return String(value);
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}
