"""Value networks: memory, burn-in and noise, and the previous action and reward as inputs."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.devices import CPU
from support.settings import Settings
from torch import Tensor

import envs
from agents import dqn
from agents.core.data.replay import Layout, Replay
from agents.core.nets.heads import DuelingHead, make_head
from agents.core.nets.noisy import NoisyLinear
from agents.core.nets.previous import PreviousInputs
from agents.core.nets.value_networks import QNetwork
from agents.core.optimize.learner import joined_priorities
from agents.core.optimize.transfer import initialize
from agents.core.policies.epsilon_greedy import EpsilonGreedyPolicy
from agents.core.policies.policy import frozen_copy
from agents.core.system.compute import Compute
from agents.core.training.building import spaces_of
from agents.core.training.env_group import EnvGroup
from agents.core.types.batches import FORWARD_PASSES, SequenceBatch
from agents.core.types.env_rng import EnvRng
from agents.core.types.inputs import Inputs
from agents.core.types.spaces import Spaces
from agents.core.types.step import PolicyInputs

B, L, D, ACTIONS = 3, 7, 4, 5
SPACES = Spaces(B, (D,), torch.float32, stack=1, num_actions=ACTIONS, atari=False)


def q_network(spaces: Spaces = SPACES, **values: Any) -> QNetwork:
    """A Q-network whose weights all have some size, so that nothing hides behind a zero."""
    torch.manual_seed(0)
    network = QNetwork(Settings(**values), spaces)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def sequences(network: QNetwork, *starts: tuple[int, int], seed: int = 1) -> Inputs:
    """Random sequences; episodes start at the pairs (row, time)."""
    generator = torch.Generator().manual_seed(seed)
    start_BL = torch.zeros(B, L, dtype=torch.bool)
    for row, time in starts:
        start_BL[row, time] = True
    return Inputs(
        torch.randn(B, L, D, generator=generator),
        torch.randn(B, L, network.previous.width, generator=generator),
        torch.randn(B, network.memory_size, generator=generator),
        start_BL,
    )


def stepped(network: QNetwork, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Values (B, L, A) and the last memory of `act`, called once for each step."""
    memory_BS = inputs.memory_BS
    values: list[Tensor] = []
    for time in range(L):
        goes_on_B1 = (~inputs.start_BL[:, time]).unsqueeze(1)
        given = (inputs.obs_BL[:, time], inputs.previous_BLP[:, time], memory_BS * goes_on_B1)
        value_BA, memory_BS = network.act(*given, torch.empty(B, 0))
        values.append(value_BA)
    return torch.stack(values, dim=1), memory_BS


class TestMemory:
    """A Q-network with a core, over sequences."""

    @pytest.mark.parametrize("core", ["lstm", "gru"])
    def test_a_sequence_equals_acting_step_by_step(self, core: str) -> None:
        network = q_network(core=core, previous_inputs=True)
        inputs = sequences(network, (1, 0), (0, 3), (2, 6))
        expected_BLA, memory_BS = stepped(network, inputs)
        torch.testing.assert_close(network(inputs).view(B, L, ACTIONS), expected_BLA)
        torch.testing.assert_close(network.features(inputs)[1], memory_BS)
        others = replace(inputs, start_BL=torch.zeros_like(inputs.start_BL))
        assert not torch.allclose(network(others).view(B, L, ACTIONS), expected_BLA, atol=1e-3)

    def test_without_a_core_each_step_stands_alone(self) -> None:
        network = q_network(previous_inputs=True)
        inputs = sequences(network)
        torch.testing.assert_close(network(inputs).view(B, L, ACTIONS), stepped(network, inputs)[0])

    @pytest.mark.parametrize("burn_in", [1, 3, L - 1])
    def test_a_burn_in_gives_the_values_of_the_whole_sequence(self, burn_in: int) -> None:
        network = q_network(core="lstm", previous_inputs=True)
        inputs = sequences(network, (0, 2), (1, burn_in))
        whole_BLA = network(inputs).view(B, L, ACTIONS)
        burnt = network(replace(inputs, burn_in=burn_in)).view(B, L - burn_in, ACTIONS)
        torch.testing.assert_close(burnt, whole_BLA[:, burn_in:])

    def test_no_gradient_reaches_the_burn_in(self) -> None:
        network = q_network(core="lstm", previous_inputs=True)
        inputs = sequences(network, (0, 1))
        inputs.obs_BL.requires_grad_()
        network(replace(inputs, burn_in=3)).sum().backward()
        grad_BL = inputs.obs_BL.grad
        assert grad_BL is not None
        assert not grad_BL[:, :3].any()
        assert grad_BL[:, 3:].any(dim=2).all()
        # The parameters' gradient is the one of the last steps alone, from the warm memory.
        got = [each.grad.clone() for each in network.parameters() if each.grad is not None]
        first, others = inputs.cut(3)
        memory_BS = network.features(first)[1].detach()
        network.zero_grad()
        network(replace(others, memory_BS=memory_BS)).sum().backward()
        expected = [each.grad for each in network.parameters() if each.grad is not None]
        assert len(got) == len(list(network.parameters()))
        torch.testing.assert_close(got, expected)

    def test_named_rows_are_the_steps_that_are_returned(self) -> None:
        network = q_network(core="gru")
        inputs = sequences(network, (2, 4))
        row_N = torch.tensor([L + 2, 0, 2 * L + 6, L + 2])
        whole_NA = network(inputs)
        torch.testing.assert_close(network(replace(inputs, row_N=row_N)), whole_NA[row_N])


def sequence_batch(network: QNetwork, rows: int = 5, steps: int = 3) -> SequenceBatch:
    """A minibatch of sequences: a burn-in of 2 steps, `steps` steps, and 2 more."""
    generator = torch.Generator().manual_seed(3)
    length = 2 + steps + 2

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    noise_1KE = torch.randn(1, FORWARD_PASSES, network.num_noise, generator=generator)
    return SequenceBatch(
        obs_BL=uniform(rows, length, D) - 0.5,
        start_BL=uniform(rows, length) < 0.2,
        memory_BS=uniform(rows, network.memory_size) - 0.5,
        action_BT=(uniform(rows, steps) * ACTIONS).long(),
        reward_BT=uniform(rows, steps),
        discount_BT=0.9 * (uniform(rows, steps) < 0.8),
        next_time_BT=2 + torch.arange(steps) + 1 + (uniform(rows, steps) * 2).long(),
        weight_BT=uniform(rows, steps),
        ended_BT=uniform(rows, steps) < 0.2,
        slot_B=torch.arange(rows),
        burn_in=2,
        previous_BLP=uniform(rows, length, network.previous.width),
        noise_BKE=noise_1KE.expand(rows, -1, -1),
    )


class TestShards:
    """Threads share the sequences of a minibatch."""

    @pytest.mark.parametrize("double", [False, True])
    @pytest.mark.parametrize("shards", [2, 4, 9])
    def test_shards_have_the_loss_and_the_priorities_of_the_whole(
        self, shards: int, double: bool
    ) -> None:
        network = q_network(core="lstm", previous_inputs=True, noisy=True)
        target = frozen_copy(network)
        for parameter in target.parameters():
            parameter.mul_(0.5)
        config = dqn.Config(double=double)
        loss = dqn.DQN(config, network, target).loss
        batch = sequence_batch(network)
        whole = loss(batch)
        assert whole.loss.shape == batch.weight.shape == (batch.size,)
        parts = batch.split(shards)
        assert sum(part.size for part in parts) == batch.size
        assert all(part.size for part in parts)
        outputs = tuple(loss(part) for part in parts)
        torch.testing.assert_close(torch.cat([each.loss for each in outputs]), whole.loss)
        priorities = joined_priorities(outputs)
        torch.testing.assert_close(priorities, whole.priority_B)
        assert torch.equal(torch.cat([part.weight for part in parts]), batch.weight)

    def test_each_forward_pass_has_noise_of_its_own(self) -> None:
        network = q_network(core="lstm", noisy=True)
        batch = sequence_batch(network)
        noises = [batch.inputs, batch.next_inputs, batch.selection_inputs]
        drawn = [each.noise_BE for each in noises]
        assert batch.noise_BKE is not None
        for number, noise_1E in enumerate(drawn):
            assert noise_1E is not None
            assert torch.equal(noise_1E, batch.noise_BKE[:1, number])


def spread(noise: Tensor) -> Tensor:
    """f(ε) = sign(ε) √|ε|, in other words than the layer's."""
    return torch.tensor([math.copysign(math.sqrt(abs(e)), e) for e in noise.tolist()])


class TestNoise:
    """Noisy layers (arXiv 1706.10295)."""

    def test_a_noisy_layer_is_its_noisy_weight_matrix_for_each_row(self) -> None:
        torch.manual_seed(0)
        layer = NoisyLinear(4, 3)
        torch.nn.init.normal_(layer.weight_deviation)
        torch.nn.init.normal_(layer.bias_deviation)
        input_BF = torch.randn(5, 4)
        noise_BE = torch.randn(5, layer.num_noise)
        got_BO = layer(input_BF, noise_BE)
        for input_F, noise_E, got_O in zip(input_BF, noise_BE, got_BO, strict=True):
            noise_in, noise_out = spread(noise_E[:4]), spread(noise_E[4:])
            weight = layer.weight + layer.weight_deviation * torch.outer(noise_out, noise_in)
            bias = layer.bias + layer.bias_deviation * noise_out
            torch.testing.assert_close(got_O, weight @ input_F + bias)

    def test_one_row_of_noise_serves_all_rows(self) -> None:
        torch.manual_seed(0)
        layer = NoisyLinear(4, 3)
        input_BF = torch.randn(5, 4)
        noise_1E = torch.randn(1, layer.num_noise)
        torch.testing.assert_close(
            layer(input_BF, noise_1E), layer(input_BF, noise_1E.expand(5, -1))
        )

    def test_without_noise_the_weights_are_their_means(self) -> None:
        layer = NoisyLinear(4, 3)
        input_BF = torch.randn(5, 4)
        expected = torch.nn.functional.linear(input_BF, layer.weight, layer.bias)
        assert torch.equal(layer(input_BF), expected)
        torch.testing.assert_close(layer(input_BF, torch.zeros(1, layer.num_noise)), expected)

    def test_deviations_begin_as_in_the_paper(self) -> None:
        layer = NoisyLinear(16, 3, deviation=0.5)
        assert (layer.weight_deviation == 0.5 / 4).all()
        assert (layer.bias_deviation == 0.5 / 4).all()
        assert layer.weight.abs().max() <= 1 / 4

    @pytest.mark.parametrize("core", ["none", "lstm"])
    def test_acting_noise_belongs_to_the_row_in_every_group(self, core: str) -> None:
        policy = policy_of(core=core, noisy=True).exploring()
        rows = 6
        obs = np.random.default_rng(0).normal(size=(rows, D)).astype(np.float32)
        whole = values_of(policy, obs, EnvRng(3, rows))
        halves = [
            values_of(policy, obs[part], EnvRng(3, rows, part))
            for part in (slice(2), slice(2, rows))
        ]
        torch.testing.assert_close(torch.cat(halves), whole)
        same = values_of(policy, np.broadcast_to(obs[:1], obs.shape).copy(), EnvRng(3, rows))
        assert len(same.unique(dim=0)) == rows

    def test_an_evaluation_adds_no_noise(self) -> None:
        policy = policy_of(noisy=True)
        obs = np.random.default_rng(0).normal(size=(B, D)).astype(np.float32)
        expected = policy.network.q_values(Inputs.of(torch.from_numpy(obs)))
        assert torch.equal(values_of(policy, obs, EnvRng(0, B)), expected)
        assert torch.equal(values_of(policy.copy(), obs, EnvRng(0, B)), expected)
        assert not torch.allclose(values_of(policy.exploring(), obs, EnvRng(0, B)), expected)
        # The policy itself is unchanged, so that an evaluation may share it with training.
        assert torch.equal(values_of(policy, obs, EnvRng(0, B)), expected)


def policy_of(**values: Any) -> EpsilonGreedyPolicy:
    network = q_network(**values)
    return EpsilonGreedyPolicy(network, SPACES, Compute(CPU), 0.0)


def values_of(policy: EpsilonGreedyPolicy, obs: np.ndarray, rng: EnvRng) -> Tensor:
    """The values with which a policy acts at an episode's start."""
    rows = len(obs)
    inputs = PolicyInputs(obs, np.zeros(rows, np.float32), np.ones(rows, bool))
    return policy.act(inputs, policy.initial_state(rows), rng, 0.0).extras["q_values"]


def test_a_dueling_head_adds_value_and_advantage_of_each_output() -> None:
    torch.manual_seed(0)
    head = DuelingHead(4, 3, 8, layer_norm=False, num_outputs=5)
    features_BF = torch.randn(2, 4)
    got_BAZ = head(features_BF)
    value_BZ = head.value(features_BF)
    advantage_BAZ = head.advantage(features_BF).view(2, 3, 5)
    for row in range(2):
        for action in range(3):
            for output in range(5):
                mean = sum(advantage_BAZ[row, each, output] for each in range(3)) / 3
                expected = value_BZ[row, output] + advantage_BAZ[row, action, output] - mean
                torch.testing.assert_close(got_BAZ[row, action, output], expected)
    torch.testing.assert_close(got_BAZ.mean(dim=1), value_BZ)


@pytest.mark.parametrize("dueling", [False, True])
def test_a_noisy_head_gives_each_layer_noise_of_its_own(dueling: bool) -> None:
    torch.manual_seed(0)
    config: Any = Settings(noisy=True, dueling=dueling, hidden=8, activation="relu")
    head = make_head(config, 4, 3, 5)
    streams = [head.value, head.advantage] if isinstance(head, DuelingHead) else [head.values]
    sizes = [(4 + 8, 8 + outputs) for outputs in ([5, 15] if dueling else [15])]
    noise_E = torch.randn(sum(map(sum, sizes)))
    features_BF = torch.randn(2, 4)
    outputs: list[Tensor] = []
    rest = noise_E
    for stream, size in zip(streams, sizes, strict=True):
        of_hidden, of_output, rest = rest.split([*size, len(rest) - sum(size)])
        layers: Any = stream
        hidden = layers[0][0](features_BF, of_hidden.unsqueeze(0)).relu()
        outputs.append(layers[1](hidden, of_output.unsqueeze(0)))
    advantage_BAZ = outputs[-1].view(2, 3, 5)
    expected = advantage_BAZ
    if dueling:
        expected = outputs[0].unsqueeze(1) + advantage_BAZ - advantage_BAZ.mean(1, keepdim=True)
    torch.testing.assert_close(head(features_BF, noise_E.unsqueeze(0)), expected)


class TestPreviousInputs:
    """The previous action and reward as inputs."""

    def test_an_action_is_one_hot_beside_its_reward(self) -> None:
        encoding = PreviousInputs.of_combinations(SPACES, enabled=True, clip_reward=True)
        action = torch.tensor([[2], [0], [4]])
        reward = torch.tensor([-3.0, 0.0, 7.0])
        got = encoding.encode(action, reward, torch.tensor([False, False, True]))
        # The environment is not an Atari game, so no reward is clipped.
        assert got.tolist() == [[0, 0, 1, 0, 0, -3], [1, 0, 0, 0, 0, 0], [0] * 6]
        assert encoding.width == 6

    def test_atari_rewards_are_clipped(self) -> None:
        atari = replace(SPACES, atari=True)
        encoding = PreviousInputs.of_combinations(atari, enabled=True, clip_reward=True)
        got = encoding.encode(torch.tensor([[1]]), torch.tensor([-3.0]), torch.tensor([False]))
        assert got.tolist() == [[0, 1, 0, 0, 0, -1]]

    def test_each_part_of_an_action_is_one_hot(self) -> None:
        spaces = replace(SPACES, num_actions=0, nvec=(2, 3), action_shape=(2,))
        encoding = PreviousInputs.of(spaces, enabled=True, clip_reward=False)
        got = encoding.encode(torch.tensor([[1, 2]]), torch.tensor([0.5]), torch.tensor([False]))
        assert got.tolist() == [[0, 1, 0, 0, 1, 0.5]]

    def test_a_continuous_action_is_as_it_was(self) -> None:
        box = {"action_low": (-1.0, -1.0), "action_high": (1.0, 1.0), "action_shape": (2,)}
        spaces = replace(SPACES, num_actions=0, **box)
        encoding = PreviousInputs.of(spaces, enabled=True, clip_reward=False)
        action = torch.tensor([[[0.25, -1.0]], [[0.5, 1.0]]])
        reward = torch.tensor([[2.0], [3.0]])
        got = encoding.encode(action, reward, torch.tensor([[False], [True]]))
        assert got.tolist() == [[[0.25, -1.0, 2.0]], [[0, 0, 0]]]

    def test_a_network_without_them_gets_none(self) -> None:
        encoding = PreviousInputs.of_combinations(SPACES, enabled=False, clip_reward=False)
        assert encoding.encode(torch.zeros(2, 1), torch.zeros(2), torch.zeros(2)).shape == (2, 0)

    @pytest.mark.parametrize("env_id", ["CartPole-v1", "toy/Pair-v0", "toy/Catch-v0"])
    def test_a_replay_gives_what_the_policy_saw(self, env_id: str) -> None:
        """Over several episodes of two groups of environments, and in both states of a return."""
        spec = envs.spec(env_id)
        num_envs = 2
        spaces = spaces_of(spec, num_envs)
        network = q_network(spaces, previous_inputs=True, core="gru")
        policy = EpsilonGreedyPolicy(network, spaces, Compute(CPU), 0.0)
        settings: Any = Settings(buffer_size=240, n_step=2)  # pyright: ignore[reportArgumentType]
        layout = Layout(policy.previous, policy.memory_size, sequence_steps=2)
        replay = Replay(settings, spaces, CPU, layout)
        groups = [
            EnvGroup(
                policy,
                envs.make(spec, 1, seed=0, first_env=number),
                EnvRng(0, num_envs, slice(number, number + 1)),
                slice(number, number + 1),
            )
            for number in range(num_envs)
        ]
        seen: dict[int, tuple[Tensor, Tensor]] = {}
        for group in groups:
            group.reset()
        for _ in range(60):
            for number, group in enumerate(groups):
                encoded = policy.encoded_previous(inputs_of(group))[0]
                slot = number * replay.length + int(replay.written[number])
                seen[slot] = encoded, torch.as_tensor(group.obs)[0]
                group.send(exploration=0.7)
                step, _ = group.recv()
                replay.add(step)
        for group in groups:
            group.env.close()
        assert len(seen) == 120
        slots = torch.tensor(list(seen))
        previous = replay.previous(slots)
        assert previous is not None
        assert torch.equal(previous, torch.stack([encoded for encoded, _ in seen.values()]))
        assert torch.equal(
            replay.observations(slots), torch.stack([obs for _, obs in seen.values()])
        )
        assert previous[:, :-1].any()
        assert 2 < (~previous.any(dim=1)).sum() < 120


def inputs_of(group: EnvGroup) -> PolicyInputs:
    """What a group gives its policy."""
    return PolicyInputs(group.obs, group.reward_N, group.is_first_N, None, group.action_N)


class TestTransfer:
    """`--init-from` between networks with and without a core."""

    def begun_from(self, source: dict[str, Any], **values: Any) -> tuple[QNetwork, QNetwork]:
        """A source network, and one that began with its weights."""
        theirs = q_network(**source)
        torch.manual_seed(1)
        ours = QNetwork(Settings(**values), SPACES)
        policy: Any = SimpleNamespace(
            network=ours, weights=ours.state_dict, load_weights=ours.load_state_dict
        )
        weights = theirs.state_dict()
        run: Any = SimpleNamespace(path="runs/x", weights=lambda *_: (weights, 0))
        initialize(policy, run)
        return theirs, ours

    def test_a_network_with_a_core_begins_with_all_of_another_one(self) -> None:
        theirs, ours = self.begun_from({"core": "lstm"}, core="lstm")
        for name, tensor in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], tensor), name

    @pytest.mark.parametrize("dueling", [False, True])
    def test_without_a_core_the_shared_hidden_layer_comes_before_it(self, dueling: bool) -> None:
        theirs, ours = self.begun_from({"layer_norm": True}, core="gru", layer_norm=True)
        back, plain = self.begun_from(
            {"core": "gru", "layer_norm": True}, layer_norm=True, dueling=dueling
        )
        head: Any = plain.head
        streams = [head.value, head.advantage] if dueling else [head.values]
        pairs: list[Any] = [(ours.hidden, theirs.head.values[0])]
        pairs += [(stream[0], back.hidden) for stream in streams]
        for mine, given in pairs:
            for name, tensor in given.state_dict().items():
                assert torch.equal(mine.state_dict()[name], tensor), name

    def test_a_layers_weight_and_bias_come_from_one_layer(self) -> None:
        """Both hidden layers have biases of one shape; their weights differ in shape."""
        theirs, ours = self.begun_from({"hidden": 16}, core="lstm", hidden=16)
        torch.manual_seed(1)
        fresh = QNetwork(Settings(core="lstm", hidden=16), SPACES)
        for stream in (ours.head.values[0], ours.core):
            for own in stream.parameters():
                assert not any(torch.equal(own, each) for each in theirs.parameters())
        torch.testing.assert_close(
            ours.head.values[0].state_dict(), fresh.head.values[0].state_dict()
        )

    def test_noisy_weights_begin_with_the_means_of_plain_ones(self) -> None:
        theirs, ours = self.begun_from({}, noisy=True)
        given = theirs.head.values[0][0]
        mine = ours.head.values[0][0]
        assert torch.equal(mine.weight, given.weight)
        assert torch.equal(mine.bias, given.bias)
        assert mine.weight_deviation.unique().numel() == 1
