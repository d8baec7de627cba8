"""Policies against torch.distributions, and their draws against the frequencies they promise."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from support.devices import DEVICES
from torch import Tensor, distributions, nn

from agents.core.nets.distributions import (
    Categorical,
    CategoricalHead,
    DiagonalGaussian,
    GaussianHead,
    make_policy_head,
    masked,
    orthogonal,
    sum_of,
)
from agents.core.types.env_rng import EnvRng
from agents.core.types.spaces import Spaces

MANY = 40_000


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def categorical(*parts: Tensor) -> Categorical:
    return Categorical(tuple(part.log_softmax(dim=-1) for part in parts))


def gaussian(*shape: int) -> DiagonalGaussian:
    return DiagonalGaussian(logits(*shape), logits(shape[-1], seed=1))


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_numbers_of_a_discrete_policy(device: torch.device):
    policy = Categorical((torch.tensor([[0.5, 0.25, 0.25]], device=device).log(),))
    for action, probability in enumerate((0.5, 0.25, 0.25)):
        log_prob = policy.log_prob(torch.tensor([[action]], device=device))
        assert log_prob.tolist() == pytest.approx([math.log(probability)])
    # ½ log 2 + ¼ log 4 + ¼ log 4 = 1.5 log 2
    assert policy.entropy().tolist() == pytest.approx([1.5 * math.log(2)])


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_numbers_of_a_normal_policy(device: torch.device):
    mean, log_std = torch.tensor([[1.0, -1.0]]), torch.tensor([0.0, math.log(2.0)])
    policy = DiagonalGaussian(mean.to(device), log_std.to(device))
    # Of (3, -1): -2²/2 - log √2π, and 0 - log 2 - log √2π.
    expected = -2.0 - math.log(2) - math.log(2 * math.pi)
    log_prob = policy.log_prob(torch.tensor([[3.0, -1.0]], device=device))
    assert log_prob.tolist() == pytest.approx([expected])
    # log √2πe + log 2√2πe
    entropy = math.log(2 * math.pi * math.e) + math.log(2)
    assert policy.entropy().tolist() == pytest.approx([entropy])


def test_a_discrete_policy_is_torchs_categorical_distribution():
    raw = logits(3, 4, 5)
    policy, reference = categorical(raw), distributions.Categorical(logits=raw)
    action = torch.randint(5, (3, 4, 1))
    torch.testing.assert_close(policy.log_prob(action), reference.log_prob(action[..., 0]))
    torch.testing.assert_close(policy.entropy(), reference.entropy())


def some_legal(*shape: int) -> Tensor:
    """Masks with one to all actions legal; the first row of the last axis has a single one."""
    legal = torch.rand(shape, generator=torch.Generator().manual_seed(2)) < 0.5
    legal[..., 1] = True
    legal.view(-1, shape[-1])[0] = torch.arange(shape[-1]) == 1
    return legal


def test_a_masked_policy_is_torchs_distribution_over_the_legal_actions():
    raw = logits(3, 4, 5)
    legal = some_legal(3, 4, 5)
    policy = masked(categorical(raw), legal)
    reference = distributions.Categorical(logits=raw.masked_fill(~legal, -1e9))
    action = torch.ones(3, 4, 1, dtype=torch.int64)
    torch.testing.assert_close(policy.log_prob(action), reference.log_prob(action[..., 0]))
    torch.testing.assert_close(policy.entropy(), reference.entropy())
    assert (policy.log_probs[0].exp()[~legal] == 0).all()
    assert policy.entropy()[0, 0] == 0


def test_masked_log_probs_entropy_and_smoothing_have_finite_gradients():
    raw = logits(3, 4, 5).requires_grad_()
    legal = some_legal(3, 4, 5)
    policy = masked(categorical(raw), legal)
    action = torch.ones(3, 4, 1, dtype=torch.int64)
    for smoothing in (0.0, 0.1):
        (policy.smoothed_log_prob(action, smoothing) + policy.entropy()).sum().backward(
            retain_graph=True
        )
    assert raw.grad is not None
    assert raw.grad.isfinite().all()
    assert raw.grad[~legal].abs().max() < 1e-6
    assert raw.grad[legal].abs().max() > 0


def test_label_smoothing_spreads_over_the_legal_actions_alone():
    legal = torch.tensor([[True, False, True, False]])
    policy = masked(categorical(logits(1, 4)), legal)
    both = policy.log_probs[0][legal]
    action = torch.tensor([[2]])
    expected = 0.8 * both[1] + 0.2 * both.mean()
    torch.testing.assert_close(policy.smoothed_log_prob(action, 0.2)[0], expected)


@pytest.mark.parametrize("temperature", [0.0, 1.0, 1e6, math.inf])
def test_a_masked_policy_draws_no_illegal_action(temperature: float):
    legal = some_legal(64, 5)
    # The illegal actions are by far the likeliest.
    policy = masked(categorical(torch.where(legal, 0.0, 50.0)), legal)
    rng = EnvRng(0, 64)
    for _ in range(20):
        action = policy.sample(rng, temperature)
        assert legal.gather(1, action).all()


def test_a_multi_discrete_policy_is_a_product_of_categorical_distributions():
    raws = [logits(3, 4, size, seed=size) for size in (5, 2, 3)]
    policy = categorical(*raws)
    references = [distributions.Categorical(logits=raw) for raw in raws]
    action = torch.stack([torch.randint(size, (3, 4)) for size in (5, 2, 3)], dim=-1)
    log_probs = [r.log_prob(a) for r, a in zip(references, action.unbind(-1), strict=True)]
    torch.testing.assert_close(policy.log_prob(action), sum(log_probs))
    torch.testing.assert_close(policy.entropy(), sum(r.entropy() for r in references))


def test_a_continuous_policy_is_a_product_of_normal_distributions():
    policy = gaussian(3, 4, 2)
    reference = distributions.Normal(policy.mean, policy.log_std.exp().expand(3, 4, 2))
    action = logits(3, 4, 2, seed=2)
    torch.testing.assert_close(policy.log_prob(action), reference.log_prob(action).sum(-1))
    torch.testing.assert_close(policy.entropy(), reference.entropy().sum(-1))
    assert policy.log_prob(action).shape == policy.entropy().shape == (3, 4)


def test_gradients_are_those_of_torchs_distributions():
    raw = logits(4, 5).requires_grad_()
    action, weight = torch.randint(5, (4, 1)), logits(4, seed=3)
    policy, reference = categorical(raw), distributions.Categorical(logits=raw)
    ours = (weight * policy.log_prob(action) + policy.entropy()).sum()
    theirs = (weight * reference.log_prob(action[:, 0]) + reference.entropy()).sum()
    torch.testing.assert_close(torch.autograd.grad(ours, raw), torch.autograd.grad(theirs, raw))
    mean, log_std = logits(4, 2).requires_grad_(), logits(2, seed=1).requires_grad_()
    action = logits(4, 2, seed=2)
    normal, normals = DiagonalGaussian(mean, log_std), distributions.Normal(mean, log_std.exp())
    ours = (weight * normal.log_prob(action) + normal.entropy()).sum()
    theirs = (weight * normals.log_prob(action).sum(-1)).sum() + 4 * normals.entropy()[0].sum()
    torch.testing.assert_close(
        torch.autograd.grad(ours, [mean, log_std]), torch.autograd.grad(theirs, [mean, log_std])
    )


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_temperature_zero_is_the_mode(device: torch.device):
    raws = [logits(1, 16, size, seed=size).to(device) for size in (5, 2)]
    chosen = categorical(*raws).sample(EnvRng(0, 16), 0.0)
    assert chosen.dtype == torch.int64
    assert chosen.shape == (1, 16, 2)
    assert torch.equal(chosen, torch.stack([raw.argmax(dim=-1) for raw in raws], dim=-1))
    mean = logits(1, 16, 2).to(device)
    assert torch.equal(DiagonalGaussian(mean, mean.new_ones(2)).sample(EnvRng(0, 16), 0.0), mean)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_actions_are_drawn_as_often_as_the_tempered_policy_says(temperature: float):
    probability_A = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    policy = categorical(probability_A.float().log().expand(MANY, 4))
    counts = policy.sample(EnvRng(0, MANY), temperature).flatten().bincount(minlength=4)
    tempered_A = probability_A ** (1 / temperature)
    expected = MANY * tempered_A / tempered_A.sum()
    assert stats.chisquare(counts, expected).pvalue > 0.01
    # The test has the power to tell: the frequencies of another temperature are refused.
    other_A = probability_A ** (1 / (1.2 * temperature))
    assert stats.chisquare(counts, MANY * other_A / other_A.sum()).pvalue < 1e-6


def test_the_parts_of_a_multi_discrete_action_are_drawn_independently():
    first_A, second_A = torch.tensor([0.7, 0.3]), torch.tensor([0.2, 0.3, 0.5])
    policy = categorical(first_A.log().expand(MANY, 2), second_A.log().expand(MANY, 3))
    action_NK = policy.sample(EnvRng(0, MANY), 1.0)
    counts = (3 * action_NK[:, 0] + action_NK[:, 1]).bincount(minlength=6)
    expected = MANY * torch.outer(first_A.double(), second_A.double()).flatten()
    assert stats.chisquare(counts, expected * MANY / expected.sum()).pvalue > 0.01


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_continuous_actions_have_the_policys_mean_and_the_tempered_deviation(temperature: float):
    mean_K, std_K = torch.tensor([3.0, -1.0]), torch.tensor([0.5, 2.0])
    policy = DiagonalGaussian(mean_K.expand(MANY, 2), std_K.log())
    action_NK = policy.sample(EnvRng(0, MANY), temperature)
    for k in range(2):
        scale = math.sqrt(temperature) * float(std_K[k])
        assert stats.kstest(action_NK[:, k], "norm", (float(mean_K[k]), scale)).pvalue > 0.01
        assert stats.kstest(action_NK[:, k], "norm", (float(mean_K[k]), 1.1 * scale)).pvalue < 1e-6


@pytest.mark.parametrize("policy", [categorical(logits(8, 5), logits(8, 3)), gaussian(8, 2)])
def test_draws_do_not_depend_on_the_temperature(policy: Categorical | DiagonalGaussian):
    states = []
    for temperature in (0.0, 0.5, 1.0):
        rng = EnvRng(5, 8)
        policy.sample(rng, temperature)
        states.append(rng.generator.get_state())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])
    assert not torch.equal(states[0], EnvRng(5, 8).generator.get_state())


def test_the_temperature_scales_one_and_the_same_draw():
    policy = gaussian(8, 2)
    warm, hot = (policy.sample(EnvRng(5, 8), t) - policy.mean for t in (0.5, 1.0))
    torch.testing.assert_close(math.sqrt(2) * warm, hot)


def test_samples_of_a_step_of_a_sequence_have_its_shape():
    rng = EnvRng(0, 4)
    assert categorical(logits(1, 4, 5), logits(1, 4, 2)).sample(rng, 1.0).shape == (1, 4, 2)
    assert gaussian(1, 4, 3).sample(rng, 1.0).shape == (1, 4, 3)


class Fixed(EnvRng):
    """EnvRng the smallest and the largest numbers that there are."""

    def uniform(self, count: int) -> Tensor:
        return torch.tensor([[0.0, 1 - 2**-24]])[:, :count]


@pytest.mark.parametrize("sizes", [(3,), (2, 4), ()], ids=["discrete", "multi", "continuous"])
def test_policies_of_some_observations_join_to_the_policy_of_all(sizes: tuple[int, ...]):
    torch.manual_seed(0)
    head = CategoricalHead(8, sizes) if sizes else GaussianHead(8, 2)
    features = torch.randn(3, 5, 8)
    parts = [head(features[:, :2]), head(features[:, 2:])]
    joined, whole = parts[0].join(parts), head(features)
    assert type(joined) is type(whole)
    action = whole.sample(EnvRng(0, 5), 1.0)
    torch.testing.assert_close(joined.log_prob(action), whole.log_prob(action))
    torch.testing.assert_close(joined.entropy(), whole.entropy())


def test_the_extremes_of_the_draws_are_finite():
    # log(-log 0) would be infinite, and an infinite Gumbel times temperature 0 no number.
    policy = categorical(torch.tensor([[0.0, 1.0]]))
    assert policy.sample(Fixed(0, 1), 0.0).item() == 1
    # The largest draw outweighs any difference of this size, and the smallest is outweighed.
    policy = categorical(torch.tensor([[9.0, 0.0]]))
    assert policy.sample(Fixed(0, 1), 1.0).item() == 1


def spaces(**actions) -> Spaces:
    return Spaces(1, (3,), torch.float32, stack=1, atari=False, **actions)


def test_heads_fit_the_actions():
    discrete = make_policy_head(7, spaces(num_actions=4))
    assert isinstance(discrete, CategoricalHead)
    assert discrete.sizes == (4,)
    parts = make_policy_head(7, spaces(num_actions=0, nvec=(2, 5, 3), action_shape=(3,)))
    assert isinstance(parts, CategoricalHead)
    assert [part.shape for part in parts(torch.randn(6, 7)).log_probs] == [(6, 2), (6, 5), (6, 3)]
    bounds = {"action_low": (-1.0, -2.0), "action_high": (1.0, 2.0), "action_shape": (2,)}
    continuous = make_policy_head(7, spaces(num_actions=0, **bounds))
    assert isinstance(continuous, GaussianHead)
    assert continuous(torch.randn(6, 7)).mean.shape == (6, 2)


def test_a_categorical_head_gives_normalized_log_probabilities_of_its_layer():
    head, features = CategoricalHead(7, (2, 3)), torch.randn(4, 7)
    with torch.no_grad():
        head.logits.weight.mul_(300.0)
    raw, (first, second) = head.logits(features), head(features).log_probs
    torch.testing.assert_close(first, raw[:, :2].log_softmax(dim=-1))
    torch.testing.assert_close(second, raw[:, 2:].log_softmax(dim=-1))


def test_policies_are_float32_under_bf16_autocast():
    features = torch.randn(4, 7)
    with torch.autocast("cpu", torch.bfloat16):
        policy = CategoricalHead(7, (3,))(features)
        assert policy.log_probs[0].dtype == policy.entropy().dtype == torch.float32
        normal = GaussianHead(7, 2)(features)
        assert normal.mean.dtype == normal.log_prob(normal.mean).dtype == torch.float32


def test_orthogonal_layers_keep_lengths_times_their_gain():
    torch.manual_seed(0)
    layer, vector = orthogonal(nn.Linear(3, 8), 2.0), torch.tensor([1.0, 2.0, 2.0])
    assert layer(vector).norm().item() == pytest.approx(6.0)  # 2 * √(1 + 4 + 4)
    assert not layer.bias.any()


def test_a_sum_of_parts():
    part = torch.tensor([1.0, 2.0])
    assert sum_of([part]) is part
    assert sum_of([part, 2 * part, part]).tolist() == [4.0, 8.0]
