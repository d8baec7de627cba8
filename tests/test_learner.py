"""The optimization step against arithmetic done by hand; precision, targets, state."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import pytest
import torch
from support.devices import CPU, DEVICES
from support.settings import Settings
from torch import Tensor, nn

from agents import ppo
from agents.core.nets.networks import make_q_network
from agents.core.nets.pixels import Pixels
from agents.core.optimize.learner import Learner, Loss, copy_weights
from agents.core.system import device as device_module
from agents.core.system.device import bf16_pays
from agents.core.types.batches import Batch, Sequences
from agents.core.types.spaces import Spaces

SETTINGS = Settings(
    torso="nature",
    dueling=True,
    layer_norm=True,
    activation="relu",
    learning_rate=0.5,
    max_grad_norm=0.0,
)
SPACES = Spaces(1, (4, 36, 36), torch.uint8, stack=4, num_actions=3, atari=True)


class Weights(nn.Module):
    """A network that is its two weights, so that a loss can name their gradients."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 1.0]))


def two_weights(device: torch.device = CPU, **values) -> tuple[Learner, nn.Parameter]:
    learner = Learner(Weights(), replace(SETTINGS, **values), device)
    return learner, learner.parameters[0]


def transitions(obs: Tensor, weight_B: Tensor | None = None) -> Batch:
    """A batch of which only the observations and the weights mean something."""
    zero_B = torch.zeros(len(obs), device=obs.device)
    weight_B = zero_B + 1 if weight_B is None else weight_B
    slot_B = torch.arange(len(obs), device=obs.device)
    return Batch(obs, slot_B, zero_B, zero_B, obs, weight_B, slot_B)


def descend(learner: Learner, gradient: list[float]) -> dict[str, Tensor]:
    """One update of a loss that has this gradient."""
    (w,) = learner.parameters
    slope = torch.tensor(gradient, device=w.device)

    def loss(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        return (w * slope).sum().unsqueeze(0), {}

    return learner.update(loss, transitions(torch.zeros(1, 1, device=w.device)))[0]


def q_learner(device: torch.device = CPU, seed: int = 0, **values) -> Learner:
    settings = replace(SETTINGS, **{"learning_rate": 1e-3, "max_grad_norm": 10.0, **values})
    torch.manual_seed(seed)
    return Learner(make_q_network(settings, SPACES), settings, device)


def images(device: torch.device, seed: int = 0, batch: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, *SPACES.obs_shape)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device)


def regress(learner: Learner, seed: int) -> dict[str, Tensor]:
    """One update that draws the values of some images to 1."""
    return learner.update(towards_one(learner), transitions(images(learner.device, seed)))[0]


def towards_one(learner: Learner) -> Loss[Batch]:
    def loss(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        q_BA = learner.network(batch.obs)
        error_B = (1 - q_BA).square().sum(dim=1)
        return error_B, {"losses/q_values": q_BA.mean(dim=1), "priority": error_B}

    return loss


def through_disk(tensors: dict) -> dict:
    """As a checkpoint gives tensors back: equal, contiguous, and of other memory."""
    return {
        name: through_disk(value)
        if isinstance(value, dict)
        else value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in tensors.items()
    }


def assert_same_parameters(a: nn.Module, b: nn.Module) -> None:
    for old, new in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_first_step_of_adam(device: torch.device):
    learner, w = two_weights(device, learning_rate=0.1, optimizer_epsilon=1.0)
    descend(learner, [3.0, -1.0])
    # Without bias the moments are g and g²: w - 0.1 * g / (|g| + 1) = 1 - 0.3/4 and 1 + 0.1/2.
    assert w.tolist() == pytest.approx([0.925, 1.05])


def test_weight_decay_shrinks_weights_beside_adams_step():
    plain, w = two_weights(learning_rate=0.1, optimizer_epsilon=1.0)
    decayed, v = two_weights(learning_rate=0.1, optimizer_epsilon=1.0, weight_decay=0.5)
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


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "nature_rmsprop"])
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
    assert split.shards == shards
    batch = transitions(images(CPU, batch=9), torch.linspace(0.1, 1.0, 9))
    expected, whole_values = whole.update(towards_one(whole), batch)
    got, split_values = split.update(towards_one(split), batch)
    torch.testing.assert_close(split_values, whole_values)
    torch.testing.assert_close(got, expected)
    for a, b in zip(whole.parameters, split.parameters, strict=True):
        torch.testing.assert_close(a, b)


def test_a_batch_split_over_threads_is_reproducible():
    learners = [q_learner(num_threads=2) for _ in range(2)]
    for seed in range(5):
        for learner in learners:
            regress(learner, seed)
    assert_same_parameters(learners[0].network, learners[1].network)


@pytest.mark.parametrize(
    ("size", "shares"), [(1, [1]), (31, [31]), (32, [16, 16]), (50, [16, 17, 17])]
)
def test_observations_to_act_on_are_shared_out_to_threads_in_order(size: int, shares: list[int]):
    learner, obs = q_learner(num_threads=3), images(CPU, batch=size)
    seen: list[int] = []

    def forward(obs_B: Tensor) -> Tensor:
        seen.append(len(obs_B))
        return learner.network(obs_B)

    q_BA = torch.cat(learner.infer(forward, obs))
    assert sorted(seen) == shares
    assert not q_BA.requires_grad
    torch.testing.assert_close(q_BA, learner.network(obs).detach())


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
    metrics, _ = learner.update(lambda _: (slope_B * w, {}), batch)
    assert metrics["losses/loss"].item() == 1.5  # (2 * 1 + 4 * 0.25) / 2
    assert w.grad.tolist() == [1.0, 0.5]  # 2 * 1 / 2, 4 * 0.25 / 2


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_values_are_given_back_for_each_sample_and_their_mean_knows_no_importance(
    device: torch.device,
):
    learner, w = two_weights(device)
    value_B = torch.tensor([2.0, 4.0], device=device)
    batch = transitions(torch.zeros(2, 1, device=device), torch.tensor([1.0, 0.25], device=device))
    metrics, values = learner.update(lambda _: (value_B * w, {"losses/error": value_B * w}), batch)
    assert metrics["losses/error"].item() == 3.0  # (2 + 4) / 2
    assert values["losses/error"].tolist() == [2.0, 4.0]
    assert metrics.keys() == {"losses/loss", "losses/error", "losses/grad_norm"}
    assert values.keys() == {"losses/error"}


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
    metrics, values = learner.update(
        lambda part: (part.number_LB * w.sum(), {"value": part.number_LB}), grid
    )
    assert metrics["losses/loss"].item() == 3.0  # (1 + 2 + 3 + 6) * (1 + 1) / 8
    assert metrics["value"].item() == 1.5  # (1 + 2 + 3 + 6) / 8
    assert w.grad.tolist() == [1.5, 1.5]
    assert values["value"].tolist() == [[1.0, 2.0], [3.0, 6.0]]


def test_values_of_sequences_that_threads_share_come_back_in_order():
    learner = q_learner(num_threads=2)
    grid = Grid(torch.arange(10.0).view(2, 5), size=10)
    seen: list[tuple[int, ...]] = []

    def loss(part: Grid) -> tuple[Tensor, dict[str, Tensor]]:
        seen.append(tuple(part.number_LB.shape))
        size = sum(parameter.square().sum() for parameter in learner.parameters)
        return part.number_LB * size, {"value": part.number_LB}

    metrics, values = learner.update(loss, grid)
    assert sorted(seen) == [(2, 2), (2, 3)]
    assert values["value"].tolist() == grid.number_LB.tolist()
    assert metrics["value"].item() == 4.5  # (0 + ... + 9) / 10


def test_gradients_do_not_add_up_over_updates():
    learner, w = two_weights()
    descend(learner, [3.0, 4.0])
    descend(learner, [1.0, 2.0])
    assert w.grad.tolist() == [1.0, 2.0]


def test_metrics_and_values_are_detached():
    learner = q_learner()
    metrics, values = learner.update(towards_one(learner), transitions(images(CPU)))
    assert len(metrics) == 4
    assert len(values) == 2
    assert not any(tensor.requires_grad for tensor in (*metrics.values(), *values.values()))


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_network_moves_to_the_device_contiguous_and_float32(device: torch.device):
    learner = q_learner(device, precision="bf16")
    for parameter in learner.parameters:
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
        learner = Learner(network, replace(SETTINGS, precision="auto"), CPU)
        assert learner.precision == dtype
        learner = Learner(network, replace(SETTINGS, precision="bf16"), CPU)
        assert learner.precision == torch.bfloat16


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_bf16_and_fp32_agree(device: torch.device):
    precise, rough = q_learner(device, precision="fp32"), q_learner(device, precision="bf16")
    assert [precise.precision, rough.precision] == [torch.float32, torch.bfloat16]
    assert_same_parameters(precise.network, rough.network)
    obs = images(device)
    with torch.no_grad():
        q_BA = precise.network(obs)
        with rough.autocast():
            rough_BA = rough.network(obs)
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
    agent = ppo.build(config, SPACES, CPU)
    generator = torch.Generator().manual_seed(0)
    steps, games = (1, 64) if core == "none" else (8, 8)
    obs = images(CPU, batch=steps * games).unflatten(0, (steps, games))
    values_LB = torch.randn(steps, games, generator=generator)
    batch = Sequences(
        obs_LB=obs,
        memory_BS=torch.zeros(games, agent.memory_size),
        start_LB=torch.zeros(steps, games, dtype=torch.bool),
        action_LBK=torch.randint(0, 3, (steps, games, 1), generator=generator),
        log_prob_LB=values_LB.abs().neg(),
        value_LB=values_LB,
        advantage_LB=values_LB,
        return_LB=values_LB,
        size=steps * games,
    )
    agent.learner.shards = 2
    norms = set()
    agent.learner.set_learning_rate(0.0)
    for _ in range(20):
        norms.add(agent.learner.update(agent.loss, batch)[0]["losses/grad_norm"].item())
    assert len(norms) == 1


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "nature_rmsprop"])
def test_a_restored_learner_goes_on_bit_for_bit(optimizer: str, device: torch.device):
    learner = q_learner(device, optimizer=optimizer)
    for seed in range(3):
        regress(learner, seed)
    other = q_learner(device, seed=1, optimizer=optimizer)
    other.load_weights(through_disk(learner.weights()))
    other.load_state_dict(through_disk(learner.state_dict()))
    for seed in range(3, 6):
        expected, got = regress(learner, seed), regress(other, seed)
        assert {k: v.item() for k, v in expected.items()} == {k: v.item() for k, v in got.items()}
    assert_same_parameters(learner.network, other.network)
    saved, restored = through_disk(learner.state_dict()), through_disk(other.state_dict())
    assert saved.keys() == restored.keys()
    for index, moments in saved.items():
        assert moments.keys() == restored[index].keys()
        assert all(torch.equal(moment, restored[index][k]) for k, moment in moments.items())


def test_a_learner_that_never_updated_can_be_restored():
    learner, other = q_learner(), q_learner(seed=1)
    other.load_weights(through_disk(learner.weights()))
    other.load_state_dict(through_disk(learner.state_dict()))
    for each in (learner, other):
        regress(each, 0)
    assert_same_parameters(learner.network, other.network)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_weights_are_all_that_acting_needs(device: torch.device):
    learner, other, obs = q_learner(device), q_learner(device, seed=1), images(device)
    assert not torch.equal(learner.network(obs), other.network(obs))
    other.load_weights(through_disk(learner.weights()))
    assert torch.equal(learner.network(obs), other.network(obs))


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_target_stays_as_it_was_until_it_is_copied_to(device: torch.device):
    learner = q_learner(device)
    target, before = learner.target_copy(), copy.deepcopy(learner.network)
    places = [parameter.data_ptr() for parameter in target.parameters()]
    regress(learner, 0)
    assert_same_parameters(target, before)
    assert any(
        not torch.equal(a, b) for a, b in zip(learner.parameters, target.parameters(), strict=True)
    )
    copy_weights(learner.network, target)
    assert_same_parameters(target, learner.network)
    assert places == [parameter.data_ptr() for parameter in target.parameters()]
    regress(learner, 1)
    assert any(
        not torch.equal(a, b) for a, b in zip(learner.parameters, target.parameters(), strict=True)
    )


def test_a_target_is_copied_with_what_its_images_are_scaled_by():
    learner = q_learner()
    target = learner.target_copy()
    for buffer in learner.network.buffers():
        buffer.add_(1.0)
    copy_weights(learner.network, target)
    theirs, ours = dict(target.named_buffers()), dict(learner.network.named_buffers())
    assert len(ours) == 2
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)


def test_a_target_takes_no_gradient():
    target = q_learner().target_copy()
    assert not target(images(CPU)).requires_grad
    assert all(parameter.requires_grad for parameter in q_learner().parameters)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_average_moves_its_share_of_the_way_to_each_new_weights(device: torch.device):
    # The first step of Adam is the learning rate against the gradient's sign.
    learner, w = two_weights(device, learning_rate=0.5, ema_updates=4)
    descend(learner, [1.0, -1.0])
    assert w.tolist() == pytest.approx([0.5, 1.5])
    # 1 + (0.5 - 1) / 4 and 1 + (1.5 - 1) / 4.
    assert learner.weights()["w"].tolist() == pytest.approx([0.875, 1.125])
    w.data.fill_(3.0)
    learner.set_learning_rate(0.0)
    descend(learner, [1.0, -1.0])
    # 0.875 + (3 - 0.875) / 4 and 1.125 + (3 - 1.125) / 4.
    assert learner.weights()["w"].tolist() == pytest.approx([1.40625, 1.59375])


def test_the_average_acts_in_evaluations_and_only_there():
    averaged, plain = q_learner(ema_updates=100), q_learner()
    regress(averaged, seed=1)
    assert averaged.acting is averaged.network
    with averaged.evaluated():
        assert averaged.acting is averaged.average is not averaged.network
    assert averaged.acting is averaged.network
    with pytest.raises(KeyError), averaged.evaluated():
        raise KeyError
    assert averaged.acting is averaged.network
    with plain.evaluated():
        assert plain.acting is plain.network


def test_what_is_not_learned_is_the_networks_own_in_its_copies():
    learner = q_learner(ema_updates=100)
    pixels = learner.network.get_submodule("torso.pixels")
    assert isinstance(pixels, Pixels)
    target = learner.target_copy()
    shape = SPACES.obs_shape
    pixels.standardize(torch.full(shape, 3.0), torch.full(shape, 2.0))
    for copied in (learner.average, target):
        assert torch.equal(copied.get_submodule("torso.pixels").scale_HWC, pixels.scale_HWC)
        assert all(not parameter.requires_grad for parameter in copied.parameters())


def test_a_learner_goes_on_with_its_weights_and_their_average():
    one = q_learner(ema_updates=10)
    for seed in range(3):
        regress(one, seed)
    weights = {name: tensor.clone() for name, tensor in one.weights().items()}
    state = copy.deepcopy(one.state_dict())
    other = q_learner(seed=1, ema_updates=10)
    other.load_weights(weights)
    other.load_state_dict(state)
    for learner in (one, other):
        regress(learner, seed=9)
    for mine, theirs in ((one.network, other.network), (one.average, other.average)):
        assert all(map(torch.equal, mine.parameters(), theirs.parameters()))
    assert not all(map(torch.equal, one.network.parameters(), one.average.parameters()))
