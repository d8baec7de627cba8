"""Candidates for a faster update: all of them compute the same update."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import candidates, machine


@pytest.mark.parametrize("convolve", [candidates.folded, candidates.space_to_depth])
def test_another_first_layer_computes_the_same(convolve: candidates.Convolve) -> None:
    torch.manual_seed(0)
    convolution, obs = nn.Conv2d(4, 32, 8, 4), candidates.batch_of(2).obs
    expected = convolution(obs.float() / 255)
    layer = candidates.FirstLayer(convolution, convolve)
    torch.testing.assert_close(layer(obs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["as it is", "double, as it is", "double, one pass for both"])
def test_one_pass_for_both_is_the_same_update(name: str) -> None:
    arguments = candidates.Arguments(batch_size=4, num_threads=1)
    metrics, _ = candidates.CANDIDATES[name](arguments)()  # pyright: ignore[reportGeneralTypeIssues]
    # At first θ⁻ is θ, so that double DQN is DQN.
    plain, _ = candidates.as_it_is(arguments)()  # pyright: ignore[reportGeneralTypeIssues]
    torch.testing.assert_close(metrics["losses/loss"], plain["losses/loss"])


def test_candidates_are_measured_in_turns_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine.write_result, "__defaults__", (tmp_path,))
    chosen = {name: candidates.CANDIDATES[name] for name in ("as it is", "cores share operations")}
    monkeypatch.setattr(candidates, "CANDIDATES", chosen)
    settings = ["--batch-size", "4", "--num-threads", "1", "--rounds", "2", "--updates", "1"]
    candidates.main(settings)
    (path,) = tmp_path.glob("candidates-*.json")
    result = json.loads(path.read_text())["result"]
    assert [each["candidate"] for each in result["candidates"]] == list(chosen)
    assert result["candidates"][0]["ratio"] == 1.0
    assert all(len(each["rounds"]) == 2 for each in result["candidates"])
    assert "cores share operations" in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit_info:
        candidates.main(["--rounds", "0"])
    assert exit_info.value.code == 2
