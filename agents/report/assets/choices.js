/* The choices of clones: what a clone chose where its demonstrator chose each action. */

/** Tables on the page at most; the filter chooses others. */
const MOST_TABLES = 8;

function renderChoices(shown) {
  const cloned = shown.filter((i) => data.runs[i].choices);
  byId("choices").hidden = !data.runs.some((run) => run.choices);
  const parts = [el("h2", { id: "choices-title" }, "Choices of clones")];
  if (cloned.length) {
    parts.push(
      el("div", { class: "panels" }, cloned.slice(0, MOST_TABLES).map((i) => choicesOf(data.runs[i]))),
      note("In held-out steps of demonstrations: a row is an action of the demonstrator, a column "
        + "one of the clone, and a number the share of the row."
        + (cloned.length > MOST_TABLES ? ` The first ${MOST_TABLES} of ${cloned.length} runs.` : "")));
  } else {
    parts.push(note("No run that is shown is a clone with single choices as actions."));
  }
  byId("choices").replaceChildren(...parts);
}

function choicesOf(run) {
  const { actions, counts, step } = run.choices;
  const title = `${run.name}, step ${number.format(step)}`;
  return el("figure", {},
    el("figcaption", {}, title),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Choices of ${title}` },
      el("table", { class: "choices" },
        el("thead", {}, el("tr", {}, ["Demonstrator", ...actions, "Steps"].map((each, k) =>
          el("th", { scope: "col", class: k ? "number" : null }, each)))),
        el("tbody", {}, actions.map((action, row) => choicesIn(action, row, counts[row]))))));
}

function choicesIn(action, row, counts) {
  const total = counts.reduce((sum, each) => sum + each, 0);
  const cells = counts.map((count, column) => {
    const share = total ? count / total : 0;
    const cell = el("td", { class: column === row ? "number same" : "number" }, total ? percent(share) : "");
    cell.style.setProperty("--share", `${Math.round(share * 100)}%`);
    return cell;
  });
  return el("tr", {}, el("th", { scope: "row" }, action), cells,
    el("td", { class: "number" }, number.format(total)));
}
