"""Acting: whose draws are whose, what a group remembers, and what a choice leaves behind."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from support.settings import Settings
from torch import Tensor

import envs
from agents.core.nets.networks import ActorCritic
from agents.core.nets.value_networks import QNetwork
from agents.core.policies.epsilon_greedy import EpsilonGreedyPolicy, random_legal
from agents.core.policies.policy import begun
from agents.core.policies.stochastic import ActorCriticPolicy
from agents.core.system.compute import Compute
from agents.core.training.env_group import DeviceFrameStack, EnvGroup
from agents.core.types.env_rng import EnvRng
from agents.core.types.inputs import Inputs
from agents.core.types.spaces import Spaces
from agents.core.types.step import ActOutput, PolicyInputs, State
from envs.tapes import playable_actions

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = [torch.device("cpu"), pytest.param(torch.device("cuda"), marks=CUDA)]
CPU = torch.device("cpu")
IMAGES = Spaces(1, (4, 36, 36), torch.uint8, stack=4, num_actions=3, atari=True)
CONTINUOUS = Spaces(
    num_envs=16,
    obs_shape=(3,),
    obs_dtype=torch.float32,
    stack=1,
    num_actions=0,
    atari=False,
    action_low=(-0.5, -math.inf),
    action_high=(0.25, math.inf),
    action_shape=(2, 1),
)


SETTINGS = Settings(dueling=True, batch_size=32)


def q_policy(device: torch.device = CPU) -> EpsilonGreedyPolicy:
    torch.manual_seed(0)
    settings = replace(SETTINGS, torso="nature")
    network = QNetwork(settings, IMAGES)
    return EpsilonGreedyPolicy(network, IMAGES, Compute.of(network, settings, device), 0.0)


def actor_critic(spaces: Spaces, device: torch.device = CPU, **settings: Any) -> ActorCriticPolicy:
    torch.manual_seed(0)
    config = replace(SETTINGS, **settings)
    network = ActorCritic(config, spaces)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return ActorCriticPolicy(network, spaces, Compute.of(network, config, device), 1.0)


def inputs_of(obs: np.ndarray, legal_NA: Tensor | None = None) -> PolicyInputs:
    """Observations within an episode."""
    return PolicyInputs(obs, np.zeros(len(obs)), np.zeros(len(obs), bool), legal_NA)


def greedy(policy: EpsilonGreedyPolicy, obs: np.ndarray, rng: EnvRng, epsilon: float) -> np.ndarray:
    return policy.act(inputs_of(obs), {}, rng, epsilon).action_N


def images(batch: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, *IMAGES.obs_shape), np.uint8)


def vectors(batch: int, width: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(batch, width)).astype(np.float32)


class TestDraws:
    """EnvRng for some of a run's environments."""

    @pytest.mark.parametrize("kind", ["uniform", "normal"])
    @pytest.mark.parametrize("total", [2, 7, 40])
    def test_two_halves_draw_the_rows_of_the_whole(self, kind: str, total: int) -> None:
        half = total // 2
        whole = EnvRng(3, total)
        parts = [EnvRng(3, total, slice(half)), EnvRng(3, total, slice(half, total))]
        for count in (1, 4, 4, 3):
            expected = getattr(whole, kind)(count)
            got = [getattr(part, kind)(count) for part in parts]
            assert expected.shape == (total, count)
            assert [len(part) for part in got] == [half, total - half]
            assert torch.equal(torch.cat(got), expected)

    def test_a_seed_says_what_is_drawn(self) -> None:
        assert torch.equal(EnvRng(3, 8).uniform(4), EnvRng(3, 8).uniform(4))
        assert not torch.equal(EnvRng(3, 8).uniform(4), EnvRng(4, 8).uniform(4))

    def test_uniform_draws_are_of_the_unit_interval_and_normal_ones_of_deviation_one(self) -> None:
        uniform, normal = EnvRng(0, 20_000).uniform(2), EnvRng(0, 20_000).normal(2)
        assert uniform.dtype == normal.dtype == torch.float32
        assert 0 <= uniform.min() < 0.001
        assert 0.999 < uniform.max() < 1
        assert uniform.mean().item() == pytest.approx(0.5, abs=0.01)
        assert normal.mean().item() == pytest.approx(0.0, abs=0.02)
        assert normal.std().item() == pytest.approx(1.0, abs=0.02)


class Script:
    """A vector environment that ends episodes as it is told: at (step, row)."""

    def __init__(self, num_envs: int, terminated=(), truncated=(), life_lost=()):
        self.num_envs, self.t = num_envs, 0
        self.ends = {"terminated": terminated, "truncated": truncated, "life_lost": life_lost}
        self.actions: list[np.ndarray] = []

    def reset(self) -> tuple[np.ndarray, dict[str, Any]]:
        return self.observe(), {}

    def observe(self) -> np.ndarray:
        return np.array([[self.t, row] for row in range(self.num_envs)], np.float32)

    def send(self, action_N: np.ndarray) -> None:
        self.actions.append(action_N)

    def at(self, kind: str) -> np.ndarray:
        return np.array([(self.t, row) in self.ends[kind] for row in range(self.num_envs)])

    def recv(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        info: dict[str, Any] = {"life_lost": self.at("life_lost")}
        terminated_N, truncated_N = self.at("terminated"), self.at("truncated")
        if (terminated_N | truncated_N).any():
            info["final_obs"] = -self.observe()
        self.t += 1
        reward_N = np.full(self.num_envs, self.t, np.float32)
        return self.observe(), reward_N, terminated_N, truncated_N, info


class Counter:
    """Acts 10 t + row of what it sees, and remembers how many steps it has acted on.

    Attributes:
        seen: the inputs of each call.
    """

    device = CPU
    spaces = Spaces(1, (2,), torch.float32, stack=1, num_actions=1000, atari=False)

    def __init__(self) -> None:
        self.seen: list[PolicyInputs] = []

    def initial_state(self, num_envs: int) -> State:
        return {"count": torch.zeros(num_envs, 2), "more": torch.ones(num_envs, 1, 3)}

    def act(self, inputs: PolicyInputs, state: State, rng: EnvRng, exploration: float) -> ActOutput:
        self.seen.append(inputs)
        action_N = (10 * inputs.obs[:, 0] + inputs.obs[:, 1]).astype(np.int64)
        extras = {"exploration": torch.full((len(action_N),), exploration)}
        state = begun(state, inputs.is_first_N)
        return ActOutput(action_N, {name: each + 1 for name, each in state.items()}, extras)


def group_of(script: Script, rows: slice | None = None) -> EnvGroup:
    group = EnvGroup(Counter(), script, EnvRng(0, script.num_envs), rows)  # type: ignore[arg-type]
    group.reset()
    return group


class TestGroup:
    """Environments that step together."""

    def test_memory_is_forgotten_where_an_episode_ended_and_only_there(self) -> None:
        ends = {"terminated": [(1, 0)], "truncated": [(1, 2), (2, 3)], "life_lost": [(1, 1)]}
        group = group_of(Script(4, **ends))
        assert group.begun_state["count"].tolist() == [[0.0, 0.0]] * 4
        seen, remembered = [], []
        for _ in range(3):
            group.send(0.0)
            step, _ = group.recv()
            seen.append(step.next_state["count"][:, 0].tolist())
            remembered.append(group.begun_state["count"][:, 1].tolist())
            assert torch.equal(
                group.begun_state["more"][:, 0, 2] > 0, group.begun_state["count"][:, 0] > 0
            )
        # After the second step the episodes of rows 0 and 2 ended, after the third that of row 3;
        # row 1 only lost a life.
        assert remembered == [[1.0, 1.0, 1.0, 1.0], [0.0, 2.0, 0.0, 2.0], [1.0, 3.0, 1.0, 0.0]]
        # The step itself still knows what was remembered of the episode that ended: a truncation's
        # final observation is valued with it.
        assert seen == [[1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 2.0], [1.0, 3.0, 1.0, 3.0]]

    def test_a_policy_is_told_of_rewards_and_of_first_observations(self) -> None:
        group = group_of(Script(2, truncated=[(1, 0)]))
        for _ in range(3):
            group.send(0.0)
            group.recv()
        seen = group.policy.seen  # type: ignore[attr-defined]
        assert [each.is_first_N.tolist() for each in seen] == [
            [True, True],
            [False, False],
            [True, False],
        ]
        # The reward of an episode's last step is not the next episode's.
        assert [each.reward_N.tolist() for each in seen] == [[0.0, 0.0], [1.0, 1.0], [0.0, 2.0]]
        assert all(each.legal_NA is None for each in seen)

    def test_a_step_is_what_was_seen_done_and_reached(self) -> None:
        script = Script(2, terminated=[(1, 1)])
        group = group_of(script, slice(4, 6))
        for t, exploration in enumerate((0.5, 0.25)):
            group.send(exploration)
            step, _ = group.recv()
            assert step.obs.tolist() == [[t, 0.0], [t, 1.0]]
            assert step.next_obs is not None
            assert step.next_obs.tolist() == [[t + 1, 0.0], [t + 1, 1.0]]
            assert step.action_N.tolist() == script.actions[t].tolist() == [10 * t, 10 * t + 1]
            assert step.reward_N.tolist() == [t + 1, t + 1]
            assert step.terminated_N.tolist() == [False, t == 1]
            assert not step.truncated_N.any()
            assert step.extras["exploration"].tolist() == [exploration] * 2
            assert step.rows == slice(4, 6)
        assert step.final_obs is not None
        assert step.final_obs.tolist() == [[-1.0, 0.0], [-1.0, -1.0]]

    def test_final_observations_are_there_only_when_an_episode_ended(self) -> None:
        group = group_of(Script(2, truncated=[(1, 0)]))
        found = []
        for _ in range(3):
            group.send(0.0)
            found.append(group.recv()[0].final_obs is not None)
        assert found == [False, True, False]

    def test_a_life_lost_is_told_and_ends_nothing(self) -> None:
        group = group_of(Script(2, life_lost=[(0, 1)]))
        group.send(0.0)
        step, _ = group.recv()
        assert step.life_lost_N.tolist() == [False, True]
        assert not (step.terminated_N | step.truncated_N).any()

    def test_a_group_takes_all_rows_unless_told_which(self) -> None:
        assert group_of(Script(3)).rows == slice(3)


def test_frames_that_travelled_alone_make_up_the_emulators_observations() -> None:
    spec = replace(envs.spec("Breakout"), max_episode_frames=36)
    env, rng = envs.make(spec, 3, seed=1), np.random.default_rng(0)
    screens, ended = DeviceFrameStack(env.reset()[0], CPU), 0
    for _ in range(50):
        env.send(rng.integers(0, 4, 3))
        obs_N, _, terminated_N, truncated_N, _ = env.recv()
        seen_N = screens.next(obs_N, terminated_N | truncated_N)
        assert torch.equal(seen_N, torch.from_numpy(obs_N))
        ended += int(truncated_N.sum())
    env.close()
    assert ended == 15


RECALL = Spaces(4, (4,), torch.float32, stack=1, num_actions=3, atari=False)


def recall(first: int, num_envs: int) -> EnvGroup:
    """These of four environments of which each step must be remembered."""
    env = envs.make("toy/Recall-v0", num_envs, seed=5, tape_steps=15, first_env=first)
    rng = EnvRng(5, 4, slice(first, first + num_envs))
    group = EnvGroup(actor_critic(RECALL, core="lstm"), env, rng, rng.rows)
    group.reset()
    return group


def watch(group: EnvGroup, steps: int) -> list[list[np.ndarray]]:
    """Observations, actions, rewards and memories of some steps."""
    seen = []
    for _ in range(steps):
        group.send(1.0)
        step, _ = group.recv()
        memory_NS = step.next_state["memory"].numpy().round(4)
        seen.append([step.obs, step.action_N, step.reward_N, memory_NS, group.obs])
    return seen


def assert_seen(got: list[list[np.ndarray]], expected: list[list[np.ndarray]]) -> None:
    for now, then in zip(got, expected, strict=True):
        for a, b in zip(now, then, strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4)


def test_two_groups_play_the_lives_that_one_would() -> None:
    whole, halves = watch(recall(0, 4), 40), [watch(recall(0, 2), 40), watch(recall(2, 2), 40)]
    joined = [
        [np.concatenate(parts) for parts in zip(first, second, strict=True)]
        for first, second in zip(*halves, strict=True)
    ]
    assert_seen(joined, whole)
    assert len({tuple(actions) for _, actions, *_ in whole}) > 20, "all do the same"


@pytest.mark.parametrize("shares", [[slice(0, 4)], [slice(0, 2), slice(2, 4)], [slice(1, 4)]])
def test_a_restored_group_goes_on_where_the_run_was(shares: list[slice]) -> None:
    group = recall(0, 4)
    watch(group, 23)
    state = group.state_dict()
    expected = watch(group, 20)
    for rows in shares:
        other = recall(rows.start, rows.stop - rows.start)
        watch(other, 3)
        other.load_state_dict(state)
        of_rows = [[column[rows] for column in columns] for columns in expected]
        assert_seen(watch(other, 20), of_rows)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_without_exploration_the_action_is_the_one_of_highest_value(device: torch.device) -> None:
    policy = q_policy(device)
    obs = images(16)
    action_N = greedy(policy, obs, EnvRng(0, 16), 0.0)
    assert action_N.dtype == np.int64
    q_NA = policy.network(Inputs.of(torch.from_numpy(obs).to(device)))
    assert action_N.tolist() == q_NA.argmax(dim=1).tolist()


@pytest.mark.parametrize(
    ("epsilon", "expected"),
    [
        # Half are greedy (action 2) and a sixth each are random: 500, 500 and 2,000.
        (0.5, [500, 500, 2_000]),
        (1.0, [1_000, 1_000, 1_000]),
        (0.0, [0, 0, 3_000]),
    ],
)
def test_exploration_takes_a_share_epsilon_of_uniform_actions(
    epsilon: float, expected: list[int]
) -> None:
    policy = q_policy()
    with torch.no_grad():
        for parameter in policy.network.parameters():
            parameter.zero_()
        policy.network.head.advantage[1].bias[2] = 1.0
    obs = np.zeros((3_000, *IMAGES.obs_shape), np.uint8)
    counts = np.bincount(greedy(policy, obs, EnvRng(0, 3_000), epsilon), minlength=3)
    assert counts.tolist() == pytest.approx(expected, abs=80)  # 3 to 4 deviations


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_draws_do_not_depend_on_epsilon(device: torch.device) -> None:
    policy = q_policy(device)
    states = []
    for epsilon in (0.0, 0.3, 1.0):
        rng = EnvRng(5, 8)
        greedy(policy, images(8), rng, epsilon)
        states.append(rng.generator.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_continuous_actions_are_clipped_for_the_environment_and_kept_as_they_were_drawn(
    device: torch.device,
) -> None:
    policy = actor_critic(CONTINUOUS, device)
    obs = vectors(16)
    memory_NS = torch.zeros(16, 0, device=device)
    decision = policy.act(inputs_of(obs), {}, EnvRng(0, 16), 1.0)
    raw_NK = decision.extras["action"].cpu().numpy()
    assert decision.action_N.shape == (16, 2, 1)
    clipped_NK = decision.action_N.reshape(16, 2)
    assert (raw_NK[:, 0] > 0.25).any()
    assert (raw_NK[:, 0] < -0.5).any()
    np.testing.assert_array_equal(clipped_NK[:, 0], raw_NK[:, 0].clip(-0.5, 0.25))
    np.testing.assert_array_equal(clipped_NK[:, 1], raw_NK[:, 1])
    # The probability is that of what was drawn, which is what a policy gradient differentiates.
    with torch.no_grad():
        start_1N = torch.zeros(1, 16, dtype=torch.bool, device=device)
        obs_1N = torch.from_numpy(obs).to(device).unsqueeze(0)
        distribution, _, _ = policy.network(obs_1N, memory_NS, start_1N)
        log_prob_N = distribution.log_prob(decision.extras["action"].unsqueeze(0))[0]
    torch.testing.assert_close(decision.extras["log_prob"], log_prob_N)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_choice_keeps_what_it_was_made_on_and_remembers_what_it_led_to(
    device: torch.device,
) -> None:
    policy = actor_critic(RECALL, device, core="lstm")
    obs = vectors(4, 4)
    memory_NS = torch.randn(4, 32).to(device)
    decision = policy.act(inputs_of(obs), {"memory": memory_NS}, EnvRng(0, 4), 1.0)
    kept = decision.extras
    assert kept.keys() == {"obs", "memory", "previous", "action", "log_prob", "value"}
    assert kept["obs"].cpu().numpy().tolist() == obs.tolist()
    assert torch.equal(kept["memory"], memory_NS)
    assert decision.action_N.dtype == np.int64
    assert kept["action"].tolist() == [[action] for action in decision.action_N.tolist()]
    with torch.no_grad():
        start_1N = torch.zeros(1, 4, dtype=torch.bool, device=device)
        obs_1N = kept["obs"].unsqueeze(0)
        distribution, value_1N, after_NS = policy.network(obs_1N, memory_NS, start_1N)
    torch.testing.assert_close(kept["value"], value_1N[0])
    torch.testing.assert_close(
        kept["log_prob"], distribution.log_prob(kept["action"].unsqueeze(0))[0]
    )
    torch.testing.assert_close(decision.state["memory"], after_NS)
    assert not any(t.requires_grad for t in (*kept.values(), decision.state["memory"]))


def test_multi_discrete_actions_have_the_environments_shape() -> None:
    shape = {"num_actions": 0, "nvec": (2, 3, 2, 3), "action_shape": (2, 2)}
    spaces = Spaces(8, (3,), torch.float32, stack=1, atari=False, **shape)
    policy = actor_critic(spaces)
    decision = policy.act(inputs_of(vectors(8)), {}, EnvRng(0, 8), 1.0)
    assert decision.action_N.shape == (8, 2, 2)
    assert decision.action_N.reshape(8, 4).tolist() == decision.extras["action"].tolist()
    assert (decision.action_N < np.array([[2, 3], [2, 3]])).all()
    assert spaces.action_parts == 4


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_values_of_observations_are_those_that_a_choice_keeps(device: torch.device) -> None:
    policy = actor_critic(RECALL, device, core="gru")
    obs = vectors(4, 4)
    state = {"memory": torch.randn(4, 16).to(device)}
    value_N = policy.state_values(inputs_of(obs), state)
    kept = policy.act(inputs_of(obs), state, EnvRng(0, 4), 1.0).extras
    assert value_N.shape == (4,)
    assert not value_N.requires_grad
    torch.testing.assert_close(value_N, kept["value"])
    forgetful_N = policy.state_values(inputs_of(obs), policy.initial_state(4))
    assert not torch.allclose(value_N, forgetful_N)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_recurrent_policy_forgets_where_an_episode_begins(device: torch.device) -> None:
    policy = actor_critic(RECALL, device, core="lstm")
    state = {"memory": torch.randn(4, 32).to(device)}
    is_first_N = np.array([True, False, False, True])
    inputs = PolicyInputs(vectors(4, 4), np.zeros(4), is_first_N)
    kept = policy.act(inputs, state, EnvRng(0, 4), 1.0).extras["memory"]
    assert not kept[[0, 3]].any()
    assert torch.equal(kept[1:3], state["memory"][1:3])


LEGAL = torch.tensor([[True, False, True], [False, True, False]] * 500)


@pytest.mark.parametrize("exploration", [0.0, 0.5, 1.0])
def test_only_legal_actions_are_chosen(exploration: float) -> None:
    obs = np.random.default_rng(0).integers(0, 256, (1_000, *IMAGES.obs_shape), np.uint8)
    chosen = q_policy().act(inputs_of(obs, LEGAL), {}, EnvRng(1, 1_000), exploration).action_N
    assert LEGAL[torch.arange(1_000), torch.from_numpy(chosen)].all()
    policy = actor_critic(RECALL)
    output = policy.act(inputs_of(vectors(1_000, 4), LEGAL), {}, EnvRng(1, 1_000), exploration)
    assert LEGAL[torch.arange(1_000), torch.from_numpy(output.action_N)].all()
    # Where one action alone is legal, it is certain.
    assert output.extras["log_prob"][1::2].abs().max() == 0.0


def test_each_legal_action_is_as_likely_as_any_other() -> None:
    uniform_N = torch.arange(0.0, 1.0, 0.001)
    legal_NA = torch.tensor([[False, True, True, False, True]]).expand(1_000, -1)
    counts = random_legal(uniform_N, legal_NA).bincount(minlength=5)
    assert counts.tolist() == pytest.approx([0, 333, 333, 0, 334], abs=1)


def test_a_copy_of_a_policy_acts_alike_and_shares_no_tensor() -> None:
    policy = actor_critic(RECALL, core="gru", normalize_observations=True)
    other = policy.copy()
    originals = {each.data_ptr() for each in policy.network.state_dict().values()}
    copies = {each.data_ptr() for each in other.network.state_dict().values()}
    assert not originals & copies
    assert not any(parameter.requires_grad for parameter in other.network.parameters())
    state = policy.initial_state(4)
    outputs = [
        each.act(inputs_of(vectors(4, 4)), state, EnvRng(0, 4), 1.0) for each in (policy, other)
    ]
    assert torch.equal(outputs[0].extras["log_prob"], outputs[1].extras["log_prob"])
    policy.network.normalizer.mean += 1.0
    assert not other.network.normalizer.mean.any()


def spaces_of(obs: gym.Space, action: gym.Space) -> Spaces:
    spec = replace(envs.spec("CartPole-v1"), env_id="Env-v0")
    return Spaces.of(spec, 2, obs, action)


BOX = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)


@pytest.mark.parametrize(
    ("action", "sizes", "parts", "shape"),
    [
        (gym.spaces.Discrete(5), (5,), 1, ()),
        (gym.spaces.MultiDiscrete([2, 3]), (2, 3), 2, (2,)),
        (gym.spaces.MultiDiscrete([[2, 3], [4, 5]]), (2, 3, 4, 5), 4, (2, 2)),
        (gym.spaces.MultiDiscrete([2, 3], start=[-1, 7]), (2, 3), 2, (2,)),
        (gym.spaces.Discrete(2, start=-1), (2,), 1, ()),
        (gym.spaces.MultiBinary(3), (2, 2, 2), 3, (3,)),
        (gym.spaces.MultiBinary((2, 2)), (2, 2, 2, 2), 4, (2, 2)),
        (gym.spaces.Box(0, 255, (2,), np.uint8), (256, 256), 2, (2,)),
        (gym.spaces.Box(np.array([-3, 5]), np.array([3, 6]), dtype=np.int64), (7, 2), 2, (2,)),
        (gym.spaces.Box(0, 1, (2,), np.bool_), (2, 2), 2, (2,)),
    ],
)
def test_discrete_actions_are_of_so_many_parts_of_so_many_choices(
    action: gym.Space, sizes: tuple[int, ...], parts: int, shape: tuple[int, ...]
) -> None:
    spaces = spaces_of(BOX, action)
    assert (spaces.action_sizes, spaces.action_parts) == (sizes, parts)
    assert (spaces.action_shape, spaces.continuous) == (shape, False)
    assert (spaces.num_envs, spaces.obs_shape, spaces.obs_dtype) == (2, (3,), torch.float32)


@pytest.mark.parametrize(
    "action",
    [
        gym.spaces.Discrete(5),
        gym.spaces.Discrete(4, start=-2),
        gym.spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[1, -1], [0, 9]]),
        gym.spaces.MultiBinary((2, 2)),
        gym.spaces.Box(np.array([-3, 5]), np.array([3, 6]), dtype=np.int8),
    ],
)
def test_each_combination_of_choices_is_one_action_of_the_environment(action: gym.Space) -> None:
    spaces = spaces_of(BOX, action)
    index_N = np.arange(spaces.combinations)
    played = playable_actions(action, spaces.playable_combination(index_N))
    assert all(action.contains(each) for each in played)
    assert len({each.tobytes() for each in played}) == spaces.combinations
    np.testing.assert_array_equal(spaces.combination(played), index_N)
    np.testing.assert_array_equal(spaces.playable(spaces.chosen(played)), played)
    assert spaces.chosen(played).min(axis=0).tolist() == [0] * spaces.action_parts
    spaces.require_few_combinations()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_continuous_actions_have_bounds(dtype: type) -> None:
    low, high = np.array([[-1.0, -0.1]], dtype), np.array([[2.0, np.inf]], dtype)
    spaces = spaces_of(BOX, gym.spaces.Box(low, high, dtype=dtype))
    assert spaces.continuous
    assert (spaces.num_actions, spaces.action_parts, spaces.action_shape) == (0, 2, (1, 2))
    assert spaces.action_low == (-1.0, float(dtype(-0.1)))
    assert spaces.action_high == (2.0, math.inf)
    # Bounds are as exact as the space's own: what is clipped to them is inside.
    played = spaces.playable(np.array([[-9.0, -9.0], [9.0, 9.0]], np.float32)).astype(dtype)
    assert all(gym.spaces.Box(low, high, dtype=dtype).contains(action) for action in played)


@pytest.mark.parametrize(
    ("obs", "action", "message"),
    [
        (gym.spaces.Discrete(3), gym.spaces.Discrete(2), "observations are Discrete.*need Box"),
        (BOX, gym.spaces.Text(4), "Env-v0: actions are Text.*agents need Discrete, MultiD"),
        (BOX, gym.spaces.Box(-1, 1, (0,)), "Env-v0: actions are Box.*no parts"),
        (BOX, gym.spaces.Discrete(10**9), "of 1,000,000,000 choices; agents take 100,000 at most"),
        (BOX, gym.spaces.Box(-(2**63), 2**63 - 1, (2,), np.int64), "choices; agents take 100,000"),
    ],
)
def test_spaces_that_no_agent_takes_are_refused_with_those_that_are_taken(
    obs: gym.Space, action: gym.Space, message: str
) -> None:
    with pytest.raises(envs.UserError, match=message):
        spaces_of(obs, action)


def test_an_agent_of_discrete_actions_refuses_others_in_words() -> None:
    spaces_of(BOX, gym.spaces.Discrete(2)).require_discrete()
    for action in (BOX, gym.spaces.MultiDiscrete([2, 3])):
        with pytest.raises(envs.UserError, match="Env-v0: actions are .*; this agent needs Disc"):
            spaces_of(BOX, action).require_discrete()


def test_an_agent_of_values_refuses_actions_that_are_too_many_in_words() -> None:
    with pytest.raises(envs.UserError, match="needs discrete actions: use ppo"):
        spaces_of(BOX, BOX).require_few_combinations()
    with pytest.raises(envs.UserError, match="of 2,048 combinations; .* 1,024 at most: use ppo"):
        spaces_of(BOX, gym.spaces.MultiBinary(11)).require_few_combinations()
