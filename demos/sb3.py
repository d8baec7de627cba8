"""`sb3:FILE.zip`: a checkpoint of Stable-Baselines3 is the policy, and nothing is unpickled.

The algorithm may be DQN, QR-DQN, PPO, A2C or TRPO, and the network an MLP or a Nature CNN. The
network is rebuilt from the names and shapes of its tensors, without Stable-Baselines3.

An archive lacks two facts. It does not name the environment; nearly all Atari checkpoints were
trained on `<Game>NoFrameskip-v4`. It does not hold the statistics of VecNormalize. PPO, A2C and
TRPO checkpoints trained with VecNormalize are therefore refused, even if only rewards were
normalized. For DQN and QR-DQN, only an observation out of the environment's bounds reveals
VecNormalize. Without such an observation, they play on plain observations.
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
from envs.masks import made_legal
from envs.text import plain

SPELLINGS = {
    "ppo_recurrent": "RecurrentPPO",
    "recurrent": "RecurrentPPO",
    "maskable": "MaskablePPO",
    "crossq": "CrossQ",
    "td3": "TD3 or DDPG",
}
"""Names of unsupported algorithms, by the package that holds their policies."""
PLAYABLE = r"(Discrete|MultiBinary) \d+|MultiDiscrete \[[\d ]+\]|Box \[.*\]"


class Checkpoint:
    """The policy of a checkpoint, a `demos.recording.Policy`."""

    def __init__(
        self,
        name: str,
        layers: list[Layer],
        choose: Choose,
        exploration: float,
        seed: int,
        space: Space,
    ):
        self.name = name
        self.layers = layers
        self.choose = choose
        self.exploration = exploration
        self.generator = Generator().manual_seed(seed)
        self.space = space

    def begin(self, games: int) -> None: ...

    def act(
        self,
        obs: np.ndarray,
        start: np.ndarray,
        reward: np.ndarray | None = None,
        legal: np.ndarray | None = None,
    ) -> np.ndarray:
        outputs = through(self.layers, torch.from_numpy(obs))
        if legal is not None:
            # Of a Discrete space, the outputs are a value or logit for each action.
            outputs = outputs.masked_fill(~torch.from_numpy(legal), -torch.inf)
        actions = self.choose(outputs, self.exploration, self.generator).numpy()
        # A random action of an ε-greedy policy may be illegal.
        return made_legal(self.space, actions, legal)


def checkpoint(name: str, spec: EnvSpec, seed: int, exploration: float | None) -> Checkpoint:
    """Returns the policy `sb3:FILE.zip`.

    Args:
        seed: seed of the random draws; equal seeds and games give equal actions.
        exploration: for DQN and QR-DQN the value of ε, by default 0. For the others a temperature
            T: actions are drawn from π^(1/T). Its default is 1 for discrete actions, as in
            training, and 0, the mean, for continuous actions.

    Raises:
        UserError: there is no such file, it is damaged or unsupported, or it was trained on other
            observations or actions than the environment's.
    """
    # For a few games, one thread takes 4 ms. Two threads wait for each other beside other work and
    # take 30 to 370 ms. With one thread, actions do not depend on the number of cores either.
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
        # Text from an archive may hold line breaks or move a terminal's cursor.
        raise UserError(f"{shown} {plain(error, 300)}") from None
    if exploration is None:
        exploration = 1.0 if explores_unless_told(choose) else 0.0
    if exploration and archive.settings.get("use_sde"):
        raise UserError(f"--exploration {exploration:g}: {shown} uses gSDE, so only 0 is allowed")
    most = 1.0 if choose is epsilon_greedy else sys.float_info.max
    if not 0 <= exploration <= most:
        allowed = "an epsilon from 0 to 1" if most == 1 else "a finite temperature from 0 up"
        raise UserError(f"--exploration {exploration:g}: must be {allowed}")
    how = f"{algorithm(archive.settings)}, {archive.digest}, {family.explores_by} {exploration:g}"
    name = f"sb3:{plain(path.name)}, {how}"
    return Checkpoint(name, layers, choose, exploration, seed, action_space)


def algorithm(settings: dict[str, Any]) -> str:
    """The name of the algorithm, which the first known setting in an archive reveals."""
    known = {"n_quantiles": "QR-DQN", "clip_range": "PPO", "cg_max_steps": "TRPO", "vf_coef": "A2C"}
    return next((known[each] for each in known if each in settings), "DQN")


def family_of(settings: dict[str, Any]) -> Family:
    """Returns the family of the policy's class; raises a UserError if it is unsupported."""
    module = text(settings, "policy_class", "__module__")
    if module in FAMILIES:
        return FAMILIES[module]
    known = re.fullmatch(r"(?:stable_baselines3|sb3_contrib)\.(?:common\.)?(\w+)\.policies", module)
    what = f"of {SPELLINGS.get(known[1], known[1].upper())}" if known else f"from '{module}'"
    raise UserError(f"has a policy {what}; allowed are DQN, QR-DQN, PPO, A2C and TRPO")


def require_raw_observations(settings: dict[str, Any], family: Family, obs: Space) -> None:
    """Raises a UserError if the policy was trained with VecNormalize, as far as an archive tells.

    PPO, A2C and TRPO store an original observation only with VecNormalize. DQN and QR-DQN always
    store one; for them, an observation out of the environment's bounds reveals VecNormalize.
    """
    if settings.get("_last_original_obs") is None:
        return
    why = "was trained with VecNormalize"
    if family.can_overlap:
        if not out_of_bounds(settings.get("_last_obs"), obs):
            return
        if out_of_bounds(settings.get("_last_original_obs"), obs):
            return
        why = "holds an observation out of the environment's bounds, as with VecNormalize"
    raise UserError(
        f"{why}, whose statistics the archive lacks; script:module:function can play it"
    )


def out_of_bounds(saved: Any, space: Space) -> bool:
    """Whether a saved array holds observations outside the space."""
    assert isinstance(space, spaces.Box)
    numbers = array_in(saved)
    count = math.prod(space.shape)
    if numbers is None or not count or numbers.size % count:
        return False
    obs = numbers.reshape(-1, *space.shape)
    return bool(((obs < space.low) | (obs > space.high)).any())


def require_spaces(settings: dict[str, Any], obs: Space, action: Space, env_id: str) -> None:
    """Raises a UserError if the policy was trained on other observations or actions."""
    saved_action = in_words(settings.get("action_space"))
    if not re.fullmatch(PLAYABLE, saved_action):
        allowed = "Discrete, MultiDiscrete and MultiBinary from 0 and Box"
        raise UserError(f"has the actions {saved_action}, allowed are {allowed}")
    saved_obs = observed(in_words(settings.get("observation_space")))
    for what, saved, space in (("observations", saved_obs, obs), ("actions", saved_action, action)):
        here = in_words({":type:": str(type(space)), **vars(space)})
        if saved != here:
            raise UserError(f"was trained on {what} {saved}, but {env_id} has {here}")


def observed(saved: str) -> str:
    """An observation space in words; discrete spaces are observed as one-hot vectors."""
    kind, _, counts = saved.partition(" ")
    numbers = [int(each) for each in re.findall(r"\d+", counts)]
    if kind in ("Discrete", "MultiDiscrete", "MultiBinary") and " from " not in saved:
        return f"Box [{sum(numbers)}]"
    return saved
