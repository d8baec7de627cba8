"""Recurrent cores against torch's own over whole sequences, and where they forget."""

from __future__ import annotations

import pytest
import torch
from support.devices import DEVICES
from torch import Tensor, nn

from agents.core.nets.recurrence import NoCore, RecurrentCore, make_core

T, B, F, H = 5, 3, 4, 6
KINDS = ["lstm", "gru"]


def core_of(kind: str) -> NoCore | RecurrentCore:
    """A core with weights and biases of some size, so that memory matters."""
    torch.manual_seed(0)
    core = make_core(kind, F, H)
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return core


def features_of(steps: int = T, seed: int = 0) -> Tensor:
    return torch.randn(steps, B, F, generator=torch.Generator().manual_seed(seed))


def starts(*where: tuple[int, int], steps: int = T) -> Tensor:
    start_TB = torch.zeros(steps, B, dtype=torch.bool)
    for t, b in where:
        start_TB[t, b] = True
    return start_TB


def memory_of(core: NoCore | RecurrentCore) -> Tensor:
    return torch.randn(B, core.memory_size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_without_starts_a_core_is_torchs_network_of_the_same_weights(
    kind: str, device: torch.device
):
    core = core_of(kind).to(device)
    reference = {"lstm": nn.LSTM, "gru": nn.GRU}[kind](F, H).to(device)
    reference.load_state_dict({f"{n}_l0": p for n, p in core.cell.state_dict().items()})
    memory_BS, features_TBF = memory_of(core).to(device), features_of().to(device)
    got_TBH, after_BS = core(features_TBF, memory_BS, starts().to(device))
    if kind == "lstm":
        hidden, cell = (part.unsqueeze(0).contiguous() for part in memory_BS.split(H, dim=1))
        expected_TBH, (hidden, cell) = reference(features_TBF, (hidden, cell))
        expected_after_BS = torch.cat([hidden[0], cell[0]], dim=1)
    else:
        expected_TBH, hidden = reference(features_TBF, memory_BS.unsqueeze(0))
        expected_after_BS = hidden[0]
    torch.testing.assert_close(got_TBH, expected_TBH, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(after_BS, expected_after_BS, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_in_mid_sequence_equals_two_sequences(kind: str):
    core = core_of(kind)
    memory_BS, features_TBF = memory_of(core), features_of()
    got_TBH, after_BS = core(features_TBF, memory_BS, starts((2, 1)))
    before_TBH, _ = core(features_TBF[:2], memory_BS, starts(steps=2))
    fresh_TBH, fresh_after_BS = core(features_TBF[2:], torch.zeros_like(memory_BS), starts(steps=3))
    torch.testing.assert_close(got_TBH[:2, 1], before_TBH[:, 1])
    torch.testing.assert_close(got_TBH[2:, 1], fresh_TBH[:, 1])
    torch.testing.assert_close(after_BS[1], fresh_after_BS[1])
    # The others go on, and remember.
    whole_TBH, whole_after_BS = core(features_TBF, memory_BS, starts())
    torch.testing.assert_close(got_TBH[:, [0, 2]], whole_TBH[:, [0, 2]])
    torch.testing.assert_close(after_BS[[0, 2]], whole_after_BS[[0, 2]])
    assert not torch.allclose(got_TBH[2:, 1], whole_TBH[2:, 1], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_at_the_first_step_forgets_the_memory_that_is_given(kind: str):
    core = core_of(kind)
    memory_BS, every = memory_of(core), starts(*((0, b) for b in range(B)))
    got = core(features_of(), memory_BS, every)
    expected = core(features_of(), torch.zeros_like(memory_BS), starts())
    torch.testing.assert_close(got, expected)
    assert not torch.allclose(got[0], core(features_of(), memory_BS, starts())[0], atol=1e-3)


@pytest.mark.parametrize("kind", ["none", *KINDS])
def test_a_sequence_equals_running_step_by_step(kind: str):
    core, start_TB = core_of(kind), starts((1, 0), (3, 2), (4, 2))
    memory_BS, features_TBF = memory_of(core), features_of()
    got_TBH, after_BS = core(features_TBF, memory_BS, start_TB)
    for t in range(T):
        now_1BH, memory_BS = core(features_TBF[t : t + 1], memory_BS, start_TB[t : t + 1])
        torch.testing.assert_close(now_1BH[0], got_TBH[t])
    torch.testing.assert_close(after_BS, memory_BS)


@pytest.mark.parametrize(("kind", "width"), [("none", 0), ("lstm", 2 * H), ("gru", H)])
def test_the_width_of_the_memory(kind: str, width: int):
    core = make_core(kind, F, H)
    assert core.memory_size == width
    features_TBH, after_BS = core(features_of(), torch.zeros(B, width), starts())
    assert after_BS.shape == (B, width)
    assert features_TBH.shape == (T, B, core.num_features)


def test_without_a_core_features_are_as_they_were():
    core = make_core("none", F, H)
    assert isinstance(core, NoCore)
    assert not list(core.parameters())
    features_TBF, memory_BS = features_of(), torch.zeros(B, 0)
    assert core(features_TBF, memory_BS, starts((1, 1))) == (features_TBF, memory_BS)


def test_an_lstms_memory_is_its_hidden_state_and_then_its_cell():
    core = core_of("lstm")
    features_TBH, after_BS = core(features_of(), torch.zeros(B, 2 * H), starts())
    assert torch.equal(after_BS[:, :H], features_TBH[-1])
    assert not torch.allclose(after_BS[:, H:], features_TBH[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_flow_back_to_the_first_step_but_not_beyond_a_start(kind: str):
    core, memory_BS = core_of(kind), memory_of(core_of(kind)).requires_grad_()
    features_TBF = features_of().requires_grad_()
    last_BH = core(features_TBF, memory_BS, starts((2, 1)))[0][-1]
    of_features, of_memory = torch.autograd.grad(last_BH.sum(), [features_TBF, memory_BS])
    reached_TB = of_features.abs().sum(dim=2) > 0
    assert reached_TB.tolist() == [[True, False, True]] * 2 + [[True] * 3] * 3
    assert (of_memory.abs().sum(dim=1) > 0).tolist() == [True, False, True]


@pytest.mark.parametrize("kind", KINDS)
def test_a_core_leaves_its_arguments_as_they_were(kind: str):
    core = core_of(kind)
    memory_BS, features_TBF, start_TB = memory_of(core), features_of(), starts((0, 0), (2, 1))
    core(features_TBF, memory_BS, start_TB)
    assert torch.equal(memory_BS, memory_of(core))
    assert torch.equal(features_TBF, features_of())


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_float32_under_bf16_autocast(kind: str, device: torch.device):
    core = core_of(kind).to(device)
    memory_BS, features_TBF = memory_of(core).to(device), features_of().to(device)
    expected_TBH, expected_BS = core(features_TBF, memory_BS, starts().to(device))
    with torch.autocast(device.type, torch.bfloat16):
        got = core(features_TBF.bfloat16(), memory_BS, starts().to(device))
    assert [tensor.dtype for tensor in got] == [torch.float32] * 2
    torch.testing.assert_close(got, (expected_TBH, expected_BS), atol=0.05, rtol=0.05)
