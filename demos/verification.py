"""Verification: an episode is lived again, and everything must be as it was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from demos.episode import DIGEST_EVERY_STEPS, Episode, Witness, newest
from envs import Tape, UserError, replay
from envs.together import replay_together

Life = Iterator[tuple[np.ndarray, float, bool, bool]]


@dataclass(frozen=True)
class Difference:
    """The first step, from 1, at which a life differs from its recording, and how."""

    step: int
    what: str


def verify(episode: Episode) -> Difference | None:
    """Live an episode again; None when frames, rewards and end are those of the recording.

    A frame that differs is known to within the 256 steps of a digest, of which the last is named.
    An episode with stored observations is not lived again: its digests must be those of what is
    stored.

    Raises:
        UserError: this machine cannot match the episode's spec (the field is named), or an action
            is not one of the environment's.
    """
    return next((each for each in compared(episode) if isinstance(each, Difference)), None)


def verify_together(episodes: Sequence[Episode]) -> Iterator[tuple[int, Difference | None]]:
    """Yields the number of each episode, as it is done, and what `verify` says of it.

    Those that can be lived again are so side by side, on all cores.

    Raises:
        UserError: as `verify`.
    """
    for number, each in relived(episodes):
        if each is None or isinstance(each, Difference):
            yield number, each


def relived(episodes: Sequence[Episode]) -> Iterator[tuple[int, np.ndarray | Difference | None]]:
    """Yields with the episode's number its T + 1 newest frames and then None; or, after the first
    difference, that and no more. Episodes with stored observations come first."""
    tapes: dict[int, Tape] = {}
    for number, episode in enumerate(episodes):
        if episode.observations is None:
            tapes[number] = episode.tape
            continue
        whole = True
        for each in compared(episode):
            yield number, each
            whole = not isinstance(each, Difference)
        if whole:
            yield number, None
    if not tapes:
        return
    numbers, abandoned = list(tapes), set[int]()
    witnesses: dict[int, Witness] = {}
    for lived in replay_together(list(tapes.values()), abandoned):
        number = numbers[lived.tape]
        episode = episodes[number]
        if lived.step == 0:
            witnesses[number] = Witness(episode.spec, lived.obs)
        elif difference := differs(episode, witnesses[number], *lived[2:]):
            abandoned.add(lived.tape)
            yield number, difference
            continue
        yield number, newest(episode.spec, lived.obs)
        if lived.step == len(episode):
            yield number, None


def observations_of(episode: Episode) -> Iterator[np.ndarray]:
    """Yields the T + 1 observations of an episode, of a stack the newest frame.

    They are the stored ones, or else the environment lives the episode again and emits them.

    Raises:
        UserError: as `verify`; or they are not what was recorded, which is known after each 256
            steps and at the end.
    """
    for each in compared(episode):
        if isinstance(each, Difference):
            who = f"the episode of seed {episode.seed} is not as it was recorded"
            raise UserError(f"{who}: step {each.step}: {each.what}")
        yield each


def compared(episode: Episode) -> Iterator[np.ndarray | Difference]:
    """Yields observations, newest frames, and after the first difference that and no more."""
    life = replay(episode.tape) if episode.observations is None else stored(episode)
    first = next(life)[0]
    witness = Witness(episode.spec, first)
    yield newest(episode.spec, first)
    for obs, reward, terminated, truncated in life:
        if difference := differs(episode, witness, obs, reward, terminated, truncated):
            yield difference
            return
        yield newest(episode.spec, obs)


def stored(episode: Episode) -> Life:
    """The life that an episode with observations tells of, as `replay` yields one."""
    assert episode.observations is not None
    # A newest frame becomes a stack of one, since a witness looks at the newest of a stack.
    stacked = episode.spec.frame_stack > 1
    observations = episode.observations[:, None] if stacked else episode.observations
    yield observations[0], 0.0, False, False
    for step, obs in enumerate(observations[1:], start=1):
        last = step == len(episode)
        ends = last and episode.terminated, last and not episode.terminated
        yield obs, float(episode.rewards[step - 1]), *ends


def differs(
    episode: Episode,
    witness: Witness,
    obs: np.ndarray,
    reward: float,
    terminated: bool,
    truncated: bool,
) -> Difference | None:
    """How the next step of a life differs from the recording; the witness sees it."""
    step = witness.steps + 1
    recorded = float(episode.rewards[step - 1])
    if reward != recorded:
        return Difference(step, f"the reward is {reward:g}, but {recorded:g} was recorded")
    witness.step(obs, reward, terminated, truncated)
    last = step == len(episode)
    if (terminated or truncated) and not last:
        return Difference(step, f"the episode ends, but has {len(episode)} recorded steps")
    if last and (terminated, truncated) != (episode.terminated, not episode.terminated):
        ends = "terminated" if terminated else "truncated" if truncated else "still going on"
        was = "terminated" if episode.terminated else "truncated"
        return Difference(step, f"the episode is {ends}, but was {was}")
    if last or step % DIGEST_EVERY_STEPS == 0:
        block = (step - 1) // DIGEST_EVERY_STEPS
        if not np.array_equal(witness.digests()[-1], episode.digests[block]):
            first = block * DIGEST_EVERY_STEPS + 1
            return Difference(step, f"a frame of the steps {first} to {step} differs")
    return None
