/* Learning curves: a panel for each environment, seeds together or each run on its own. */

const METRICS = {
  "eval/return_mean": "evaluation return",
  "charts/episodic_return_20": "return, mean of 20 training episodes",
  "charts/episodic_return": "return of training episodes",
  "eval/human_normalized": "human-normalized evaluation return",
  "eval/of_demonstrator": "share of the demonstrator's return",
  "charts/SPS": "throughput (steps/s)",
  "charts/memory_gb": "resident memory (GB)",
  "charts/episodic_length": "episode length (steps)",
  "eval/length_mean": "evaluation episode length (steps)",
};

/** What a run is judged by, in the order in which it is shown. */
const RETURNS = ["eval/return_mean", "charts/episodic_return_20", "charts/episodic_return"];

const AXES = { steps: "Steps", frames: "Frames", seconds: "Wall clock" };

const MOST_COLORED = 8;

const metricTitle = (name) => METRICS[name] ?? name;

function firstMetric() {
  const points = (name) => Math.max(0, ...Object.values(data.aggregates[name] ?? {})
    .map((each) => each.steps.x.length));
  const returns = RETURNS.filter((name) => data.metrics.includes(name));
  const longest = Math.max(0, ...returns.map(points));
  // A curve of one or two points shows nothing where another has more.
  return returns.find((name) => points(name) >= Math.min(3, longest)) ?? data.metrics[0] ?? "";
}

function buildCurves() {
  if (!data.metrics.includes(state.metric)) state.metric = firstMetric();
  const choose = (key) => (value) => { state[key] = value; renderCurves(visible()); };
  byId("curves").replaceChildren(
    el("h2", { id: "curves-title" }, "Learning curves"),
    el("div", { class: "controls" },
      field("Metric", select("Metric", data.metrics.map((name) => [name, metricTitle(name)]),
        state.metric, choose("metric"))),
      field("Along", segmented("Horizontal axis", AXES, state.axis, choose("axis"))),
      field("Lines", segmented("Lines", { seeds: "Seeds together", runs: "Each run" },
        state.lines, choose("lines")))),
    el("div", { id: "legend", class: "legend" }),
    el("div", { id: "panels", class: "panels" }),
    note("Seeds together: interquartile mean of the runs that have got so far; shaded is its 95% "
      + "stratified bootstrap interval. It takes in all seeds of what is drawn, also those that the "
      + "filter leaves out. Steps are those of the environment, as trained."));
}

/** What is drawn and named in the legend: [{key, label, color…, groups or run}]. */
function series(shown) {
  if (state.lines === "runs" && shown.length <= MOST_COLORED) {
    return shown.map((i, n) => ({ key: `run ${i}`, label: shortName(data.runs[i]), ...look(n), runs: [i] }));
  }
  const set = new Set(shown);
  const names = distinct(visibleGroups(shown).map((g) => data.groups[g].variant));
  return names.map((name) => ({
    key: name, label: name, ...look(data.variants.indexOf(name)),
    groups: data.groups.map((_, g) => g).filter((g) => data.groups[g].variant === name),
    runs: data.groups.filter((group) => group.variant === name).flatMap((group) => group.runs)
      .filter((i) => set.has(i)),
  }));
}

function renderCurves(shown) {
  writeAddress();
  const all = series(shown);
  renderLegend(all);
  const lines = all.filter((each) => !state.hidden.has(each.key));
  const having = data.curves[state.metric] ?? {};
  const protocols = distinct(shown.filter((i) => having[i])
    .map((i) => data.groups[data.runs[i].group].protocol));
  const panels = protocols.map((protocol) =>
    figure(`curve ${protocol}`, protocol, () => panel(protocol, lines), protocols.length > 1 ? 320 : 440));
  byId("panels").replaceChildren(...panels);
  byId("panels").classList.toggle("single", panels.length === 1);
  if (!panels.length) byId("panels").replaceChildren(note("No run that is shown has recorded this."));
  requestAnimationFrame(drawAll);
}

function renderLegend(all) {
  refill(byId("legend"), ...all.map((each) => {
    const swatch = el("span", { class: `swatch ${each.dash}` });
    swatch.style.setProperty("--swatch", each.color);
    return el("button", {
      type: "button", title: `Show or hide ${each.label}`,
      "aria-pressed": state.hidden.has(each.key) ? "false" : "true",
      onclick: () => {
        if (!state.hidden.delete(each.key)) state.hidden.add(each.key);
        renderCurves(visible());
      },
    }, swatch, el("span", { class: "label" }, each.label), el("span", { class: "count" },
      state.lines === "seeds" ? String(each.runs.length) : ""));
  }));
}

/** One environment's traces. */
function panel(protocol, lines) {
  const traces = [];
  const rows = [["environment", "metric", "series", "along", "x", "value", "low", "high", "runs"]];
  let unit = { scale: 1, name: "" };
  if (state.axis === "seconds") unit = clock(protocol, lines);
  const x = (values, frameskip) =>
    values.map((each) => (state.axis === "frames" ? each * frameskip : each / unit.scale));
  const add = (label, xs, ys, rest) => ys.forEach((y, k) => rows.push(
    [protocol, state.metric, label, state.axis + unit.name, xs[k], y, ...rest.map((each) => each?.[k])]));
  for (const each of lines) {
    const groups = (each.groups ?? []).filter((g) => data.groups[g].protocol === protocol);
    if (state.lines === "seeds") {
      for (const g of groups) {
        const found = data.aggregates[state.metric]?.[g]?.[state.axis === "seconds" ? "seconds" : "steps"];
        if (!found) continue;
        const xs = x(found.x, data.runs[data.groups[g].runs[0]].frameskip);
        add(each.label, xs, found.value, [found.low, found.high, found.n]);
        if (Math.max(...found.n) > 1) traces.push(...band(xs, found.low, found.high, each.color));
        traces.push(line(each, xs, found.value, 2.5, {
          customdata: found.value.map((_, k) => [found.low[k], found.high[k], found.n[k]]),
          hovertemplate: "%{y:.4~g}  (%{customdata[0]:.4~g} to %{customdata[1]:.4~g}, "
            + "runs: %{customdata[2]})<extra>%{fullData.name}</extra>",
        }));
      }
    } else {
      for (const i of each.runs) {
        const curve = data.curves[state.metric]?.[i];
        if (!curve || data.groups[data.runs[i].group].protocol !== protocol) continue;
        const [steps, seconds, values] = curve;
        const xs = x(state.axis === "seconds" ? seconds : steps, data.runs[i].frameskip);
        add(data.runs[i].name, xs, values, [null, null, null]);
        traces.push(line({ ...each, label: shortName(data.runs[i]) }, xs, values, 1.6, {
          hovertemplate: "%{y:.4~g}<extra>%{fullData.name}</extra>",
        }));
      }
    }
  }
  const along = { steps: "environment steps", frames: "emulated frames", seconds: `wall clock${unit.name}` };
  return {
    traces, rows,
    layout: {
      hovermode: traces.length > 14 ? "closest" : "x unified",
      xaxis: { ...rangeOfOne(traces.flatMap((each) => each.x)),
        title: { text: along[state.axis] }, tickformat: state.axis === "seconds" ? "" : "~s" },
      yaxis: { ...rangeOfOne(traces.flatMap((each) => each.y)),
        title: { text: plain(metricTitle(state.metric)) } },
    },
  };
}

function line(each, x, y, width, rest) {
  return {
    x, y, name: plain(each.label), type: "scatter", mode: x.length < 3 ? "lines+markers" : "lines",
    line: { color: each.color, dash: each.dash, width }, ...rest,
  };
}

/** Seconds, minutes or hours, by the longest run that is drawn. */
function clock(protocol, lines) {
  const all = lines.flatMap((each) => each.runs).filter((i) =>
    data.groups[data.runs[i].group].protocol === protocol).map((i) => data.runs[i].seconds);
  const longest = Math.max(0, ...all);
  if (longest > 7200) return { scale: 3600, name: " (hours)" };
  return longest > 180 ? { scale: 60, name: " (minutes)" } : { scale: 1, name: " (seconds)" };
}
