/* Films of evaluations, and demonstrations with a player that goes step by step. */

const urls = new Map();

/** Where a film is: in the page, at its server, or nowhere (""). */
function filmUrl(n) {
  if (data.films[n] === "server") return `film/${n}`;
  if (data.films[n] !== "page") return "";
  if (!urls.has(n)) {
    const text = atob(byId(`film-${n}`).textContent);
    const bytes = Uint8Array.from(text, (c) => c.charCodeAt(0));
    urls.set(n, URL.createObjectURL(new Blob([bytes], { type: data.types[n] })));
  }
  return urls.get(n);
}

const MOST_FILMS = 24;

let filmsShown = "";

function renderFilms(shown) {
  const cards = shown.filter((i) => data.runs[i].videos.length).map((i) => [i, data.runs[i]]);
  const now = JSON.stringify(cards.map(([i, run]) => [i, run.videos]));
  if (now === filmsShown) return;
  filmsShown = now;
  const all = cards.slice(0, MOST_FILMS).map(([, run]) => filmCard(run));
  const left = cards.length - all.length;
  byId("films").replaceChildren(
    el("h2", { id: "films-title" }, "Evaluation films"),
    all.length ? el("div", { class: "cards" }, all)
      : note("No run that is shown has been filmed."),
    left > 0 ? note(`${plural(left, "more run")} have films: filter the runs to see them.`) : "");
}

function filmCard(run) {
  const video = el("video", {
    controls: true, muted: true, loop: true, playsinline: true, preload: "none",
    "aria-label": `Film of ${run.name}`,
  });
  const gone = el("p", { class: "gone" });
  const result = el("span", { class: "result" });
  video.addEventListener("error", () => gone.replaceChildren("This film cannot be played."));
  /** The score is of the weights that play in the film, which are not always the run's best. */
  const caption = (at) => {
    const of = run.videos[at].score;
    result.textContent = of ? `return ${score(of)}` : "not scored";
    result.title = of ? scored(of) : "";
  };
  const show = (at) => {
    caption(at);
    const { film, name } = run.videos[at];
    const url = filmUrl(film);
    video.hidden = !url;
    gone.replaceChildren(url ? "" : `Not in this page: ${run.name}/videos/${name}`);
    if (url) {
      video.preload = "metadata";
      video.src = url;
    } else video.removeAttribute("src");
  };
  const newest = run.videos.length - 1;
  const steps = run.videos.map(({ name }, at) => [String(at), `step ${stepOf(name)}`]).reverse();
  caption(newest);
  // A film becomes a Blob only when it comes near the screen.
  const near = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    show(newest);
  }, { rootMargin: "300px" });
  near.observe(video);
  return el("article", { class: "card" }, el("div", { class: "screen" }, video, gone),
    el("h3", { title: run.name }, shortName(run)),
    el("p", { class: "meta" }, result,
      steps.length > 1 ? select("Evaluation", steps, String(newest), (at) => show(Number(at)))
        : el("span", {}, steps[0][1])));
}

function stepOf(name) {
  const step = Number.parseInt(name, 10);
  return Number.isFinite(step) ? compact.format(step) : name;
}

function buildDemos() {
  const cards = data.demos.map(demoCard);
  byId("demos").replaceChildren(el("h2", { id: "demos-title" }, "Demonstrations"),
    ...(cards.length ? cards
      : [note("No dataset was found or given with --demos.")]));
}

function demoCard(demo, n) {
  const returns = demo.returns ?? [];
  const mean = returns.reduce((sum, each) => sum + each, 0) / Math.max(returns.length, 1);
  const facts = returns.length ? [
    demo.protocol, `played by ${demo.policy}`, plural(returns.length, "episode"),
    plural(demo.steps, "step"),
    `return ${digits(mean)} on average, ${digits(Math.min(...returns))} to ${digits(Math.max(...returns))}`,
  ] : [];
  const players = demo.films.length ? player(demo) : "";
  const actions = demo.actions
    ? figure(`actions ${n}`, `${demo.name}: actions`, () => actionHistogram(demo.actions), 340) : "";
  return el("article", { class: "demo" }, el("h3", {}, demo.name),
    el("p", { class: "meta" }, facts.join(" · ")),
    demo.problems.map((each) => el("p", { class: "problem" }, each)),
    el("div", { class: "beside" }, players, actions));
}

function actionHistogram(actions) {
  const { series: palette } = colors();
  if (actions.names) {
    return {
      traces: [{
        type: "bar", orientation: "h", x: actions.shares, y: actions.names.map((each) => plain(each, 24)),
        marker: { color: palette[0] }, hovertemplate: "%{x:.1%} of the steps<extra>%{y}</extra>",
      }],
      rows: [["action", "share"], ...actions.names.map((name, k) => [name, actions.shares[k]])],
      layout: {
        bargap: 0.5, xaxis: { title: { text: "share of the steps" }, tickformat: ".0%" },
        yaxis: {
          type: "category", autorange: "reversed", automargin: true, title: { text: "action" },
        },
      },
    };
  }
  const middles = actions.edges.slice(1).map((edge, k) => (edge + actions.edges[k]) / 2);
  return {
    traces: actions.counts.map((counts, k) => line(
      { label: `number ${k}`, ...look(k) }, middles, counts, 2, { line: { shape: "hvh", ...look(k) } })),
    rows: [["number", "action", "steps"],
      ...actions.counts.flatMap((counts, k) => counts.map((count, at) => [k, middles[at], count]))],
    layout: { xaxis: { title: { text: "action" } }, yaxis: { title: { text: "steps" }, rangemode: "tozero" } },
  };
}

/** A player whose slider is the episode's steps, each with its action and the return so far. */
function player(demo) {
  let film = demo.films[0];
  let sums = [];
  const video = el("video", { muted: true, playsinline: true, preload: "none", "aria-label": `Episode of ${demo.name}` });
  video.muted = true;
  const slider = el("input", { type: "range", min: 0, value: 0, step: 1, class: "scrub", "aria-label": "Step" });
  const caption = el("output", { class: "caption" });
  const play = el("button", { type: "button", class: "main" }, "Play");
  const gone = el("p", { class: "gone" });
  const last = () => film.actions.length;
  const describe = (step) => {
    const action = step ? film.names[film.actions[step - 1]] : "none yet";
    const text = `step ${number.format(step)} of ${number.format(film.length)} · action ${action} · return ${digits(sums[step])}`;
    caption.textContent = text;
    slider.setAttribute("aria-valuetext", text);
  };
  const seek = (step) => {
    slider.value = step;
    describe(Number(slider.value));
    load();
    video.currentTime = (Number(slider.value) + 0.5) / film.fps;
  };
  const load = () => {
    const url = filmUrl(film.film);
    if (!url || video.src) return;
    video.preload = "metadata";
    video.src = url;
  };
  const open = (at) => {
    film = demo.films[at];
    sums = [0];
    for (const reward of film.rewards) sums.push(sums.at(-1) + reward);
    video.pause();
    video.removeAttribute("src");
    slider.max = last();
    slider.value = 0;
    const there = data.films[film.film] !== "";
    play.disabled = !there;
    gone.textContent = there ? (film.actions.length < film.length ? `The film ends after ${plural(film.actions.length, "step")}.` : "")
      : "The film of this episode is not in this page.";
    describe(0);
  };
  const follow = () => {
    if (video.paused || video.seeking) return;
    const step = Math.min(last(), Math.floor(video.currentTime * film.fps));
    slider.value = step;
    describe(step);
    requestAnimationFrame(follow);
  };
  play.addEventListener("click", () => {
    load();
    if (!video.paused) video.pause();
    else {
      if (video.ended) video.currentTime = 0;
      video.play();
    }
  });
  video.addEventListener("play", () => { play.textContent = "Pause"; requestAnimationFrame(follow); });
  video.addEventListener("seeked", () => { if (!video.paused) requestAnimationFrame(follow); });
  for (const event of ["pause", "ended"])
    video.addEventListener(event, () => { play.textContent = "Play"; });
  slider.addEventListener("input", () => { video.pause(); seek(Number(slider.value)); });
  const nudge = (by, text, label) => el("button", {
    type: "button", class: "quiet", "aria-label": label,
    onclick: () => { video.pause(); seek(Number(slider.value) + by); },
  }, text);
  const rate = select("Speed", [["0.25", "¼×"], ["0.5", "½×"], ["1", "1×"], ["2", "2×"], ["4", "4×"]], "1",
    (value) => { video.playbackRate = Number(value); video.defaultPlaybackRate = Number(value); });
  const episodes = demo.films.map((each, at) =>
    [String(at), `episode ${each.episode}, return ${digits(each.return)}`]);
  open(0);
  const near = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    near.disconnect();
    load();
  }, { rootMargin: "300px" });
  near.observe(video);
  return el("div", { class: "player" },
    el("div", { class: "screen" }, video), slider, caption,
    el("div", { class: "buttons" }, play, nudge(-1, "−1", "One step back"), nudge(1, "+1", "One step on"), rate,
      select("Episode", episodes, "0", (at) => { open(Number(at)); load(); })), gone);
}
