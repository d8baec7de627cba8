"""The previous action and reward as inputs of policies: in acting, in losses and in recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from conftest import module_of, run_tiny
from gymnasium import Env, spaces

import envs
from agents import evaluate, ppo
from agents.core.data.demonstrations import Demonstrations
from agents.core.nets.previous import PreviousInputs
from agents.core.runs.run import Run
from agents.core.training import arguments
from agents.core.training.building import build_policy, spaces_of
from agents.core.training.demonstrator import Demonstrator
from agents.core.training.env_group import EnvGroup
from agents.core.training.launch import train
from agents.core.training.on_policy import OnPolicyAlgorithm
from agents.core.types.env_rng import EnvRng
from agents.core.types.step import ActOutput, PolicyInputs
from demos import record
from demos.frames import decode
from demos.policies import RandomPolicy

CPU = torch.device("cpu")


class Alternate(Env[Any, Any]):
    """Pays for an action other than the previous one; the observation is always the same.

    Without the previous action, no policy gets more than half of the rewards on average.
    """

    steps = 8

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 1, (1,), np.float32)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.taken: list[int] = []
        return np.ones(1, np.float32), {}

    def step(self, action: Any) -> Any:
        other = bool(self.taken) and int(action) != self.taken[-1]
        self.taken.append(int(action))
        over = len(self.taken) == self.steps
        return np.ones(1, np.float32), float(other), over, False, {}


gymnasium.register("Alternate-v0", f"{__name__}:Alternate")

ENVS = ["CartPole-v1", "toy/Target-v0", "toy/Pair-v0", "toy/Masked-v0", "Pong"]
SMALL = ["--num-envs", "3", "--batch-size", "8", "--hidden", "8", "--horizon-steps", "16"]
SMALL += ["--no-standardize-pixels", "--num-threads", "1", "--precision", "fp32"]


def score(run: Run) -> float:
    """The mean return of the last weights, without exploration."""
    arguments = evaluate.Arguments(
        run=run.path, episodes=4, checkpoint="last", video=False, exploration=0.0
    )
    return evaluate.evaluate(arguments).mean


def algorithm_on(env_id: str, *more: str) -> tuple[OnPolicyAlgorithm, EnvGroup]:
    """PPO with previous inputs, and a group of 3 environments for it."""
    command = ["--env", env_id, *SMALL, "--previous-inputs", *more]
    config = arguments.parse(ppo, command).config
    spec = config.spec_of(config.env_id)
    torch.manual_seed(0)
    policy: Any = build_policy(ppo, config, spaces_of(spec, 3), CPU)
    with torch.no_grad():
        for parameter in policy.network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    group = EnvGroup(policy, envs.make(spec, 3), EnvRng(0, 3))
    group.reset()
    return ppo.make_algorithm(config, policy), group


def play(algorithm: OnPolicyAlgorithm, group: EnvGroup) -> list[Any]:
    """Fills a rollout; returns its steps."""
    steps = []
    for _ in range(algorithm.horizon_steps):
        group.send(1.0)
        steps.append(group.recv()[0])
        algorithm.observe(steps[-1])
    group.env.close()
    return steps


@pytest.mark.parametrize("env_id", ENVS)
@pytest.mark.parametrize("core", ["none", "lstm"])
def test_a_loss_sees_the_inputs_and_masks_with_which_the_policy_acted(
    env_id: str, core: str
) -> None:
    algorithm, group = algorithm_on(env_id, "--core", core, "--sequence-steps", "4")
    play(algorithm, group)
    for batch in algorithm.rollout.minibatches(16):
        policy, value_LB, _ = algorithm.policy.network(*batch.inputs)
        torch.testing.assert_close(policy.log_prob(batch.action_LBK), batch.log_prob_LB)
        torch.testing.assert_close(value_LB, batch.value_LB)
        assert policy.entropy().isfinite().all()


def test_a_rollout_stores_what_the_policy_did_and_got_before_each_step() -> None:
    algorithm, group = algorithm_on("toy/Pair-v0")
    steps = play(algorithm, group)
    stored = algorithm.rollout.kept["previous"]
    assert stored.shape == (16, 3, 3 + 4 + 1)
    assert (stored[0] == 0).all()
    for t, before in enumerate(steps[:-1]):
        over_N = before.terminated_N | before.truncated_N
        for row, (action, reward) in enumerate(zip(before.action_N, before.reward_N, strict=True)):
            expected = np.zeros(8, np.float32)
            if not over_N[row]:
                expected[[action[0], 3 + action[1]]] = 1
                expected[7] = reward
            np.testing.assert_array_equal(stored[t + 1, row], expected)
    assert any(step.terminated_N.any() for step in steps)


def test_what_lies_beyond_a_rollout_is_valued_with_the_last_action_and_reward() -> None:
    algorithm, group = algorithm_on("CartPole-v1")
    *_, last = play(algorithm, group)
    goes_on = np.flatnonzero(~(last.terminated_N | last.truncated_N))
    count = len(goes_on)
    previous = np.zeros((count, 3), np.float32)
    previous[np.arange(count), last.action_N[goes_on]] = 1
    previous[:, 2] = last.reward_N[goes_on]
    network = algorithm.policy.network
    given = torch.from_numpy(last.next_obs[goes_on]), torch.zeros(count, 0)
    value_1B = network.step(*given, torch.from_numpy(previous))[1]
    torch.testing.assert_close(algorithm.rollout.bootstrap_TN[-1, goes_on], value_1B[0])
    blind_1B = network.step(*given, torch.zeros(count, 3))[1]
    assert not torch.allclose(value_1B, blind_1B)


def test_a_reward_of_an_atari_game_is_its_sign() -> None:
    atari = spaces_of(envs.spec("Pong"))
    toy = spaces_of(envs.spec("CartPole-v1"))
    action = torch.zeros(1, 1, dtype=torch.int64)
    for of, expected in ((atari, -1.0), (toy, -20.0)):
        encoding = PreviousInputs.of(of, True, clip_reward=True)
        row = encoding.encode(action, torch.tensor([-20.0]), torch.tensor([False]))
        assert row[0, -1] == expected


def test_a_policy_without_them_has_the_same_weights_as_before() -> None:
    config = arguments.parse(ppo, ["--env", "CartPole-v1"]).config
    policy: Any = build_policy(ppo, config, spaces_of(envs.spec("CartPole-v1")), CPU)
    assert policy.previous.width == 0
    assert (
        policy.network.bodies[0].hidden[0].in_features
        == policy.network.bodies[0].torso.num_features
    )


def test_demonstrations_give_the_previous_action_and_reward() -> None:
    spec = envs.spec("toy/Pair-v0")
    of = spaces_of(spec)
    episodes = list(record(spec, RandomPolicy(envs.spaces_of(spec)[1], 0), 3, seed=0))
    source = Demonstrations(decode(episodes, spec), episodes, of, CPU)
    encoding = PreviousInputs.of(of, True, clip_reward=True)
    rows = source.previous(torch.arange(source.size), encoding).numpy()
    step = 0
    for episode in episodes:
        assert (rows[step] == 0).all()
        for before in range(len(episode) - 1):
            expected = np.zeros(8, np.float32)
            expected[[episode.actions[before][0], 3 + episode.actions[before][1]]] = 1
            expected[7] = episode.rewards[before]
            np.testing.assert_array_equal(rows[step + before + 1], expected)
        step += len(episode)


def test_a_recorder_tells_a_run_what_it_did_and_got() -> None:
    class Watched:
        spaces = spaces_of(envs.spec("toy/Pair-v0"))

        def __init__(self) -> None:
            self.inputs: list[PolicyInputs] = []

        def act(self, inputs: PolicyInputs, state: Any, rng: Any, exploration: float) -> ActOutput:
            assert inputs.action_N is not None
            self.inputs.append(inputs)
            number = len(self.inputs)
            action_N = np.array([[number % 3, number % 4]])
            return ActOutput(np.broadcast_to(action_N, (len(inputs.obs), 2)), {})

        def initial_state(self, num_envs: int) -> dict[str, Any]:
            return {}

    player: Any = Demonstrator.__new__(Demonstrator)
    player.policy = Watched()
    player.exploration = player.seed = player.rounds = 0
    player.name = "watched"
    (episode,) = record(envs.spec("toy/Pair-v0"), player, 1, seed=0, num_envs=1)
    numbers = [each.action_N.item() for each in player.policy.inputs]
    first, *rest = episode.actions[:-1]
    expected = [0, *(int(a) * 4 + int(b) for a, b in [first, *rest])]
    assert numbers == expected
    rewards = [each.reward_N.item() for each in player.policy.inputs]
    assert rewards == [0.0, *episode.rewards[:-1].tolist()]


@pytest.mark.parametrize(
    ("algo", "env_id"),
    [
        ("bc", "toy/Pair-v0"),
        ("ppo-lstm", "toy/Pair-v0"),
        ("sac", "toy/Pair-v0"),
        ("sac", "toy/Target-v0"),
    ],
)
def test_a_run_with_them_goes_on_exactly_from_its_checkpoint(
    algo: str, env_id: str, tmp_path: Path
) -> None:
    settings = ("--env", env_id, "--previous-inputs")
    whole = run_tiny(tmp_path, algo, *settings, "--total-steps", "256")
    part = run_tiny(tmp_path, algo, *settings, "--total-steps", "128")
    assert train(module_of(algo), ["--resume", str(part.path), "--total-steps", "256"]) == 0
    assert whole.restore()[0] == part.restore()[0] == 256
    weights = [each.restore()[2] for each in (whole, part)]
    for name, expected in weights[0].items():
        assert torch.equal(weights[1][name], expected), name


ROLLOUTS = ("--num-envs", "8", "--horizon-steps", "16", "--batch-size", "32")
ROLLOUTS += ("--learning-rate", "3e-3", "--hidden", "16", "--total-steps", "4000")
REPLAY = ("--learning-rate", "3e-3", "--n-step", "1", "--gamma", "0.5", "--total-steps", "500")
REPLAY += ("--batch-size", "32", "--samples-per-step", "32", "--target-share", "0.1")


@pytest.mark.full
@pytest.mark.parametrize(("algo", "settings"), [("ppo", ROLLOUTS), ("sac", REPLAY)])
def test_an_agent_learns_what_only_the_previous_action_tells(
    tmp_path: Path, algo: str, settings: tuple[str, ...]
) -> None:
    run = run_tiny(tmp_path, algo, "--env", "Alternate-v0", "--previous-inputs", *settings)
    assert score(run) == 7.0
    # The policy also plays as well where the recorder gives it actions and rewards.
    player = Demonstrator(run, envs.spec("Alternate-v0"), 0, 0.0, checkpoint="last")
    (episode,) = record(envs.spec("Alternate-v0"), player, 1, seed=0, num_envs=1)
    assert episode.score == 7.0
