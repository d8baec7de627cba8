"""Verification: replays episodes and compares every step with the recording."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from demos.episode import DIGEST_EVERY_STEPS, Episode, Witness, newest
from envs import UserError
from envs.batched_replay import ReplayedStep, replay_batched


@dataclass(frozen=True)
class Difference:
    """The first step at which a replay differs from its recording; steps count from 1."""

    step: int
    what: str


def verify(episode: Episode) -> Difference | None:
    """Replays an episode; None when its frames, rewards and end match the recording.

    A digest covers 256 steps, so a frame that differs is known to within 256 steps. The difference
    names the last of them. An episode with stored observations is not replayed: its digests must
    match the stored observations.

    Raises:
        UserError: this machine cannot match the episode's spec (the error names the field), or
            the environment does not have one of the actions.
    """
    ((_, difference),) = verify_batched([episode])
    return difference


def verify_batched(episodes: Sequence[Episode]) -> Iterator[tuple[int, Difference | None]]:
    """Verifies episodes; yields each episode's number and the result of `verify`, once done.

    Episodes without stored observations are replayed in batches, on all cores.

    Raises:
        UserError: as `verify`.
    """
    for number, each in replayed_frames(dict(enumerate(episodes))):
        if each is None or isinstance(each, Difference):
            yield number, each


def observations_of(episode: Episode) -> Iterator[np.ndarray]:
    """Yields the T + 1 observations of an episode; of a frame stack, only the newest frame.

    The observations are the stored ones, or else a replay of the episode emits them.

    Raises:
        UserError: as `frames_of`.
    """
    return (frame for _, frame in frames_of({0: episode}) if frame is not None)


def frames_of(episodes: Mapping[int, Episode]) -> Iterator[tuple[int, np.ndarray | None]]:
    """Yields pairs of an episode's number and a frame: its T + 1 newest frames, and then None.

    Raises:
        UserError: as `verify`; or the frames differ from the recording. Each block of 256 steps
            is checked at its end, and the last block at the episode's end.
    """
    for number, each in replayed_frames(episodes):
        if isinstance(each, Difference):
            who = f"the episode of seed {episodes[number].seed} differs from its recording"
            raise UserError(f"{who}: step {each.step}: {each.what}")
        yield number, each


def masks_of(episodes: Sequence[Episode]) -> list[np.ndarray | None]:
    """Replays episodes and returns the masks of each (`envs.masks`), bool (T, A).

    The masks are None for an episode with stored observations, and without masks.

    Raises:
        UserError: as `verify`.
    """
    numbered = dict(enumerate(episodes))
    seen: list[list[np.ndarray]] = [[] for _ in episodes]
    for replayed in replayed_steps(numbered, ()):
        if replayed.legal is not None and replayed.step < len(numbered[replayed.tape]):
            seen[replayed.tape].append(replayed.legal)
    return [np.stack(masks) if masks else None for masks in seen]


def replayed_frames(
    episodes: Mapping[int, Episode],
) -> Iterator[tuple[int, np.ndarray | Difference | None]]:
    """Yields as `frames_of`; at an episode's first difference, yields it and stops the episode."""
    witnesses: dict[int, Witness] = {}
    abandoned = set[int]()
    for replayed in replayed_steps(episodes, abandoned):
        number = replayed.tape
        episode = episodes[number]
        if replayed.step == 0:
            witnesses[number] = Witness(episode.spec, replayed.obs)
        else:
            difference = differs(episode, witnesses[number], replayed)
            if difference is not None:
                abandoned.add(number)
                yield number, difference
                continue
        yield number, newest(episode.spec, replayed.obs)
        if replayed.step == len(episode):
            yield number, None


def replayed_steps(
    episodes: Mapping[int, Episode], abandoned: Container[int]
) -> Iterator[ReplayedStep]:
    """Yields the steps of stored episodes, then of a batched replay of the others."""
    tapes = {k: each.tape for k, each in episodes.items() if each.observations is None}
    for number, episode in episodes.items():
        if number not in tapes:
            steps = stored(number, episode)
            yield from takewhile(lambda step: step.tape not in abandoned, steps)
    yield from replay_batched(tapes, abandoned)


def stored(number: int, episode: Episode) -> Iterator[ReplayedStep]:
    """Yields the steps of an episode with stored observations, in the form of `replay_batched`."""
    assert episode.observations is not None
    # The witness reads the newest frame of a stack, so a stored frame becomes a stack of one.
    stacked = episode.spec.frame_stack > 1
    observations = episode.observations[:, None] if stacked else episode.observations
    rewards = [0.0, *episode.rewards.tolist()]
    for step, (obs, reward) in enumerate(zip(observations, rewards, strict=True)):
        last = step == len(episode)
        ends = last and episode.terminated, last and not episode.terminated
        yield ReplayedStep(number, step, obs, reward, *ends)


def differs(episode: Episode, witness: Witness, replayed: ReplayedStep) -> Difference | None:
    """Compares a replayed step with the recording, and shows the step to the witness."""
    _, step, obs, reward, terminated, truncated, _ = replayed
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
