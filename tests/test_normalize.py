"""Running statistics against numpy and against the loops that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.devices import DEVICES
from torch import Tensor

from agents.core.nets.normalize import Moments, ObservationNormalizer, RewardScaler, sums_of

SCALE = torch.tensor([1.0, 100.0, 0.01])
SHIFT = torch.tensor([0.0, -500.0, 3.0])


def rollouts(count: int) -> list[Tensor]:
    """Observations (T, N, 3) of very different scales, T growing."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4 + t, 2, 3, generator=generator) * SCALE + SHIFT for t in range(count)]


def trained(count: int, device: torch.device | str = "cpu") -> ObservationNormalizer:
    normalizer = ObservationNormalizer((3,), enabled=True).to(device)
    for obs_TN in rollouts(count):
        normalizer.update(obs_TN.to(device))
    return normalizer


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_observations_are_normalized_by_the_mean_and_deviation_of_all_of_them(
    count: int, device: torch.device
):
    normalizer = trained(count, device)
    every = np.concatenate([obs.numpy().reshape(-1, 3) for obs in rollouts(count)]).astype(float)
    np.testing.assert_allclose(normalizer.mean.cpu(), every.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(normalizer.variance.cpu(), every.var(axis=0), rtol=1e-9)
    assert normalizer.count.item() == len(every)
    obs = rollouts(1)[0]
    expected = (obs.numpy() - every.mean(axis=0)) / np.sqrt(every.var(axis=0) + 1e-8)
    np.testing.assert_allclose(normalizer(obs.to(device)).cpu(), expected, atol=2e-5)


def test_the_numbers_of_two_updates():
    normalizer = ObservationNormalizer((1,), enabled=True)
    normalizer.update(torch.tensor([[[1.0]], [[3.0]]]))
    # Mean 2, variance ((1 - 2)² + (3 - 2)²) / 2 = 1.
    assert [normalizer.mean.item(), normalizer.variance.item()] == [2.0, 1.0]
    normalizer.update(torch.tensor([[[8.0]]]))
    # Mean 12 / 3 = 4, variance (9 + 1 + 16) / 3.
    assert normalizer.mean.item() == 4.0
    assert normalizer.variance.item() == pytest.approx(26 / 3)
    assert normalizer(torch.tensor([[4.0], [8.0]])).flatten().tolist() == pytest.approx(
        [0.0, 4 / (26 / 3) ** 0.5]
    )


def test_before_the_first_update_observations_are_as_they_were():
    normalizer, obs = ObservationNormalizer((3,), enabled=True), torch.tensor([[1.0, -2.0, 0.5]])
    torch.testing.assert_close(normalizer(obs), obs)


def test_normalized_observations_are_clipped_at_ten():
    normalizer = ObservationNormalizer((1,), enabled=True)
    obs = torch.tensor([[9.9], [10.5], [-9.9], [-1e6]])
    assert normalizer(obs).flatten().tolist() == pytest.approx([9.9, 10.0, -9.9, -10.0])


def test_a_number_that_never_changes_becomes_zero():
    normalizer = ObservationNormalizer((2,), enabled=True)
    obs_TN = torch.stack([torch.full((4, 2), 7.0), torch.randn(4, 2)], dim=2)
    normalizer.update(obs_TN)
    assert normalizer.variance[0] == 0.0
    assert not normalizer(obs_TN)[..., 0].any()


def test_only_an_update_changes_the_statistics():
    normalizer = trained(2)
    before = {name: value.clone() for name, value in normalizer.state_dict().items()}
    for obs in rollouts(3):
        normalizer.train()(obs)
    assert before.keys() == {"mean", "variance", "count"}
    assert all(torch.equal(before[name], v) for name, v in normalizer.state_dict().items())
    normalizer.update(rollouts(3)[2])
    assert not any(torch.equal(before[name], v) for name, v in normalizer.state_dict().items())


def test_the_statistics_are_saved_with_the_weights():
    normalizer, other = trained(3), ObservationNormalizer((3,), enabled=True)
    other.load_state_dict(normalizer.state_dict())
    obs = rollouts(4)[3]
    assert torch.equal(other(obs), normalizer(obs))
    for each in (normalizer, other):
        each.update(obs)
    assert torch.equal(other(obs), normalizer(obs))
    assert not list(normalizer.parameters())


def test_a_disabled_normalizer_does_nothing_and_saves_nothing():
    normalizer, obs = ObservationNormalizer((3,), enabled=False), rollouts(1)[0]
    normalizer.update(obs)
    assert normalizer(obs) is obs
    assert not normalizer.state_dict()


def test_images_as_observations_keep_their_shape():
    normalizer, obs_TN = ObservationNormalizer((2, 3), enabled=True), torch.randn(5, 4, 2, 3)
    normalizer.update(obs_TN)
    torch.testing.assert_close(normalizer.mean, obs_TN.double().mean(dim=(0, 1)))
    assert normalizer(obs_TN).shape == obs_TN.shape


def test_moments_hold_for_a_large_mean_and_a_small_deviation():
    samples_BD = 1e4 + 1e-2 * torch.randn(1_000, 1, generator=torch.Generator().manual_seed(0))
    moments = Moments(*(torch.tensor([v], dtype=torch.float64) for v in (0.0, 1.0, 0.0)))
    for part in samples_BD.split(100):
        moments.add(sums_of(part))
    assert moments.variance.item() == pytest.approx(samples_BD.double().numpy().var(), rel=1e-3)


GAMMA = 0.9


def reward_rollouts() -> list[tuple[Tensor, Tensor]]:
    """Rewards and episode ends, (T, N), of some rollouts of two environments."""
    generator = torch.Generator().manual_seed(0)
    return [
        (3 * torch.randn(6, 2, generator=generator), torch.rand(6, 2, generator=generator) < 0.25)
        for _ in range(4)
    ]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_rewards_are_divided_by_the_deviation_of_their_discounted_sums_so_far(
    device: torch.device,
):
    scaler, running, seen = RewardScaler(2, GAMMA, enabled=True), [0.0, 0.0], []
    assert any(ended_TN.any() for _, ended_TN in reward_rollouts())
    for reward_TN, ended_TN in reward_rollouts():
        for reward_N, ended_N in zip(reward_TN.tolist(), ended_TN.tolist(), strict=True):
            for env in range(2):
                running[env] = running[env] * GAMMA + reward_N[env]
                seen.append(running[env])
                if ended_N[env]:
                    running[env] = 0.0
        expected = (reward_TN.numpy() / np.std(seen)).clip(-10, 10)
        got = scaler(reward_TN.to(device), ended_TN.to(device))
        assert got.dtype == torch.float32
        np.testing.assert_allclose(got.cpu(), expected, rtol=1e-5)


def test_an_episodes_end_forgets_its_rewards_but_counts_the_last():
    scaler = RewardScaler(1, 0.5, enabled=True)
    reward_TN, ended_TN = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[0], [1], [0]]).bool()
    # Sums 1, 2 + 0.5 * 1 = 2.5, and 4 of the next episode: mean 2.5, variance 2 * 1.5² / 3 = 1.5.
    got = scaler(reward_TN, ended_TN).flatten().tolist()
    assert got == pytest.approx([r / 1.5**0.5 for r in (1.0, 2.0, 4.0)])


def test_scaled_rewards_are_clipped_at_ten_and_keep_their_sign():
    scaler = RewardScaler(1, 0.0, enabled=True)
    reward_TN = torch.tensor([[1.0], [-1.0]] * 500 + [[-1_000.0]])
    scaled = scaler(reward_TN, torch.ones(1_001, 1, dtype=torch.bool)).flatten()
    # Deviation √((1,000 + 1,000²) / 1,001) less the mean's ≈ 31.6: -1,000 / 31.6 is -31.6.
    assert scaled[-1] == -10.0
    assert scaled[:2].tolist() == pytest.approx([1 / 31.6, -1 / 31.6], rel=1e-2)


def test_a_disabled_scaler_gives_rewards_back():
    scaler, (reward_TN, ended_TN) = RewardScaler(2, GAMMA, enabled=False), reward_rollouts()[0]
    assert scaler(reward_TN, ended_TN) is reward_TN


def test_a_restored_scaler_goes_on_where_it_was():
    scaler, other = (RewardScaler(2, GAMMA, enabled=True) for _ in range(2))
    first, second, *rest = reward_rollouts()
    scaler(*first)
    scaler(*second)
    other.load_state_dict(scaler.state_dict())
    for rollout in rest:
        assert torch.equal(other(*rollout), scaler(*rollout))
    fresh = RewardScaler(2, GAMMA, enabled=True)
    assert not torch.allclose(fresh(*rest[0]), other(*rest[0]))


def test_a_restored_scaler_does_not_change_the_state_that_it_was_given():
    scaler, other = (RewardScaler(2, GAMMA, enabled=True) for _ in range(2))
    first, second, *_ = reward_rollouts()
    scaler(*first)
    state = scaler.state_dict()
    before = {name: value.clone() for name, value in state.items()}
    other.load_state_dict(state)
    other(*second)
    scaler(*second)
    assert all(torch.equal(state[name], value) for name, value in before.items())


def test_a_scaler_does_not_change_the_rewards_it_is_given():
    (reward_TN, ended_TN), scaler = reward_rollouts()[0], RewardScaler(2, GAMMA, enabled=True)
    before = reward_TN.clone()
    scaler(reward_TN, ended_TN)
    assert torch.equal(reward_TN, before)
