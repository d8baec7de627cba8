"""The flags that choose an environment's options, shared by all command lines."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Annotated, Any

from tyro.constructors import PrimitiveConstructorSpec

from envs.command_line import Unit
from envs.kwargs import checked, parsed
from envs.spec import EnvSpec, spec

KWARGS = PrimitiveConstructorSpec(
    nargs="*",
    metavar="NAME=VALUE|JSON",
    instance_from_str=parsed,
    is_instance=lambda value: isinstance(value, dict),
    str_from_instance=lambda value: [f"{k}={json.dumps(v)}" for k, v in value.items()],
)


@dataclass(frozen=True, kw_only=True)
class EnvFlags:
    """Options of an environment; None takes the value that the environment's name implies."""

    env_kwargs: Annotated[dict[str, Any], KWARGS] = field(default_factory=dict, hash=False)
    """Arguments of the environment's constructor: gravity=-5.0 continuous=true, or a JSON object.
    """
    max_episode_steps: Annotated[int | None, Unit("STEPS")] = None
    """Steps after which an episode is truncated."""
    frameskip: Annotated[int | None, Unit("FRAMES")] = None
    """Atari: emulated frames per step."""
    repeat_action_probability: Annotated[float | None, Unit("SHARE")] = None
    """Atari: probability that the emulator repeats the last action (sticky actions)."""
    noop_max: Annotated[int | None, Unit("STEPS")] = None
    """Atari: largest random number of no-ops after a reset."""
    full_action_space: bool = False
    """Atari: all 18 actions, not only the ones that the game reacts to."""
    mode: Annotated[int | None, Unit("NUMBER")] = None
    """Atari: the game's mode."""
    difficulty: Annotated[int | None, Unit("NUMBER")] = None
    """Atari: the game's difficulty."""
    frame_stack: Annotated[int | None, Unit("FRAMES")] = None
    """Atari: frames per observation."""
    screen_size: Annotated[int | None, Unit("PIXELS")] = None
    """Atari: height and width of an observation in pixels."""

    def spec_of(self, name: str) -> EnvSpec:
        """The spec of an environment with these options; errors as `envs.spec`."""
        options = {each.name: getattr(self, each.name) for each in dataclasses.fields(EnvFlags)}
        return spec(name, **options)

    def check_kwargs(self) -> None:
        """Raises a UserError if the arguments are not plain JSON."""
        checked(self.env_kwargs)
