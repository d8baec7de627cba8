/* Plots: drawn when they come into view, in the page's own colors, exported as PNG, SVG and CSV. */

const DASHES = ["solid", "dash", "dot", "dashdot"];

const figures = new Map();

/** Figures to draw, one between two pictures of the screen, so that the page stays alive. */
const waiting = new Set();

const observer = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const figure = figures.get(entry.target.dataset.key);
    if (!figure) continue;
    figure.seen = entry.isIntersecting;
    if (figure.seen) waiting.add(figure);
  }
  drawNext();
}, { rootMargin: "120px" });

function colors() {
  const style = getComputedStyle(document.documentElement);
  const value = (name) => style.getPropertyValue(name).trim();
  return {
    ink: value("--ink"), soft: value("--soft"), line: value("--line"), card: value("--card"),
    series: Array.from({ length: 8 }, (_, i) => value(`--series-${i + 1}`)),
  };
}

/** The look of the n-th series: eight colors that color-blind people tell apart, then dashes. */
function look(n) {
  const { series } = colors();
  const place = Math.max(n, 0);
  const dash = DASHES[Math.floor(place / series.length) % DASHES.length];
  return { color: series[place % series.length], dash };
}

function transparent(color, opacity) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  return `rgba(${r}, ${g}, ${b}, ${opacity})`;
}

/** Plotly reads a little HTML in its texts: names have none. Ours have only line breaks, because it
    writes style attributes for bold text, which the page's policy forbids. */
function plain(text, most = 60) {
  const short = text.length > most ? `${text.slice(0, most - 1)}…` : text;
  return short.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function layout(extra) {
  const { ink, soft, line, card } = colors();
  const axis = {
    gridcolor: line, zerolinecolor: line, linecolor: line, tickcolor: line, ticks: "outside",
    ticklen: 4, tickfont: { color: soft, size: 12 }, zeroline: false,
    // Never "milli" or "micro" of a unit; a power of ten as text, because the policy forbids raised digits.
    exponentformat: "e", minexponent: 5,
  };
  const title = (of) => ({ ...of, title: { font: { color: soft, size: 12.5 }, standoff: 10, ...of.title } });
  return {
    font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif", color: ink, size: 13 },
    paper_bgcolor: card, plot_bgcolor: card, margin: { l: 64, r: 16, t: 12, b: 48 },
    hoverlabel: { bgcolor: card, bordercolor: line, font: { color: ink, size: 12.5 }, align: "left", namelength: -1 },
    showlegend: false, dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    legend: { orientation: "h", y: -0.22, font: { color: ink } },
    ...extra, xaxis: { ...axis, ...title(extra.xaxis) }, yaxis: { ...axis, ...title(extra.yaxis) },
  };
}

/** A figure that `build` makes when it is needed: {traces, layout, rows}, rows for its CSV. */
function figure(key, title, build, height = 340) {
  let made = figures.get(key);
  if (!made) {
    const plot = el("div", { class: "plot", "data-key": key, role: "img", tabindex: "-1" });
    made = { key, plot, seen: false, fresh: false };
    const button = (kind) => el("button", {
      type: "button", class: "quiet", title: `Save as ${kind}`, onclick: () => save(made, kind),
    }, kind);
    made.heading = el("span", {});
    made.element = el("figure", {},
      el("figcaption", {}, made.heading,
        el("span", { class: "saves" }, ["PNG", "SVG", "CSV"].map(button))), plot);
    figures.set(key, made);
    observer.observe(plot);
  }
  made.heading.textContent = title;
  made.plot.setAttribute("aria-label", title);
  made.plot.style.height = `${height}px`;
  Object.assign(made, { title, build, height, fresh: false, gone: false });
  return made.element;
}

function draw(figure) {
  if (figure.fresh || !figure.seen || !figure.plot.isConnected) return;
  figure.fresh = true;
  const { traces, layout: wanted } = figure.build();
  Plotly.react(figure.plot, traces, layout({ ...wanted, height: figure.height }), {
    displayModeBar: false, responsive: true, doubleClick: "reset",
  });
}

function drawNext() {
  const [figure] = waiting;
  if (!figure) return;
  waiting.delete(figure);
  draw(figure);
  if (waiting.size) requestAnimationFrame(drawNext);
}

function drawAll() {
  for (const [key, figure] of figures) {
    if (figure.plot.isConnected) waiting.add(figure);
    else if (figure.gone) {
      observer.unobserve(figure.plot);
      Plotly.purge(figure.plot);
      figures.delete(key);
    } else figure.gone = true;
  }
  drawNext();
}

function restyle() {
  for (const figure of figures.values()) figure.fresh = false;
  drawAll();
}

async function save(figure, kind) {
  const what = figure.build().layout.yaxis.title?.text ?? "";
  const name = `joystick-${`${figure.title} ${what}`.replace(/[^\w.-]+/g, "-").slice(0, 80)}`;
  const { traces, layout: wanted, rows } = figure.build();
  if (kind === "CSV") return download(`${name}.csv`, "text/csv;charset=utf-8", csv(rows));
  const format = kind.toLowerCase();
  const shown = traces.filter((trace) => trace.showlegend !== false).length > 1;
  const picture = layout({
    ...wanted, showlegend: shown, title: { text: plain(figure.title), x: 0.02, font: { size: 15 } },
    margin: { l: 70, r: 24, t: 52, b: 60 },
  });
  const url = await Plotly.toImage({ data: traces, layout: picture },
    { format, width: 960, height: Math.max(540, figure.height), scale: format === "png" ? 2 : 1 });
  const content = format === "svg"
    ? decodeURIComponent(url.slice(url.indexOf(",") + 1))
    : Uint8Array.from(atob(url.slice(url.indexOf(",") + 1)), (c) => c.charCodeAt(0));
  download(`${name}.${format}`, format === "svg" ? "image/svg+xml" : "image/png", content);
}

/** The range of an axis whose values are all the same, which has no scale of its own: from zero. */
function rangeOfOne(values) {
  const [one] = values;
  if (one == null || values.some((each) => each !== one)) return {};
  return { range: one === 0 ? [-1, 1] : [Math.min(0, 1.2 * one), Math.max(0, 1.2 * one)] };
}

/** An interval as an area between two lines that are not seen. */
function band(x, low, high, color, shape = "linear") {
  const edge = (y, rest) => ({
    x, y, type: "scatter", mode: "lines", line: { width: 0, shape, color: color },
    hoverinfo: "skip", showlegend: false, ...rest,
  });
  return [edge(low, {}), edge(high, { fill: "tonexty", fillcolor: transparent(color, 0.16) })];
}
