"""`sb3:FILE.zip`: a checkpoint of Stable-Baselines3 plays, and nothing in it is unpickled.

DQN, QR-DQN, PPO, A2C and TRPO whose network is an MLP or a Nature CNN. It is rebuilt from the names
and shapes of its tensors; Stable-Baselines3 need not be installed.

Two things are not in an archive. The environment's name: Atari games were nearly always played as
`<Game>NoFrameskip-v4`. The statistics of VecNormalize: PPO, A2C and TRPO that learned behind it are
refused, also where it changed rewards alone, which an archive does not tell. Whether DQN and QR-DQN
did, only an observation out of the environment's bounds tells: where there is none, they play on
plain observations.
"""

from __future__ import annotations

import math
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import Space, spaces
from torch import Generator

from demos.sb3_actions import Choose, choice, epsilon_greedy, explores_unless_told
from demos.sb3_archive import array_in, in_words, read_archive, text
from demos.sb3_network import FAMILIES, Family, Layer, network, through
from envs import EnvSpec, UserError, spaces_of
from envs.text import plain

SPELLINGS = {
    "ppo_recurrent": "RecurrentPPO",
    "recurrent": "RecurrentPPO",
    "maskable": "MaskablePPO",
    "crossq": "CrossQ",
    "td3": "TD3 or DDPG",
}
"""Algorithms that cannot be played, by the package that has their policies."""
PLAYABLE = r"(Discrete|MultiBinary) \d+|MultiDiscrete \[[\d ]+\]|Box \[.*\]"


class Checkpoint:
    """Plays N games at a time, as `demos.recording.Policy` has it."""

    def __init__(
        self, name: str, layers: list[Layer], choose: Choose, exploration: float, seed: int
    ):
        self.name, self.layers = name, layers
        self.choose, self.exploration = choose, exploration
        self.generator = Generator().manual_seed(seed)

    def begin(self, games: int) -> None: ...

    def act(self, obs: np.ndarray, start: np.ndarray) -> np.ndarray:
        outputs = through(self.layers, torch.from_numpy(obs))
        return self.choose(outputs, self.exploration, self.generator).numpy()


def checkpoint(name: str, spec: EnvSpec, seed: int, exploration: float | None) -> Checkpoint:
    """The policy of `sb3:FILE.zip`.

    Args:
        seed: of what is drawn: equal seeds and games give equal actions.
        exploration: ε of DQN and QR-DQN, by default 0. Of the others a temperature T, actions being
            drawn from π^(1/T): by default 1 where they are discrete, as in training, and 0, which
            is the mean, where they are continuous.

    Raises:
        UserError: there is no such file, it is damaged, it cannot be represented, or it was made
            for other observations or actions than the environment's; says which.
    """
    # Acting on a few games takes 4 ms on one thread, and 30 to 370 on two that wait for each other
    # beside other work; and what is computed does not depend on the machine's number of cores.
    torch.set_num_threads(1)
    path = Path(os.path.expanduser(name.removeprefix("sb3:")))
    shown = plain(path)
    obs_space, action_space = spaces_of(spec)
    try:
        archive = read_archive(path)
        family = family_of(archive.settings)
        require_spaces(archive.settings, obs_space, action_space, spec.env_id)
        require_raw_observations(archive.settings, family, obs_space)
        layers = network(archive, family, obs_space, action_space)
        choose = choice(archive, family, action_space)
    except UserError as error:
        # What an archive says may have line breaks, or move a terminal's cursor.
        raise UserError(f"{shown} {plain(error, 300)}") from None
    if exploration is None:
        exploration = 1.0 if explores_unless_told(choose) else 0.0
    if exploration and archive.settings.get("use_sde"):
        raise UserError(f"--exploration {exploration:g}: {shown} has gSDE, so only 0 is allowed")
    most = 1.0 if choose is epsilon_greedy else sys.float_info.max
    if not 0 <= exploration <= most:
        allowed = "an epsilon from 0 to 1" if most == 1 else "a finite temperature from 0 up"
        raise UserError(f"--exploration {exploration:g}: must be {allowed}")
    how = f"{algorithm(archive.settings)}, {archive.digest}, {family.explores_by} {exploration:g}"
    return Checkpoint(f"sb3:{plain(path.name)}, {how}", layers, choose, exploration, seed)


def algorithm(settings: dict[str, Any]) -> str:
    """The name, told by the first of these settings."""
    known = {"n_quantiles": "QR-DQN", "clip_range": "PPO", "cg_max_steps": "TRPO", "vf_coef": "A2C"}
    return next((known[each] for each in known if each in settings), "DQN")


def family_of(settings: dict[str, Any]) -> Family:
    """The family of the policy's class; a UserError says why it cannot play."""
    module = text(settings, "policy_class", "__module__")
    if module in FAMILIES:
        return FAMILIES[module]
    known = re.fullmatch(r"(?:stable_baselines3|sb3_contrib)\.(?:common\.)?(\w+)\.policies", module)
    what = f"of {SPELLINGS.get(known[1], known[1].upper())}" if known else f"from '{module}'"
    raise UserError(f"has a policy {what}; allowed are DQN, QR-DQN, PPO, A2C and TRPO")


def require_raw_observations(settings: dict[str, Any], family: Family, obs: Space) -> None:
    """Pass unless the policy learned behind VecNormalize, as far as an archive tells.

    Only with VecNormalize, PPO, A2C and TRPO have an original observation. DQN and QR-DQN always
    have one; there, an observation out of the environment's bounds tells it.
    """
    if settings.get("_last_original_obs") is None:
        return
    why = "learned behind VecNormalize"
    if family.can_overlap:
        if not out_of_bounds(settings.get("_last_obs"), obs):
            return
        if out_of_bounds(settings.get("_last_original_obs"), obs):
            return
        why = f"seems to have {why} (it saw an observation out of the environment's bounds)"
    raise UserError(
        f"{why}, whose statistics are not in an archive; script:module:function can play it"
    )


def out_of_bounds(saved: Any, space: Space) -> bool:
    """Whether a saved array holds observations that the space does not have."""
    assert isinstance(space, spaces.Box)
    numbers = array_in(saved)
    count = math.prod(space.shape)
    if numbers is None or not count or numbers.size % count:
        return False
    obs = numbers.reshape(-1, *space.shape)
    return bool(((obs < space.low) | (obs > space.high)).any())


def require_spaces(settings: dict[str, Any], obs: Space, action: Space, env_id: str) -> None:
    """Pass when the policy was made for these observations and actions."""
    saved_action = in_words(settings.get("action_space"))
    if not re.fullmatch(PLAYABLE, saved_action):
        allowed = "Discrete, MultiDiscrete and MultiBinary from 0 and Box"
        raise UserError(f"has actions {saved_action}, allowed are {allowed}")
    saved_obs = observed(in_words(settings.get("observation_space")))
    for what, saved, space in (("observations", saved_obs, obs), ("actions", saved_action, action)):
        here = in_words({":type:": str(type(space)), **vars(space)})
        if saved != here:
            raise UserError(f"was made for {what} {saved}, but {env_id} has {here}")


def observed(saved: str) -> str:
    """A space in words as it is observed: what is discrete as one-hot vectors, here as there."""
    kind, _, counts = saved.partition(" ")
    numbers = [int(each) for each in re.findall(r"\d+", counts)]
    if kind in ("Discrete", "MultiDiscrete", "MultiBinary") and " from " not in saved:
        return f"Box [{sum(numbers)}]"
    return saved
