"""`sb3:FILE.zip`: a checkpoint of Stable-Baselines3 plays, and nothing in it is unpickled.

DQN, QR-DQN, PPO, A2C and TRPO whose network is an MLP or a Nature CNN. It is rebuilt from the names
and shapes of its tensors; Stable-Baselines3 need not be installed.

Two things are not in an archive. The environment's name: Atari games were nearly always played as
`<Game>NoFrameskip-v4`. The statistics of VecNormalize: whoever learned behind it is refused, also
where it changed rewards alone, which an archive does not tell.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import Space, spaces
from torch import Generator, Tensor

from demos.sb3_archive import Archive, in_words, read_archive, text, usable
from demos.sb3_network import FAMILIES, Family, Layer, actions, network, through
from envs import EnvSpec, UserError, spaces_of

Choose = Callable[[Tensor, float, Generator], Tensor]


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
    obs_space, action_space = spaces_of(spec)
    try:
        archive = read_archive(path)
        family = family_of(archive.settings)
        require_spaces(archive.settings, obs_space, action_space, spec.env_id)
        layers = network(archive, family, obs_space, action_space)
        choose = choice(archive, family, action_space)
    except UserError as error:
        # What an archive says may have line breaks, or move a terminal's cursor.
        why = "".join(each if each.isprintable() else " " for each in str(error)[:300])
        raise UserError(f"{path} {why}") from None
    if exploration is None:
        exploration = 1.0 if choose is drawn else 0.0
    most = 1.0 if choose is epsilon_greedy else sys.float_info.max
    if not 0 <= exploration <= most:
        allowed = "an epsilon from 0 to 1" if most == 1 else "a finite temperature from 0 up"
        raise UserError(f"--exploration {exploration:g}: must be {allowed}")
    how = f"{algorithm(archive.settings)}, {archive.digest}, {family.explores_by} {exploration:g}"
    return Checkpoint(f"sb3:{path.name}, {how}", layers, choose, exploration, seed)


def algorithm(settings: dict[str, Any]) -> str:
    """The name, told by the first of these settings."""
    known = {"n_quantiles": "QR-DQN", "clip_range": "PPO", "cg_max_steps": "TRPO", "vf_coef": "A2C"}
    return next((known[each] for each in known if each in settings), "DQN")


def family_of(settings: dict[str, Any]) -> Family:
    """The family of the policy's class; a UserError says why it cannot play."""
    module = text(settings, "policy_class", "__module__")
    if module not in FAMILIES:
        allowed = "those of DQN, QR-DQN, PPO, A2C and TRPO"
        raise UserError(f"has a policy of '{module}', allowed are {allowed}")
    if settings.get("use_sde"):
        raise UserError("has a policy with gSDE, which cannot be played")
    if settings.get("_last_original_obs") is not None:
        saved = "whose statistics it does not have"
        raise UserError(f"learned behind VecNormalize, {saved}; script:module:function can play it")
    return FAMILIES[module]


def require_spaces(settings: dict[str, Any], obs: Space, action: Space, env_id: str) -> None:
    """Pass when the policy was made for these observations and actions."""
    saved_action = in_words(settings.get("action_space"))
    if not re.fullmatch(r"Discrete \d+|Box \[.*\]", saved_action):
        raise UserError(f"has actions {saved_action}, allowed are Discrete from 0 and Box")
    # Discrete observations are one-hot vectors, here as there.
    saved_obs = re.sub(
        r"^Discrete (\d+)$", r"Box [\1]", in_words(settings.get("observation_space"))
    )
    for what, saved, space in (("observations", saved_obs, obs), ("actions", saved_action, action)):
        here = in_words({":type:": str(type(space)), **vars(space)})
        if saved != here:
            raise UserError(f"was made for {what} {saved}, but {env_id} has {here}")


def choice(archive: Archive, family: Family, space: Space) -> Choose:
    """How actions are chosen by what the network says."""
    if family.explores_by == "epsilon":
        return epsilon_greedy
    if isinstance(space, spaces.Discrete):
        return drawn
    log_std_K = usable(archive.tensors, "log_std")
    if log_std_K.shape != (count := actions(space),):
        raise UserError(f"has a log_std of shape {list(log_std_K.shape)} for {count} actions")
    return partial(gaussian, log_std_K=log_std_K, space=space)


def epsilon_greedy(q_NA: Tensor, epsilon: float, generator: Generator) -> Tensor:
    """The action of highest value, or with probability ε any, int64 (N,)."""
    explore_N = torch.rand(len(q_NA), generator=generator) < epsilon
    random_N = torch.randint(q_NA.shape[1], (len(q_NA),), generator=generator)
    return torch.where(explore_N, random_N, q_NA.argmax(dim=1))


def drawn(logits_NA: Tensor, temperature: float, generator: Generator) -> Tensor:
    """Actions int64 (N,) of probability ∝ p^(1/T), by the Gumbel-max trick."""
    gumbel_NA = -torch.empty_like(logits_NA).exponential_(generator=generator).log()
    return (logits_NA + temperature * gumbel_NA).argmax(dim=1)


def gaussian(
    mean_NK: Tensor, temperature: float, generator: Generator, *, log_std_K: Tensor, space: Space
) -> Tensor:
    """Actions (N, ...) of density ∝ p^(1/T), clipped to the space's bounds."""
    assert isinstance(space, spaces.Box)
    normal_NK = torch.randn(mean_NK.shape, generator=generator)
    action_NK = mean_NK + math.sqrt(temperature) * log_std_K.exp() * normal_NK
    low, high = torch.from_numpy(space.low), torch.from_numpy(space.high)
    return action_NK.view(-1, *space.shape).clamp(low, high)
