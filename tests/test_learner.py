"""The optimisation step against arithmetic done by hand; precision, targets, state."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from agents.core.learner import Learner, Loss, copy_parameters
from agents.core.networks import make_q_network
from agents.core.types import Batch, Spaces

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = [torch.device("cpu"), pytest.param(torch.device("cuda"), marks=CUDA)]
CPU = torch.device("cpu")
SPACES = Spaces(1, (4, 36, 36), torch.uint8, stack=4, num_actions=3, atari=True)


@dataclass(frozen=True)
class Settings:
    optimiser: str = "adam"
    learning_rate: float = 0.5
    optimiser_epsilon: float = 1e-8
    max_grad_norm: float = 0.0
    precision: str = "fp32"
    num_threads: int = 1
    batch_size: int = 128
    torso: str = "nature"
    hidden: int = 16
    dueling: bool = True
    layer_norm: bool = True


class Weights(nn.Module):
    """A network that is its two weights, so that a loss can name their gradients."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 1.0]))


def two_weights(device: torch.device = CPU, **values) -> tuple[Learner, nn.Parameter]:
    learner = Learner(Weights(), Settings(**values), device)
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

    def loss(batch: Batch):
        return (w * slope).sum().unsqueeze(0), batch.reward_B, {}

    return learner.update(loss, transitions(torch.zeros(1, 1, device=w.device)))[0]


def q_learner(device: torch.device = CPU, seed: int = 0, **values) -> Learner:
    settings = replace(Settings(learning_rate=1e-3, max_grad_norm=10.0), **values)
    torch.manual_seed(seed)
    return Learner(make_q_network(settings, SPACES), settings, device)


def images(device: torch.device, seed: int = 0, batch: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, *SPACES.obs_shape)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device)


def regress(learner: Learner, seed: int) -> dict[str, Tensor]:
    """One update that draws the values of some images to 1."""
    return learner.update(towards_one(learner), transitions(images(learner.device, seed)))[0]


def towards_one(learner: Learner) -> Loss:
    def loss(batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        q_BA = learner.network(batch.obs)
        error_B = (1 - q_BA).square().sum(dim=1)
        return error_B, error_B, {"losses/q_values": q_BA.mean(dim=1)}

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
    learner, w = two_weights(device, learning_rate=0.1, optimiser_epsilon=1.0)
    descend(learner, [3.0, -1.0])
    # Without bias the moments are g and g²: w - 0.1 * g / (|g| + 1) = 1 - 0.3/4 and 1 + 0.1/2.
    assert w.tolist() == pytest.approx([0.925, 1.05])


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_rmsprop_divides_by_the_deviation_of_the_gradient(device: torch.device):
    learner, w = two_weights(
        device, optimiser="rmsprop", learning_rate=0.1, optimiser_epsilon=1e-12
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


def test_rmsprop_adds_epsilon_to_the_deviation():
    learner, w = two_weights(optimiser="rmsprop", learning_rate=0.1, optimiser_epsilon=0.01)
    descend(learner, [2.0, 0.02])
    # For 2:    0.1 * 2 / (√(0.2 - 0.01) + 0.01) = 0.2 / (√0.19 + 0.01).
    # For 0.02: mean = 0.001, square = 0.00002, 0.1 * 0.02 / (√(0.00002 - 0.000001) + 0.01).
    expected = [1 - 0.2 / (math.sqrt(0.19) + 0.01), 1 - 0.002 / (math.sqrt(0.000019) + 0.01)]
    assert w.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shards", [2, 3])
def test_a_batch_split_over_threads_gives_the_same_update(shards: int):
    whole, split = q_learner(), q_learner(num_threads=shards)
    assert split.shards == shards
    batch = transitions(images(CPU, batch=9), torch.linspace(0.1, 1.0, 9))
    expected, priority_B = whole.update(towards_one(whole), batch)
    got, split_priority_B = split.update(towards_one(split), batch)
    torch.testing.assert_close(split_priority_B, priority_B)
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value)
    for a, b in zip(whole.parameters, split.parameters, strict=True):
        torch.testing.assert_close(a, b)


def test_a_batch_split_over_threads_is_reproducible():
    learners = [q_learner(num_threads=2) for _ in range(2)]
    for seed in range(5):
        for learner in learners:
            regress(learner, seed)
    assert_same_parameters(learners[0].network, learners[1].network)


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
    metrics, _ = learner.update(lambda _: (slope_B * w, slope_B, {}), batch)
    assert metrics["losses/td_loss"].item() == 1.5  # (2 * 1 + 4 * 0.25) / 2
    assert w.grad.tolist() == [1.0, 0.5]  # 2 * 1 / 2, 4 * 0.25 / 2


def test_gradients_do_not_add_up_over_updates():
    learner, w = two_weights()
    descend(learner, [3.0, 4.0])
    descend(learner, [1.0, 2.0])
    assert w.grad.tolist() == [1.0, 2.0]


def test_metrics_are_detached():
    assert not any(metric.requires_grad for metric in regress(q_learner(), 0).values())


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_network_moves_to_the_device_contiguous_and_float32(device: torch.device):
    learner = q_learner(device, precision="bf16")
    for parameter in learner.parameters:
        assert parameter.device.type == device.type
        assert parameter.dtype == torch.float32
        assert parameter.is_contiguous()


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


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("optimiser", ["adam", "rmsprop"])
def test_a_restored_learner_goes_on_bit_for_bit(optimiser: str, device: torch.device):
    learner = q_learner(device, optimiser=optimiser)
    for seed in range(3):
        regress(learner, seed)
    other = q_learner(device, seed=1, optimiser=optimiser)
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
    copy_parameters(learner.network, target)
    assert_same_parameters(target, learner.network)
    assert places == [parameter.data_ptr() for parameter in target.parameters()]
    regress(learner, 1)
    assert any(
        not torch.equal(a, b) for a, b in zip(learner.parameters, target.parameters(), strict=True)
    )


def test_a_target_takes_no_gradient():
    target = q_learner().target_copy()
    assert not target(images(CPU)).requires_grad
    assert all(parameter.requires_grad for parameter in q_learner().parameters)


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_without_exploration_the_action_is_the_one_of_highest_value(device: torch.device):
    learner, obs = q_learner(device), images(device, batch=16)
    actions = learner.epsilon_greedy(obs.cpu().numpy(), 0.0, torch.Generator().manual_seed(0))
    assert actions.dtype == np.int64
    assert actions.tolist() == learner.network(obs).argmax(dim=1).tolist()


def test_exploration_takes_a_share_epsilon_of_uniform_actions():
    learner = q_learner()
    with torch.no_grad():
        for parameter in learner.parameters:
            parameter.zero_()
        learner.network.head.advantage[1].bias[2] = 1.0
    obs, generator = np.zeros((3_000, *SPACES.obs_shape), np.uint8), torch.Generator()
    counts = np.bincount(learner.epsilon_greedy(obs, 0.5, generator.manual_seed(0)), minlength=3)
    # Half are greedy (action 2) and a sixth each are random: 500, 500 and 2,000.
    assert counts.tolist() == pytest.approx([500, 500, 2_000], abs=80)  # 3 to 4 deviations


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_draws_do_not_depend_on_epsilon(device: torch.device):
    learner, obs = q_learner(device), images(CPU).numpy()
    states = []
    for epsilon in (0.0, 0.3, 1.0):
        generator = torch.Generator().manual_seed(5)
        learner.epsilon_greedy(obs, epsilon, generator)
        states.append(generator.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])
