"""`EnvSpec` holds everything that defines an environment; `spec` makes one from a name."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envs import kwargs
from envs.catalog import (
    atari_build,
    atari_ids,
    atari_variants,
    canonical_id,
    gymnasium_build,
    registered_limit,
    require_trusted,
    unknown_name,
)
from envs.errors import UserError, at_least, did_you_mean
from envs.schema import convert
from envs.text import plain
from envs.versions import require_close

MOST_STEPS = 27_000
"""Longest episode without another limit: Atari's 108,000 frames at 4 frames a step."""

_ATARI_MINIMUM = {
    "frameskip": 1,
    "noop_max": 0,
    "frame_stack": 1,
    "screen_size": 1,
    "max_episode_frames": 1,
}
_NO_ATARI = {
    "repeat_action_probability": 0.0,
    "frameskip": 1,
    "noop_max": 0,
    "fire_reset": False,
    "frame_stack": 1,
    "screen_size": 0,
    "grayscale": False,
    "maxpool": False,
    "full_action_space": False,
    "mode": None,
    "difficulty": None,
    "ale_py_version": "",
    "rom_md5": "",
}
_VERSIONS = ("ale_py_version", "gymnasium_version", "package_versions")
"""Fields that name versions of software; the other fields define the environment."""

_ATARI_OPTIONS = (
    *("frameskip", "repeat_action_probability", "noop_max", "full_action_space", "mode"),
    *("difficulty", "frame_stack", "screen_size"),
)
"""Options of `spec` for Atari games only, in the order in which `EnvSpec.protocol` lists them."""

COMPARABLE_FRAMES = range(18_000, 108_001)
"""Episode limits, 5 to 30 minutes of play, at which returns compare with human scores."""


@dataclass(frozen=True, kw_only=True)
class EnvSpec:
    """Everything that defines an environment; equal specs, seeds and actions give equal episodes.

    A field that a family does not use has a neutral value: Gymnasium environments have the Atari
    fields at 0, 1, False or "", and Atari games have `gymnasium_version` at "".

    Specs that were saved before the last four fields existed lack them.

    Raises:
        UserError: a field is out of its range, or not neutral for the family.
    """

    env_id: str
    """Canonical id: "ALE/Pong-v5", "PongNoFrameskip-v4", "CartPole-v1"."""
    family: str
    """"atari" (ale-py's AtariVectorEnv) or "gymnasium" (any other registered environment)."""
    repeat_action_probability: float
    """Probability that the emulator repeats the last action instead (sticky actions)."""
    frameskip: int
    """Emulated frames per environment step."""
    noop_max: int
    """Largest random number of no-ops after a reset."""
    fire_reset: bool
    """A reset presses FIRE in the games that have this action."""
    frame_stack: int
    """Frames per observation."""
    screen_size: int
    """Height and width of an observation, pixels."""
    grayscale: bool
    maxpool: bool
    """Each pixel is the maximum over the last two emulated frames."""
    full_action_space: bool
    """All 18 actions instead of only the ones that the game reacts to."""
    max_episode_frames: int
    """Emulated frames after which an episode is truncated. For the Gymnasium family it counts
    steps, and 0 means the registered limit."""
    ale_py_version: str
    rom_md5: str
    gymnasium_version: str
    mode: int | None = None
    """The game's mode; None is the game's default mode."""
    difficulty: int | None = None
    """The game's difficulty; None is 0."""
    env_kwargs: dict[str, Any] = field(default_factory=dict, hash=False)
    """Arguments of a Gymnasium environment's constructor, plain JSON; Atari games have none."""
    package_versions: dict[str, str] = field(default_factory=dict, hash=False)
    """Versions, by distribution, of a Gymnasium environment's own package and physics engine."""

    def __post_init__(self) -> None:
        if self.family not in ("atari", "gymnasium"):
            raise UserError(f"family is '{self.family}', allowed are 'atari' and 'gymnasium'")
        object.__setattr__(self, "env_kwargs", kwargs.checked(self.env_kwargs))
        if self.family == "atari" and self.env_kwargs:
            raise UserError(f"env_kwargs is {plain(self.env_kwargs)}, but Atari games have none")
        if self.family == "gymnasium":
            for name, neutral in _NO_ATARI.items():
                value = getattr(self, name)
                if value != neutral:
                    raise UserError(
                        f"{name} is {value!r}, but {self.env_id} is not an Atari game:"
                        f" only {neutral!r} is allowed"
                    )
            return
        for name, minimum in _ATARI_MINIMUM.items():
            at_least(minimum, name, getattr(self, name))
        if not 0.0 <= self.repeat_action_probability <= 1.0:
            raise UserError(
                f"repeat_action_probability is {self.repeat_action_probability},"
                " allowed is 0.0 to 1.0"
            )

    @property
    def game(self) -> str | None:
        """The name of an Atari game's ROM, such as "space_invaders"; None for other families."""
        return atari_ids().get(self.env_id)

    @property
    def protocol(self) -> str:
        """The label of a reported score: the id and every option that differs from the default."""
        if self.family == "gymnasium":
            cap = self.max_episode_frames
            arguments = [kwargs.in_words(self.env_kwargs)] if self.env_kwargs else []
            return ", ".join([self.env_id, *arguments, *([f"at most {cap} steps"] if cap else [])])
        sticky = f"sticky {self.repeat_action_probability:g}"
        parts = [self.env_id, sticky, f"frameskip {self.frameskip}"]
        usual = _usual_atari(self.env_id)
        words = _in_words(self)
        parts += [text for name, text in words.items() if getattr(self, name) != usual[name]]
        return ", ".join(parts)

    @property
    def scored_game(self) -> str | None:
        """The game whose published scores compare with scores under this protocol, or None.

        They compare if mode and difficulty are the defaults and a step has 4 frames. The limit of
        an episode must be in `COMPARABLE_FRAMES`, with at most 30 no-ops, and sticky actions must
        be 0 or 0.25.
        """
        usual_game = self.mode is None and self.difficulty is None
        sticky = self.repeat_action_probability in (0.0, 0.25)
        length = self.max_episode_frames in COMPARABLE_FRAMES
        comparable = usual_game and sticky and length and self.frameskip == 4
        return self.game if comparable and self.noop_max <= 30 else None

    @property
    def most_steps(self) -> int:
        """Steps after which an episode is truncated; 0 if nothing truncates it."""
        if self.family == "atari":
            return -(-self.max_episode_frames // self.frameskip)
        return self.max_episode_frames or registered_limit(self.env_id)

    def bounded(self, most_steps: int = 0) -> EnvSpec:
        """Returns the environment with a limit of steps, so that every episode ends.

        Args:
            most_steps: the limit; the environment's own limit stays if it is lower. 0 takes the
                environment's own limit, or `MOST_STEPS` if it has none.
        """
        limit = self.most_steps
        wanted = most_steps or limit or MOST_STEPS
        if 0 < limit <= wanted:
            return self
        return dataclasses.replace(self, max_episode_frames=wanted * self.frameskip)

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as plain JSON, without the later fields that are neutral.

        So older versions can read the spec of an environment that uses none of these fields.
        """
        fields = dataclasses.asdict(self)
        neutral = _younger_fields()
        return {name: value for name, value in fields.items() if value != neutral.get(name, ...)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> EnvSpec:
        """Rebuilds a spec from `to_json`.

        Raises:
            UserError: a field is missing, unknown, of another type or out of range.
        """
        types = typing.get_type_hints(cls)
        if unknown := sorted(fields.keys() - types.keys()):
            raise UserError(f"unknown field '{plain(unknown[0])}' in an environment's spec")
        if missing := sorted(types.keys() - fields.keys() - _younger_fields().keys()):
            raise UserError(f"the field '{missing[0]}' is missing from an environment's spec")
        values = dict(fields)
        for name in values:
            kind = types[name]
            if kind is float and type(values[name]) is int:
                values[name] = float(values[name])
            if kind not in (bool, int, float, str):
                values[name] = convert(values[name], kind, name)
            elif type(values[name]) is not kind:
                raise UserError(f"{name} is {values[name]!r}, but must be of type {kind.__name__}")
        return cls(**values)

    def differing_fields(self, other: EnvSpec) -> list[str]:
        """Returns the names of the fields in which `other` differs, in order."""
        names = [field.name for field in dataclasses.fields(self)]
        return [name for name in names if getattr(self, name) != getattr(other, name)]

    def same_life(self, other: EnvSpec) -> bool:
        """Whether `other` is the same environment, possibly in another version."""
        return not set(self.differing_fields(other)) - set(_VERSIONS)

    def require_same(self, other: EnvSpec, who: str) -> None:
        """Checks that `other` is the same environment; warns about another patch version.

        Args:
            who: the error's first words, which name `other`: "runs/x is", "the saved tapes are".

        Raises:
            UserError: a field differs; the message names the first one and both values.
        """
        for name in self.differing_fields(other):
            here = getattr(self, name)
            there = getattr(other, name)
            if name not in _VERSIONS:
                raise UserError(
                    f"{who} of another environment: {name} is {plain(repr(there))} there,"
                    f" but {plain(repr(here))} here"
                )
            for what, ours, theirs in _version_pairs(name, here, there):
                says = f"{who} of another version of {self.env_id}: {what} is '{theirs}' there"
                require_close(ours, theirs, f"{says}, but '{ours}' here")

    def check_reproducible(self) -> None:
        """Checks that this machine reproduces the spec; warns about another patch version.

        Raises:
            UserError: this machine has another version or another ROM; the message names the field
                and both values. Or the spec needs a module that the user has not allowed
                (`envs.catalog.require_trusted`), or text that the user has not allowed
                (`envs.kwargs.require_trusted`).
        """
        if self.family == "atari" and self.game is None:
            raise unknown_name(self.env_id)
        require_trusted(self.env_id)
        kwargs.require_trusted(self.env_id, self.env_kwargs)
        here = atari_build(self.game) if self.game else gymnasium_build(self.env_id)
        for name, value in here.items():
            for what, ours, theirs in _version_pairs(name, value, getattr(self, name)):
                says = f"{what} is '{ours}' on this machine, but '{theirs}' in the spec"
                if name in _VERSIONS:
                    require_close(ours, theirs, f"{self.env_id} may not be reproduced here: {says}")
                elif ours != theirs:
                    raise UserError(f"{self.env_id} cannot be reproduced here: {says}")


def _younger_fields() -> dict[str, Any]:
    """The neutral value of each field that older saved specs lack: the fields with defaults."""
    neutral: dict[str, Any] = {}
    for each in dataclasses.fields(EnvSpec):
        if each.default is not dataclasses.MISSING:
            neutral[each.name] = each.default
        elif each.default_factory is not dataclasses.MISSING:
            neutral[each.name] = each.default_factory()
    return neutral


def spec(
    name: str,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    max_episode_steps: int | None = None,
    **atari: Any,
) -> EnvSpec:
    """Returns the spec of the environment that a name stands for on this machine.

    "Pong", "pong" and "ALE/Pong-v5" mean the modern protocol (sticky actions 0.25).
    "PongNoFrameskip-v4" means the classic one (sticky 0, up to 30 no-ops, FIRE on reset). Any other
    name is the id of a registered Gymnasium environment, including "MinAtar/...". "module:Id-v0"
    imports the module first.

    Args:
        env_kwargs: arguments of the environment's constructor, plain JSON. An Atari game accepts
            the names listed under `atari`.
        max_episode_steps: steps after which an episode is truncated.
        atari: `frameskip`, `repeat_action_probability`, `noop_max`, `full_action_space`, `mode`,
            `difficulty`, `frame_stack`, `screen_size`; None takes the value that the name implies.

    Raises:
        UserError: there is no such environment (the message names the nearest one), or an option is
            out of range or not for this environment.
    """
    env_id = canonical_id(name)
    chosen = {option: value for option, value in atari.items() if value is not None}
    arguments = kwargs.checked(env_kwargs or {})
    if unknown := sorted(chosen.keys() - set(_ATARI_OPTIONS)):
        near = did_you_mean(unknown[0], ["env_kwargs", "max_episode_steps", *_ATARI_OPTIONS])
        raise UserError(f"an environment has no option '{unknown[0]}'{near}")
    if max_episode_steps is not None:
        at_least(1, "max_episode_steps", max_episode_steps)
    if game := atari_ids().get(env_id):
        return _atari_spec(env_id, game, chosen | arguments, max_episode_steps)
    if changed := [each for each in _ATARI_OPTIONS if chosen.get(each, False) is not False]:
        raise UserError(
            f"{changed[0]} is {chosen[changed[0]]}, but {env_id} is not an Atari game;"
            " arguments of its constructor go into env_kwargs"
        )
    build = gymnasium_build(env_id)
    kwargs.trust(arguments)
    limit = max_episode_steps if max_episode_steps != registered_limit(env_id) else None
    return EnvSpec(
        env_id=env_id,
        family="gymnasium",
        max_episode_frames=limit or 0,
        env_kwargs=arguments,
        **(_NO_ATARI | build),
    )


def _atari_spec(
    env_id: str, game: str, options: dict[str, Any], max_episode_steps: int | None
) -> EnvSpec:
    if unknown := sorted(options.keys() - set(_ATARI_OPTIONS)):
        allowed = ", ".join(_ATARI_OPTIONS)
        near = did_you_mean(unknown[0], _ATARI_OPTIONS)
        raise UserError(f"{env_id} takes no '{plain(unknown[0])}' (it takes {allowed}){near}")
    usual = _usual_atari(env_id)
    types = typing.get_type_hints(EnvSpec)
    fields = usual | {each: convert(options[each], types[each], each) for each in options}
    modes, difficulties = atari_variants(game)
    for name, allowed in (("mode", modes), ("difficulty", difficulties)):
        if fields[name] is not None and fields[name] not in allowed:
            known = ", ".join(map(str, allowed))
            raise UserError(f"{name} is {fields[name]}, but {env_id} has {known}")
    fields["mode"] = None if fields["mode"] == modes[0] else fields["mode"]
    fields["difficulty"] = fields["difficulty"] or None
    if max_episode_steps is not None:
        fields["max_episode_frames"] = max_episode_steps * fields["frameskip"]
    return EnvSpec(env_id=env_id, family="atari", **(fields | atari_build(game)))


def _usual_atari(env_id: str) -> dict[str, Any]:
    """The option values that an Atari game's name implies."""
    classic = not env_id.startswith("ALE/")
    return {
        "repeat_action_probability": 0.0 if classic else 0.25,
        "frameskip": 4,
        "noop_max": 30 if classic else 0,
        "fire_reset": classic,
        "frame_stack": 4,
        "screen_size": 84,
        "grayscale": True,
        "maxpool": True,
        "full_action_space": False,
        "mode": None,
        "difficulty": None,
        "max_episode_frames": 108_000,
    }


def _in_words(spec: EnvSpec) -> dict[str, str]:
    """The words of `EnvSpec.protocol` for each Atari field whose value is not the default."""
    frames = spec.max_episode_frames
    frameskip = spec.frameskip
    whole = frames % frameskip == 0
    return {
        "mode": f"mode {spec.mode}",
        "difficulty": f"difficulty {spec.difficulty}",
        "full_action_space": "all 18 actions",
        "noop_max": f"up to {spec.noop_max} no-ops",
        "frame_stack": f"stacks of {spec.frame_stack}",
        "screen_size": f"{spec.screen_size} pixels wide",
        "max_episode_frames": f"at most {frames // frameskip} steps"
        if whole
        else f"at most {frames} frames",
    }


def _version_pairs(name: str, here: Any, there: Any) -> list[tuple[str, str, str]]:
    """Triples (name, version here, version there) of one field, one for each of its packages."""
    if isinstance(there, dict):
        return [(f"{each}'s version", here.get(each, ""), there[each]) for each in sorted(there)]
    return [(name, here, there)]
