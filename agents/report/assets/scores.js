/* Human-normalized scores by game, performance profiles, throughput and memory. */

const ROW = 26;

/** Pixels between two agents of one game. */
const SPACE = 13;

function renderScores(shown) {
  const groups = new Set(visibleGroups(shown));
  const scores = data.scores.by_game.filter((each) => groups.has(each.group));
  const variants = new Set(scores.map((each) => data.groups[each.group].variant));
  const profiles = data.scores.variants.filter((each) => variants.has(each.variant));
  const games = new Set(scores.map((each) => data.groups[each.group].protocol)).size;
  const height = Math.max(340, 100 + games * (14 + SPACE * variants.size));
  const parts = [el("h2", { id: "scores-title" }, "Scores")];
  if (scores.length) {
    parts.push(table(profiles), el("div", { class: "panels" },
      figure("games", "Human-normalized score by game", () => byGame(scores), height),
      figure("profiles", "Performance profiles", () => profile(profiles), Math.min(height, 480))),
    note("Human-normalized: 0% is random play, 100% a person (scores of DQN Zoo). Points are "
      + "interquartile means over seeds, lines their 95% stratified bootstrap intervals. Groups and "
      + "profiles are of all their runs, also of those that the filter hides."));
  } else {
    parts.push(note("No run that is shown has a human-normalized score: they exist for 57 Atari games."));
  }
  byId("scores").replaceChildren(...parts);
}

function table(variants) {
  const head = ["Agent", "Games", "Runs", "IQM", "95% interval"];
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Scores over games" },
    el("table", { id: "iqm" },
      el("thead", {}, el("tr", {}, head.map((each, k) =>
        el("th", { scope: "col", class: k ? "number" : null }, each)))),
      el("tbody", {}, variants.map((each) => el("tr", {},
        el("th", { scope: "row" }, each.variant),
        [number.format(each.games), number.format(each.runs), percent(each.value),
          each.low === each.high ? "one run a game" : `${percent(each.low)} to ${percent(each.high)}`]
          .map((cell) => el("td", { class: "number" }, cell)))))));
}

function byGame(scores) {
  const rows = [["environment", "agent", "runs", "iqm", "low", "high"]];
  const variants = distinct(scores.map((each) => data.groups[each.group].variant));
  const games = distinct(scores.map((each) => data.groups[each.group].protocol));
  const traces = variants.map((variant, v) => {
    const own = scores.filter((each) => data.groups[each.group].variant === variant);
    const { color } = look(data.variants.indexOf(variant));
    const protocols = own.map((each) => data.groups[each.group].protocol);
    own.forEach((each, k) =>
      rows.push([protocols[k], variant, each.runs.length, each.value, each.low, each.high]));
    const aside = ((v + 0.5) / variants.length - 0.5) * 0.7;
    return {
      type: "scatter", mode: "markers", name: plain(variant), x: own.map((each) => each.value),
      y: protocols.map((each) => games.indexOf(each) + aside),
      marker: { color, size: 10 },
      customdata: own.map((each, k) => [each.runs.length, plain(protocols[k])]),
      error_x: {
        type: "data", symmetric: false, array: own.map((each) => each.high - each.value),
        arrayminus: own.map((each) => each.value - each.low), color, thickness: 2, width: 0,
      },
      hovertemplate: "%{x:.1%}, runs: %{customdata[0]}<br>%{customdata[1]}"
        + "<extra>%{fullData.name}</extra>",
    };
  });
  const most = Math.max(1.05, ...scores.map((each) => each.high * 1.05));
  const least = Math.min(-0.05, ...scores.map((each) => each.low * 1.05));
  const brief = games.map((each) => each.split(",")[0]);
  const names = new Set(brief).size === brief.length ? brief : games;
  return {
    traces, rows,
    layout: {
      hovermode: "closest",
      xaxis: { title: { text: "human-normalized score" }, tickformat: ".0%", range: [least, most] },
      yaxis: {
        tickvals: games.map((_, k) => k), ticktext: names.map((each) => plain(each, 34)),
        range: [games.length - 0.5, -0.5], showgrid: false, automargin: true,
      },
      shapes: [0, 1].map((at) => ({
        type: "line", x0: at, x1: at, yref: "paper", y0: 0, y1: 1,
        line: { color: colors().soft, width: 1, dash: "dot" },
      })),
    },
  };
}

function profile(variants) {
  const rows = [["agent", "score", "share_of_runs_above", "low", "high"]];
  const traces = variants.flatMap((each) => {
    const style = look(data.variants.indexOf(each.variant));
    const { value, low, high } = each.profile;
    data.scores.taus.forEach((tau, k) => rows.push([each.variant, tau, value[k], low[k], high[k]]));
    const own = line({ ...style, label: each.variant }, data.scores.taus, value, 2.5, {
      hovertemplate: "%{y:.0%}<extra>%{fullData.name}</extra>",
    });
    own.line.shape = "hv";
    return each.runs > 1 ? [...band(data.scores.taus, low, high, style.color, "hv"), own] : [own];
  });
  return {
    traces, rows,
    layout: {
      hovermode: "x unified",
      xaxis: { title: { text: "human-normalized score τ" }, tickformat: ".0%" },
      yaxis: { title: { text: "share of runs with more than τ" }, tickformat: ".0%", range: [-0.02, 1.05] },
    },
  };
}

function renderSpeed(shown) {
  const fast = shown.filter((i) => data.runs[i].speed != null);
  const big = shown.filter((i) => data.runs[i].memory != null);
  const figures = [];
  if (fast.length) figures.push(dots("speed", "Throughput", "environment steps a second", fast, "~s"));
  if (big.length) figures.push(dots("memory", "Memory", "resident memory (GB)", big, ""));
  byId("speed").replaceChildren(
    el("h2", { id: "speed-title" }, "Throughput and memory"),
    figures.length ? el("div", { class: figures.length > 1 ? "panels" : "panels single" }, figures) : "",
    figures.length ? note("A point is a run: its median speed"
      + (big.length ? ", and the most memory that it has reported." : ". None of these has recorded its memory."))
      : note("No run that is shown has recorded its speed."));
}

function dots(key, title, unit, numbers, tickformat) {
  const label = (i) => plain(`${variantOf(data.runs[i])} · ${data.runs[i].env}`, 44);
  const labels = distinct(numbers.map(label));
  return figure(key, title, () => {
    const variants = distinct(numbers.map((i) => variantOf(data.runs[i])));
    const traces = variants.map((variant) => {
      const own = numbers.filter((i) => variantOf(data.runs[i]) === variant);
      return {
        type: "scatter", mode: "markers", name: plain(variant), y: own.map(label),
        x: own.map((i) => data.runs[i][key]), text: own.map((i) => plain(data.runs[i].name)),
        marker: { color: look(data.variants.indexOf(variant)).color, size: 10, opacity: 0.75 },
        hovertemplate: "%{x:,.4~g}<extra>%{text}</extra>",
      };
    });
    const rows = [["run", key], ...numbers.map((i) => [data.runs[i].name, data.runs[i][key]])];
    return {
      traces, rows,
      layout: {
        xaxis: { title: { text: unit }, rangemode: "tozero", tickformat },
        yaxis: { type: "category", categoryorder: "category descending", automargin: true },
      },
    };
  }, 110 + ROW * labels.length);
}
