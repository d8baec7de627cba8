"""Helpers that several test files share."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from support.tiers import TIERS, tier_of

import envs
from agents.core.runs.run import Run
from agents.core.training.launch import train
from demos import Metadata, record
from demos.editing import save
from demos.policies import RandomPolicy

# A shell that starts the tests in the background has them and their children ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
# How long an example takes says how busy the machine is.
settings.register_profile("joystick", deadline=None)
settings.load_profile("joystick")
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="joystick-cache-")


LONG_FILES = {
    *("test_contract", "test_learning", "test_benchmarks", "test_distributed", "test_resume"),
    *("test_lifecycle", "test_examples", "test_report_page", "test_joystick", "test_capture"),
}
"""Files of over half a minute. They come first, so that no process waits for one at the end."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders the files, and marks every test with its tier, so that `-m fast` finds it."""
    items.sort(key=lambda item: item.path.stem not in LONG_FILES)
    for item in items:
        markers = {marker.name for marker in item.iter_markers()}
        tier = tier_of(item.path.stem.removeprefix("test_"), markers)
        # A slow case of a fast test is slow alone.
        item.own_markers = [each for each in item.own_markers if each.name not in TIERS]
        item.add_marker(getattr(pytest.mark, tier))


# Without a last step the learning rate would depend on how far a run is meant to go.
ROLLOUT = ["--num-envs", "8", "--horizon-steps", "8", "--learning-rate", "1e-3..0@0..100000"]

REPLAYED = [
    *("--num-envs", "8", "--batch-size", "8"),
    *("--buffer-size", "2000", "--learning-starts-steps", "64"),
]

CRITICS = [
    *("--num-envs", "8", "--batch-size", "8", "--samples-per-step", "2", "--hidden", "32"),
    *("--buffer-size", "2000", "--learning-starts-steps", "64"),
]

TINY = {
    "a2c": ROLLOUT,
    "bc": ["--batch-size", "8"],
    "bc-lstm": [
        *("--batch-size", "8", "--core", "lstm", "--sequence-steps", "4", "--burn-in-steps", "2"),
        *("--hidden", "32", "--previous-inputs"),
    ],
    "c51": [
        *("--num-envs", "8", "--batch-size", "8", "--num-atoms", "7", "--noisy"),
        *("--buffer-size", "2000", "--learning-starts-steps", "64"),
    ],
    "dagger": [
        *("--expert", "random", "--games-per-round", "2", "--batch-size", "8"),
        *("--samples-per-step", "1"),
    ],
    "dqfd": REPLAYED,
    "dqn": REPLAYED,
    "dqn-lstm": [
        *("--num-envs", "8", "--env-splits", "2", "--batch-size", "8", "--samples-per-step", "2"),
        *("--core", "lstm", "--sequence-steps", "4", "--burn-in-steps", "2", "--hidden", "32"),
        *("--previous-inputs", "--noisy", "--dueling", "--double", "--rescale-values"),
        *("--n-step", "3", "--buffer-size", "2000", "--learning-starts-steps", "128"),
    ],
    "gail": CRITICS,
    "iq_learn": REPLAYED,
    "iq_sac": CRITICS,
    "iqn": [
        *("--num-envs", "8", "--batch-size", "8", "--num-fractions", "3", "--num-cosines", "8"),
        *("--buffer-size", "2000", "--learning-starts-steps", "64"),
    ],
    "ppo": [*ROLLOUT, "--batch-size", "32"],
    "ppo-lstm": [
        *(*ROLLOUT, "--batch-size", "32", "--core", "lstm", "--sequence-steps", "4"),
        *("--env-splits", "2", "--hidden", "32", "--separate-value"),
    ],
    "pqn": [*ROLLOUT, "--batch-size", "32"],
    "pqn-lstm": [
        *(*ROLLOUT, "--batch-size", "32", "--core", "lstm", "--sequence-steps", "4"),
        *("--env-splits", "2", "--hidden", "32", "--previous-inputs"),
    ],
    "qr_dqn": [
        *("--num-envs", "8", "--batch-size", "8", "--num-quantiles", "7"),
        *("--buffer-size", "2000", "--learning-starts-steps", "64"),
    ],
    "reinforce": ROLLOUT,
    "sac": CRITICS,
    "sqil": REPLAYED,
    "td3": CRITICS,
}
"""Settings that make a run of each algorithm small; what follows a dash names a variant."""

IN_BF16 = ["--env", "toy/Catch-v0", "--precision", "bf16", "--num-threads", "2"]
SHARDS = [*IN_BF16, "--batch-size", "64"]
Q_LEARNING = [*SHARDS, "--samples-per-step", "2"]
POLICY = [*SHARDS, "--epochs", "2", "--hidden", "32"]
BF16 = {
    "a2c": ("a2c", IN_BF16),
    "bc": ("bc", SHARDS),
    "bc lstm": ("bc-lstm", SHARDS),
    "c51": ("c51", Q_LEARNING),
    "dqn": ("dqn", [*Q_LEARNING, "--double", "--dueling"]),
    "dqn beside": ("dqn", [*Q_LEARNING, "--overlap-learning", "--ema-updates", "20"]),
    "dqn lstm": ("dqn-lstm", [*Q_LEARNING, "--overlap-learning"]),
    "iqn": ("iqn", Q_LEARNING),
    "ppo": ("ppo", POLICY),
    "ppo gru": ("ppo", [*POLICY, "--core", "gru"]),
    "ppo lstm": ("ppo-lstm", POLICY),
    "pqn": ("pqn", POLICY),
    "pqn lstm": ("pqn-lstm", POLICY),
    "qr_dqn": ("qr_dqn", Q_LEARNING),
    "reinforce": ("reinforce", IN_BF16),
    "sac beside": ("sac", [*Q_LEARNING, "--overlap-learning", "--ema-updates", "20"]),
}
"""Runs whose threads compute in bf16 at once: shards of a minibatch, or acting and learning.

Images of Catch are small, so that a CPU that emulates bf16 is quick too.
"""

CONTINUOUS = ("td3",)
"""Algorithms for continuous actions alone; their own files test them."""

ALGORITHMS = sorted({*TINY} - {*CONTINUOUS})
"""All other algorithms and variants."""

OFF_POLICY = ("c51", "dqfd", "dqn", "gail", "iq_learn", "iq_sac", "iqn", "qr_dqn", "sac", "sqil")
"""Algorithms that learn from a replay."""

IMITATORS = ("bc", "dqfd", "gail", "iq_learn", "iq_sac", "sqil")
"""Algorithms that learn from demonstrations."""

ONE_STEP = ("gail",)
"""Algorithms whose returns sum one reward."""

SIBLINGS = ("c51", "dqfd", "gail", "iq_learn", "iq_sac", "iqn", "qr_dqn")
"""Algorithms whose machinery is DQN's, SQIL's or SAC's: only their head and their loss differ."""

KINDS = ("bc", "dqn", "dqn-lstm", "ppo-lstm", "sac", "sqil")
"""One algorithm of each kind of machinery."""


def on_each(*cases: Any, quick: Sequence[str] = ALGORITHMS) -> list[Any]:
    """Parameters (algorithm, *case): each algorithm on one case and PPO on each; the rest is slow.

    A fault of an algorithm shows on any case, and a fault of a case with any algorithm.

    Args:
        quick: the algorithms that have a quick case, beside PPO.
    """
    pairs: list[Any] = []
    for number, algo in enumerate(ALGORITHMS):
        for place, case in enumerate(cases):
            values = case if isinstance(case, tuple) else (case,)
            mine = algo in quick and place == number % len(cases)
            marks = () if mine or algo == "ppo" else pytest.mark.slow
            pairs.append(pytest.param(algo, *values, marks=marks))
    return pairs


def fast_for_kinds(parameters: Sequence[Any]) -> list[Any]:
    """Puts the parameters (algorithm, ...) of the algorithms in `KINDS` into the fast tier."""
    return [
        pytest.param(*each.values, marks=[*each.marks, pytest.mark.fast])
        if each.values[0] in KINDS and not each.marks
        else each
        for each in parameters
    ]


def each_kind() -> list[Any]:
    """Parameters (algorithm): one of each kind; others, whose machinery is the same, are slow."""
    return slow_where(lambda algo: algo not in KINDS, ALGORITHMS)


def siblings_are_slow(algorithms: Sequence[str]) -> list[Any]:
    """Parameters (algorithm): those that share DQN's machinery are slow."""
    return slow_where(lambda algo: algo in SIBLINGS, algorithms)


def slow_where(is_slow: Callable[[str], bool], names: Iterable[str]) -> list[Any]:
    """Parameters (name), some of which are slow."""
    return [pytest.param(name, marks=pytest.mark.slow if is_slow(name) else ()) for name in names]


def each_in_bf16() -> list[Any]:
    """Parameters (variant): one of each kind of agent, and one that learns beside; others are slow.

    Rounding differs between kinds of updates, and not between algorithms of a kind.
    """
    quick = {"bc", "dqn beside", "dqn lstm", "ppo lstm"}
    return slow_where(lambda variant: variant not in quick, BF16)


def tiny(algo: str, env_id: str) -> list[str]:
    """Settings of a small run of `algo`, with demonstrations where it imitates."""
    demos = ["--demos", str(demonstrations(env_id))] if module_of(algo) in IMITATORS else []
    return [*TINY[algo], *demos, "--env", env_id]


@cache
def demonstrations(env_id: str, episodes: int = 3) -> Path:
    """A dataset of random play."""
    path, spec = Path(tempfile.mkdtemp(prefix="joystick-demos-")) / "random", envs.spec(env_id)
    about = Metadata(spec=spec, policy="random", created="today", command="tests")
    policy = RandomPolicy(envs.spaces_of(spec)[1], seed=0)
    return save(path, about, record(spec, policy, episodes, seed=0, num_envs=episodes)).path


def summing(algo: str, n_step: str) -> list[str]:
    """The setting of how many rewards a return sums, if the algorithm has a choice."""
    return [] if module_of(algo) in ONE_STEP else ["--n-step", n_step]


def module_of(algo: str) -> str:
    """The algorithm's module name for an entry of `ALGORITHMS`."""
    return algo.partition("-")[0]


QUIET = ["--wandb", "disabled", "--no-video", "--final-eval-episodes", "0", "--num-threads", "1"]
# On every machine the same: `auto` is bf16 on some. Tests of bf16 ask for it (`BF16`).
QUIET += ["--precision", "fp32"]
# A second of random play in every process would be minutes of the suite (`test_random_play.py`).
QUIET += ["--no-standardize-pixels"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def a_person_without_wandb_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb-config"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb-data"))


def run_tiny(runs_dir: Path, algo: str, *args: str) -> Run:
    """Run the real command line of `algo` in this process, small and quiet; returns its run."""
    before = set(runs_dir.glob("*"))
    settings = tiny(algo, args[args.index("--env") + 1])
    command = ["--runs-dir", str(runs_dir), *settings, *QUIET, "--eval-every-steps", "0", *args]
    assert train(module_of(algo), command) == 0
    (path,) = set(runs_dir.glob("*")) - before
    return Run.open(path)


def read_metrics(run: Run) -> list[dict]:
    return [json.loads(line) for line in run.metrics_path.read_text().splitlines()]
