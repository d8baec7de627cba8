"""Verification: an episode is lived again, and everything must be as it was recorded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demos.episode import DIGEST_EVERY_STEPS, Episode, Witness
from envs import replay


@dataclass(frozen=True)
class Difference:
    """The first step, from 1, at which a life differs from its recording, and how."""

    step: int
    what: str


def verify(episode: Episode) -> Difference | None:
    """Live an episode again; None when frames, rewards and end are those of the recording.

    A frame that differs is known to within the 256 steps of a digest, of which the last is named.

    Raises:
        UserError: this machine cannot match the episode's spec (the field is named), or an action
            is not one of the environment's.
    """
    life = replay(episode.tape)
    witness = Witness(episode.spec, next(life)[0])
    for obs, reward, terminated, truncated in life:
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
