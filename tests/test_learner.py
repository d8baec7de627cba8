"""The optimization step against arithmetic done by hand; precision, targets, state."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import pytest
import torch
from support.devices import CPU
from support.learners import make_algorithm, make_learner
from support.settings import Settings
from torch import Tensor, nn

from agents import dqn, ppo
from agents.core.nets.pixels import Pixels
from agents.core.nets.value_networks import QNetwork
from agents.core.optimize.learner import Learner, Loss, LossOutput, Part
from agents.core.optimize.optimizers import OPTIMIZERS
from agents.core.policies.policy import copy_weights, frozen_copy
from agents.core.system import device as device_module
from agents.core.system.compute import Compute
from agents.core.system.device import bf16_pays
from agents.core.types.batches import Batch, Sequences
from agents.core.types.inputs import Inputs
from agents.core.types.spaces import Spaces

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = [torch.device("cpu"), pytest.param(torch.device("cuda"), marks=CUDA)]
SPACES = Spaces(1, (4, 36, 36), torch.uint8, stack=4, num_actions=3, atari=True)


SETTINGS = Settings(
    torso="nature",
    dueling=True,
    layer_norm=True,
    activation="relu",
    learning_rate=0.5,
    max_grad_norm=0.0,
)


class Weights(nn.Module):
    """A network that is its two weights, so that a loss can name their gradients."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 1.0]))


def two_weights(device: torch.device = CPU, **values) -> tuple[Learner, nn.Parameter]:
    learner = make_learner(Weights(), replace(SETTINGS, **values), device)
    return learner, learner.parts["policy"].parameters[0]


def two_parts(**values) -> Learner:
    """A learner of an actor, which its policy holds, and of a critic."""
    settings = replace(SETTINGS, **{"learning_rate": 0.1, "optimizer_epsilon": 1.0, **values})
    actor = Part(Weights(), settings)
    critic = Part(Weights(), settings, in_policy=False)
    return Learner(Compute(CPU), {"actor": actor, "critic": critic})


def transitions(obs: Tensor, weight_B: Tensor | None = None) -> Batch:
    """A batch of which only the observations and the weights mean something."""
    zero_B = torch.zeros(len(obs), device=obs.device)
    weight_B = zero_B + 1 if weight_B is None else weight_B
    slot_B = torch.arange(len(obs), device=obs.device)
    return Batch(obs, slot_B, zero_B, zero_B, obs, weight_B, slot_B)


def descend(learner: Learner, gradient: list[float], *parts: str) -> dict[str, Tensor]:
    """One update of a loss that has this gradient in the weights of each part."""
    weights = [part.parameters[0] for part in learner.parts.values()]
    slope = torch.tensor(gradient, device=weights[0].device)

    def loss(batch: Batch) -> LossOutput:
        return LossOutput(torch.stack([(w * slope).sum() for w in weights]).sum().unsqueeze(0))

    batch = transitions(torch.zeros(1, 1, device=slope.device))
    return learner.update(loss, batch, parts).metrics


def q_learner(device: torch.device = CPU, seed: int = 0, **values) -> Learner:
    settings = replace(SETTINGS, **{"learning_rate": 1e-3, "max_grad_norm": 10.0, **values})
    torch.manual_seed(seed)
    return make_learner(QNetwork(settings, SPACES), settings, device)


def network_of(learner: Learner) -> nn.Module:
    """The network in training."""
    return learner.parts["policy"].network


def kept_of(learner: Learner) -> nn.Module:
    """The network whose weights a checkpoint keeps: the running mean, where there is one."""
    average = learner.parts["policy"].average
    return network_of(learner) if average is None else average.target


def small_dqn(**values) -> dqn.Config:
    """The settings of a DQN whose replay is small."""
    return replace(dqn.Config(buffer_size=100, num_threads=1, hidden=16), **values)


def images(device: torch.device, seed: int = 0, batch: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, *SPACES.obs_shape)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device)


def regress(learner: Learner, seed: int) -> dict[str, Tensor]:
    """One update that draws the values of some images to 1."""
    batch = transitions(images(learner.compute.device, seed))
    return learner.update(towards_one(learner), batch).metrics


def towards_one(learner: Learner) -> Loss[Batch]:
    network = network_of(learner)

    def loss(batch: Batch) -> LossOutput:
        q_BA = network(batch.inputs)
        error_B = (1 - q_BA).square().sum(dim=1)
        return LossOutput(error_B, {"losses/q_values": q_BA.mean(dim=1)}, priority_B=error_B)

    return loss


def through_disk(tensors: dict) -> dict:
    """As a checkpoint gives tensors back: equal, contiguous, and of other memory."""
    return {
        name: through_disk(value)
        if isinstance(value, dict)
        else value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }


def restore(other: Learner, saved: Learner) -> None:
    """Have `other` take up what a checkpoint of `saved` holds: the policy's weights come first."""
    weights = through_disk(dict(kept_of(saved).state_dict()))
    for network in (network_of(other), kept_of(other)):
        network.load_state_dict(weights)
    other.load_state_dict(through_disk(saved.state_dict()))


def assert_same_state(saved: dict, restored: dict) -> None:
    """Compare nested tensors bit for bit."""
    assert saved.keys() == restored.keys()
    for name, value in saved.items():
        if isinstance(value, dict):
            assert_same_state(value, restored[name])
        else:
            assert torch.equal(value, restored[name]), name


def assert_same_parameters(a: nn.Module, b: nn.Module) -> None:
    for old, new in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_first_step_of_adam(device: torch.device):
    learner, w = two_weights(device, learning_rate=0.1, optimizer_epsilon=1.0)
    descend(learner, [3.0, -1.0])
    # Without bias the moments are g and g²: w - 0.1 * g / (|g| + 1) = 1 - 0.3/4 and 1 + 0.1/2.
    assert w.tolist() == pytest.approx([0.925, 1.05])


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_rectified_adam_trusts_the_second_moment_from_the_sixth_step(device: torch.device):
    learner, w = two_weights(device, optimizer="radam", learning_rate=0.1, optimizer_epsilon=1e-12)
    for _ in range(5):
        descend(learner, [3.0, -1.0])
    # Liu et al. 2020, algorithm 2: while ρ is at most 5, a step is 0.1 times the mean gradient.
    assert w.tolist() == pytest.approx([1 - 0.5 * 3, 1 + 0.5])
    descend(learner, [3.0, -1.0])
    most = 2 / 0.001 - 1
    length = most - 2 * 6 * 0.999**6 / (1 - 0.999**6)
    factors = (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)
    step = 0.1 * math.sqrt(factors)
    assert w.tolist() == pytest.approx([1 - 0.5 * 3 - step, 1 + 0.5 + step])


@pytest.mark.parametrize("optimizer", ["adam", "radam"])
def test_weight_decay_shrinks_weights_beside_adams_step(optimizer: str):
    given = {"optimizer": optimizer, "learning_rate": 0.1, "optimizer_epsilon": 1.0}
    plain, w = two_weights(**given)
    decayed, v = two_weights(**given, weight_decay=0.5)
    descend(plain, [3.0, -1.0])
    descend(decayed, [3.0, -1.0])
    # Decoupled: 1 shrinks by 0.1 * 0.5, whatever its gradient is.
    assert v.tolist() == pytest.approx([w[0].item() - 0.05, w[1].item() - 0.05])


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_natures_rmsprop_divides_by_the_deviation_of_the_gradient(device: torch.device):
    learner, w = two_weights(
        device, optimizer="nature_rmsprop", learning_rate=0.1, optimizer_epsilon=1e-12
    )
    descend(learner, [2.0, -1.0])
    # mean = 0.05 * 2 = 0.1, square = 0.05 * 4 = 0.2, deviation = √(0.2 - 0.01) = √0.19, and
    # half of that for -1: the step is 0.1 * 2 / √0.19 = 0.1 * 1 / √0.0475.
    first = 0.2 / math.sqrt(0.19)
    assert w.tolist() == pytest.approx([1 - first, 1 + first])
    descend(learner, [1.0, -0.5])
    # mean = 0.95 * 0.1 + 0.05 * 1 = 0.145, square = 0.95 * 0.2 + 0.05 * 1 = 0.24.
    second = 0.1 / math.sqrt(0.24 - 0.145**2)
    assert w.tolist() == pytest.approx([1 - first - second, 1 + first + second])


def test_natures_rmsprop_adds_epsilon_to_the_deviation():
    learner, w = two_weights(optimizer="nature_rmsprop", learning_rate=0.1, optimizer_epsilon=0.01)
    descend(learner, [2.0, 0.02])
    # For 2:    0.1 * 2 / (√(0.2 - 0.01) + 0.01) = 0.2 / (√0.19 + 0.01).
    # For 0.02: mean = 0.001, square = 0.00002, 0.1 * 0.02 / (√(0.00002 - 0.000001) + 0.01).
    expected = [1 - 0.2 / (math.sqrt(0.19) + 0.01), 1 - 0.002 / (math.sqrt(0.000019) + 0.01)]
    assert w.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_rmsprop_divides_by_the_root_of_the_mean_square_of_the_gradient(device: torch.device):
    learner, w = two_weights(device, optimizer="rmsprop", learning_rate=0.1, optimizer_epsilon=0.5)
    descend(learner, [2.0, -5.0])
    # mean square = 0.01 * 4 = 0.04 and 0.01 * 25 = 0.25, roots 0.2 and 0.5:
    # 1 - 0.1 * 2 / (0.2 + 0.5) and 1 + 0.1 * 5 / (0.5 + 0.5)
    assert w.tolist() == pytest.approx([1 - 0.2 / 0.7, 1.5])
    descend(learner, [1.0, 0.0])
    # mean square = 0.99 * 0.04 + 0.01 * 1 = 0.0496; where there is no gradient there is no step.
    assert w.tolist() == pytest.approx([1 - 0.2 / 0.7 - 0.1 / (math.sqrt(0.0496) + 0.5), 1.5])


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_the_step_is_in_proportion_to_the_learning_rate_that_was_set_last(optimizer: str):
    steps = []
    for learning_rate in (0.25, 0.5):
        learner, w = two_weights(optimizer=optimizer, learning_rate=0.1)
        descend(learner, [3.0, -1.0])
        before = w.detach().clone()
        learner.set_learning_rate(learning_rate)
        descend(learner, [2.0, -1.0])
        steps.append(w.detach() - before)
    torch.testing.assert_close(steps[1], 2 * steps[0])
    assert bool((steps[0] != 0).all())


@pytest.mark.parametrize("shards", [2, 3])
def test_a_batch_split_over_threads_gives_the_same_update(shards: int):
    whole, split = q_learner(), q_learner(num_threads=shards)
    assert split.compute.shards == shards
    batch = transitions(images(CPU, batch=9), torch.linspace(0.1, 1.0, 9))
    expected = whole.update(towards_one(whole), batch)
    got = split.update(towards_one(split), batch)
    torch.testing.assert_close(got.priority_B, expected.priority_B)
    torch.testing.assert_close(got.metrics, expected.metrics)
    for a, b in zip(network_of(whole).parameters(), network_of(split).parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_batch_split_over_threads_is_reproducible():
    learners = [q_learner(num_threads=2) for _ in range(2)]
    for seed in range(5):
        for learner in learners:
            regress(learner, seed)
    assert_same_parameters(network_of(learners[0]), network_of(learners[1]))


@pytest.mark.parametrize(
    ("size", "shares"), [(1, [1]), (31, [31]), (32, [16, 16]), (50, [16, 17, 17])]
)
def test_observations_to_act_on_are_shared_out_to_threads_in_order(size: int, shares: list[int]):
    learner, obs = q_learner(num_threads=3), images(CPU, batch=size)
    network = network_of(learner)
    seen: list[int] = []

    def forward(obs_B: Tensor) -> Tensor:
        seen.append(len(obs_B))
        return network(Inputs.of(obs_B))

    q_BA = torch.cat(learner.compute.infer(forward, obs))
    assert sorted(seen) == shares
    assert not q_BA.requires_grad
    torch.testing.assert_close(q_BA, network(Inputs.of(obs)).detach())


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_gradients_are_clipped_to_a_global_norm_and_the_norm_before_is_reported(
    device: torch.device,
):
    learner, w = two_weights(device, max_grad_norm=1.0)
    metrics = descend(learner, [3.0, 4.0])
    assert metrics["losses/grad_norm"].item() == pytest.approx(5.0)  # √(9 + 16)
    assert w.grad.tolist() == pytest.approx([0.6, 0.8], rel=1e-5)  # 3 / 5, 4 / 5


def test_gradients_within_the_norm_are_left_alone():
    learner, w = two_weights(max_grad_norm=6.0)
    descend(learner, [3.0, 4.0])
    assert w.grad.tolist() == [3.0, 4.0]


def test_a_max_grad_norm_of_zero_does_not_clip():
    learner, w = two_weights(max_grad_norm=0.0)
    metrics = descend(learner, [3e6, 4e6])
    assert w.grad.tolist() == [3e6, 4e6]
    assert metrics["losses/grad_norm"].item() == pytest.approx(5e6)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_loss_is_the_mean_of_the_losses_times_their_importance(device: torch.device):
    learner, w = two_weights(device)
    slope_B = torch.tensor([2.0, 4.0], device=device)
    batch = transitions(torch.zeros(2, 1, device=device), torch.tensor([1.0, 0.25], device=device))
    metrics, _ = learner.update(lambda _: LossOutput(slope_B * w), batch)
    assert metrics["losses/loss"].item() == 1.5  # (2 * 1 + 4 * 0.25) / 2
    assert w.grad.tolist() == [1.0, 0.5]  # 2 * 1 / 2, 4 * 0.25 / 2


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_mean_of_a_metric_knows_no_importance(device: torch.device):
    learner, w = two_weights(device)
    value_B = torch.tensor([2.0, 4.0], device=device)
    batch = transitions(torch.zeros(2, 1, device=device), torch.tensor([1.0, 0.25], device=device))
    loss = lambda _: LossOutput(value_B * w, {"losses/error": value_B * w})  # noqa: E731
    metrics, _ = learner.update(loss, batch)
    assert metrics["losses/error"].item() == 3.0  # (2 + 4) / 2
    assert metrics.keys() == {"losses/loss", "losses/error", "losses/grad_norm"}


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_priorities_are_those_that_the_loss_gives_and_no_metric(device: torch.device):
    learner, w = two_weights(device)
    priority_B = torch.tensor([5.0, 7.0], device=device)
    batch = transitions(torch.zeros(2, 1, device=device), torch.tensor([1.0, 0.25], device=device))

    def loss(batch: Batch) -> LossOutput:
        return LossOutput(w, {"losses/td_error": w * 2, "priority": w * 3}, priority_B * w)

    metrics, given_B = learner.update(loss, batch)
    assert given_B is not None
    assert given_B.tolist() == [5.0, 7.0]  # Neither a metric nor times its importance.
    assert metrics.keys() == {"losses/loss", "losses/td_error", "priority", "losses/grad_norm"}


@pytest.mark.parametrize("num_threads", [1, 2])
def test_where_the_loss_gives_no_priority_there_is_none(num_threads: int):
    learner = q_learner(num_threads=num_threads)
    network = network_of(learner)

    def loss(batch: Batch) -> LossOutput:
        error_B = network(batch.inputs).square().sum(dim=1)
        return LossOutput(error_B, {"losses/td_error": error_B, "priority": error_B})

    assert learner.update(loss, transitions(images(CPU))).priority_B is None


@dataclass(frozen=True)
class Grid:
    """A minibatch of L steps of B sequences of which only part may be on this rank."""

    number_LB: Tensor
    size: int
    weight: float = 1.0

    def split(self, shards: int) -> list[Grid]:
        return [replace(self, number_LB=part) for part in self.number_LB.chunk(shards, dim=1)]


def test_the_mean_is_over_the_size_that_the_minibatch_says():
    learner, w = two_weights()
    grid = Grid(torch.tensor([[1.0, 2.0], [3.0, 6.0]]), size=8)
    metrics, _ = learner.update(
        lambda part: LossOutput(part.number_LB * w.sum(), {"value": part.number_LB}), grid
    )
    assert metrics["losses/loss"].item() == 3.0  # (1 + 2 + 3 + 6) * (1 + 1) / 8
    assert metrics["value"].item() == 1.5  # (1 + 2 + 3 + 6) / 8
    assert w.grad.tolist() == [1.5, 1.5]


def test_priorities_of_sequences_that_threads_share_come_back_in_order():
    learner = q_learner(num_threads=2)
    grid = Grid(torch.arange(10.0).view(2, 5), size=10)
    seen: list[tuple[int, ...]] = []

    def loss(part: Grid) -> LossOutput:
        seen.append(tuple(part.number_LB.shape))
        size = sum(parameter.square().sum() for parameter in network_of(learner).parameters())
        return LossOutput(part.number_LB * size, {"value": part.number_LB}, part.number_LB[1])

    metrics, priority_B = learner.update(loss, grid)
    assert sorted(seen) == [(2, 2), (2, 3)]
    assert priority_B is not None
    assert priority_B.tolist() == grid.number_LB[1].tolist()
    assert metrics["value"].item() == 4.5  # (0 + ... + 9) / 10


def test_gradients_do_not_add_up_over_updates():
    learner, w = two_weights()
    descend(learner, [3.0, 4.0])
    descend(learner, [1.0, 2.0])
    assert w.grad.tolist() == [1.0, 2.0]


def test_metrics_and_priorities_are_detached():
    learner = q_learner()
    metrics, priority_B = learner.update(towards_one(learner), transitions(images(CPU)))
    assert len(metrics) == 3
    assert priority_B is not None
    assert not any(tensor.requires_grad for tensor in (*metrics.values(), priority_B))


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_network_moves_to_the_policys_device_contiguous_and_float32(device: torch.device):
    policy = dqn.make_policy(small_dqn(precision="bf16"), SPACES, device)
    for parameter in policy.network.parameters():
        assert parameter.device.type == device.type
        assert parameter.dtype == torch.float32
        assert parameter.is_contiguous()


@pytest.mark.parametrize(
    ("vendor", "flags", "pays"),
    [
        ("GenuineIntel", "avx2 avx512f avx512_bf16 amx_bf16 amx_tile", True),
        ("GenuineIntel", "avx2 avx512f avx512_bf16", False),
        ("AuthenticAMD", "avx2 avx512f avx512_bf16", True),
        ("AuthenticAMD", "avx2", False),
    ],
)
def test_bf16_is_for_cpus_that_gain_by_it(vendor: str, flags: str, pays: bool):
    assert bf16_pays(f"vendor_id\t: {vendor}\nflags\t\t: fpu {flags} sse2\n") is pays


@pytest.mark.parametrize("gains", [True, False])
def test_on_such_a_cpu_bf16_is_for_convolutions(gains: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(device_module, "cpu_multiplies_bf16", lambda: gains)
    for_images = torch.bfloat16 if gains else torch.float32
    networks = {nn.Sequential(nn.Conv2d(1, 1, 1)): for_images, nn.Linear(1, 1): torch.float32}
    for network, dtype in networks.items():
        for asked, precision in (("auto", dtype), ("bf16", torch.bfloat16)):
            compute = Compute.of(network, replace(SETTINGS, precision=asked), CPU)
            assert compute.precision == precision


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_bf16_and_fp32_agree(device: torch.device):
    precise, rough = q_learner(device, precision="fp32"), q_learner(device, precision="bf16")
    precisions = [precise.compute.precision, rough.compute.precision]
    assert precisions == [torch.float32, torch.bfloat16]
    assert_same_parameters(network_of(precise), network_of(rough))
    obs = images(device)
    with torch.no_grad():
        q_BA = network_of(precise)(Inputs.of(obs))
        with rough.compute.autocast():
            rough_BA = network_of(rough)(Inputs.of(obs))
    assert rough_BA.dtype == torch.float32
    assert not torch.equal(q_BA, rough_BA)
    assert (q_BA - rough_BA).abs().max() < 0.03 * q_BA.abs().max()  # bf16 holds 8 bits
    for seed in range(3):
        expected, got = regress(precise, seed), regress(rough, seed)
        for name, value in expected.items():
            assert got[name].item() == pytest.approx(value.item(), rel=0.05)


@pytest.mark.parametrize("core", ["none", "lstm", "gru"])
def test_threads_that_learn_at_once_in_bf16_round_alike(core: str):
    config = replace(ppo.Config(), core=core, precision="bf16", num_threads=2, hidden=32)
    algorithm = make_algorithm(ppo, config, SPACES)
    generator = torch.Generator().manual_seed(0)
    steps, games = (1, 64) if core == "none" else (8, 8)
    obs = images(CPU, batch=steps * games).unflatten(0, (steps, games))
    values_LB = torch.randn(steps, games, generator=generator)
    batch = Sequences(
        obs_LB=obs,
        memory_BS=torch.zeros(games, algorithm.policy.memory_size),
        start_LB=torch.zeros(steps, games, dtype=torch.bool),
        action_LBK=torch.randint(0, 3, (steps, games, 1), generator=generator),
        log_prob_LB=values_LB.abs().neg(),
        value_LB=values_LB,
        advantage_LB=values_LB,
        return_LB=values_LB,
        size=steps * games,
    )
    learner = algorithm.learner
    learner.compute.shards = 2
    norms = set()
    learner.set_learning_rate(0.0)
    for _ in range(20):
        norms.add(learner.update(algorithm.loss, batch).metrics["losses/grad_norm"].item())
    assert len(norms) == 1


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_a_restored_learner_goes_on_bit_for_bit(optimizer: str, device: torch.device):
    learner = q_learner(device, optimizer=optimizer)
    for seed in range(3):
        regress(learner, seed)
    other = q_learner(device, seed=1, optimizer=optimizer)
    restore(other, learner)
    for seed in range(3, 6):
        expected, got = regress(learner, seed), regress(other, seed)
        assert {k: v.item() for k, v in expected.items()} == {k: v.item() for k, v in got.items()}
    assert_same_parameters(network_of(learner), network_of(other))
    assert learner.num_updates == other.num_updates == 6
    assert_same_state(through_disk(learner.state_dict()), through_disk(other.state_dict()))


def test_a_learner_that_never_updated_can_be_restored():
    learner, other = q_learner(), q_learner(seed=1)
    restore(other, learner)
    for each in (learner, other):
        regress(each, 0)
    assert_same_parameters(network_of(learner), network_of(other))


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_weights_are_all_that_acting_needs(device: torch.device):
    policies = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        policies.append(dqn.make_policy(small_dqn(precision="fp32"), SPACES, device))
    one, other = policies
    obs = images(device)
    assert not torch.equal(one.network(Inputs.of(obs)), other.network(Inputs.of(obs)))
    other.load_weights(through_disk(one.weights()))
    assert torch.equal(one.network(Inputs.of(obs)), other.network(Inputs.of(obs)))


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_target_stays_as_it_was_until_it_is_copied_to(device: torch.device):
    learner = q_learner(device)
    network = network_of(learner)
    target, before = frozen_copy(network), copy.deepcopy(network)
    places = [parameter.data_ptr() for parameter in target.parameters()]
    regress(learner, 0)
    assert_same_parameters(target, before)
    assert not all(map(torch.equal, network.parameters(), target.parameters()))
    copy_weights(network, target)
    assert_same_parameters(target, network)
    assert places == [parameter.data_ptr() for parameter in target.parameters()]
    regress(learner, 1)
    assert not all(map(torch.equal, network.parameters(), target.parameters()))


def test_a_target_is_copied_with_what_its_images_are_scaled_by():
    network = network_of(q_learner())
    target = frozen_copy(network)
    for buffer in network.buffers():
        buffer.add_(1.0)
    theirs, ours = dict(target.named_buffers()), dict(network.named_buffers())
    assert len(ours) == 2
    assert not any(torch.equal(theirs[name], ours[name]) for name in ours)
    copy_weights(network, target)
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)


def test_a_target_takes_no_gradient():
    network = network_of(q_learner())
    target = frozen_copy(network)
    assert not target(Inputs.of(images(CPU))).requires_grad
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_frozen_copy_keeps_its_own_statistics_of_batches():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    target = frozen_copy(network)
    before = copy.deepcopy(target.state_dict())
    places = {tensor.data_ptr() for tensor in network.state_dict().values()}
    assert places.isdisjoint(tensor.data_ptr() for tensor in target.state_dict().values())
    network(torch.randn(8, 2))
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert not torch.equal(network.state_dict()[name], before[name])
        assert torch.equal(target.state_dict()[name], before[name])


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_average_moves_its_share_of_the_way_to_each_new_weights(device: torch.device):
    # The first step of Adam is the learning rate against the gradient's sign.
    learner, w = two_weights(device, learning_rate=0.5, ema_updates=4)
    descend(learner, [1.0, -1.0])
    assert w.tolist() == pytest.approx([0.5, 1.5])
    # 1 + (0.5 - 1) / 4 and 1 + (1.5 - 1) / 4.
    mean = kept_of(learner).state_dict()["w"]
    assert mean.tolist() == pytest.approx([0.875, 1.125])
    w.data.fill_(3.0)
    learner.set_learning_rate(0.0)
    descend(learner, [1.0, -1.0])
    # 0.875 + (3 - 0.875) / 4 and 1.125 + (3 - 1.125) / 4.
    assert mean.tolist() == pytest.approx([1.40625, 1.59375])


def test_the_average_is_the_policy_of_evaluations_and_only_of_those():
    averaged = make_algorithm(dqn, small_dqn(ema_updates=100), SPACES)
    plain = make_algorithm(dqn, small_dqn(), SPACES)
    obs = images(CPU)
    batch = replace(transitions(obs), action_B=torch.zeros(len(obs), dtype=torch.int64))
    averaged.learner.update(averaged.loss, batch)
    assert averaged.learner.parts["policy"].network is averaged.policy.network
    assert averaged.learner.parts["policy"].average.target is averaged.eval_policy.network
    values = [p.diagnostics(obs, {})["q_values"] for p in (averaged.policy, averaged.eval_policy)]
    assert not torch.equal(*values)
    assert plain.eval_policy is plain.policy


def test_what_is_not_learned_is_the_networks_own_in_the_policy_of_evaluations():
    averaged = make_algorithm(dqn, small_dqn(ema_updates=100), SPACES)
    pixels = averaged.policy.network.get_submodule("torso.pixels")
    assert isinstance(pixels, Pixels)
    shape = SPACES.obs_shape
    pixels.standardize(torch.full(shape, 3.0), torch.full(shape, 2.0))
    copied = averaged.eval_policy.network
    assert torch.equal(copied.get_submodule("torso.pixels").scale_HWC, pixels.scale_HWC)
    assert all(not parameter.requires_grad for parameter in copied.parameters())


def test_a_learner_goes_on_with_its_weights_and_their_average():
    one = q_learner(ema_updates=10)
    for seed in range(3):
        regress(one, seed)
    other = q_learner(seed=1, ema_updates=10)
    restore(other, one)
    for learner in (one, other):
        regress(learner, seed=9)
    assert_same_parameters(network_of(one), network_of(other))
    assert_same_parameters(kept_of(one), kept_of(other))
    assert not all(map(torch.equal, network_of(one).parameters(), kept_of(one).parameters()))


# Several networks in one learner.


def tensors_of(part: Part) -> dict:
    """The weights and the optimizer's state, as they are now."""
    moments = {str(index): each for index, each in part.optimizer.state_dict()["state"].items()}
    return through_disk({"network": dict(part.network.state_dict()), "moments": moments})


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
@pytest.mark.parametrize(("learns", "stays"), [("actor", "critic"), ("critic", "actor")])
def test_an_update_of_one_part_leaves_the_other_bit_for_bit(
    learns: str, stays: str, optimizer: str
):
    learner = two_parts(optimizer=optimizer, weight_decay=0.5 * (optimizer == "adam"))
    descend(learner, [3.0, -1.0])
    before = {name: tensors_of(part) for name, part in learner.parts.items()}
    metrics = descend(learner, [2.0, 5.0], learns)
    assert_same_state(before[stays], tensors_of(learner.parts[stays]))
    moved = tensors_of(learner.parts[learns])
    assert not torch.equal(before[learns]["network"]["w"], moved["network"]["w"])
    assert not torch.equal(before[learns]["moments"]["0"]["step"], moved["moments"]["0"]["step"])
    assert [learner.parts[name].num_updates for name in (learns, stays)] == [2, 1]
    assert metrics.keys() == {"losses/loss", f"losses/{learns}_grad_norm"}


@pytest.mark.parametrize(("frozen", "learns"), [("actor", "critic"), ("critic", "actor")])
def test_a_frozen_part_does_not_move_until_it_is_thawed(frozen: str, learns: str):
    learner = two_parts(weight_decay=0.5)
    descend(learner, [3.0, -1.0])
    before = {name: tensors_of(part) for name, part in learner.parts.items()}
    learner.parts[frozen].frozen = True
    for _ in range(2):
        descend(learner, [2.0, 5.0])
    assert_same_state(before[frozen], tensors_of(learner.parts[frozen]))
    assert learner.parts[learns].num_updates == 3
    learner.parts[frozen].frozen = False
    descend(learner, [2.0, 5.0])
    assert learner.parts[frozen].num_updates == 2


def test_each_part_has_its_own_norm_clipping_and_step_size():
    learner = two_parts(max_grad_norm=1.0)
    actor, critic = learner.parts.values()
    critic.max_grad_norm = 10.0
    learner.set_learning_rate(0.2, "critic")
    metrics = descend(learner, [3.0, 4.0])
    assert metrics["losses/actor_grad_norm"].item() == pytest.approx(5.0)  # √(9 + 16)
    assert metrics["losses/critic_grad_norm"].item() == pytest.approx(5.0)
    assert actor.parameters[0].grad.tolist() == pytest.approx([0.6, 0.8], rel=1e-5)
    assert critic.parameters[0].grad.tolist() == [3.0, 4.0]
    assert [actor.learning_rate, critic.learning_rate] == [0.1, 0.2]
    # As the first step of Adam: 0.1 * 0.6 / 1.6, 0.1 * 0.8 / 1.8; 0.2 * 3 / 4, 0.2 * 4 / 5.
    assert actor.parameters[0].tolist() == pytest.approx([1 - 0.0375, 1 - 0.08 / 1.8], rel=1e-5)
    assert critic.parameters[0].tolist() == pytest.approx([0.85, 0.84])


def test_a_learner_of_two_parts_goes_on_from_its_state_and_the_policys_weights():
    learner, other = two_parts(), two_parts()
    descend(learner, [3.0, -1.0])
    descend(learner, [1.0, 4.0], "critic")
    state = through_disk(learner.state_dict())
    # The policy's weights hold the actor; the critic is nowhere else.
    assert state.keys() == {"actor", "critic"}
    assert "network" not in state["actor"]
    assert "network" in state["critic"]
    actor = through_disk(dict(learner.parts["actor"].network.state_dict()))
    other.parts["actor"].network.load_state_dict(actor)
    other.load_state_dict(state)
    for each in (learner, other):
        descend(each, [2.0, 5.0])
        descend(each, [-1.0, 2.0], "actor")
    for name, part in learner.parts.items():
        assert_same_state(tensors_of(part), tensors_of(other.parts[name]))
        assert part.num_updates == other.parts[name].num_updates == 3


def test_the_state_of_other_parts_is_refused_and_nothing_is_loaded():
    learner = two_parts()
    descend(learner, [3.0, -1.0])
    before = {name: tensors_of(part) for name, part in learner.parts.items()}
    alone, _ = two_weights()
    descend(alone, [1.0, 1.0])
    broken = through_disk(two_parts().state_dict())
    broken["critic"]["network"]["w"] = torch.zeros(3)
    for state, said in ((alone.state_dict(), "the learner's parts"), (broken, "network")):
        with pytest.raises(ValueError, match=said), learner.unless_refused():
            learner.load_state_dict(state)
        for name, part in learner.parts.items():
            assert_same_state(before[name], tensors_of(part))


@pytest.mark.parametrize("ema_updates", [0, 10])
def test_the_state_of_version_0_1_which_named_no_part_is_that_of_the_only_one(ema_updates: int):
    learner, other = q_learner(ema_updates=ema_updates), q_learner(ema_updates=ema_updates)
    regress(learner, 0)
    restore(other, learner)
    other.load_state_dict(through_disk(learner.state_dict()["policy"]))
    assert_same_state(through_disk(other.state_dict()), through_disk(learner.state_dict()))
    with pytest.raises(ValueError, match="parts"):
        two_parts().load_state_dict(through_disk(learner.state_dict()["policy"]))
