"""Evaluations and their films leave the memory of a training as it was."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

WATCHED = """
import ctypes
import sys
import psutil
from agents.core.training import loop
from agents.core.training.launch import train

film, process = loop.film_evaluation, psutil.Process()


def watched(*given):
    path = film(*given)
    kept = process.memory_info().rss
    ctypes.CDLL(None).malloc_trim(0)
    print("film", path is not None, kept, process.memory_info().rss)
    return path


loop.film_evaluation = watched
sys.exit(train("ppo", sys.argv[1:]))
"""

SMALL = (
    *("--env", "CartPole-v1", "--wandb", "disabled", "--precision", "fp32", "--num-threads", "1"),
    *("--total-steps", "3072", "--num-envs", "8", "--horizon-steps", "16", "--batch-size", "32"),
    *("--eval-every-steps", "512", "--eval-episodes", "2", "--final-eval-episodes", "0"),
)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="of glibc")
@pytest.mark.slow
def test_a_film_leaves_no_freed_memory_and_evaluations_do_not_add_up(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", WATCHED, *SMALL, "--runs-dir", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    films = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("film ")]
    assert len(films) >= 6
    assert {made for made, *_ in films} == {"True"}
    kept_bytes = [int(kept) for _, kept, _ in films]
    assert max(int(kept) - int(least) for _, kept, least in films) < 4e6
    # The first film loads its libraries, and the first updates their own.
    assert max(kept_bytes[1:]) - min(kept_bytes[1:]) < 4e6
