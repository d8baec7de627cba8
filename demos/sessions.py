"""Records into a dataset: into a new one, or into an existing one with the next games."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path

from demos import provenance
from demos.dataset import Dataset, alone
from demos.episode import Episode
from demos.metadata import FILE, Metadata, Session
from envs import EnvSpec, UserError
from envs.scores import reference_scores

FARTHEST_GAMES = 10_000
"""After this many unknown games in a row, the search for recorded games ends."""


class Recording:
    """Stores the episodes of one `demos record`; the context holds the dataset's lock.

    Attributes:
        dataset: the dataset that gets the episodes; None until it is made.
        seeds: seeds of the episodes that the dataset had before.
        kept: number of episodes stored so far.
    """

    def __init__(self, path: Path, spec: EnvSpec, policy: str, seed: int, *, append: bool) -> None:
        """
        Args:
            append: add to the dataset at `path`, if there is one.

        Raises:
            UserError: there is a dataset and `append` is false; or the dataset is of another
                environment, has a damaged episode, or is locked by another process.
        """
        self.path = path
        self.dataset: Dataset | None = None
        self.seeds = set[int]()
        self.kept = 0
        self._session = session(policy, seed)
        self._before = new_metadata(spec, policy)
        self._held = ExitStack()
        if not os.path.lexists(path / FILE):
            return
        if not append:
            raise UserError(
                f"{path} is a dataset already; choose another name, or add to it with --append"
            )
        with self._held:
            self._held.enter_context(alone(path))
            self._go_on(spec, policy)
            self._held = self._held.pop_all()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *raised: object) -> None:
        self._held.close()

    @property
    def replayable(self) -> bool | None:
        """Whether episodes replay; None until it is known."""
        return self.dataset and self.dataset.metadata.replayable

    def first_game(self, seed_of: Callable[[int], int]) -> int:
        """The number of the first game after all recorded games.

        Args:
            seed_of: maps the number of a game to the seed of its tape.
        """
        return next_game(self.seeds, seed_of)

    def begin(self, *, replayable: bool = True) -> None:
        """Makes the dataset if it does not exist; raises a UserError if it cannot be written."""
        if self.dataset is None:
            self._before = replace(self._before, replayable=replayable)
            self.dataset = Dataset.create(self.path, self._before)
            self._held.enter_context(alone(self.path))

    def keep(self, episode: Episode) -> None:
        """Appends an episode and counts it in this recording's session."""
        self.begin(replayable=episode.observations is None)
        assert self.dataset is not None
        now = replace(self._session, episodes=self.kept + 1)
        sessions = (*self._before.sessions, now)
        self.dataset.metadata = replace(self._before, sessions=sessions)
        self.dataset.append(episode)
        self.kept += 1

    def _go_on(self, spec: EnvSpec, policy: str) -> None:
        dataset = Dataset.open(self.path)
        spec.require_same(dataset.metadata.spec, f"{self.path} is")
        self.dataset = dataset
        # Episodes are read one at a time: the observations of all may not fit into memory.
        for episode in dataset.selected(range(len(dataset.files()))):
            if episode.seed is not None:
                self.seeds.add(episode.seed)
        policies = dict.fromkeys([*dataset.metadata.policy.split("; "), policy])
        self._before = replace(dataset.metadata, policy="; ".join(policies))


def next_game(known: Collection[int], seed_of: Callable[[int], int]) -> int:
    """The number after the last game with a known seed; 0 if no game has one.

    Args:
        known: seeds of the recorded games.
        seed_of: maps the number of a game to its seed.
    """
    first = 0
    for number in count():
        if not known or number - first >= FARTHEST_GAMES:
            return first
        if seed_of(number) in known:
            first = number + 1
    raise AssertionError("unreachable")


def session(policy: str, seed: int) -> Session:
    """A session of a recording that begins now, without episodes yet."""
    return Session(
        policy=policy,
        created=provenance.now(),
        command=provenance.command_line(),
        commit=provenance.commit(),
        seed=seed,
        episodes=0,
    )


def new_metadata(spec: EnvSpec, policy: str) -> Metadata:
    """The metadata of a dataset that begins now."""
    return Metadata(
        spec=spec,
        policy=policy,
        created=provenance.now(),
        command=provenance.command_line(),
        commit=provenance.commit(),
        reference_scores=reference_scores(spec.scored_game),
    )
