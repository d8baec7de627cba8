"""Windows of demonstrations: what a clone with a memory learns from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import demonstrations, run_tiny
from support.devices import CPU
from support.experts import recall_games

import envs
from agents import bc, evaluate
from agents.bc import PRESETS
from agents.core.data.augmentation import shift
from agents.core.data.demonstrations import DemoLoader, Demonstrations, Window
from agents.core.nets.networks import PolicyNetwork
from agents.core.nets.previous import NO_PREVIOUS
from agents.core.training.building import spaces_of
from agents.core.types.batches import DemoBatch, tensors
from demos import Dataset
from demos.frames import decode


def demonstrations_of(path: Path) -> Demonstrations:
    episodes = Dataset.open(path).episodes()
    spec = episodes[0].spec
    return Demonstrations(decode(episodes, spec), episodes, spaces_of(spec), CPU)


@pytest.fixture(scope="module")
def catch() -> Demonstrations:
    return demonstrations_of(demonstrations("toy/Catch-v0", 20))


def loader(source: Demonstrations, window: Window, **changed: object) -> DemoLoader:
    settings = {"batch_size": 12, "seed": 1, "weight_N": torch.arange(source.size).float()}
    still = {"shift_pixels": 0, "num_features": 5, "dropout": 0.0}
    return DemoLoader(source, **(settings | still | changed), window=window)  # pyright: ignore


def test_a_window_holds_its_steps_and_the_ones_before(catch: Demonstrations) -> None:
    window = Window(steps=3, burn_in=2, memory_size=4)
    batch = catch.minibatch(torch.tensor([7, 0]), NO_PREVIOUS, window)
    assert batch.obs_BL.shape[:2] == (2, 5)
    assert torch.equal(batch.obs_BL[0], catch.observations(torch.arange(5, 10)))
    # Before the first step, the first observation is repeated.
    assert torch.equal(batch.obs_BL[1], catch.observations(torch.tensor([0, 0, 0, 1, 2])))
    assert batch.start_BL[1].tolist() == [True, True, True, False, False]
    assert torch.equal(batch.action_BTK[0], catch.labels(torch.arange(7, 10)))
    assert torch.equal(batch.memory_BS, torch.zeros(2, 4))
    assert batch.size == 6 and batch.burn_in == 2
    inputs, kept_NF, legal_NA = batch.inputs
    assert inputs.burn_in == 2 and kept_NF.shape == (6, 1) and legal_NA is None


def test_an_episodes_first_step_is_marked_in_a_window(catch: Demonstrations) -> None:
    (first, *_) = catch.first_N.nonzero().flatten().tolist()[1:]
    batch = catch.minibatch(torch.tensor([first - 1]), NO_PREVIOUS, Window(steps=3))
    assert batch.start_BL.tolist() == [[False, True, False]]


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_an_epoch_of_windows_shows_each_step_at_most_once(
    catch: Demonstrations, steps: int
) -> None:
    batches = loader(catch, Window(steps=steps), batch_size=4 * steps)
    begins: set[int] = set()
    for _ in range(20):
        seen = torch.cat([batches.draw().weight for _ in range(batches.per_epoch)])
        assert len(seen.unique()) == len(seen) == batches.per_epoch * 4 * steps
        assert torch.equal(seen.view(-1, steps).diff(), torch.ones(len(seen) // steps, steps - 1))
        begins.add(int(seen[0]) % steps)
    # An epoch cuts its windows at a random step.
    assert begins == set(range(steps))


def test_windows_depend_on_the_seed_and_the_count_alone(catch: Demonstrations) -> None:
    window = Window(steps=3, burn_in=1)
    first, second = (loader(catch, window, dropout=0.5, shift_pixels=2) for _ in range(2))
    drawn = [first.draw() for _ in range(4)][-1]
    second.drawn = 3
    again = second.draw()
    for name, value in tensors(drawn).items():
        assert torch.equal(value, getattr(again, name)), name
    assert drawn.kept_BTF.shape == (4, 3, 5)


def test_all_images_of_a_window_are_shifted_alike(catch: Demonstrations) -> None:
    window = Window(steps=3)
    still, moved = (loader(catch, window, shift_pixels=most).draw() for most in (0, 2))
    for before_TCHW, after_TCHW in zip(still.obs_BL, moved.obs_BL, strict=True):
        ways = [shift_of(a, b) for a, b in zip(before_TCHW, after_TCHW, strict=True)]
        assert set.intersection(*ways)


def shift_of(before: torch.Tensor, after: torch.Tensor) -> set[tuple[int, int]]:
    """The shifts that turn one image into another."""
    ways = [(down, right) for down in range(-2, 3) for right in range(-2, 3)]
    return {way for way in ways if torch.equal(shift(before, *way), after)}


def test_a_step_without_a_label_has_no_weight(catch: Demonstrations) -> None:
    source = demonstrations_of(demonstrations("toy/Catch-v0"))
    source.taught_N[4] = False
    batch = source.minibatch(torch.tensor([3]), NO_PREVIOUS, Window(steps=3))
    assert batch.weight.tolist() == [1.0, 0.0, 1.0]


def test_a_minibatch_splits_into_sequences(catch: Demonstrations) -> None:
    batch = catch.minibatch(torch.tensor([3, 9, 12]), NO_PREVIOUS, Window(3, 2, 4))
    parts = batch.split(2)
    assert [part.size for part in parts] == [6, 3]
    assert [part.burn_in for part in parts] == [2, 2]
    whole = torch.cat([part.action_NK for part in parts])
    assert torch.equal(whole, batch.action_NK)


@pytest.mark.parametrize("steps", [2, 3, 4, 5])
def test_few_steps_make_at_least_one_window(steps: int) -> None:
    source = demonstrations_of(demonstrations("toy/Catch-v0", 1))
    assert source.size == 6
    batches = loader(source, Window(steps=steps + 1), batch_size=steps + 1)
    for _ in range(20):
        seen = batches.draw().weight
        assert torch.equal(seen.diff(), torch.ones(steps))


def test_demonstrations_shorter_than_a_sequence_are_one(tmp_path: Path) -> None:
    few = ("--demos", str(demonstrations("toy/Catch-v0", 1)), "--total-steps", "64")
    core = ("--core", "lstm", "--sequence-steps", "64", "--batch-size", "64")
    run = run_tiny(tmp_path, "bc", "--env", "toy/Catch-v0", *few, *core)
    assert run.restore()[0] >= 64


@pytest.mark.parametrize("core", ["lstm", "gru"])
def test_a_sequence_is_what_the_policy_computes_step_by_step(core: str) -> None:
    """The forward pass over a window, after a burn-in, equals acting through the episodes."""
    source = demonstrations_of(recall_games())
    config = replace(PRESETS["control"], core=core, previous_inputs=True, hidden=8)
    policy = bc.make_policy(config, spaces_of(envs.spec("toy/Recall-v0")), CPU)
    window = Window(steps=20, burn_in=15, memory_size=policy.memory_size)
    batch = source.minibatch(torch.tensor([30]), policy.previous, window)
    assert batch.start_BL.any()
    found_N = policy.network(*batch.inputs).log_prob(batch.action_NK)
    torch.testing.assert_close(found_N, step_by_step(policy.network, batch)[15:])


def step_by_step(network: PolicyNetwork, batch: DemoBatch) -> torch.Tensor:
    """log π of the actions of a window whose row has a burn-in too, one step after the other."""
    memory_NS = batch.memory_BS
    log_probs: list[torch.Tensor] = []
    actions = [torch.zeros_like(batch.action_BTK[:, 0])] * batch.burn_in
    actions += batch.action_BTK.unbind(dim=1)
    for t, action_NK in enumerate(actions):
        memory_NS = memory_NS * ~batch.start_BL[:, t : t + 1]
        given = (batch.obs_BL[:, t], batch.previous_BLP[:, t], memory_NS)
        distribution, memory_NS = network.act(*given)
        log_probs.append(distribution.log_prob(action_NK))
    return torch.cat(log_probs)


RECALL = (
    *("--env", "toy/Recall-v0", "--hidden", "32", "--learning-rate", "3e-3"),
    *("--batch-size", "64", "--total-steps", "24000", "--activation", "relu"),
)


def clone_of_recall(tmp_path: Path, *words: str) -> float:
    """The mean return of a clone of the expert that remembers."""
    run = run_tiny(tmp_path, "bc", *RECALL, "--demos", str(recall_games()), *words)
    arguments = evaluate.Arguments(run=run.path, episodes=60, checkpoint="last", video=False)
    return evaluate.evaluate(arguments).mean


def test_a_clone_with_a_memory_does_what_one_without_cannot(tmp_path: Path) -> None:
    core = ("--core", "lstm", "--sequence-steps", "16", "--burn-in-steps", "8")
    assert clone_of_recall(tmp_path / "with", *core) >= 0.95
    assert clone_of_recall(tmp_path / "without") <= 0.7
