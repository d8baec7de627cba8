"""`python -m demos record`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from demos import human
from demos.episode import Episode
from demos.policies import resolve
from demos.recording import Policy, record
from demos.replaying import checked_speed
from demos.sessions import Recording
from envs import EnvSpec, UserError
from envs.errors import at_least
from envs.flags import EnvFlags
from envs.output import tell
from envs.signals import Interrupted, StopSignal
from envs.tapes import tape_seed

COLUMNS = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


@dataclass(frozen=True, kw_only=True)
class Record(EnvFlags):
    """Let a policy play, and store whole episodes in a dataset."""

    out: Path  # Directory of the dataset; it must be new, unless --append is given.
    env_id: Annotated[str, tyro.conf.arg(name="env")] = "Pong"  # Environment.
    policy: str = "random"
    """The player: random, human, script:module:function, sb3:FILE.zip (a checkpoint of
    Stable-Baselines3), or the directory of a run."""
    episodes: int = 20  # Episodes to keep.
    min_return: float = -float("inf")  # Smallest return of an episode that is kept.
    max_played: int = 10_000  # Episodes to play at most, if --min-return rejects some.
    exploration: float | None = None
    """ε or temperature of a run or checkpoint; None takes its own evaluation value."""
    num_envs: int = 8  # Environments that play at the same time.
    most_steps: int = 0
    """Longest episode, in steps; 0 is the environment's own limit, or 27,000 if it has none."""
    seed: int = 0  # Seed of the games.
    append: bool = False  # Add to an existing dataset, starting with the game after its last one.
    speed: float = 1.0  # Speed of the game when a person plays; 1 is real time.

    def run(self) -> int:
        for name in ("episodes", "max_played", "num_envs"):
            at_least(1, name, getattr(self, name))
        at_least(0, "seed", self.seed)
        at_least(0, "most_steps", self.most_steps)
        spec = self.spec_of(self.env_id).bounded(self.most_steps)
        if self.policy == human.NAME:
            return self._by_hand(spec)
        policy = resolve(self.policy, spec, self.seed, self.exploration)
        with (
            StopSignal() as stop,
            Recording(self.out, spec, policy.name, self.seed, append=self.append) as recording,
        ):
            refused = self._played_or_told(spec, policy, recording)
        below = f", {refused} below --min-return {self.min_return:g}" if refused else ""
        stopped = ", stopped: unfinished games are not stored" if stop.signum else ""
        tell(f"{in_words(recording)}{below}{stopped}")
        if recording.replayable is False:
            tell(f"{spec.env_id} is not reproducible: the observations are stored")
        if stop.signum:
            return 128 + stop.signum
        return 0 if recording.kept == self.episodes else 1

    def _played_or_told(self, spec: EnvSpec, policy: Policy, recording: Recording) -> int:
        """As `_played`; an error first prints how many episodes were kept."""
        try:
            return self._played(spec, policy, recording)
        except UserError:
            if recording.kept:
                tell(in_words(recording))
            raise

    def _played(self, spec: EnvSpec, policy: Policy, recording: Recording) -> int:
        """Lets a policy play until there are enough episodes or a signal arrives.

        Returns:
            how many episodes were played and not kept.
        """
        first = recording.first_game(lambda game: tape_seed(self.seed, game, 0))
        # Short games of a round end first. Without --min-return, no more games start than are
        # wanted, so that short games are not preferred.
        most = self.episodes if self.min_return == -float("inf") else self.max_played
        shown = [TextColumn(c) if isinstance(c, str) else c for c in COLUMNS]
        games = record(
            spec,
            policy,
            most,
            self.seed,
            self.num_envs,
            first_game=first,
            replayable=recording.replayable,
        )
        refused = 0
        with Progress(*shown) as progress, suppress(Interrupted):
            task = progress.add_task("recording", total=self.episodes)
            for episode in games:
                recording.begin(replayable=episode.observations is None)
                if episode.score < self.min_return or episode.seed in recording.seeds:
                    refused += 1
                    continue
                recording.keep(episode)
                progress.update(task, advance=1, description=f"last return {episode.score:g}")
                if recording.kept == self.episodes:
                    break
        return refused

    def _by_hand(self, spec: EnvSpec) -> int:
        """Lets a person play until there are enough episodes or the person quits."""
        with Recording(self.out, spec, human.NAME, self.seed, append=self.append) as recording:
            first = recording.first_game(lambda game: tape_seed(self.seed, 0, game))
            try:
                with human.seat(spec, self.seed, checked_speed(self.speed), first) as games:
                    recording.begin()
                    self._saved(games, recording)
            except KeyboardInterrupt:
                pass
            finally:
                if not recording.kept and recording.dataset is not None:
                    recording.dataset.remove_empty()
        tell(in_words(recording) if recording.kept else "no episode was kept")
        return 0

    def _saved(self, games: Iterable[Episode], recording: Recording) -> None:
        """Keeps the games that a person saves, until there are enough."""
        for episode in games:
            if episode.score < self.min_return:
                tell(f"return {episode.score:g} is below --min-return {self.min_return:g}")
                continue
            recording.keep(episode)
            tell(f"kept: return {episode.score:g}, {len(episode)} steps")
            if recording.kept == self.episodes:
                break


def in_words(recording: Recording) -> str:
    """Says how many episodes a recording kept, and how many its dataset has now."""
    count = 0 if recording.dataset is None else len(recording.dataset.files())
    if count > recording.kept:
        return f"{recording.kept} more episodes in {recording.path}, {count} in all"
    return f"{recording.kept} episodes in {recording.path}"
