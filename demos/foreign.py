"""Datasets that others made, in our types, after a replay of each episode.

If the replay equals their data bit for bit, the episode becomes its seed and actions. If one
episode of a dataset differs, all its episodes keep their observations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import gymnasium
import numpy as np

from demos import provenance
from demos.dataset import Metadata
from demos.episode import Episode, Witness
from demos.verification import verify
from envs import EnvSpec, UserError
from envs.tapes import action_dtype, playable_actions, seeds_end


@dataclass(frozen=True)
class Reading:
    """A dataset of others in our types."""

    metadata: Metadata
    episodes: Iterator[Episode]
    """Episodes, read one at a time; raises a UserError for an episode that cannot be read."""
    remark: str = ""
    """A remark for the user, or ""."""


@dataclass(frozen=True)
class About:
    """The facts about a dataset of others.

    Attributes:
        spec: the environment.
        policy: who played.
        source: name of the dataset in errors.
        variant: what of the environment a spec cannot hold; "" for nothing.
        changed: why stored observations may differ from the environment's; "" for no known reason.
    """

    spec: EnvSpec
    policy: str
    source: str
    variant: str = ""
    changed: str = ""


def reading(
    about: About, episodes: Callable[[], Iterator[Episode]], *, replayable_only: bool
) -> Reading:
    """Reads episodes twice: to see which ones replay, and to keep them.

    Args:
        episodes: reads all episodes, with their observations.
        replayable_only: leave out the episodes that do not replay, instead of storing the
            observations of all.

    Raises:
        UserError: an episode cannot be read, none is left, or the environment is another one.
    """
    faults = [why_not_replayable(each) for each in episodes()]
    wrong = {i: why for i, why in enumerate(faults) if why}
    count = f"{len(wrong)} of {len(faults)} episodes"
    first = next((f"episode {i}, {why}" for i, why in wrong.items()), "")
    remark = f"{count} do not replay from seed and actions ({first})" if wrong else ""
    all_wrong = len(wrong) == len(faults)
    if replayable_only and all_wrong:
        raise UserError(f"{about.source}: {remark or 'it has no episodes'}")
    if wrong and about.variant and not replayable_only:
        raise UserError(
            f"{about.source} was made with {about.variant}, which a spec cannot hold: {remark}"
        )
    replayable = replayable_only or not wrong
    metadata = Metadata(
        spec=about.spec,
        policy=about.policy,
        created=provenance.now(),
        command=provenance.command_line(),
        commit=provenance.commit(),
        license="NOASSERTION",
        replayable=replayable,
    )
    kept = (
        replace(each, observations=None) if replayable else each
        for i, each in enumerate(episodes())
        if not (replayable and i in wrong)
    )
    if wrong:
        remark += ": they are left out" if replayable else ": all observations are stored"
        remark += "" if replayable or all_wrong else ", --replayable-only leaves those out"
        remark += f" ({about.changed})" if about.changed else ""
    return Reading(metadata, kept, remark)


def episode(
    spec: EnvSpec,
    seen: np.ndarray,
    data: dict[str, Any],
    seed: int | None,
    action_space: gymnasium.Space,
    policy: str,
) -> Episode:
    """Makes an episode with its observations; raises a UserError unless it is one whole episode."""
    rewards = np.asarray(data["rewards"], np.float32)
    ends = data["terminations"] | data["truncations"]
    steps = len(rewards)
    if len(seen) != steps + 1:
        raise UserError(f"it has {len(seen)} observations, but {steps} steps need {steps + 1}")
    if ends[:-1].any():
        raise UserError(f"it ends at step {int(ends.argmax()) + 1} of {steps}")
    terminated = bool(data["terminations"][-1])
    witness = Witness(spec, seen[0])
    for step, obs in enumerate(seen[1:], start=1):
        last = step == steps
        witness.step(obs, float(rewards[step - 1]), last and terminated, last and not terminated)
    return Episode(
        spec=spec,
        seed=seed if seed is not None and 0 <= seed < seeds_end(spec) else None,
        actions=playable_actions(action_space, data["actions"]).astype(action_dtype(action_space)),
        rewards=rewards,
        terminated=terminated,
        digests=witness.digests(),
        policy=policy,
        observations=seen[:, -1] if spec.frame_stack > 1 else seen,
    )


def why_not_replayable(episode: Episode) -> str:
    """Says how the replay of an episode differs from its observations; "" if it does not."""
    if episode.seed is None:
        return "its seed is missing"
    difference = verify(replace(episode, observations=None))
    return "" if difference is None else f"step {difference.step}: {difference.what}"
