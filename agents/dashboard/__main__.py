"""`python -m agents.dashboard` saves a W&B workspace and a report of a project's runs.

Learning curves by environment with seeds together, scores, films, throughput, losses, datasets and
checkpoints. Those that it saved before under the same name are replaced. Needs
pip install -e ".[wandb]" and `wandb login`.
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
"""How long W&B may take to let a person in."""

MOST_LETTERS = 128
"""Of a report's title."""

MOST_RUNS = 1_000
"""The newest, whose environments are shown."""

MOST_ARTIFACTS = 100
"""Of each type."""

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
    project: str = os.environ.get("WANDB_PROJECT", "joystick")  # W&B's project of the runs.
    entity: str = os.environ.get("WANDB_ENTITY", "")  # Whose project it is; by default yours.
    env: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()  # Show these alone; repeat it.
    workspace: bool = True  # Save a workspace.
    report: bool = True  # Save a report.


def build(arguments: Arguments) -> None:
    """Save what is asked for, and print where it is."""
    if not (arguments.workspace or arguments.report):
        raise UserError("--no-workspace --no-report: nothing is left to save")
    try:
        import wandb_workspaces  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ModuleNotFoundError:
        raise UserError("a dashboard needs wandb-workspaces: pip install -e '.[wandb]'") from None
    from agents.dashboard import content

    with one_line_of_wandb():
        api = log_in()
        project = look_up(api, arguments)
        # What shows some environments alone does not replace what shows all.
        name = " ".join(["Joystick", *arguments.env])[:MOST_LETTERS]
        if arguments.workspace:
            made = content.workspace(project, name)
            if earlier := view_of(api, project, "project-view", name):
                made._internal_id = earlier["id"]
                made._internal_name = earlier["name"]
            tell(f"workspace: {made.save().url}")
        if arguments.report:
            page = content.report(project, name)
            if earlier := view_of(api, project, "runs", name):
                page.id = earlier["id"]
            tell(f"report: {page.save().url}")


@contextmanager
def one_line_of_wandb() -> Iterator[None]:
    """Inside it, whatever W&B raises becomes one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        first = first_line(error)
        # So its client says that nobody answered.
        silent = "did not respond in time" in first
        begin = "W&B does not answer; is there a network? " if silent else "W&B: "
        raise UserError(begin + first) from None


def log_in() -> Any:
    """W&B's API. A UserError tells who is not logged in; nobody is asked."""
    import wandb

    if (mode := os.environ.get("WANDB_MODE")) in ("offline", "dryrun", "disabled"):
        raise UserError(f"WANDB_MODE is {mode}: a dashboard is saved online")
    wandb.setup(wandb.Settings(silent=True))
    if not wandb.login(prompt=False, verify=False):
        raise UserError("not logged in to W&B: run `wandb login`")
    return wandb.Api(timeout=ANSWER_SECONDS)


def look_up(api: Any, arguments: Arguments) -> Project:
    """What W&B knows of the project.

    Raises:
        UserError: it has none of that name, or no run of an environment that is asked for.
    """
    from agents.dashboard.content import Project

    entity = arguments.entity or api.default_entity
    path = f"{entity}/{arguments.project}"
    found = environments(api, path)
    shown = tuple(chosen(env, found, path) for env in arguments.env) or found
    if not shown:
        raise UserError(f"{path} has no run of Joystick's")
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
            raise UserError(f"W&B has no project {path} that you may see") from None
        raise
    return tuple(sorted({str(each[ENVIRONMENT]) for each in configs if each.get(ENVIRONMENT)}))


def chosen(env_id: str, found: tuple[str, ...], path: str) -> str:
    """The protocol of `--env`, of which there must be runs."""
    protocol = envs.spec(env_id).protocol
    if protocol not in found:
        known = "; ".join(found) or "none"
        raise UserError(f"--env {env_id}: {path} has no run on {protocol} (there are: {known})")
    return protocol


def artifacts(api: Any, path: str) -> Iterator[Artifact]:
    """Datasets, checkpoints and whatever else runs have kept, W&B's own records left out."""
    from agents.dashboard.content import Artifact

    for kind in api.artifact_types(path):
        if not kind.name.startswith("wandb-"):
            for each in islice(kind.collections(), MOST_ARTIFACTS):
                yield Artifact(kind.name, each.name)


def view_of(api: Any, project: Project, kind: str, name: str) -> dict[str, Any] | None:
    """The workspace ("project-view") or report ("runs") that this person has saved under a name."""
    from wandb_workspaces._graphql import execute_graphql

    asked = {"entity": project.entity, "project": project.name, "type": kind}
    views = (execute_graphql(api, VIEWS, asked).get("project") or {}).get("allViews") or {}
    mine = api.viewer.username
    for edge in views.get("edges", ()):
        view = edge["node"]
        # What a colleague has saved is not replaced.
        if view["displayName"] == name and (view.get("user") or {}).get("username") == mine:
            return view
    return None


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        build(
            command_line.parse(
                Arguments, args=args, prog="python -m agents.dashboard", description=__doc__
            )
        )
    sys.exit(0)


if __name__ == "__main__":
    main()
