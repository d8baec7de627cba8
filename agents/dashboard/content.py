"""Builds the workspace and the report with the types of `wandb_workspaces`; sends nothing.

Seeds are aggregated: a line is the mean of the runs of one environment, algorithm and preset. Its
band reaches from the lowest run to the highest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from urllib.parse import quote

from wandb_workspaces import expr
from wandb_workspaces.reports.v2 import interface as wr
from wandb_workspaces.workspaces import interface as ws

X_AXIS = "global_step"

ENVIRONMENT = "protocol"
"""Config entry with the label of scores, such as "ALE/Pong-v5, sticky 0.25, frameskip 4"."""

SAME_LEARNER = ("exp_name", "preset")
"""Config entries that all seeds of one learner share."""

CURVES = {
    "Return of whole games, evaluated": ["eval/return_mean"],
    "Return while training, last 20 episodes": ["charts/episodic_return_20"],
    "Human-normalized return, evaluated": ["eval/human_normalized"],
    "Share of the demonstrator, evaluated": ["eval/of_demonstrator"],
}

SCORES = {
    "Score of the best weights": "score",
    "Human-normalized score": "human_normalized",
}
"""Titles of bar plots, and their entries in the summary."""

THROUGHPUT = {"Steps per second": ["charts/SPS"], "Memory, GB": ["charts/memory_gb"]}

LOSSES = {
    "Loss of Q": ["losses/td_loss"],
    "Error of Q": ["losses/td_error"],
    "Q": ["losses/q_values"],
    "Loss of the policy": ["losses/policy_loss", "losses/actor_loss"],
    "Loss of the critics": ["losses/critic_loss"],
    "Loss of the value": ["losses/value_loss"],
    "Entropy": ["losses/entropy"],
    "Weight of the entropy": ["losses/alpha"],
    "Distance from the old policy": ["losses/approx_kl"],
    "Gradient norm": [
        "losses/grad_norm",
        "losses/policy_grad_norm",
        "losses/critic_grad_norm",
    ],
    "Loss of cloning": ["losses/bc_loss"],
    "Loss on held-out demonstrations": ["validation/loss"],
    "Agreement on held-out demonstrations": ["validation/agreement"],
}

EXPLORATION = {
    "Exploration": ["charts/epsilon", "charts/temperature"],
    "Learning rate": ["charts/learning_rate"],
}

MOST_LINES = 100
"""Largest number of lines in a panel; the default of W&B is ten."""

MEDIA = ("video", "filmstrip")

COLUMNS = (
    *("config:exp_name.value", "config:protocol.value", "config:seed.value"),
    *("summary:score", "summary:eval/return_mean", "summary:charts/SPS"),
    *("config:demos.value", "config:fraction.value", "summary:validation/agreement"),
)
"""Pinned columns of the table of runs; some describe the demonstrations of a clone."""


@dataclass(frozen=True)
class Artifact:
    """A dataset or checkpoint of the project, with all its versions."""

    type: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Project:
    """The facts about a W&B project that the dashboard shows."""

    entity: str
    name: str
    url: str
    """Prefix of the addresses of its pages, with a slash at the end."""
    environments: tuple[str, ...]
    """Values of `ENVIRONMENT`."""
    artifacts: tuple[Artifact, ...]


def workspace(project: Project, name: str) -> ws.Workspace:
    """A workspace with sections for curves, scores, films, throughput, losses and artifacts."""
    table = wr.MarkdownPanel(markdown=artifact_table(project))
    return ws.Workspace(
        entity=project.entity,
        project=project.name,
        name=name,
        sections=[
            ws.Section(name="Learning curves", panels=lines(CURVES), is_open=True, pinned=True),
            ws.Section(name="Scores", panels=bars(), is_open=True),
            ws.Section(name="Films", panels=[films()], is_open=True),
            ws.Section(name="Throughput", panels=lines(THROUGHPUT)),
            ws.Section(name="Losses and values", panels=lines(LOSSES)),
            ws.Section(name="Exploration", panels=lines(EXPLORATION)),
            ws.Section(name="Datasets and checkpoints", panels=[table]),
        ],
        settings=ws.WorkspaceSettings(x_axis=X_AXIS, max_runs=MOST_LINES),
        runset_settings=ws.RunsetSettings(
            filters=runs_on(project.environments),
            groupby=[expr.Config(entry) for entry in (ENVIRONMENT, *SAME_LEARNER)],
            pinned_columns=["run:displayName", *COLUMNS],
        ),
    )


def report(project: Project, title: str) -> wr.Report:
    """A page with curves of each environment, throughput, films and a table of artifacts."""
    blocks: list[wr.BlockTypes] = [
        wr.P("A line is the mean of a learner's seeds, its band all of them."),
        wr.TableOfContents(),
    ]
    for environment in project.environments:
        runs = runset(project, environment, SAME_LEARNER, (environment,))
        panels = arranged([*lines(CURVES), *bars(), *lines(LOSSES)])
        blocks += [wr.H1(environment), wr.PanelGrid(runsets=[runs], panels=panels)]
    everything = runset(project, "Groups", (ENVIRONMENT, *SAME_LEARNER), project.environments)
    each = runset(project, "Runs", (), project.environments)
    return wr.Report(
        entity=project.entity,
        project=project.name,
        title=title,
        description="Made by `python -m agents.dashboard`, which replaces it.",
        width="fluid",
        blocks=[
            *blocks,
            wr.H1("Throughput"),
            wr.PanelGrid(runsets=[everything], panels=arranged(lines(THROUGHPUT))),
            wr.H1("Films"),
            wr.PanelGrid(runsets=[each], panels=arranged([films()])),
            wr.H1("Datasets and checkpoints"),
            wr.MarkdownBlock(artifact_table(project)),
        ],
    )


def runs_on(environments: tuple[str, ...]) -> str:
    """The filter for runs of these environments. The library does not quote values itself."""
    return f"Config({ENVIRONMENT!r}) in {list(environments)!r}"


def runset(
    project: Project, name: str, grouping: tuple[str, ...], environments: tuple[str, ...]
) -> wr.Runset:
    """The project's runs of some environments, grouped by config entries."""
    return wr.Runset(
        entity=project.entity,
        project=project.name,
        name=name,
        filters=runs_on(environments),
        groupby=[f"config.{entry}" for entry in grouping],
        pinned_columns=list(COLUMNS),
    )


def lines(plots: Mapping[str, list[str]]) -> list[wr.PanelTypes]:
    """Line plots over environment steps, given as metrics by title."""
    return [
        wr.LinePlot(
            title=title,
            x=X_AXIS,
            y=[*metrics],
            title_x="Environment steps",
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
            max_runs_to_show=MOST_LINES,
        )
        for title, metrics in plots.items()
    ]


def bars() -> list[wr.PanelTypes]:
    """The bar plots of `SCORES`."""
    return [
        wr.BarPlot(
            title=title, metrics=[metric], groupby_aggfunc="mean", groupby_rangefunc="minmax"
        )
        for title, metric in SCORES.items()
    ]


def films() -> wr.MediaBrowser:
    """A browser of the films of evaluated games."""
    return wr.MediaBrowser(title="Evaluated games", media_keys=list(MEDIA), num_columns=3)


def arranged(panels: list[wr.PanelTypes]) -> list[wr.PanelTypes]:
    """Sets the layout of panels: three in a row of the report's 24 columns; returns them."""
    for i, panel in enumerate(panels):
        assert isinstance(panel, wr.Panel)
        panel.layout = wr.Layout(x=i % 3 * 8, y=i // 3 * 6, w=8, h=6)
    return panels


def artifact_table(project: Project) -> str:
    """The project's datasets and checkpoints as a Markdown table, sorted by type."""
    if not project.artifacts:
        return "The project has no artifacts yet."
    rows = ["| Type | Artifact |", "|---|---|"]
    in_order = sorted(project.artifacts, key=lambda each: (each.type, each.name))
    for kind, members in groupby(in_order, key=lambda each: each.type):
        for each in members:
            path = f"artifacts/{quote(kind, safe='')}/{quote(each.name, safe='')}"
            rows.append(f"| {cell(kind)} | [{cell(each.name)}]({project.url}{path}) |")
    return "\n".join(rows)


def cell(text: str) -> str:
    """Text on one line, escaped for a cell of a Markdown table."""
    return "".join(f"\\{each}" if each in "\\|[]*_`<>" else each for each in " ".join(text.split()))
