"""`python -m demos record`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import envs
from demos import human, provenance
from demos.dataset import Dataset, Metadata
from demos.policies import resolve
from demos.recording import record
from demos.replaying import checked_speed
from envs import EnvSpec
from envs.errors import at_least
from envs.scores import reference_scores

COLUMNS = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


@dataclass(frozen=True, kw_only=True)
class Record:
    """Let a policy play, and keep whole episodes."""

    out: Path  # Directory of the dataset, a new one.
    env_id: Annotated[str, tyro.conf.arg(name="env")] = "Pong"  # Environment.
    policy: str = "random"
    """Who plays: random, human, script:module:function, sb3:FILE.zip (a checkpoint of
    Stable-Baselines3), or a run's directory."""
    episodes: int = 20  # Episodes to keep.
    min_return: float = -float("inf")  # Episodes of a lower return are not kept.
    max_played: int = 10_000  # Episodes to play at most where some are not kept.
    exploration: float | None = None  # ε or temperature of a run or checkpoint; None is its own.
    num_envs: int = 8  # Games at a time.
    seed: int = 0  # Seed of the games.
    speed: float = 1.0  # Times as fast as real time, where a person plays.

    def run(self) -> int:
        for name in ("episodes", "max_played", "num_envs"):
            at_least(1, name, getattr(self, name))
        at_least(0, "seed", self.seed)
        spec = envs.spec(self.env_id)
        if self.policy == human.NAME:
            return self._by_hand(spec)
        policy = resolve(self.policy, spec, self.seed, self.exploration)
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
                    metadata = replace(about(spec, policy.name), replayable=replayable)
                    dataset = Dataset.create(self.out, metadata)
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

    def _by_hand(self, spec: EnvSpec) -> int:
        """A person plays until there are enough episodes or they quit."""
        games = human.play(spec, self.seed, checked_speed(self.speed))
        dataset, kept = Dataset.create(self.out, about(spec, human.NAME)), 0
        try:
            with closing(games):
                for episode in games:
                    if episode.score < self.min_return:
                        print(f"return {episode.score:g} is below --min-return {self.min_return:g}")
                        continue
                    dataset.append(episode)
                    kept += 1
                    print(f"kept: return {episode.score:g}, {len(episode)} steps")
                    if kept == self.episodes:
                        break
        except KeyboardInterrupt:
            pass
        finally:
            if not kept:
                dataset.remove_empty()
        print(f"{kept} episodes in {self.out}" if kept else "no episode was kept")
        return 0


def about(spec: EnvSpec, policy: str) -> Metadata:
    """The metadata of what this command records."""
    return Metadata(
        spec=spec,
        policy=policy,
        created=provenance.now(),
        command=provenance.command_line(),
        commit=provenance.commit(),
        reference_scores=reference_scores(spec.game),
    )
