"""A recording into a dataset: a new one, or one that is there and goes on with the next games."""

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
"""So many games in a row that were not kept are taken for the end of what was recorded."""


class Recording:
    """Where the episodes of one `demos record` go, for as long as its context is entered.

    Attributes:
        dataset: what they go into; None as long as it is not made.
        seeds: of the episodes that were there before.
        kept: episodes so far.
    """

    def __init__(self, path: Path, spec: EnvSpec, policy: str, seed: int, *, append: bool) -> None:
        """
        Args:
            append: go on in the dataset at `path`, where there is one.

        Raises:
            UserError: there is a dataset, which is not to be appended to, is of another
                environment, has a damaged episode, or is being written by another process.
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
                f"{path} is a dataset already; choose another name, or --append goes on in it"
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
        """Whether episodes replay, None as long as nobody knows."""
        return self.dataset and self.dataset.metadata.replayable

    def first_game(self, seed_of: Callable[[int], int]) -> int:
        """The number of the first game after all that were recorded.

        Args:
            seed_of: a game's number to the seed of its tape.
        """
        return next_game(self.seeds, seed_of)

    def begin(self, *, replayable: bool = True) -> None:
        """Make the dataset, unless it is there; UserError where it cannot be written."""
        if self.dataset is None:
            self._before = replace(self._before, replayable=replayable)
            self.dataset = Dataset.create(self.path, self._before)
            self._held.enter_context(alone(self.path))

    def keep(self, episode: Episode) -> None:
        """Append an episode, and count it as one of this recording."""
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
        # One at a time: observations may be more than fits into memory.
        for episode in dataset.selected(range(len(dataset.files()))):
            if episode.seed is not None:
                self.seeds.add(episode.seed)
        policies = dict.fromkeys([*dataset.metadata.policy.split("; "), policy])
        self._before = replace(dataset.metadata, policy="; ".join(policies))


def next_game(known: Collection[int], seed_of: Callable[[int], int]) -> int:
    """The number after the last game of which the seed is known; 0 where none is."""
    first = 0
    for number in count():
        if not known or number - first >= FARTHEST_GAMES:
            return first
        if seed_of(number) in known:
            first = number + 1
    raise AssertionError("unreachable")


def session(policy: str, seed: int) -> Session:
    """A recording that begins now."""
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
