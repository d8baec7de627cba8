"""The contract between an agent and the loop that trains it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from agents.core.optimize.learner import Learner
from agents.core.types.env_rng import EnvRng
from agents.core.types.step import ActOutput, Obs, Step


class Agent(Protocol):
    """The contract of every agent. The loop gives it experience, then lets it learn, and so on.

    `prepare` reserves what training needs and evaluation does not, or raises a UserError.
    `exploration(step)` is the ε or temperature (`explores_by`) of training at a step, and what
    `act` is given; `learn` returns {} when it is not time. Weights are the learner's;
    `state_dict` holds all the rest.

    Attributes:
        explores_by: what exploration is called; the config has `eval_<that>` for evaluations.
        horizon_steps: steps between two calls of `learn`: of each environment, or of those
            demonstrated.
        memory_size: width of what it remembers of an episode; 0 for nothing.
    """

    config: Any
    learner: Learner
    explores_by: str
    horizon_steps: int
    memory_size: int

    def prepare(self) -> None: ...

    def exploration(self, step: int) -> float: ...

    def act(self, obs: Obs, memory_NS: Tensor, rng: EnvRng, exploration: float) -> ActOutput: ...

    def learn(self) -> dict[str, Tensor]: ...

    def state_dict(self, store: Any) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any], store: Any) -> None: ...


@runtime_checkable
class OnlineAgent(Agent, Protocol):
    """An agent that learns from what it does.

    `end_episodes` says that all episodes under way are over, although their ends were not seen.

    Attributes:
        can_overlap: whether `learn` may run before the last step was observed.
    """

    can_overlap: bool

    def observe(self, step: Step) -> None: ...

    def end_episodes(self) -> None: ...


class OfflineAgent(Agent, Protocol):
    """An agent that learns from demonstrations; its config has `validate_every_steps`, `patience`.

    `validate` returns "validation/loss" and more of what is held out, {} where nothing is.

    Attributes:
        reference_scores: mean returns of random play and of the demonstrator.
    """

    reference_scores: tuple[float, float]

    def validate(self) -> dict[str, Tensor]: ...
