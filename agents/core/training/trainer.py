"""The base class of trainers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from agents.core.logging.reporter import Reporter
from agents.core.runs.run import Run
from agents.core.system import distributed
from agents.core.training.config import BaseConfig
from envs import EnvSpec, UserError


class Trainer(ABC):
    """Trains an algorithm in rounds.

    Attributes:
        name: the name that an algorithm's module has as `TRAINER`.
        steps_environments: whether a round steps environments; else it reads demonstrations.
        job_type: the job type of the run in W&B.
        needs: the attributes of an algorithm that the trainer uses, beside `update`.
        round_steps: steps in a round, over all ranks.
        agent: the algorithm in training.
    """

    agent: Any
    name: ClassVar[str]
    steps_environments: ClassVar[bool]
    job_type: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    round_steps: int

    @classmethod
    def check(cls, name: str, algorithm: Any, config: BaseConfig, fresh_episodes: bool) -> None:
        """Checks that this trainer can train an algorithm with these settings.

        Args:
            name: name of the algorithm in errors.
            fresh_episodes: whether a resumed run begins new episodes.

        Raises:
            UserError: the algorithm lacks an attribute, or a setting does not fit it.
        """
        missing = [each for each in cls.needs if not hasattr(algorithm, each)]
        if missing:
            what = " and no ".join(missing)
            raise UserError(f"{name} has no {what}, which TRAINER = '{cls.name}' calls")

    @classmethod
    @abstractmethod
    def make(cls, algorithm: Any, spec: EnvSpec, config: BaseConfig, run: Run | None) -> Trainer:
        """Makes the trainer of an algorithm, ready for its first round.

        Args:
            run: the run's directory; None if nothing is saved.
        """

    @property
    def exhausted(self) -> bool:
        """Whether training ends before `total_steps`."""
        return False

    @abstractmethod
    def train_round(self, step: int, logger: Reporter) -> dict[str, Tensor]:
        """Trains the round that begins at `step`; returns metrics to average."""

    def evaluated(self, score: float) -> None:  # noqa: B027
        """Takes note of the mean return of an evaluation."""

    def compared(self, score: float) -> dict[str, float]:
        """The mean return of an evaluation from 0 (random play) to 1 (the demonstrator).

        {} without demonstrations.
        """
        random, demonstrator = self.agent.reference_scores
        if demonstrator == random:
            return {}
        return {"eval/of_demonstrator": (score - random) / (demonstrator - random)}

    @abstractmethod
    def state_dict(self) -> dict[str, Any]: ...

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state.

        Raises:
            NotReproduced: the environments do not reproduce their saved states.
        """

    def begin_anew(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state, but begins new episodes.

        The algorithm's own state is loaded before.
        """
        self.load_state_dict(state)

    def close(self) -> None:  # noqa: B027
        """Closes environments and threads, if there are any."""


def not_shared(name: str) -> UserError:
    """The error when several processes run an algorithm that trains in one process."""
    return UserError(f"{name} trains in one process: its data is not shared between ranks")


def require_alone(name: str, config: BaseConfig) -> None:
    """Checks that an algorithm, which plays no episodes while it learns, has one process.

    Raises:
        UserError: there are several processes, or the settings ask to learn beside acting.
    """
    if distributed.size() > 1:
        raise not_shared(name)
    if config.overlap_learning:
        raise UserError(f"--overlap-learning: {name} plays no episodes while it learns")
