/* The whole page: what is drawn when, keys, theme, and news from a server where there is one. */

const SECTIONS = {
  runs: "Runs", curves: "Curves", scores: "Scores", choices: "Choices", speed: "Speed",
  settings: "Settings", films: "Films", demos: "Demonstrations",
};

const THEMES = { auto: "Theme: auto", light: "Theme: light", dark: "Theme: dark" };

function render() {
  const shown = visible();
  renderRuns(shown);
  renderCurves(shown);
  renderScores(shown);
  renderChoices(shown);
  renderSpeed(shown);
  renderSettings();
  renderFilms(shown);
  requestAnimationFrame(drawAll);
}

function showTheme() {
  document.documentElement.dataset.theme = state.theme;
  byId("theme").textContent = THEMES[state.theme];
  restyle();
}

function start() {
  index();
  byId("title").textContent = data.title;
  const sections = Object.entries(SECTIONS).filter(([id]) =>
    id !== "choices" || data.runs.some((run) => run.choices));
  byId("nav").append(...sections.map(([id, text]) => el("a", {
    href: `#${id}`,
    // The address keeps what has been chosen.
    onclick: (event) => { event.preventDefault(); byId(id).scrollIntoView(); },
  }, text)));
  byId("theme").addEventListener("click", () => {
    const names = Object.keys(THEMES);
    state.theme = names[(names.indexOf(state.theme) + 1) % names.length];
    remember("theme", state.theme);
    showTheme();
    renderCurves(visible());
  });
  const theme = recall("theme");
  if (theme in THEMES) state.theme = theme;
  showTheme();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    restyle();
    renderCurves(visible());
  });
  const build = () => {
    readAddress();
    buildRuns();
    buildCurves();
    render();
  };
  buildDemos();
  build();
  addEventListener("hashchange", () => { if (/^(#\?.*)?$/.test(location.hash)) build(); });
  stamp("");
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      byId("filter").focus();
    } else if (event.key === "Escape" && document.activeElement?.id === "filter") {
      byId("filter").value = state.query = "";
      render();
    }
  });
  if (data.read_every) setInterval(refresh, data.read_every * 1000);
}

function stamp(trouble) {
  const made = new Date(data.made);
  const live = data.read_every ? "live, " : "";
  byId("footer").textContent =
    `${live}as of ${Number.isNaN(made.valueOf()) ? data.made : made.toLocaleString()}${trouble}`;
}

/** Take over what is new; what a person has chosen stays, by the names of the runs. */
async function refresh() {
  try {
    const answer = await fetch("data.json", { headers: { "If-None-Match": data.etag ?? "" } });
    if (answer.status === 304) return stamp("");
    if (!answer.ok) throw new Error(answer.statusText);
    const names = new Set([...state.chosen].map((i) => data.runs[i].name));
    const before = data.runs.length;
    data = await answer.json();
    data.etag = answer.headers.get("ETag");
    index();
    state.chosen = new Set(data.runs.map((_, i) => i).filter((i) => names.has(data.runs[i].name)));
    if (data.runs.length !== before && document.activeElement?.id !== "filter") buildRuns();
    if (!data.metrics.includes(state.metric)) buildCurves();
    render();
    stamp("");
  } catch {
    stamp(" · the server does not answer");
  }
}

start();
