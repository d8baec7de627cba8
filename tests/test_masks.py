"""Action masks: what an environment forbids is known before each action, also after a reset."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from conftest import ALGORITHMS, IMITATORS, OFF_POLICY, read_metrics, run_tiny
from gymnasium import Env, spaces
from support.devices import CPU
from support.settings import Settings
from support.worlds import DictStore, Plan, World

import envs
import joystick
from agents.core.data.demonstrations import Demonstrations, legal_actions
from agents.core.data.replay import Replay
from agents.core.data.replay_store import ReplayStore
from agents.core.training.building import spaces_of
from agents.core.training.demonstrator import Demonstrator
from agents.core.training.env_group import EnvGroup, earlier_state
from agents.core.training.launch import train
from agents.core.types.env_rng import EnvRng
from agents.core.types.step import ActOutput, PolicyInputs
from demos import record
from demos.frames import decode
from demos.human import Game, one_game
from demos.keys import Controls
from demos.policies import RandomPolicy
from demos.sb3 import Checkpoint
from demos.sb3_actions import drawn, epsilon_greedy
from demos.scripts import Script
from demos.verification import masks_of, verify
from demos.window import Keys
from envs.backends import open_pool
from envs.masks import made_legal
from envs.probe import difference

ACTIONS = 3
"""Number of actions of `Strict`; its first action has the number 5."""


def legal_at(count: int) -> np.ndarray:
    """The mask after `count` steps: two of three actions, other ones after each step."""
    mask = np.ones(ACTIONS, np.int8)
    mask[count % ACTIONS] = 0
    return mask


class Strict(Env[Any, Any]):
    """Refuses illegal actions; the 1st, 3rd, ... episode has 3 steps, each other one has 6.

    Args:
        fault: the mask after step 2; or "reset", "second reset" or "step", which give no mask.
    """

    def __init__(self, fault: Any = None, space: Any = None) -> None:
        self.fault = fault
        self.strict = fault is None
        self.observation_space = spaces.Box(0, 9, (1,), np.float32)
        self.action_space = space or spaces.Discrete(ACTIONS, start=5)
        self.episodes = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        self.episodes += 1
        gone = self.fault == "reset" or (self.fault == "second reset" and self.episodes > 1)
        return self.seen(), {} if gone else {"action_mask": legal_at(0)}

    def step(self, action: Any) -> Any:
        if self.strict and not legal_at(self.count)[action - 5]:
            raise ValueError(f"action {action} is illegal")
        self.count += 1
        truncated = self.count == 3 and self.episodes % 2 == 1
        terminated = self.count == 6
        mask: Any = legal_at(self.count)
        if self.count == 2 and not self.strict and not isinstance(self.fault, str):
            mask = self.fault
        info = {} if self.fault == "step" or terminated else {"action_mask": mask}
        return self.seen(), 1.0, terminated, truncated, info

    def seen(self) -> np.ndarray:
        return np.array([self.count], np.float32)


class Legal:
    """Plays the first legal action, and notes the inputs of each call."""

    device = torch.device("cpu")

    def __init__(self, env_id: str) -> None:
        self.spaces = spaces_of(envs.spec(env_id))
        self.inputs: list[PolicyInputs] = []

    def initial_state(self, num_envs: int) -> dict[str, Any]:
        return {}

    def act(self, inputs: PolicyInputs, *_: Any) -> ActOutput:
        self.inputs.append(inputs)
        assert inputs.legal_NA is not None
        index_N = inputs.legal_NA.int().argmax(dim=1).numpy()
        return ActOutput(self.spaces.playable_combination(index_N))


FAULTS: dict[str, tuple[Any, str]] = {
    "Short": ([1, 1], r"step\(\) returned an action_mask of shape \(2,\), but there are 3 actions"),
    "Floats": ([1.0, 1.0, 1.0], "as action_mask, which must hold integers 0 and 1 in step 2"),
    "Twos": ([0, 2, 1], "as action_mask, which must hold integers 0 and 1"),
    "Nothing": ([0, 0, 0], "an action_mask that allows no action in step 2 of an episode"),
    "Ragged": ([[1], 2], "as action_mask, which is not an array"),
    "NotInReset": ("reset", r"step\(\) returned an action_mask, but reset\(\) did not in step 1"),
    "NotInStep": ("step", r"step\(\) returned no action_mask, but reset\(\) did in step 1"),
    "NotInNextReset": ("second reset", "some resets returned an action_mask, and others did not"),
}
"""The mask of each fault, and its error."""

gymnasium.register("Strict-v0", f"{__name__}:Strict")
boxes = {"space": spaces.Box(-1, 1, (3,))}
gymnasium.register("StrictBox-v0", f"{__name__}:Strict", kwargs=boxes)
for name, (fault, _) in FAULTS.items():
    gymnasium.register(f"Strict{name}-v0", f"{__name__}:Strict", kwargs={"fault": fault})


def walk(env: Any, steps: int) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Observations and infos of a reset and `steps` steps, which play the first legal actions."""
    seen = [env.reset()]
    for _ in range(steps):
        obs, _, _, _, info = env.step(seen[-1][1]["action_mask"].argmax(axis=1) + 5)
        seen.append((obs, info))
    return seen


def test_a_mask_belongs_to_the_observation_it_comes_with() -> None:
    with closing(envs.make("Strict-v0", 2)) as env:
        seen = walk(env, 20)
    for obs, info in seen:
        expected = [legal_at(int(count)) for (count,) in obs]
        np.testing.assert_array_equal(info["action_mask"], expected)
        assert info["action_mask"].dtype == np.int8


def test_the_mask_of_a_last_observation_is_its_own_and_a_termination_allows_all() -> None:
    with closing(envs.make("Strict-v0", 1)) as env:
        infos = [info for _, info in walk(env, 9)]
    truncated = infos[3]
    terminated = infos[9]
    np.testing.assert_array_equal(truncated["final_info"]["action_mask"], [legal_at(3)])
    np.testing.assert_array_equal(terminated["final_info"]["action_mask"], np.ones((1, 3)))
    assert [number for number, info in enumerate(infos) if "final_info" in info] == [3, 9]


def test_a_new_tape_begins_with_its_own_mask() -> None:
    with closing(envs.make("Strict-v0", 2, tape_steps=1)) as env:
        for obs, info in walk(env, 12):
            expected = [legal_at(int(count)) for (count,) in obs]
            np.testing.assert_array_equal(info["action_mask"], expected)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_mask_is_one_line_that_names_the_environment(fault: str) -> None:
    env_id = f"Strict{fault}-v0"
    told = pytest.raises(envs.UserError, match=FAULTS[fault][1])
    with closing(envs.make(env_id, 2)) as env, told as caught:
        env.reset()
        for _ in range(8):
            env.step(np.full(2, 6))
    assert str(caught.value).startswith(env_id)
    assert "\n" not in str(caught.value)


def test_a_mask_of_another_space_than_discrete_is_refused() -> None:
    with pytest.raises(envs.UserError, match="StrictBox-v0.*only Discrete actions can have one"):
        spaces_of(envs.spec("StrictBox-v0"))


@pytest.mark.parametrize(
    ("env_id", "masked"), [("Strict-v0", True), ("Taxi-v4", True), ("CartPole-v1", False)]
)
def test_the_spaces_say_whether_there_are_masks(env_id: str, masked: bool) -> None:
    assert spaces_of(envs.spec(env_id)).masked == masked


def test_a_strict_environment_is_played_twice_without_an_illegal_action() -> None:
    assert difference(envs.spec("Strict-v0")) == ""


def test_a_saved_state_of_tapes_of_unequal_lengths_loads_with_its_masks() -> None:
    with (
        closing(envs.make("Strict-v0", 2, tape_steps=4)) as env,
        closing(envs.make("Strict-v0", 2)) as other,
    ):
        env.reset()
        for index in (1, 0, 0, 1):
            env.step(np.full(2, 5 + index))
        state = env.state_dict()
        # The second environment's tape is shorter: the first one's actions are illegal in it.
        state["tape_lengths"] = [4, 1]
        state["actions"] = np.concatenate([state["actions"][:4], state["actions"][4:5]])
        state["episode_return"], state["episode_length"] = [1.0, 1.0], [1, 1]
        del state["obs_crc32"]
        obs, info = other.load_state_dict(state)
    np.testing.assert_array_equal(obs, [[1], [1]])
    np.testing.assert_array_equal(info["action_mask"], [legal_at(1), legal_at(1)])


def test_an_action_that_is_made_legal_is_the_next_legal_one() -> None:
    space = spaces.Discrete(3, start=5)
    legal_NA = np.array([[1, 0, 1], [1, 0, 0], [1, 0, 0]], bool)
    played = np.array([6, 6, 6])
    np.testing.assert_array_equal(made_legal(space, played, legal_NA), [7, 5, 5])
    among = made_legal(space, played, legal_NA, among_N=[True, False, True])
    np.testing.assert_array_equal(among, [7, 6, 5])
    assert made_legal(space, played, None) is played


def play(env_id: str, steps: int) -> tuple[Legal, list[Any], EnvGroup]:
    policy: Any = Legal(env_id)
    group = EnvGroup(policy, envs.make(env_id, 2), EnvRng(0, 2))
    group.reset()
    taken = []
    for _ in range(steps):
        group.send(0.0)
        taken.append(group.recv()[0])
    return policy, taken, group


def test_a_step_has_the_masks_before_and_after_it() -> None:
    policy, steps, _ = play("Strict-v0", 9)
    for inputs, step in zip(policy.inputs, steps, strict=True):
        np.testing.assert_array_equal(inputs.legal_NA, step.legal_NA)
        np.testing.assert_array_equal(step.legal_NA, [legal_at(int(o)) for o in step.obs[:, 0]])
        expected = [legal_at(int(o)) for o in step.next_obs[:, 0]]
        np.testing.assert_array_equal(step.next_legal_NA, expected)
        assert (step.final_legal_NA is None) == (step.final_obs is None)
    np.testing.assert_array_equal(steps[2].final_legal_NA, [legal_at(3)] * 2)


def test_a_policy_gets_the_previous_action_in_its_own_numbering() -> None:
    policy, steps, _ = play("Strict-v0", 9)
    for before, inputs in zip(steps, policy.inputs[1:], strict=False):
        ended = before.terminated_N | before.truncated_N
        expected = np.where(ended, 0, before.action_N - 5)
        np.testing.assert_array_equal(inputs.action_N, expected)


def test_the_previous_action_is_saved_and_an_earlier_checkpoint_has_none() -> None:
    _, _, group = play("Strict-v0", 2)
    state = group.state_dict()
    np.testing.assert_array_equal(state["action"], group.action_N)
    del state["action"]
    earlier = earlier_state(state, group.policy.spaces)
    np.testing.assert_array_equal(earlier["action"], [0, 0])


MASKED = envs.spec("toy/Masked-v0").bounded(100)


def test_the_masked_toy_pays_less_for_the_short_way_and_refuses_what_it_forbids() -> None:
    toy = gymnasium.make("toy/Masked-v0")
    _, info = toy.reset(seed=0)
    np.testing.assert_array_equal(info["action_mask"], [1, 1, 0, 0])
    _, reward, terminated, *_ = toy.step(1)
    assert (reward, terminated) == (-3.0, True)
    toy.reset()
    total = 0.0
    terminated = False
    while not terminated:
        _, reward, terminated, _, info = toy.step(int(info["action_mask"].argmax()))
        total += float(reward)
    assert total == -8.0
    toy.reset()
    with pytest.raises(ValueError, match="action 2 is illegal in state 0"):
        toy.step(2)


def test_random_play_takes_each_allowed_action_and_no_other() -> None:
    episodes = list(record(MASKED, RandomPolicy(spaces.Discrete(4), 0), 20, seed=0))
    assert {len(each) for each in episodes} == {1, 9}
    assert all(verify(each) is None for each in episodes)


def test_a_script_may_ask_for_the_masks_and_is_refused_an_illegal_action() -> None:
    def knows(obs: np.ndarray, legal: np.ndarray) -> Any:
        return legal.argmax(axis=1)

    def guesses(obs: np.ndarray) -> Any:
        return np.full(len(obs), 2)

    (episode,) = record(MASKED, Script("script:m:knows", knows), 1, seed=0, num_envs=1)
    assert len(episode) == 9
    with pytest.raises(
        envs.UserError, match="'script:m:guesses' returned .* with 2 for game 0, which the action m"
    ):
        list(record(MASKED, Script("script:m:guesses", guesses), 1, seed=0, num_envs=1))


def test_a_checkpoint_of_sb3_chooses_among_the_allowed_actions() -> None:
    class Linear:
        def __call__(self, obs: torch.Tensor) -> torch.Tensor:
            return torch.tensor([0.0, 1.0, 2.0, 3.0]).expand(len(obs), -1)

    legal = np.array([[1, 1, 0, 0], [0, 0, 0, 1], [1, 0, 1, 0]], bool)
    obs = np.zeros((3, 9), np.float32)
    start = np.zeros(3, bool)
    layers: Any = [Linear()]
    for choose, exploration in ((epsilon_greedy, 0.0), (epsilon_greedy, 1.0), (drawn, 5.0)):
        policy = Checkpoint("sb3:x", layers, choose, exploration, 0, spaces.Discrete(4))
        for _ in range(20):
            actions = policy.act(obs, start, legal=legal)
            assert legal[np.arange(3), actions].all()
            if exploration == 0:
                np.testing.assert_array_equal(actions, [1, 3, 2])


class Screen:
    """A person who presses some keys, one after the other.

    Attributes:
        lines: the lines shown before each key.
    """

    def __init__(self, struck: list[tuple[str, ...]]) -> None:
        self.struck = struck
        self.lines: list[tuple[str, ...]] = []

    def show(self, moment: Any) -> None:
        self.lines.append(moment.lines)

    def wait(self) -> Keys:
        return Keys(struck=self.struck[len(self.lines) - 1])


def test_a_person_cannot_play_an_illegal_action() -> None:
    pool = open_pool(MASKED, num_envs=1, num_threads=1, rgb=True)
    with closing(pool):
        game = Game(MASKED, pool, seed=3)
        assert [game.allows(action) for action in range(4)] == [True, True, False, False]
        controls = Controls(MASKED, {frozenset({str(a)}): a for a in range(4)})
        tried = [("p",), ("3",), ("0",), ("0",), ("q",)]
        screen: Any = Screen(tried)
        assert one_game(game, controls, screen, 0, 0.0) == "quit"
        assert [int(action) for action in game.actions] == [0]
        assert "action 3 is not allowed now" in screen.lines[2]
        assert "action 0 is not allowed now" in screen.lines[4]
        assert [game.allows(action) for action in range(4)] == [False, True, False, False]


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_no_agent_plays_an_illegal_action(algo: str, tmp_path: Path) -> None:
    """The toy raises on an illegal action, in training, evaluation and recording."""
    games = ("--eval-every-steps", "128", "--eval-episodes", "2", "--final-eval-episodes", "2")
    run = run_tiny(tmp_path, algo, "--env", "toy/Masked-v0", "--total-steps", "256", *games)
    player = Demonstrator(run, MASKED, seed=0, exploration=1.0)
    assert len(list(record(MASKED, player, 3, seed=0))) == 3


def test_demonstrations_hold_the_masks_of_each_step() -> None:
    episodes = list(record(MASKED, RandomPolicy(spaces.Discrete(4), 0), 6, seed=0))
    source = Demonstrations(decode(episodes, MASKED), episodes, spaces_of(MASKED), CPU)
    legal_NA = source.legal(torch.arange(source.size))
    assert legal_NA is not None
    state_N = source.observations(torch.arange(source.size)).argmax(dim=1)
    expected = torch.nn.functional.one_hot(state_N % 4, 4).bool()
    expected[state_N == 0] = torch.tensor([True, True, False, False])
    assert torch.equal(legal_NA, expected)


def test_an_illegal_action_of_a_demonstrator_counts_as_legal() -> None:
    (episode,) = record(MASKED, RandomPolicy(spaces.Discrete(4), 0), 1, seed=0, num_envs=1)
    unreplayed = replace(episode, observations=np.eye(9, dtype=np.float32)[: len(episode) + 1])
    assert legal_actions([unreplayed], spaces_of(MASKED)).all()
    masks = legal_actions([episode], spaces_of(MASKED))
    assert masks.sum() == len(episode) + 1


@pytest.mark.parametrize("algo", ["a2c", "ppo", "ppo-lstm", "reinforce"])
def test_the_entropy_of_a_loss_is_of_the_legal_actions(algo: str, tmp_path: Path) -> None:
    still = ("--learning-rate", "1e-30", "--total-steps", "256", "--log-every-steps", "64")
    run = run_tiny(tmp_path, algo, "--env", "toy/Masked-v0", *still)
    rows = read_metrics(run)
    entropies = [row["losses/entropy"] for row in rows if "losses/entropy" in row]
    # One of two actions is chosen at the fork, and the way has no choice.
    assert entropies
    assert all(0 < each < np.log(2) for each in entropies)
    losses = [value for row in rows for name, value in row.items() if "losses/" in name]
    assert np.isfinite(losses).all()
    kl = [row["losses/approx_kl"] for row in rows if "losses/approx_kl" in row]
    assert all(abs(each) < 1e-6 for each in kl)


def test_a_policy_in_a_persons_own_loop_asks_for_the_mask(tmp_path: Path) -> None:
    run = run_tiny(tmp_path, "ppo", "--env", "toy/Masked-v0", "--total-steps", "64")
    policy = joystick.load(run)
    toy = gymnasium.make("toy/Masked-v0")
    obs, info = toy.reset(seed=0)
    with pytest.raises(envs.UserError, match="has masks: act must get action_mask=info"):
        policy.act(obs)
    with pytest.raises(envs.UserError, match=r"act got an action_mask of shape \(3,\)"):
        policy.act(obs, action_mask=np.ones(3, np.int8))
    with pytest.raises(envs.UserError, match="there are 1 observations, but 2 masks"):
        policy.act(obs, action_mask=np.ones((2, 4), np.int8))
    state = None
    terminated = False
    while not terminated:
        action, state = policy.act(obs, state, action_mask=info.get("action_mask"))
        obs, _, terminated, _, info = toy.step(action)
    masks = np.array([[0, 0, 0, 1], [0, 0, 1, 0]])
    actions, _ = policy.act(np.stack([obs, obs]), action_mask=masks)
    np.testing.assert_array_equal(actions, [3, 2])


def test_random_play_of_taxi_is_within_its_masks() -> None:
    taxi = envs.spec("Taxi-v4").bounded(50)
    (episode,) = record(taxi, RandomPolicy(envs.spaces_of(taxi)[1], 0), 1, seed=0, num_envs=1)
    (masks,) = masks_of([episode])
    assert masks is not None
    assert masks[np.arange(len(episode)), episode.actions].all()
    assert not masks.all()


@pytest.mark.parametrize("algo", ["dqn", "ppo"])
def test_a_run_with_masks_goes_on_exactly_from_its_checkpoint(algo: str, tmp_path: Path) -> None:
    settings = ("--env", "toy/Masked-v0")
    whole = run_tiny(tmp_path, algo, *settings, "--total-steps", "256")
    part = run_tiny(tmp_path, algo, *settings, "--total-steps", "128")
    assert train(algo, ["--resume", str(part.path), "--total-steps", "256"]) == 0
    weights = [each.restore()[2] for each in (whole, part)]
    for name, expected in weights[0].items():
        assert torch.equal(weights[1][name], expected), name


VALUE_AGENTS = [each for each in OFF_POLICY if each not in ("dqn", "sac", *IMITATORS)]
QUICK = ("--epsilon", "0.5..0.1@0..1500", "--learning-rate", "3e-3", "--hidden", "32")
QUICK += ("--target-every-updates", "50", "--n-step", "1", "--batch-size", "32")


@pytest.mark.full
@pytest.mark.parametrize(
    ("algo", "steps", "args"),
    [
        ("dqn", 3_000, QUICK),
        *[pytest.param(algo, 3_000, QUICK, marks=pytest.mark.slow) for algo in VALUE_AGENTS],
        ("ppo", 4_000, ("--horizon-steps", "16", "--learning-rate", "5e-3")),
    ],
)
def test_an_agent_learns_that_forbidden_actions_are_worth_nothing(
    algo: str, steps: int, args: tuple[str, ...], tmp_path: Path
) -> None:
    run = run_tiny(tmp_path, algo, "--env", "toy/Masked-v0", "--total-steps", str(steps), *args)
    player = Demonstrator(run, MASKED, seed=0, exploration=0.0, checkpoint="last")
    assert {episode.score for episode in record(MASKED, player, 3, seed=0)} == {-3.0}


def test_a_replay_of_an_earlier_version_has_no_masks_and_all_its_actions_are_legal() -> None:
    masked_spaces = replace(World([[Plan(9, truncated=False)]], "vector").spaces, masked=True)
    given = (Settings(buffer_size=20), masked_spaces, CPU)
    disk = DictStore()
    state = ReplayStore(Replay(*given)).state_dict(disk)  # pyright: ignore[reportArgumentType]
    del state["fields"]["legal"]
    replay = Replay(*given)  # pyright: ignore[reportArgumentType]
    replay.fields["legal"][0] = False
    ReplayStore(replay).load_state_dict(state, disk)
    assert replay.fields["legal"].all()
