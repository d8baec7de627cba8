"""The algorithms by name: from this package, from installed packages and from plugins.

An algorithm is a module with

- `Config`: the dataclass of its settings;
- `PRESETS`: its `Config`s by name, "control" at least;
- `make_policy(config, spaces, device)`: makes the policy, which acts;
- `make_algorithm(config, policy)`: makes the algorithm, which improves the policy;
- `TRAINER`: the name of its trainer, "online" or "offline".
"""

from __future__ import annotations

from importlib import import_module, metadata
from types import ModuleType
from typing import NamedTuple

from envs import UserError, plugins
from envs.errors import did_you_mean, first_line

GROUP = "joystick.algorithms"
"""The entry-point group in which an installed package lists algorithms: name = "module"."""

NEEDED = ("Config", "PRESETS", "make_policy", "make_algorithm", "TRAINER")
"""The names that an algorithm's module must define."""


class Listed(NamedTuple):
    """An algorithm of this package: its module, and its description in one line."""

    module: str
    about: str


BUILT_IN = {
    "a2c": Listed("agents.a2c", "advantage actor-critic"),
    "bc": Listed("agents.bc", "behavior cloning: do as a demonstrator did"),
    "c51": Listed("agents.c51", "C51: Q-learning of the probabilities of returns; Rainbow"),
    "dagger": Listed("agents.dagger", "DAgger: an expert labels the learner's own states"),
    "dqfd": Listed("agents.dqfd", "DQfD: Q-learning that begins with demonstrations"),
    "dqn": Listed("agents.dqn", "deep Q-network: Q-learning on replayed experience"),
    "gail": Listed("agents.gail", "GAIL: rewards from a discriminator of expert and agent"),
    "iq_learn": Listed(
        "agents.iq_learn", "IQ-Learn: a Q-function that implies the expert's reward"
    ),
    "iq_sac": Listed("agents.iq_sac", "IQ-Learn for continuous actions, on a soft actor-critic"),
    "iqn": Listed("agents.iqn", "IQN: Q-learning of quantiles at random fractions"),
    "ppo": Listed("agents.ppo", "proximal policy optimization"),
    "pqn": Listed("agents.pqn", "parallelized Q-network: Q-learning on fresh rollouts"),
    "qr_dqn": Listed("agents.qr_dqn", "QR-DQN: Q-learning of the distribution of returns"),
    "reinforce": Listed("agents.reinforce", "REINFORCE: the policy gradient itself"),
    "sac": Listed("agents.sac", "soft actor-critic, for continuous and discrete actions"),
    "sqil": Listed("agents.sqil", "SQIL: Q-learning in which demonstrated steps are rewarded"),
    "td3": Listed("agents.td3", "twin delayed deep deterministic policy gradient"),
}


def algorithms() -> list[str]:
    """The names of this package's algorithms, sorted."""
    return sorted(BUILT_IN)


def listed() -> dict[str, str]:
    """All algorithms that `algorithm` finds, each with its description; imports none of them."""
    found = {name: each.about for name, each in BUILT_IN.items()}
    for name, entry in installed().items():
        package = entry.dist.name if entry.dist is not None else entry.module
        found.setdefault(name, f"of the package {package}")
    for name, module in of_plugins().items():
        found.setdefault(name, f"of {module.__file__}")
    return dict(sorted(found.items()))


def installed() -> dict[str, metadata.EntryPoint]:
    """The algorithms of other installed packages."""
    return {each.name: each for each in metadata.entry_points(group=GROUP)}


def of_plugins() -> dict[str, ModuleType]:
    """The plugins that are algorithms: they have `make_algorithm` or `TRAINER`."""
    return {
        name: module
        for name, module in plugins.loaded().items()
        if hasattr(module, "make_algorithm") or hasattr(module, "TRAINER")
    }


def algorithm(name: str) -> ModuleType:
    """The module of an algorithm.

    Raises:
        UserError: no algorithm has that name, or its module lacks a name of `NEEDED`.
    """
    module = of_plugins().get(name)
    if name in BUILT_IN:
        if module is not None:
            raise UserError(f"{module.__file__} has the name of the algorithm '{name}'; rename it")
        return import_module(BUILT_IN[name].module)
    if module is not None:
        require_algorithm(module, f"the plugin {module.__file__}")
        return module
    entry = installed().get(name)
    if entry is None:
        raise unknown(name)
    try:
        module = entry.load()
    except (ImportError, AttributeError) as error:
        raise UserError(f"algorithm '{name}': {entry.value}: {first_line(error)}") from error
    require_algorithm(module, f"algorithm '{name}' of {entry.value}")
    return module


def name_of(module: ModuleType) -> str:
    """The name of an algorithm's module in `algorithm`."""
    for name, each in BUILT_IN.items():
        if each.module == module.__name__:
            return name
    for name, entry in installed().items():
        if entry.value == module.__name__:
            return name
    return module.__name__.rpartition(".")[2]


def command_of(name: str) -> str:
    """The command that trains an algorithm."""
    if name in BUILT_IN:
        return f"python -m {BUILT_IN[name].module}"
    plugin = f" --plugin {file_of(name)}" if name not in installed() else ""
    return f"python -m joystick {name}{plugin}"


def require_algorithm(module: object, what: str) -> None:
    """Raises a UserError if a module lacks a name of `NEEDED`."""
    missing = [name for name in NEEDED if not hasattr(module, name)]
    if missing:
        raise UserError(
            f"{what} has no {' and no '.join(missing)}; an algorithm has {', '.join(NEEDED)}"
        )


def unknown(name: str) -> UserError:
    """The error for a name that no algorithm has."""
    known = list(listed())
    return UserError(
        f"unknown algorithm '{name}' (known: {', '.join(known)}){did_you_mean(name, known)}"
        f"; --plugin {file_of(name)} adds it if it is your own file"
    )


def file_of(name: str) -> str:
    """The file of a plugin that would define an algorithm of this name."""
    return f"{name}.py" if name.isidentifier() else "FILE.py"
