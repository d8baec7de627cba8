"""With --overlap-learning, half of the cores learn while the others act, and learn the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from agents.core.system.device import roles
from benchmarks.contenders import Joystick
from benchmarks.workloads import make_config

SMALL = {"precision": "fp32", "torso": "data_efficient", "hidden": 32, "learning_starts_steps": 32}


def test_who_learns_and_when_does_not_change_what_is_learned() -> None:
    config = make_config("dqn", **SMALL, num_threads=1)
    in_turns = Joystick("dqn", config)
    beside = Joystick("dqn", replace(config, num_threads=2, overlap_learning=True))
    for side in (in_turns, beside):
        side.advance(64)
    assert in_turns.counts == beside.counts
    mine, theirs = (side.agent.policy.network.state_dict() for side in (in_turns, beside))
    assert any(tensor.any() for tensor in mine.values())
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_an_agent_learns_beside_acting_only_where_there_are_cores_for_both() -> None:
    config = make_config("dqn", **SMALL, overlap_learning=True)
    for num_threads, learning, acting, beside in ((1, 1, 1, False), (2, 1, 1, True)):
        side = Joystick("dqn", replace(config, num_threads=num_threads))
        loop: Any = side.training.trainer
        assert (side.agent.policy.compute.shards, loop.beside is not None) == (learning, beside)
        assert (loop.behavior is not side.agent.policy) == beside
        side.advance(48)
        assert roles(num_threads, True) == (learning, acting)
        loop.close()
    assert [roles(count, True) for count in (3, 4, 16)] == [(2, 1), (2, 2), (8, 8)]
    assert roles(4, False) == (4, 4)
