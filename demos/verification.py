"""Verification: an episode is lived again, and everything must be as it was recorded."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from demos.episode import DIGEST_EVERY_STEPS, Episode, Witness, newest
from envs import UserError
from envs.batched_replay import Lived, replay_together


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
    ((_, difference),) = verify_together([episode])
    return difference


def verify_together(episodes: Sequence[Episode]) -> Iterator[tuple[int, Difference | None]]:
    """Yields the number of each episode, as it is done, and what `verify` says of it.

    Those that can be lived again are so side by side, on all cores.

    Raises:
        UserError: as `verify`.
    """
    for number, each in relived(dict(enumerate(episodes))):
        if each is None or isinstance(each, Difference):
            yield number, each


def observations_of(episode: Episode) -> Iterator[np.ndarray]:
    """Yields the T + 1 observations of an episode, of a stack the newest frame.

    They are the stored ones, or else the environment lives the episode again and emits them.

    Raises:
        UserError: as `frames_of`.
    """
    return (frame for _, frame in frames_of({0: episode}) if frame is not None)


def frames_of(episodes: Mapping[int, Episode]) -> Iterator[tuple[int, np.ndarray | None]]:
    """Yields with each episode's number its T + 1 newest frames and then None.

    Raises:
        UserError: as `verify`; or they are not what was recorded, which is known after each 256
            steps and at the end.
    """
    for number, each in relived(episodes):
        if isinstance(each, Difference):
            who = f"the episode of seed {episodes[number].seed} is not as it was recorded"
            raise UserError(f"{who}: step {each.step}: {each.what}")
        yield number, each


def relived(
    episodes: Mapping[int, Episode],
) -> Iterator[tuple[int, np.ndarray | Difference | None]]:
    """Yields as `frames_of`; or, after an episode's first difference, that and no more of it."""
    witnesses: dict[int, Witness] = {}
    abandoned = set[int]()
    for lived in lives(episodes, abandoned):
        number, episode = lived.tape, episodes[lived.tape]
        if lived.step == 0:
            witnesses[number] = Witness(episode.spec, lived.obs)
        elif difference := differs(episode, witnesses[number], lived):
            abandoned.add(number)
            yield number, difference
            continue
        yield number, newest(episode.spec, lived.obs)
        if lived.step == len(episode):
            yield number, None


def lives(episodes: Mapping[int, Episode], abandoned: Container[int]) -> Iterator[Lived]:
    """The steps of episodes: of those with stored observations, then of the others side by side."""
    tapes = {k: each.tape for k, each in episodes.items() if each.observations is None}
    for number, episode in episodes.items():
        if number not in tapes:
            yield from takewhile(lambda lived: lived.tape not in abandoned, stored(number, episode))
    yield from replay_together(tapes, abandoned)


def stored(number: int, episode: Episode) -> Iterator[Lived]:
    """The steps that an episode with observations tells of, as `replay_together` yields them."""
    assert episode.observations is not None
    # A newest frame becomes a stack of one, since a witness looks at the newest of a stack.
    stacked = episode.spec.frame_stack > 1
    observations = episode.observations[:, None] if stacked else episode.observations
    rewards = [0.0, *episode.rewards.tolist()]
    for step, (obs, reward) in enumerate(zip(observations, rewards, strict=True)):
        last = step == len(episode)
        ends = last and episode.terminated, last and not episode.terminated
        yield Lived(number, step, obs, reward, *ends)


def differs(episode: Episode, witness: Witness, lived: Lived) -> Difference | None:
    """How the next step of a life differs from the recording; the witness sees it."""
    _, step, obs, reward, terminated, truncated = lived
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
