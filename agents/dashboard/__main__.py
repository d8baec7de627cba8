"""`python -m agents.dashboard` saves a W&B workspace and a report of a project's runs.

They show learning curves by environment with the seeds aggregated, scores, films, throughput,
losses, datasets and checkpoints. They replace an earlier workspace and report of the same name. The
command needs pip install -e ".[wandb]" and `wandb login`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import tyro

import envs
from envs import UserError, command_line
from envs.entry import command as one_line_errors
from envs.errors import first_line
from envs.output import tell

if TYPE_CHECKING:
    from agents.dashboard.content import Artifact, Project

ANSWER_SECONDS = 10
"""Longest wait for an answer of W&B."""

MOST_LETTERS = 128
"""Longest title of a report, in characters."""

MOST_RUNS = 1_000
"""Number of the newest runs whose environments are shown."""

MOST_ARTIFACTS = 100
"""Largest number of shown artifacts of each type."""

VIEWS = """
query Views($entity: String, $project: String, $type: String) {
  project(name: $project, entityName: $entity) {
    allViews(viewType: $type, first: 500) {
      edges { node { id name displayName user { username } } }
    }
  }
}
"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    project: str = os.environ.get("WANDB_PROJECT", "joystick")  # W&B project of the runs.
    entity: str = os.environ.get("WANDB_ENTITY", "")  # User or team of the project; "" is you.
    env: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Show only this environment; repeat the flag for several."""
    workspace: bool = True  # Save a workspace.
    report: bool = True  # Save a report.


def build(arguments: Arguments) -> None:
    """Saves the workspace and the report that are asked for, and prints their addresses."""
    if not (arguments.workspace or arguments.report):
        raise UserError("--no-workspace --no-report: nothing is left to save; omit one of them")
    try:
        import wandb_workspaces  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError:
        raise UserError("a dashboard needs wandb-workspaces: pip install -e '.[wandb]'") from None
    from agents.dashboard import content

    with one_line_of_wandb():
        api = log_in()
        project = look_up(api, arguments)
        # Views of some environments have another name, so they do not replace the view of all.
        name = " ".join(["Joystick", *arguments.env])[:MOST_LETTERS]
        if arguments.workspace:
            made = content.workspace(project, name)
            earlier = view_of(api, project, "project-view", name)
            if earlier:
                made._internal_id = earlier["id"]
                made._internal_name = earlier["name"]
            tell(f"workspace: {made.save().url}")
        if arguments.report:
            page = content.report(project, name)
            earlier = view_of(api, project, "runs", name)
            if earlier:
                page.id = earlier["id"]
            tell(f"report: {page.save().url}")


@contextmanager
def one_line_of_wandb() -> Iterator[None]:
    """Turns any error that W&B raises into a one-line UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        first = first_line(error)
        # W&B's client reports a missing answer with these words.
        silent = "did not respond in time" in first
        begin = "W&B does not answer; is there a network? " if silent else "W&B: "
        raise UserError(begin + first) from None


def log_in() -> Any:
    """Returns W&B's API; raises a UserError if the user is not logged in, and asks nothing."""
    import wandb

    mode = os.environ.get("WANDB_MODE")
    if mode in ("offline", "dryrun", "disabled"):
        raise UserError(f"WANDB_MODE is {mode}, but a dashboard is saved online; unset WANDB_MODE")
    wandb.setup(wandb.Settings(silent=True))
    if not wandb.login(prompt=False, verify=False):
        raise UserError("not logged in to W&B: run `wandb login`")
    return wandb.Api(timeout=ANSWER_SECONDS)


def look_up(api: Any, arguments: Arguments) -> Project:
    """Returns the facts about the project that the dashboard shows.

    Raises:
        UserError: there is no such project, or it has no run of a requested environment.
    """
    from agents.dashboard.content import Project

    entity = arguments.entity or api.default_entity
    path = f"{entity}/{arguments.project}"
    found = environments(api, path)
    shown = tuple(chosen(env, found, path) for env in arguments.env) or found
    if not shown:
        raise UserError(f"{path} has no run of Joystick; name another one with --project")
    url = api.project(arguments.project, entity).url.removesuffix("workspace")
    kept = tuple(artifacts(api, path))
    return Project(
        entity=entity, name=arguments.project, url=url, environments=shown, artifacts=kept
    )


def environments(api: Any, path: str) -> tuple[str, ...]:
    """The protocols of the project's newest runs."""
    from agents.dashboard.content import ENVIRONMENT

    runs = api.runs(path, order="-created_at", per_page=100, lazy=False)
    try:
        configs = [run.config for run in islice(runs, MOST_RUNS)]
    except ValueError as error:
        if "Could not find project" in str(error):
            raise UserError(f"W&B has no project {path}, or you may not see it") from None
        raise
    return tuple(sorted({str(each[ENVIRONMENT]) for each in configs if each.get(ENVIRONMENT)}))


def chosen(env_id: str, found: tuple[str, ...], path: str) -> str:
    """The protocol of a value of `--env`; raises a UserError if the project has no run of it."""
    protocol = envs.spec(env_id).protocol
    if protocol not in found:
        known = "; ".join(found) or "none"
        raise UserError(f"--env {env_id}: {path} has no run on {protocol} (there are: {known})")
    return protocol


def artifacts(api: Any, path: str) -> Iterator[Artifact]:
    """Yields the artifacts of the runs, such as datasets and checkpoints, without W&B's own."""
    from agents.dashboard.content import Artifact

    for kind in api.artifact_types(path):
        if not kind.name.startswith("wandb-"):
            for each in islice(kind.collections(), MOST_ARTIFACTS):
                yield Artifact(kind.name, each.name)


def view_of(api: Any, project: Project, kind: str, name: str) -> dict[str, Any] | None:
    """The workspace ("project-view") or report ("runs") that this user saved under a name."""
    from wandb_workspaces._graphql import execute_graphql

    asked = {"entity": project.entity, "project": project.name, "type": kind}
    views = (execute_graphql(api, VIEWS, asked).get("project") or {}).get("allViews") or {}
    mine = api.viewer.username
    for edge in views.get("edges", ()):
        view = edge["node"]
        # A view that a colleague saved is not replaced.
        if view["displayName"] == name and (view.get("user") or {}).get("username") == mine:
            return view
    return None


def main(args: list[str] | None = None) -> None:
    """Runs the command and exits; the exit code is 2 on bad input."""
    with one_line_errors():
        build(
            command_line.parse(
                Arguments, args=args, prog="python -m agents.dashboard", description=__doc__
            )
        )
    sys.exit(0)


if __name__ == "__main__":
    main()
