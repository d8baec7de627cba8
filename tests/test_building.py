"""An agent is built in seconds whatever its width, or refused in a line before it is begun."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import ALGORITHMS, QUIET, module_of, run_tiny, tiny
from support.devices import CPU
from torch import nn

import envs
from agents import evaluate
from agents.core.nets import orthogonal
from agents.core.nets.networks import Body
from agents.core.nets.recurrence import make_core
from agents.core.system import device
from agents.core.training import algorithms, arguments, building, launch
from agents.core.training.building import spaces_of


@pytest.mark.parametrize("shape", [(1, 64), (120, 4), (256, 256), (1024, 256), (64, 32, 3, 3)])
@pytest.mark.parametrize("gain", [1.0, 0.01])
def test_small_weights_are_those_that_torch_draws(shape: tuple[int, ...], gain: float) -> None:
    ours, theirs = torch.empty(shape), torch.empty(shape)
    torch.manual_seed(3)
    orthogonal.orthogonal_(ours, gain)
    torch.manual_seed(3)
    nn.init.orthogonal_(theirs, gain)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("shape", [(300, 300), (300, 299), (211, 640), (640, 211), (64, 8, 5, 5)])
def test_large_weights_are_orthogonal_too(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orthogonal, "MOST_QR", 1)
    monkeypatch.setattr(orthogonal, "CHUNK", 1000)
    weight, again, other = (torch.empty(shape) for _ in range(3))
    for each, seed in ((weight, 1), (again, 1), (other, 2)):
        torch.manual_seed(seed)
        orthogonal.orthogonal_(each, 3.0)
    assert torch.equal(weight, again) and not torch.equal(weight, other)
    matrix = weight.flatten(1)
    matrix = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    torch.testing.assert_close(matrix @ matrix.T, 9 * torch.eye(len(matrix)), atol=1e-4, rtol=0)
    # As even as what a decomposition draws: its numbers are nearly normal, about 0.
    shown = weight.flatten() / weight.std()
    assert abs(float(shown.mean())) < 0.02
    assert 2.8 < float((shown**4).mean()) < 3.2


def test_wide_networks_are_made_without_a_large_decomposition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    drawn = nn.init.orthogonal_

    def watched(weight: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
        matrix = weight.flatten(1)
        sizes.append(matrix.numel() * min(matrix.shape))
        return drawn(weight, gain)

    monkeypatch.setattr(nn.init, "orthogonal_", watched)
    make_core("lstm", 2048, 2048)
    module = algorithms.algorithm("ppo")
    config = arguments.parse(module, ["--env", "CartPole-v1", "--hidden", "4096"]).config
    Body(config, (4,))  # pyright: ignore[reportArgumentType]
    assert sizes and max(sizes) <= orthogonal.MOST_QR


@pytest.mark.parametrize("algo", ALGORITHMS)
@pytest.mark.parametrize("env_id", ["CartPole-v1", "toy/Catch-v0"])
def test_parameters_are_counted_without_drawing(algo: str, env_id: str) -> None:
    module = algorithms.algorithm(module_of(algo))
    config = arguments.parse(module, [*tiny(algo, env_id), "--num-threads", "2"]).config
    spaces = spaces_of(envs.spec(env_id), 4)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    count = building.num_parameters(module, config, spaces)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    made = module.make_policy(config, spaces, CPU).network.parameters()
    assert count == sum(each.numel() for each in made) > 1000


@pytest.fixture
def with_free_bytes(monkeypatch: pytest.MonkeyPatch):
    def free(number: int) -> None:
        monkeypatch.setattr(
            device.psutil, "virtual_memory", lambda: SimpleNamespace(available=number)
        )

    return free


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_a_network_that_does_not_fit_is_refused_before_it_is_made(
    algo: str,
    tmp_path: Path,
    with_free_bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a weight was drawn")

    words = [*tiny(algo, "CartPole-v1"), *QUIET, "--runs-dir", str(tmp_path / "runs")]
    monkeypatch.setattr(nn.init, "orthogonal_", never)
    monkeypatch.setattr(orthogonal, "mixed", never)
    with_free_bytes(1 << 20)
    wide = ["--hidden", "16384", "--torso", "mlp", "--device", "cpu", "--total-steps", "8"]
    with pytest.raises(SystemExit) as ended:
        launch.main(module_of(algo), [*words, *wide])
    assert ended.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "error: a network of " in error and "parameters needs " in error
    assert error.endswith("lower --hidden or --torso-width")
    assert not (tmp_path / "runs").exists()


def test_an_agent_plays_where_it_could_not_learn(tmp_path: Path, with_free_bytes) -> None:
    run = run_tiny(tmp_path, "a2c", "--env", "CartPole-v1", "--total-steps", "64")
    module = algorithms.algorithm("a2c")
    config = arguments.parse(module, tiny("a2c", "CartPole-v1")).config
    spaces = spaces_of(envs.spec("CartPole-v1"), 1)
    count = building.num_parameters(module, config, spaces)
    with_free_bytes(8 * count)
    with pytest.raises(envs.UserError, match="lower --hidden"):
        building.build_policy(module, config, spaces, CPU, building.TO_TRAIN)
    building.build_policy(module, config, spaces, CPU)
    with_free_bytes(2 * count)
    with pytest.raises(SystemExit) as ended:
        evaluate.main([str(run.path), "--device", "cpu", "--no-video"])
    assert ended.value.code == 2
