"""The settings of the machine that a run computes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from tyro.conf import Fixed

from agents.core.types.settings import Part
from envs.command_line import Unit


@dataclass(frozen=True, kw_only=True)
class MachineConfig(Part):
    """The device and number format of a network, and the number of threads."""

    title: ClassVar[str] = "Machine"

    overlap_learning: Fixed[bool] = field(default=False, init=False)

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """The device holds the networks and the replay; auto takes a GPU if there is one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Matrix products have this number format; auto is bf16 for convolutions that gain by it."""
    num_threads: Annotated[int, Unit("THREADS")] = 0
    """The network and the emulator have this many CPU threads; 0 is one for each core."""

    def validate(self) -> None:
        super().validate()
        self.at_most(1_024, "num_threads")
        self.at_least(0, "num_threads")


@dataclass(frozen=True, kw_only=True)
class OverlapConfig(MachineConfig):
    """The machine's settings for an algorithm that can learn while it acts."""

    overlap_learning: bool = False
    """Half of a CPU's cores learn while the others act; else all cores do each in turn."""
