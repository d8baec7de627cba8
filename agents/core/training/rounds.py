"""Rounds: a learner plays with an expert beside it, then learns from the expert's labels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from torch import Tensor

from agents.core.data.demonstrations import labels_of, taught_by
from agents.core.logging.reporter import Reporter
from agents.core.math.schedules import stream_seed
from agents.core.runs.run import Run
from agents.core.training.config import BaseConfig
from agents.core.training.demonstrator import Player
from agents.core.training.trainer import Trainer, require_alone
from demos import Dataset, Episode, Policy, human, record
from demos.coaching import Coach, Coached, Mixture, Takeover
from demos.policies import resolve
from demos.sessions import Recording
from envs import EnvSpec, UserError, schema, spaces_of
from envs.scores import reference_scores
from envs.signals import Interrupted

FOLDER = "demos"
"""The folder of a run that holds the dataset of all rounds."""


@dataclass(frozen=True)
class Saved:
    """The trainer's state in a checkpoint.

    Attributes:
        episodes: the number of episodes of each round.
        expert_return: the mean return of the games that the expert played alone.
    """

    episodes: list[schema.Natural]
    expert_return: float | None


class RoundsTrainer(Trainer):
    """Alternates between whole games and updates, as many steps of each.

    A round begins when the updates have used as many steps as there are. The games of a round are
    a session of the dataset in the run's folder `demos`. A round that a signal stops is played
    again after a resume.
    """

    name = "rounds"
    steps_environments = True
    job_type = "imitate"
    needs = ("add", "steps", "beta", "require_same")

    @classmethod
    def check(cls, name: str, algorithm: Any, config: BaseConfig, fresh_episodes: bool) -> None:
        super().check(name, algorithm, config, fresh_episodes)
        require_alone(name, config)
        if fresh_episodes:
            raise UserError(f"--fresh-episodes: {name} plays whole episodes between its updates")
        expert_of(config, config.spec_of(config.env_id), seed=0)

    @classmethod
    def make(
        cls, algorithm: Any, spec: EnvSpec, config: BaseConfig, run: Run | None
    ) -> RoundsTrainer:
        return cls(algorithm, spec, config, run)

    def __init__(self, agent: Any, spec: EnvSpec, config: Any, run: Run | None):
        self.agent = agent
        self.spec = spec.bounded(config.eval_most_steps)
        self.space = spaces_of(self.spec)[1]
        self.config = config
        self.run = run
        self.round_steps = agent.horizon_steps
        self.episodes: list[int] = []
        self.expert_return: float | None = None

    def train_round(self, step: int, logger: Reporter) -> dict[str, Tensor]:
        if step >= self.agent.steps and not self.play(step, logger):
            self.round_steps = 0
            return {}
        self.round_steps = self.agent.horizon_steps
        return self.agent.update()

    def play(self, step: int, logger: Reporter) -> bool:
        """Plays a round of games, stores them and adds them to the agent's data.

        Returns:
            False if a signal stopped the games.
        """
        number = len(self.episodes)
        beta = self.agent.beta(step)
        coach = self.coach(number, beta)
        try:
            played = self.played(coach)
        except Interrupted:
            if self.round_steps == 0:
                # The loop did not heed the signal: a program that uses us as a library got it.
                raise
            logger.message(f"round {number + 1} was stopped; --resume plays it again")
            return False
        self.store(coach.name, played)
        self.agent.add(played)
        self.episodes.append(len(played))
        if beta >= 1:
            self.compare_with(float(np.mean([each.score for each in played])))
        logger.metrics(step, self.described(played))
        return True

    def coach(self, number: int, beta: float) -> Coach:
        """The coach of a round, which depends on the seed and the round alone."""
        seed = stream_seed(self.config.seed, f"round {number}")
        expert = expert_of(self.config, self.spec, seed)
        if self.config.coach == "takeover" and beta < 1:
            return Takeover(expert, self.space, self.config.patience_steps)
        return Mixture(expert, self.space, beta, seed)

    def played(self, coach: Coach) -> list[Episode]:
        """The whole games of a round; raises Interrupted after a signal."""
        config = self.config
        number = len(self.episodes)
        learner = Player(self.agent.policy, "the learner", config.seed + number)
        coached = Coached(coach, learner, self.space)
        count = config.games_per_round
        games = record(
            self.spec,
            coached,
            count,
            config.seed,
            count,
            config.num_threads or None,
            first_game=sum(self.episodes),
            labels=lambda: coached.labels,
        )
        return list(games)

    def store(self, name: str, played: list[Episode]) -> None:
        """Appends the games to the run's dataset, as a session of their own."""
        if self.run is None:
            return
        path = self.run.path / FOLDER
        with Recording(path, self.spec, name, self.config.seed, append=True) as recording:
            for episode in played:
                recording.keep(episode)

    def compare_with(self, expert_return: float) -> None:
        """Compares later evaluations with the expert's mean return."""
        self.expert_return = expert_return
        random = reference_scores(self.spec.scored_game).get("random", 0.0)
        self.agent.reference_scores = (random, expert_return)

    def described(self, played: list[Episode]) -> dict[str, float]:
        """Metrics of a round: its returns, and how often the learner did as the expert."""
        same = np.concatenate([labels_of(each) == each.actions for each in played])
        share = same.reshape(len(same), -1).all(axis=1).mean()
        labeled = np.concatenate([taught_by(each) for each in played])
        return {
            "charts/episodic_return": float(np.mean([each.score for each in played])),
            "charts/episodic_length": float(np.mean([len(each) for each in played])),
            "rounds/number": float(len(self.episodes)),
            "rounds/played_steps": float(self.agent.steps),
            "rounds/as_the_expert": float(share),
            "rounds/labeled": float(labeled.mean()),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"episodes": self.episodes, "expert_return": self.expert_return}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        saved = schema.convert(state, Saved, "the rounds")
        self.episodes = list(saved.episodes)
        if saved.expert_return is not None:
            self.compare_with(saved.expert_return)
        if not self.episodes:
            return
        assert self.run is not None
        dataset = Dataset.open(self.run.path / FOLDER)
        ends = list(accumulate(self.episodes, initial=0))
        there = len(dataset.files())
        if there < ends[-1]:
            raise UserError(
                f"{dataset.path} has {there} episodes, but the run played {ends[-1]} until its"
                " checkpoint"
            )
        if there > ends[-1]:
            # Later games were played after the checkpoint, and will be played again.
            dataset.drop(range(ends[-1], there))
        for first, end in pairwise(ends):
            self.agent.add(list(dataset.selected(range(first, end))), goes_on=True)
        self.agent.require_same()


def expert_of(config: Any, spec: EnvSpec, seed: int) -> Policy:
    """The expert that a config names.

    Raises:
        UserError: there is no such policy, or it plays another environment.
    """
    if not config.expert:
        raise UserError(
            "--expert is missing: name a run's directory, sb3:FILE.zip or script:module:function"
        )
    if config.expert == human.NAME:
        raise UserError(f"--expert {human.NAME}: a person cannot be asked while the learner plays")
    return resolve(config.expert, spec, seed, config.expert_exploration)
