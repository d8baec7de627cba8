"""Tapes that are lived side by side are lived as they are alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from conftest import demonstrations

import envs
from demos import Dataset, Episode, verify
from demos.verification import verify_together
from envs import Tape, UserError
from envs.batched_replay import Lived, replay_together
from envs.registered import RegisteredPool


def episodes_of(env_id: str, count: int = 3) -> list[Episode]:
    return Dataset.open(demonstrations(env_id, count)).episodes()


def tapes_of(env_id: str, count: int = 3) -> dict[int, Tape]:
    """By numbers that are not their places."""
    return {9 - k: episode.tape for k, episode in enumerate(episodes_of(env_id, count))}


@pytest.mark.parametrize(
    ("env_id", "count", "num_envs"),
    [("Pong", 3, 2), ("CartPole-v1", 7, 3), ("toy/Catch-v0", 3, 16)],
)
def test_each_tape_leads_to_what_it_does_alone(env_id: str, count: int, num_envs: int) -> None:
    tapes = tapes_of(env_id, count)
    lives: dict[int, list[Lived]] = {number: [] for number in tapes}
    for lived in replay_together(tapes, num_envs=num_envs):
        lives[lived.tape].append(lived)
    for number, life in lives.items():
        assert [lived.step for lived in life] == list(range(len(tapes[number].actions) + 1))
        for lived, (obs, *rest) in zip(life, envs.replay(tapes[number]), strict=True):
            np.testing.assert_array_equal(lived.obs, obs)
            assert [lived.reward, lived.terminated, lived.truncated] == rest


def test_observations_stay_as_they_were_given() -> None:
    tapes = tapes_of("Pong", 1)
    given = [lived.obs for lived in replay_together(tapes)]
    for obs, (alone, *_) in zip(given, envs.replay(*tapes.values()), strict=True):
        np.testing.assert_array_equal(obs, alone)


def test_an_abandoned_tape_goes_no_further() -> None:
    tapes, abandoned = tapes_of("CartPole-v1", 7), set[int]()
    seen: dict[int, int] = {}
    for lived in replay_together(tapes, abandoned, num_envs=2):
        assert lived.tape not in abandoned
        seen[lived.tape] = lived.step
        if lived.tape % 2 and lived.step == 3:
            abandoned.add(lived.tape)
    assert seen == {k: 3 if k % 2 else len(tape.actions) for k, tape in tapes.items()}


def test_an_abandoned_tape_is_no_longer_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    tapes, abandoned = tapes_of("CartPole-v1", 1), set[int]()
    recv, emulated = RegisteredPool.recv, list[int]()
    monkeypatch.setattr(RegisteredPool, "recv", lambda pool: emulated.append(1) or recv(pool))
    for lived in replay_together(tapes, abandoned):
        if lived.step == 3:
            abandoned.add(lived.tape)
    assert len(emulated) == 4, "the next step begins while the caller looks at one"


def test_a_caller_may_stop_at_any_moment() -> None:
    life = replay_together(tapes_of("Pong"))
    for _ in range(20):
        next(life)
    life.close()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(StopIteration):
        next(life)


def test_tapes_of_several_environments_are_refused() -> None:
    tapes = [episodes_of(env_id)[0].tape for env_id in ("CartPole-v1", "toy/Catch-v0")]
    with pytest.raises(UserError, match="a tape is of another environment: env_id"):
        next(replay_together(dict(enumerate(tapes))))


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
    differences = [verify(each) for each in mixed]
    assert sorted(verify_together(mixed), key=lambda each: each[0]) == [*enumerate(differences)]
    assert [each is None for each in differences] == [True, *[False] * 4, True, True]
    steps = [each and each.step for each in differences[1:4]]
    assert steps == [len(whole[1]), 5, len(whole[3])]
