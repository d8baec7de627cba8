/* The runs: filter, table, choice of those to compare, and how their settings differ. */

const COLUMNS = [
  ["name", "Run", (run) => run.name],
  ["env", "Environment", (run) => run.env],
  ["algo", "Agent", (run) => run.algo],
  ["seed", "Seed", (run) => run.seed],
  ["state", "State", (run) => run.state],
  ["step", "Steps", (run) => run.step],
  ["score", "Return", (run) => (run.score ? run.score.mean : null)],
  ["human", "Human", (run) => (run.score ? run.score.human : null)],
  ["seconds", "Time", (run) => run.seconds],
];

const NUMBERS = new Set(["seed", "step", "score", "human", "seconds"]);

function buildRuns() {
  const options = (name) =>
    [["", "all"], ...distinct(data.runs.map((run) => run[name])).map((each) => [each, each])];
  const query = el("input", {
    type: "search", id: "filter", placeholder: "name, setting=value …", autocomplete: "off",
    spellcheck: "false", value: state.query, "aria-keyshortcuts": "/",
    oninput: () => { state.query = query.value; render(); },
  });
  const choose = (key) => (value) => { state[key] = value; render(); };
  byId("runs").replaceChildren(
    el("h2", { id: "runs-title" }, "Runs"),
    el("div", { class: "controls", role: "search" },
      field("Filter", query),
      field("Environment", select("Environment", options("env"), state.env, choose("env"))),
      field("Agent", select("Agent", options("algo"), state.algo, choose("algo"))),
      field("State", select("State", options("state"), state.status, choose("status")))),
    el("div", { id: "choice", class: "choice" }),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of runs" },
      el("table", { id: "table" })),
    el("div", { id: "odd" }));
}

function renderRuns(shown) {
  const count = shown.length === data.runs.length ? plural(shown.length, "run")
    : `${shown.length} of ${plural(data.runs.length, "run")}`;
  const groups = visibleGroups(shown).length;
  const games = new Set(shown.map((i) => data.runs[i].env)).size;
  byId("summary").textContent =
    `${count} in ${plural(groups, "group")} of seeds, on ${plural(games, "environment")}`;
  renderChoice();
  refill(byId("table"), head(), el("tbody", {}, sorted(shown).map(row)));
  const odd = data.foreign.length
    ? [note(`No run of Joystick's in: ${data.foreign.join(", ")}`)] : [];
  byId("odd").replaceChildren(
    ...(shown.length ? [] : [note(data.runs.length ? "No run matches the filter." : "There are no runs here yet.")]),
    ...(shown.some((i) => data.runs[i].score?.final === false)
      ? [note("* not a final score: the last evaluation during training.")] : []),
    ...odd);
}

function renderChoice() {
  const many = state.chosen.size;
  refill(byId("choice"),
    el("button", {
      type: "button", id: "compare", class: "main", disabled: many < 2 && !state.comparing,
      "aria-pressed": state.comparing ? "true" : "false",
      onclick: () => compare(!state.comparing),
    }, state.comparing ? "Show all runs" : many < 2 ? "Tick runs to compare them" : `Compare ${many} runs`),
    el("button", {
      type: "button", class: "quiet", hidden: many === 0,
      onclick: () => { state.chosen.clear(); compare(false); },
    }, "Untick all"));
}

function compare(on) {
  state.comparing = on;
  state.lines = on ? "runs" : "seeds";
  buildCurves();
  render();
}

function head() {
  const cell = ([key, title]) =>
    el("th", {
      scope: "col", class: NUMBERS.has(key) ? "number" : null,
      "aria-sort": state.sort === key ? (state.down ? "descending" : "ascending") : null,
    }, el("button", {
      type: "button", class: "sort", "data-sort": key,
      onclick: () => {
        state.down = state.sort === key && !state.down;
        state.sort = key;
        render();
      },
    }, title));
  return el("thead", {}, el("tr", {},
    el("th", { scope: "col" }, el("span", { class: "hidden" }, "Compare")), COLUMNS.map(cell)));
}

function sorted(shown) {
  const value = COLUMNS.find(([key]) => key === state.sort)[2];
  const order = (i, k) => {
    const [a, b] = [value(data.runs[i]), value(data.runs[k])];
    if (a == null || b == null) return (a == null) - (b == null);
    const compared = typeof a === "number" ? a - b : a.localeCompare(b);
    return state.down ? -compared : compared;
  };
  return [...shown].sort(order);
}

function row(i) {
  const run = data.runs[i];
  const box = el("input", {
    type: "checkbox", checked: state.chosen.has(i), "aria-label": `Compare ${run.name}`,
    onchange: () => {
      if (box.checked) state.chosen.add(i);
      else state.chosen.delete(i);
      if (state.comparing) render();
      else { renderChoice(); renderSettings(); }
    },
  });
  const final = run.score && !run.score.final ? "*" : "";
  const how = run.score ? scored(run.score) : null;
  const cell = (name, attributes, ...children) =>
    el("td", { "data-name": name, class: NUMBERS.has(name) ? "number" : null, ...attributes }, ...children);
  const problems = run.problems.map((each) => el("span", { class: "problem" }, each));
  return el("tr", { "data-run": i },
    el("td", {}, box),
    el("th", { scope: "row", title: run.name }, el("span", { class: "name" }, run.name), problems),
    cell("env", {}, run.env), cell("algo", { title: variantOf(run) }, run.algo),
    cell("seed", {}, run.seed == null ? "" : String(run.seed)),
    cell("state", {}, el("span", { class: `state ${run.state}` }, run.state)),
    cell("step", {}, compact.format(run.step)),
    cell("score", { title: how }, score(run.score) + final),
    cell("human", {}, run.score ? percent(run.score.human) : ""),
    cell("seconds", {}, duration(run.seconds)));
}

function scored(of) {
  const episodes = of.episodes == null ? "" : `${plural(of.episodes, "episode")}, `;
  const how = of.how ? `${of.how}, ` : "";
  const kind = of.final ? "final score" : "last evaluation during training";
  return `${kind}: ${episodes}${how}weights of step ${number.format(of.step)}`;
}

const MOST_COMPARED = 8;

function renderSettings() {
  const shown = visible();
  const chosen = (state.chosen.size >= 2 ? [...state.chosen] : shown).slice(0, MOST_COMPARED);
  const runs = chosen.map((i) => data.runs[i]);
  const names = distinct(runs.flatMap((run) => Object.keys(run.config)));
  const differing = names.filter((name) => new Set(runs.map((run) => run.config[name])).size > 1);
  const parts = [el("h2", { id: "settings-title" }, "Settings")];
  if (runs.length < 2) {
    parts.push(note("Two runs or more can be compared."));
  } else {
    const which = state.chosen.size >= 2 ? `the ${chosen.length} ticked runs`
      : `the first ${chosen.length} runs shown; tick others above`;
    parts.push(note(`What differs between ${which}: ${plural(differing.length, "setting")}.`));
    parts.push(el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Differing settings" },
      el("table", { id: "differences" },
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Setting"),
          runs.map((run) => el("th", { scope: "col", title: run.name }, shortName(run))))),
        el("tbody", {}, differing.map((name) => el("tr", {}, el("th", { scope: "row" }, name),
          runs.map((run) => el("td", {}, run.config[name] ?? "unset"))))))));
  }
  byId("settings").replaceChildren(...parts);
}
