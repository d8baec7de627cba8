"""`python -m demos record`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import envs
from demos import provenance
from demos.dataset import Dataset, Metadata
from demos.policies import resolve
from demos.recording import record
from envs.errors import at_least

COLUMNS = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


@dataclass(frozen=True, kw_only=True)
class Record:
    """Let a policy play, and keep whole episodes."""

    out: Path  # Directory of the dataset, a new one.
    env_id: Annotated[str, tyro.conf.arg(name="env")] = "Pong"  # Environment.
    policy: str = "random"
    """Who plays: random, script:module:function, sb3:FILE.zip (a checkpoint of Stable-Baselines3),
    or a run's directory."""
    episodes: int = 20  # Episodes to keep.
    min_return: float = -float("inf")  # Episodes of a lower return are not kept.
    max_played: int = 10_000  # Episodes to play at most where some are not kept.
    exploration: float | None = None  # ε or temperature of a run or checkpoint; None is its own.
    num_envs: int = 8  # Games at a time.
    seed: int = 0  # Seed of the games.

    def run(self) -> int:
        for name in ("episodes", "max_played", "num_envs"):
            at_least(1, name, getattr(self, name))
        at_least(0, "seed", self.seed)
        spec = envs.spec(self.env_id)
        policy = resolve(self.policy, spec, self.seed, self.exploration)
        about = Metadata(
            spec=spec,
            policy=policy.name,
            created=provenance.now(),
            command=provenance.command_line(),
            commit=provenance.commit(),
        )
        Dataset.require_absent(self.out)
        dataset, kept, refused = None, 0, 0
        # All games of a round are kept where all are wanted: its first to end are the short ones.
        most = self.episodes if self.min_return == -float("inf") else self.max_played
        shown = [TextColumn(c) if isinstance(c, str) else c for c in COLUMNS]
        with Progress(*shown) as progress:
            task = progress.add_task("recording", total=self.episodes)
            for episode in record(spec, policy, most, self.seed, self.num_envs):
                if dataset is None:
                    replayable = episode.observations is None
                    dataset = Dataset.create(self.out, replace(about, replayable=replayable))
                if episode.score < self.min_return:
                    refused += 1
                    continue
                dataset.append(episode)
                kept += 1
                progress.update(task, advance=1, description=f"last return {episode.score:g}")
                if kept == self.episodes:
                    break
        below = f", {refused} below --min-return {self.min_return:g}" if refused else ""
        print(f"{kept} episodes in {self.out}{below}")
        if dataset is not None and not dataset.metadata.replayable:
            print(f"{spec.env_id} is not reproducible: the observations are stored")
        return 0 if kept == self.episodes else 1
