"""Batched replay: one pool replays many tapes, twice as fast as one environment each."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from envs import masks
from envs.backends import open_pool
from envs.machine import available_cores
from envs.tapes import Tape, playable_actions

POOL = 8
"""Environments in the pool; more are no faster."""


class ReplayedStep(NamedTuple):
    """The outcome of one step of a tape; step 0 is the reset.

    Attributes:
        legal: bool (A,), the actions allowed at `obs`; None if the environment has no masks.
    """

    tape: int
    step: int
    obs: np.ndarray
    reward: float
    terminated: bool
    truncated: bool
    legal: np.ndarray | None = None


def replay_batched(
    tapes: Mapping[int, Tape],
    abandoned: Container[int] = (),
    num_envs: int = POOL,
    num_threads: int | None = None,
) -> Iterator[ReplayedStep]:
    """Replays several tapes at a time, bit for bit; each tape holds one episode.

    Yields the steps of each tape in order; the steps of different tapes are interleaved. While the
    caller handles one batch of steps, the pool already emulates the next.

    Args:
        tapes: tapes of one spec, by numbers that the caller chooses.
        abandoned: numbers of the tapes to stop; the caller may add to it.
        num_envs: environments in the pool.
        num_threads: emulator threads; by default one per core.

    Raises:
        UserError: as `envs.replay`, or the tapes belong to different environments.
    """
    if not tapes:
        return
    spec = next(iter(tapes.values())).spec
    spec.check_reproducible()
    for tape in tapes.values():
        spec.require_same(tape.spec, "a tape is")
    count = min(num_envs, len(tapes))
    pool = open_pool(spec, count, min(count, num_threads or available_cores()), rgb=False)
    try:
        space = pool.single_action_space
        actions = {k: playable_actions(space, tape.actions) for k, tape in tapes.items()}
        # The longest tapes go first, so that few environments are idle at the end.
        waiting = sorted(tapes, key=lambda k: len(actions[k]))
        playing: dict[int, int] = {}
        steps = [0] * count
        seeds = np.zeros(count, np.uint64)
        batch = np.repeat(actions[waiting[0]][:1], count, axis=0)
        replayed: list[ReplayedStep] = []
        while True:
            starting = np.zeros(count, bool)
            for i in range(count):
                tape = playing.get(i)
                if tape is None or steps[i] == len(actions[tape]) or tape in abandoned:
                    playing.pop(i, None)
                    if waiting:
                        playing[i] = waiting.pop()
                        steps[i] = 0
                        starting[i] = True
                        seeds[i] = tapes[playing[i]].seed
            if starting.any():
                obs, _ = pool.reset(seeds, starting)
                for i in np.flatnonzero(starting).tolist():
                    legal = None if pool.legal is None else pool.legal[i]
                    begun = (obs[i], 0.0, False, False, legal)
                    replayed.append(ReplayedStep(playing[i], 0, *begun))
            current = (each for each in replayed if each.tape not in abandoned)
            if not playing:
                yield from current
                return
            for i, tape in playing.items():
                batch[i] = actions[tape][steps[i]]
            idle = [i not in playing for i in range(count)]
            pool.send(masks.made_legal(space, batch, pool.legal, among_N=idle))
            try:
                yield from current
            finally:
                now = pool.recv()
            replayed = []
            for i, tape in playing.items():
                steps[i] += 1
                ends = bool(now.terminated[i]), bool(now.truncated[i])
                obs = now.obs if now.final_obs is None or not any(ends) else now.final_obs
                reward = float(now.reward[i])
                masks_N = now.final_legal if any(ends) else pool.legal
                legal = None if masks_N is None else masks_N[i]
                replayed.append(ReplayedStep(tape, steps[i], obs[i], reward, *ends, legal))
    finally:
        pool.close()
