"""Options of environments: from the command line, in protocols, from files, in every mode."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

import envs
from envs import EnvSpec, UserError, kwargs
from envs.atari import AtariPool
from envs.atari_modes import ModePool


@pytest.mark.parametrize(
    ("texts", "parsed"),
    [
        (["gravity=-5.0", "continuous=true"], {"gravity": -5.0, "continuous": True}),
        (["continuous=False", "name=None"], {"continuous": False, "name": None}),
        (['{"gravity": -5.0}'], {"gravity": -5.0}),
        (["map_name=8x8", 'sizes=[1, {"a": 2}]'], {"map_name": "8x8", "sizes": [1, {"a": 2}]}),
    ],
)
def test_arguments_are_typed_as_names_and_values_or_json(texts: list[str], parsed: dict) -> None:
    assert kwargs.parsed(texts) == parsed


@pytest.mark.parametrize(
    "bad",
    [
        {"gravity": float("nan")},
        {"f": print},
        {"render_mode": "human"},
        {"max_episode_steps": 3},
        {"a b": 1},
        {"array": np.zeros(3)},
    ],
)
def test_arguments_that_are_no_plain_json_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^[^\n]+$"):
        envs.make("CartPole-v1", env_kwargs=bad)


def test_arguments_reach_the_environment_and_the_tape() -> None:
    returns = []
    for enabled in (False, True):
        spec = envs.spec("CartPole-v1", env_kwargs={"sutton_barto_reward": enabled})
        env = envs.make(spec, 1, seed=3)
        env.reset()
        returns.append(float(env.step(np.array([0]))[1][0]))
        (tape,) = env.tapes()
        assert tape.spec == spec and [r for _, r, _, _ in envs.replay(tape)][1] == returns[-1]
        env.close()
    assert returns == [1.0, 0.0]
    assert spec.protocol == "CartPole-v1, sutton_barto_reward=true"
    assert EnvSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_an_argument_that_the_environment_lacks_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^CartPole-v1 cannot be built here with .*gravty[^\n]*$"):
        envs.spaces_of(envs.spec("CartPole-v1", env_kwargs={"gravty": 5}))


@pytest.mark.parametrize("value", ["payload.py", "pkg.module:f", "/etc/passwd", "../x", "a" * 99])
@pytest.mark.parametrize("nest", [lambda v: v, lambda v: [1, {"k": v}], lambda v: {v: 1}])
def test_text_of_a_file_that_may_name_a_path_or_module_is_not_passed_on(value: str, nest) -> None:
    spec = dataclasses.replace(envs.spec("CartPole-v1"), env_kwargs={"it": nest(value)})
    with pytest.raises(UserError, match="JOYSTICK_KWARGS=it"):
        envs.make(spec)


def test_a_word_of_a_file_reaches_gymnasium_s_own_environments_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kwargs.require_trusted("FrozenLake-v1", {"map_name": "8x8", "desc": ["SFFF"]})
    with pytest.raises(UserError, match="JOYSTICK_KWARGS=model"):
        kwargs.require_trusted("other/Env-v0", {"model": "payload"})
    monkeypatch.setenv("JOYSTICK_KWARGS", "x,model")
    kwargs.require_trusted("other/Env-v0", {"model": "payload"})


def test_time_limits_are_steps_in_both_families() -> None:
    for name, frames in (("Pendulum-v1", 7), ("Breakout", 28)):
        spec = envs.spec(name, max_episode_steps=7)
        assert spec.max_episode_frames == frames and "at most 7 steps" in spec.protocol
        env = envs.make(spec, 1, num_threads=1)
        env.reset()
        actions = np.zeros((1, *env.single_action_space.shape), env.single_action_space.dtype)
        ended = [bool(env.step(actions)[3][0]) for _ in range(7)]
        assert ended == [False] * 6 + [True]
        env.close()
    assert envs.spec("CartPole-v1", max_episode_steps=500) == envs.spec("CartPole-v1")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("CartPole-v1", {"frameskip": 4}, "frameskip is 4, but CartPole-v1 is not an Atari game"),
        ("CartPole-v1", {"full_action_space": True}, "not an Atari game"),
        ("Breakout", {"mode": 3}, "mode is 3, but ALE/Breakout-v5 has 0, 4, 8"),
        ("Pong", {"difficulty": 9}, "difficulty is 9, but ALE/Pong-v5 has 0, 1, 2, 3"),
        ("Pong", {"frameskip": 0}, "frameskip is 0"),
        ("Pong", {"env_kwargs": {"gravity": 1}}, "takes no 'gravity'"),
        ("Pong", {"env_kwargs": {"frameskip": "4"}}, "frameskip: expected `int`"),
        ("Pong", {"max_episode_steps": 0}, "max_episode_steps is 0"),
        ("Pong", {"frameskpi": 2}, "did you mean 'frameskip'"),
    ],
)
def test_an_option_that_does_not_apply_is_one_line(name: str, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        envs.spec(name, **options)


def test_an_atari_protocol_tells_what_is_unusual_and_compares_no_other_game() -> None:
    spec = envs.spec("Breakout", mode=4, difficulty=1, full_action_space=True, frameskip=3)
    expected = "ALE/Breakout-v5, sticky 0.25, frameskip 3, mode 4, difficulty 1, all 18 actions"
    assert spec.protocol == expected and spec.scored_game is None
    usual = envs.spec("Breakout", mode=0, difficulty=0, frameskip=4)
    assert usual == envs.spec("Breakout") and usual.scored_game == "breakout"
    assert envs.spec("Breakout", env_kwargs={"mode": 4}) == envs.spec("Breakout", mode=4)


@pytest.mark.parametrize("name", ["Breakout", "BreakoutNoFrameskip-v4"])
def test_a_game_by_itself_plays_as_the_vector_environment(name: str) -> None:
    spec = dataclasses.replace(envs.spec(name, max_episode_steps=60), noop_max=0)
    ours, theirs = ModePool(spec, 1, 1, rgb=False), AtariPool(spec, 1, 1, rgb=False)
    mask, rng = np.array([True]), np.random.default_rng(0)
    for pool in (ours, theirs):
        first, lives = pool.reset(np.array([7]), mask)
        assert first.shape == (1, 4, 84, 84) and lives == 5
    for _ in range(150):
        action = rng.integers(4, size=1)
        ours.send(action)
        theirs.send(action)
        mine, its = ours.recv(), theirs.recv()
        assert np.abs(mine.obs.astype(int) - its.obs).max() <= 1
        for each in ("reward", "terminated", "truncated", "lives"):
            assert getattr(mine, each) == getattr(its, each)


def test_another_mode_is_another_game_that_replays() -> None:
    spec = envs.spec("Breakout", mode=4, noop_max=9, max_episode_steps=40)
    env = envs.make(spec, 2, seed=1, tape_steps=10_000)
    seen = [env.reset()[0]]
    rng = np.random.default_rng(0)
    seen += [env.step(rng.integers(4, size=2))[0] for _ in range(100)]
    tape = env.tapes()[0]
    lived = [obs for obs, *_ in envs.replay(tape)]
    assert len(lived) == 103 and any((obs == seen[-1][0]).all() for obs in lived[-1:])
    assert next(iter(envs.render(tape))).shape == (210, 160, 3)
    env.close()


def test_a_spec_of_before_options_loads_with_neutral_values() -> None:
    for name in ("Pong", "CartPole-v1"):
        spec = envs.spec(name)
        fields = spec.to_json()
        for younger in ("mode", "difficulty", "env_kwargs", "package_versions"):
            fields.pop(younger, None)
        assert EnvSpec.from_json(fields) == dataclasses.replace(spec, package_versions={})


@pytest.mark.parametrize(
    ("name", "package"), [("HalfCheetah-v5", "mujoco"), ("LunarLander-v3", "Box2D")]
)
def test_the_version_of_the_physics_is_recorded(name: str, package: str) -> None:
    pytest.importorskip(package)
    assert package in envs.spec(name).package_versions


def test_a_patch_version_warns_and_a_larger_difference_can_be_overridden(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = envs.spec("CartPole-v1")
    major, minor, _ = spec.gymnasium_version.split(".")
    patch = dataclasses.replace(spec, gymnasium_version=f"{major}.{minor}.99")
    patch.check_reproducible()
    spec.require_same(patch, "it is")
    said = capsys.readouterr().err
    assert f"{major}.{minor}.99" in said and spec.gymnasium_version in said
    for field, value in (("gymnasium_version", "0.1"), ("package_versions", {"gone": "1.2"})):
        other = dataclasses.replace(spec, **{field: value})
        with pytest.raises(UserError, match="JOYSTICK_ANY_VERSION=1"):
            other.check_reproducible()
        with monkeypatch.context() as patched:
            patched.setenv("JOYSTICK_ANY_VERSION", "1")
            other.check_reproducible()
