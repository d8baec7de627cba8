"""Tapes that are lived side by side are lived as they are alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from conftest import demonstrations

import envs
from demos import Dataset, Episode, verify
from demos.verification import verify_together
from envs import UserError
from envs.together import Lived, replay_together


def episodes_of(env_id: str, count: int = 3) -> list[Episode]:
    return Dataset.open(demonstrations(env_id, count)).episodes()


@pytest.mark.parametrize(
    ("env_id", "count", "num_envs"),
    [("Pong", 3, 2), ("CartPole-v1", 7, 3), ("toy/Catch-v0", 3, 16)],
)
def test_each_tape_leads_to_what_it_does_alone(env_id: str, count: int, num_envs: int) -> None:
    tapes = [episode.tape for episode in episodes_of(env_id, count)]
    lives: list[list[Lived]] = [[] for _ in tapes]
    for lived in replay_together(tapes, num_envs=num_envs):
        lives[lived.tape].append(lived)
    for tape, life in zip(tapes, lives, strict=True):
        assert [lived.step for lived in life] == list(range(len(tape.actions) + 1))
        for lived, (obs, *rest) in zip(life, envs.replay(tape), strict=True):
            np.testing.assert_array_equal(lived.obs, obs)
            assert [lived.reward, lived.terminated, lived.truncated] == rest


def test_observations_stay_as_they_were_given() -> None:
    tapes = [episode.tape for episode in episodes_of("Pong")]
    given = [lived.obs for lived in replay_together(tapes[:1])]
    for obs, (alone, *_) in zip(given, envs.replay(tapes[0]), strict=True):
        np.testing.assert_array_equal(obs, alone)


def test_an_abandoned_tape_goes_no_further() -> None:
    tapes, abandoned = [episode.tape for episode in episodes_of("CartPole-v1", 7)], set[int]()
    seen: dict[int, int] = {}
    for lived in replay_together(tapes, abandoned, num_envs=2):
        assert lived.tape not in abandoned
        seen[lived.tape] = lived.step
        if lived.tape % 2 and lived.step == 3:
            abandoned.add(lived.tape)
    assert seen == {k: 3 if k % 2 else len(tape.actions) for k, tape in enumerate(tapes)}


def test_a_caller_may_stop_at_any_moment() -> None:
    tapes = [episode.tape for episode in episodes_of("Pong")]
    life = replay_together(tapes)
    for _ in range(20):
        next(life)
    life.close()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(StopIteration):
        next(life)


def test_tapes_of_several_environments_are_refused() -> None:
    tapes = [episodes_of(env_id)[0].tape for env_id in ("CartPole-v1", "toy/Catch-v0")]
    with pytest.raises(UserError, match="a tape is of another environment: env_id"):
        next(replay_together(tapes))


def test_episodes_are_verified_together_as_they_are_alone() -> None:
    whole = episodes_of("CartPole-v1", 7)
    rewards = whole[2].rewards.copy()
    rewards[4] = 7
    false = [
        dataclasses.replace(whole[1], digests=whole[1].digests ^ 1),
        dataclasses.replace(whole[2], rewards=rewards),
        dataclasses.replace(whole[3], terminated=not whole[3].terminated),
        dataclasses.replace(whole[4], seed=whole[4].tape.seed + 1),
    ]
    stored = dataclasses.replace(
        whole[5], observations=np.stack([obs for obs, *_ in envs.replay(whole[5].tape)])
    )
    mixed = [whole[0], *false, stored, whole[6]]
    assert dict(verify_together(mixed)) == {k: verify(each) for k, each in enumerate(mixed)}
    for episode in mixed:
        assert list(verify_together([episode])) == [(0, verify(episode))]
    assert [verify(each) is None for each in mixed] == [True, *[False] * 4, True, True]
