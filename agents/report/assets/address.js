/* What a person has chosen, in the address: a reload or a link shows the same. */

const ADDRESS = {
  query: "q", env: "env", algo: "agent", status: "state", sort: "sort", metric: "metric",
  axis: "along", lines: "lines",
};

const USUAL = Object.fromEntries(Object.keys(ADDRESS).map((key) => [key, state[key]]));

function writeAddress() {
  const words = new URLSearchParams();
  for (const [key, word] of Object.entries(ADDRESS)) {
    const usual = key === "metric" ? firstMetric() : USUAL[key];
    if (state[key] !== usual) words.set(word, state[key]);
  }
  if (state.down) words.set("down", "1");
  for (const i of state.chosen) words.append("run", data.runs[i].name);
  if (state.comparing) words.set("compare", "1");
  const text = words.toString();
  const there = location.hash.startsWith("#?") ? location.hash.slice(2) : "";
  if (text === there) return;
  try {
    // After "#", because a page from a file may change nothing else of its address.
    history.replaceState(null, "", text ? `#?${text}` : location.pathname + location.search);
  } catch { /* Some browsers allow a number of changes in a time. */ }
}

/** Take over what an address says; what this page does not have is left out. */
function readAddress() {
  const words = new URLSearchParams(location.hash.startsWith("#?") ? location.hash.slice(2) : "");
  const has = (key, value) => ({
    query: () => true,
    env: () => data.runs.some((run) => run.env === value),
    algo: () => data.runs.some((run) => run.algo === value),
    status: () => data.runs.some((run) => run.state === value),
    sort: () => COLUMNS.some(([name]) => name === value),
    metric: () => data.metrics.includes(value),
    axis: () => Object.hasOwn(AXES, value),
    lines: () => value === "seeds" || value === "runs",
  })[key]();
  for (const [key, word] of Object.entries(ADDRESS)) {
    const value = words.get(word);
    state[key] = value !== null && has(key, value) ? value : USUAL[key];
  }
  const names = new Set(words.getAll("run"));
  state.down = words.has("down");
  state.chosen = new Set(data.runs.map((_, i) => i).filter((i) => names.has(data.runs[i].name)));
  state.comparing = words.has("compare") && state.chosen.size >= 2;
}
