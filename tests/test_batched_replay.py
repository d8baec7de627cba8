"""A batched replay emits the same steps as a replay of each tape alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from conftest import demonstrations

import envs
from demos import Dataset, Episode, verify
from demos.verification import verify_batched
from envs import Tape, UserError
from envs.batched_replay import ReplayedStep, replay_batched
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
    replays: dict[int, list[ReplayedStep]] = {number: [] for number in tapes}
    for step in replay_batched(tapes, num_envs=num_envs):
        replays[step.tape].append(step)
    for number, steps in replays.items():
        assert [step.step for step in steps] == list(range(len(tapes[number].actions) + 1))
        for step, (obs, *rest) in zip(steps, envs.replay(tapes[number]), strict=True):
            np.testing.assert_array_equal(step.obs, obs)
            assert [step.reward, step.terminated, step.truncated] == rest


def test_observations_stay_as_they_were_given() -> None:
    tapes = tapes_of("Pong", 1)
    given = [step.obs for step in replay_batched(tapes)]
    for obs, (alone, *_) in zip(given, envs.replay(*tapes.values()), strict=True):
        np.testing.assert_array_equal(obs, alone)


def test_an_abandoned_tape_goes_no_further() -> None:
    tapes, abandoned = tapes_of("CartPole-v1", 7), set[int]()
    seen: dict[int, int] = {}
    for step in replay_batched(tapes, abandoned, num_envs=2):
        assert step.tape not in abandoned
        seen[step.tape] = step.step
        if step.tape % 2 and step.step == 3:
            abandoned.add(step.tape)
    assert seen == {k: 3 if k % 2 else len(tape.actions) for k, tape in tapes.items()}


def test_an_abandoned_tape_is_no_longer_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    tapes, abandoned = tapes_of("CartPole-v1", 1), set[int]()
    recv, emulated = RegisteredPool.recv, list[int]()
    monkeypatch.setattr(RegisteredPool, "recv", lambda pool: emulated.append(1) or recv(pool))
    for step in replay_batched(tapes, abandoned):
        if step.step == 3:
            abandoned.add(step.tape)
    assert len(emulated) == 4, "the next step begins while the caller looks at one"


def test_a_caller_may_stop_at_any_moment() -> None:
    steps = replay_batched(tapes_of("Pong"))
    for _ in range(20):
        next(steps)
    steps.close()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(StopIteration):
        next(steps)


def test_tapes_of_several_environments_are_refused() -> None:
    tapes = [episodes_of(env_id)[0].tape for env_id in ("CartPole-v1", "toy/Catch-v0")]
    with pytest.raises(UserError, match="a tape is of another environment: env_id"):
        next(replay_batched(dict(enumerate(tapes))))


def test_batched_verification_finds_what_verification_finds() -> None:
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
    assert sorted(verify_batched(mixed), key=lambda each: each[0]) == [*enumerate(differences)]
    assert [each is None for each in differences] == [True, *[False] * 4, True, True]
    steps = [each and each.step for each in differences[1:4]]
    assert steps == [len(whole[1]), 5, len(whole[3])]
