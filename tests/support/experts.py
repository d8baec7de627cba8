"""Games of an expert to learn from."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import envs
from demos import Metadata, record
from demos.editing import save
from demos.scripts import Script


@cache
def expert_games() -> Path:
    """Ten games of `toy/Identity-v0` by an expert, each with the return 10."""
    spec = envs.spec("toy/Identity-v0")
    about = Metadata(spec=spec, policy="expert", created="today", command="tests")
    path = Path(tempfile.mkdtemp(prefix="joystick-expert-")) / "identity"
    # The environment shows a symbol, and the expert names it.
    expert = Script("expert", lambda obs: obs.argmax(axis=1))
    return save(path, about, record(spec, expert, 10, seed=0, num_envs=5)).path
