"""The networks: sizes by hand, dueling aggregation, and what an actor-critic is made of."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from support.devices import DEVICES
from support.settings import Settings
from torch import Tensor, nn

from agents.core.nets.distributions import (
    Categorical,
    CategoricalHead,
    DiagonalGaussian,
    GaussianHead,
)
from agents.core.nets.heads import DuelingHead, QHead
from agents.core.nets.networks import ActorCritic
from agents.core.nets.value_networks import QNetwork, QuantileNetwork
from agents.core.types.inputs import Inputs
from agents.core.types.spaces import Spaces
from envs.errors import UserError

SETTINGS = Settings(activation="relu")
ATARI = (4, 84, 84)
ACTIONS: dict[str, dict[str, Any]] = {
    "discrete": {"num_actions": 6},
    "multi-discrete": {"num_actions": 0, "nvec": (2, 3), "action_shape": (2,)},
    "continuous": {
        "num_actions": 0,
        "action_low": (-1.0, -1.0),
        "action_high": (1.0, 1.0),
        "action_shape": (2,),
    },
}


def spaces(obs_shape: tuple[int, ...], actions: str = "discrete", **values: Any) -> Spaces:
    return Spaces(
        num_envs=1,
        obs_shape=obs_shape,
        obs_dtype=torch.uint8 if len(obs_shape) == 3 else torch.float32,
        stack=1,
        atari=False,
        about="Env-v0: actions are odd",
        **(ACTIONS[actions] | values),
    )


def q_network(obs_shape: tuple[int, ...], num_actions: int = 6, **parts: Any) -> QNetwork:
    return QNetwork(replace(SETTINGS, **parts), spaces(obs_shape, num_actions=num_actions))


def actor_critic(
    obs_shape: tuple[int, ...] = (5,), actions: str = "discrete", **parts: Any
) -> ActorCritic:
    torch.manual_seed(0)
    return ActorCritic(replace(SETTINGS, **parts), spaces(obs_shape, actions))


def observations(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    if len(shape) == 5:
        return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return torch.randn(shape, generator=generator)


def no_start(steps: int, batch: int) -> Tensor:
    return torch.zeros(steps, batch, dtype=torch.bool)


def shake(module: nn.Module) -> None:
    """Give every parameter some value, so that nothing is hidden behind a zero."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def fill(module: nn.Module, weight: float, bias: float) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.fill_(weight if name.endswith("weight") else bias)


@pytest.mark.parametrize("num_actions", [4, 18])
def test_the_nature_network_has_the_parameters_of_the_paper(num_actions: int):
    network = q_network(ATARI, num_actions, torso="nature", hidden=512)
    # Convolutions: 77,984 (test_torsos); hidden layer: 3,136*512 + 512 = 1,606,144.
    assert 77_984 + 1_606_144 == 1_684_128
    assert count(network) == 1_684_128 + 512 * num_actions + num_actions


def test_width_and_norm_reach_the_torso_of_a_q_network():
    # 8*8*4*64 + 64, 4*4*64*128 + 128 and 3*3*128*128 + 128, and a gain and an offset a channel.
    wide = q_network(ATARI, torso="nature", torso_width=2, torso_norm="layer")
    assert count(wide.torso) == 16_448 + 131_200 + 147_584 + 2 * (64 + 128 + 128)


def test_layer_norm_adds_a_gain_and_an_offset_for_each_hidden_unit():
    plain, normalized = (QHead(10, 3, 8, layer_norm=flag) for flag in (False, True))
    assert count(normalized) - count(plain) == 2 * 8
    assert count(DuelingHead(10, 3, 8, layer_norm=True)) == (
        2 * (10 * 8 + 8 + 2 * 8) + (8 * 1 + 1) + (8 * 3 + 3)
    )


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("torso", ["nature", "data_efficient", "impala", "mlp", "auto"])
def test_images_become_one_float32_value_per_action(torso: str, dueling: bool, device):
    network = q_network((4, 42, 42), torso=torso, dueling=dueling, layer_norm=True)
    q_BA = network.to(device)(
        Inputs.of(torch.zeros(3, 4, 42, 42, dtype=torch.uint8, device=device))
    )
    assert q_BA.shape == (3, 6)
    assert q_BA.dtype == torch.float32


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_vectors_become_one_float32_value_per_action(device: torch.device):
    network = q_network((5,), dueling=True)
    assert network.to(device)(Inputs.of(torch.zeros(3, 5, device=device))).shape == (3, 6)


def test_values_are_float32_under_bf16_autocast():
    network = q_network((5,), dueling=True, layer_norm=True)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(Inputs.of(torch.zeros(3, 5))).dtype == torch.float32


def test_dueling_adds_the_advantage_less_its_mean_to_the_value():
    head = DuelingHead(num_features=1, num_actions=3, width=1, layer_norm=False)
    fill(head, weight=1.0, bias=0.0)
    with torch.no_grad():
        head.advantage[1].weight.copy_(torch.tensor([[1.0], [2.0], [6.0]]))
    # Of the feature 2: V = 2, A = (2, 4, 12), mean A = 6, Q = 2 + A - 6.
    assert head(torch.tensor([[2.0]])).tolist() == [[[-2.0], [0.0], [8.0]]]


def test_dueling_ignores_a_constant_added_to_every_advantage():
    torch.manual_seed(0)
    head, features = DuelingHead(4, 3, 8, layer_norm=True), torch.randn(5, 4)
    before = head(features)
    with torch.no_grad():
        head.advantage[1].bias += 10.0
    assert torch.allclose(before, head(features), atol=1e-5)


def test_a_q_network_is_refused_where_actions_are_continuous():
    with pytest.raises(UserError, match="Env-v0: actions are odd; this agent needs discrete"):
        QNetwork(SETTINGS, spaces((5,), "continuous"))


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize(("core", "width"), [("none", 0), ("lstm", 32), ("gru", 16)])
@pytest.mark.parametrize("obs_shape", [(5,), (1, 36, 36)])
def test_an_actor_critic_gives_a_policy_a_value_and_a_memory_for_each_step(
    obs_shape: tuple[int, ...], core: str, width: int, separate: bool, device: torch.device
):
    network = actor_critic(obs_shape, core=core, separate_value=separate).to(device)
    # 16 hidden units: an LSTM remembers 2 * 16 numbers, a GRU 16, for each of the bodies.
    assert network.memory_size == width * (1 + separate)
    memory_BS = torch.zeros(2, network.memory_size, device=device)
    obs_TB = observations(3, 2, *obs_shape).to(device)
    policy, value_TB, after_BS = network(obs_TB, memory_BS, no_start(3, 2).to(device))
    assert isinstance(policy, Categorical)
    assert [part.shape for part in policy.log_probs] == [(3, 2, 6)]
    assert value_TB.shape == (3, 2)
    assert after_BS.shape == memory_BS.shape
    dtypes = {policy.log_probs[0].dtype, value_TB.dtype, after_BS.dtype}
    assert dtypes == {torch.float32}
    assert torch.equal(after_BS, memory_BS) == (core == "none")


@pytest.mark.parametrize("core", ["none", "lstm", "gru"])
@pytest.mark.parametrize("separate", [False, True])
def test_a_sequence_equals_its_steps_one_by_one(core: str, separate: bool):
    network = actor_critic(core=core, separate_value=separate)
    shake(network)
    obs_TB, start_TB = observations(4, 2, 5), no_start(4, 2)
    start_TB[2, 1] = True
    memory_BS = torch.randn(2, network.memory_size)
    policy, value_TB, after_BS = network(obs_TB, memory_BS, start_TB)
    for t in range(4):
        now, value_1B, memory_BS = network(obs_TB[t : t + 1], memory_BS, start_TB[t : t + 1])
        torch.testing.assert_close(now.log_probs[0][0], policy.log_probs[0][t])
        torch.testing.assert_close(value_1B[0], value_TB[t])
    torch.testing.assert_close(memory_BS, after_BS)


@pytest.mark.parametrize("core", ["none", "lstm", "gru"])
def test_an_actor_critic_is_float32_under_bf16_autocast(core: str):
    network = actor_critic(core=core, layer_norm=True)
    memory_BS = torch.randn(2, network.memory_size)
    precise, value_TB, after_BS = network(observations(3, 2, 5), memory_BS, no_start(3, 2))
    with torch.autocast("cpu", torch.bfloat16):
        policy, rough_TB, rough_BS = network(observations(3, 2, 5), memory_BS, no_start(3, 2))
    assert policy.log_probs[0].dtype == rough_TB.dtype == rough_BS.dtype == torch.float32
    assert not torch.equal(value_TB, rough_TB)
    torch.testing.assert_close(value_TB, rough_TB, atol=0.05, rtol=0.05)
    torch.testing.assert_close(after_BS, rough_BS, atol=0.05, rtol=0.05)
    torch.testing.assert_close(precise.log_probs, policy.log_probs, atol=0.05, rtol=0.05)


@pytest.mark.parametrize(
    ("actions", "head", "sizes"),
    [
        ("discrete", CategoricalHead, [6]),
        ("multi-discrete", CategoricalHead, [2, 3]),
        ("continuous", GaussianHead, [2]),
    ],
)
def test_the_policy_is_of_the_kind_of_the_actions(actions: str, head: type, sizes: list[int]):
    network = actor_critic(actions=actions)
    assert type(network.policy_head) is head
    policy, _, _ = network(observations(3, 2, 5), torch.zeros(2, 0), no_start(3, 2))
    parts = policy.log_probs if isinstance(policy, Categorical) else (policy.mean,)
    assert [part.shape for part in parts] == [(3, 2, size) for size in sizes]


def gain_of(weight: Tensor) -> float:
    """The gain of an orthogonal matrix, of which the rows or columns are orthogonal; else NaN."""
    matrix = weight.detach().flatten(1)
    gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    gain = gram.diagonal().mean().sqrt()
    orthogonal = torch.allclose(gram, gain**2 * torch.eye(len(gram)), atol=1e-4 * float(gain) ** 2)
    return float(gain) if orthogonal else math.nan


@pytest.mark.parametrize("torso", ["mlp", "nature", "data_efficient", "impala"])
def test_hidden_layers_are_orthogonal_with_gain_root_two_and_without_bias(torso: str):
    network = actor_critic((1, 36, 36), torso=torso, hidden=8, separate_value=True)
    layers = [m for m in network.bodies.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    of_torso = {"mlp": 1, "nature": 3, "data_efficient": 2, "impala": 15}[torso]
    assert len(layers) == 2 * (of_torso + 1)  # of each body the torso's and the hidden one
    assert [gain_of(m.weight) for m in layers] == pytest.approx([math.sqrt(2)] * len(layers))
    assert not any(m.bias.any() for m in layers)


@pytest.mark.parametrize("actions", ["discrete", "multi-discrete", "continuous"])
def test_heads_are_orthogonal_small_for_the_policy_and_one_for_the_value(actions: str):
    network = actor_critic(actions=actions)
    head = network.policy_head
    layer = head.mean if isinstance(head, GaussianHead) else head.logits
    assert gain_of(layer.weight) == pytest.approx(0.01)
    assert gain_of(network.value_head.weight) == pytest.approx(1.0)
    assert not layer.bias.any()
    assert not network.value_head.bias.any()
    if isinstance(head, GaussianHead):
        assert head.log_std.tolist() == [0.0, 0.0]  # deviation 1


@pytest.mark.parametrize("core", ["lstm", "gru"])
def test_cores_are_orthogonal_with_gain_one_and_without_bias(core: str):
    cell = actor_critic(core=core).bodies[0].core.cell
    assert gain_of(cell.weight_ih) == pytest.approx(1.0)
    assert gain_of(cell.weight_hh) == pytest.approx(1.0)
    assert not cell.bias_ih.any()
    assert not cell.bias_hh.any()


def test_the_test_of_orthogonality_tells_other_matrices_apart():
    assert math.isnan(gain_of(nn.Linear(8, 16).weight))


@pytest.mark.parametrize("core", ["none", "lstm"])
def test_separate_bodies_share_nothing(core: str):
    network = actor_critic(core=core, separate_value=True)
    shake(network)
    memory_BS = torch.zeros(2, network.memory_size)
    policy, value_TB, _ = network(observations(3, 2, 5), memory_BS, no_start(3, 2))
    of_policy, of_value = (list(body.parameters()) for body in network.bodies)
    pairs = list(product(of_policy, of_value))
    assert all(a is not b and a.data_ptr() != b.data_ptr() for a, b in pairs)
    loss = policy.log_probs[0][..., 0].sum()
    for output, own, other in ((loss, of_policy, of_value), (value_TB.sum(), of_value, of_policy)):
        gradients = torch.autograd.grad(output, own, retain_graph=True)
        assert all(bool(gradient.any()) for gradient in gradients)
        unused = torch.autograd.grad(output, other, retain_graph=True, allow_unused=True)
        assert unused == (None,) * len(other)


def test_without_a_separate_value_both_train_one_body():
    network = actor_critic()
    shake(network)
    policy, value_TB, _ = network(observations(3, 2, 5), torch.zeros(2, 0), no_start(3, 2))
    (body,) = network.bodies
    for output in (policy.log_probs[0][..., 0].sum(), value_TB.sum()):
        gradients = torch.autograd.grad(output, list(body.parameters()), retain_graph=True)
        assert all(bool(gradient.any()) for gradient in gradients)


def test_of_separate_bodies_each_has_its_own_part_of_the_memory():
    network = actor_critic(core="lstm", separate_value=True)
    shake(network)
    obs_TB, memory_BS = observations(1, 2, 5), torch.zeros(2, 64)
    policy, value_TB, after_BS = network(obs_TB, memory_BS, no_start(1, 2))
    memory_BS[:, :32] = 1.0
    first, first_value_TB, first_after_BS = network(obs_TB, memory_BS, no_start(1, 2))
    assert not torch.allclose(first.log_probs[0], policy.log_probs[0])
    assert torch.equal(first_value_TB, value_TB)
    assert torch.equal(first_after_BS[:, 32:], after_BS[:, 32:])
    assert not torch.allclose(first_after_BS[:, :32], after_BS[:, :32])


def test_the_hidden_layer_has_the_norm_and_activation_that_are_asked_for():
    plain, normalized = actor_critic(), actor_critic(layer_norm=True)
    assert count(normalized) - count(plain) == 2 * 16
    network = actor_critic(activation="tanh")
    fill(network.bodies[0], weight=100.0, bias=0.0)
    obs_TB = torch.tensor([[[1.0] * 5, [-1.0] * 5]])
    features, _ = network.bodies[0](obs_TB, torch.zeros(2, 0), no_start(1, 2))
    assert features.tolist() == [[[1.0] * 16, [-1.0] * 16]]  # tanh of ± 100 and more


def test_the_fully_connected_torso_of_an_actor_critic_is_as_wide_as_its_hidden_layer():
    # 5*16 + 16 and 16*16 + 16, policy 16*6 + 6 and value 16 + 1
    assert count(actor_critic()) == 96 + 272 + 102 + 17
    # Of an LSTM: two matrices of 4*16 rows, and two biases.
    assert count(actor_critic(core="lstm")) - count(actor_critic()) == 2 * (64 * 16) + 2 * 64
    assert count(actor_critic(core="gru")) - count(actor_critic()) == 2 * (48 * 16) + 2 * 48


def test_observations_are_normalized_only_where_asked_and_only_vectors():
    obs_TB = 100 + observations(6, 2, 5)
    seen = []
    for asked in (False, True):
        network = actor_critic(normalize_observations=asked)
        assert ("normalizer.mean" in network.state_dict()) == asked
        before = network(obs_TB, torch.zeros(2, 0), no_start(6, 2))[1]
        network.normalizer.update(obs_TB)
        after = network(obs_TB, torch.zeros(2, 0), no_start(6, 2))[1]
        seen.append(torch.equal(before, after))
    assert seen == [True, False]
    images = actor_critic((1, 36, 36), normalize_observations=True)
    assert "normalizer.mean" not in images.state_dict()


def test_normalized_observations_do_not_know_their_scale():
    obs_TB = observations(6, 2, 5)
    values = []
    for scaled_TB in (obs_TB, 7.0 * obs_TB - 30.0):
        network = actor_critic(normalize_observations=True)
        network.normalizer.update(scaled_TB)
        values.append(network(scaled_TB, torch.zeros(2, 0), no_start(6, 2))[1])
    torch.testing.assert_close(values[0], values[1], atol=1e-4, rtol=1e-4)


def test_continuous_policies_start_with_deviation_one_in_every_state():
    policy, _, _ = actor_critic(actions="continuous")(
        observations(3, 2, 5), torch.zeros(2, 0), no_start(3, 2)
    )
    assert isinstance(policy, DiagonalGaussian)
    assert policy.mean.abs().max() < 0.1
    assert policy.log_std.exp().tolist() == [1.0, 1.0]


def test_the_values_of_quantiles_are_their_means() -> None:
    spaces = Spaces(1, (3,), torch.float32, stack=1, num_actions=4, atari=False)
    network = QuantileNetwork(Settings(), spaces, 5)
    obs = Inputs.of(torch.randn(7, 3))
    quantiles = network(obs)
    assert quantiles.shape == (7, 4, 5)
    assert quantiles.dtype == torch.float32
    torch.testing.assert_close(network.q_values(obs), quantiles.mean(dim=2))
    # Each action's quantiles are rows of the head next to each other.
    network.head.values[1].weight.data.zero_()
    network.head.values[1].bias.data = torch.arange(20.0)
    assert network(obs)[0].tolist() == torch.arange(20.0).view(4, 5).tolist()
