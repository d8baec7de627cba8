"""Evaluation: plays full episodes with unclipped rewards in a seeded environment of its own.

Each episode has one tape.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

import envs
from agents.core.logging.diagnostics import Sample
from agents.core.policies.policy import Policy
from agents.core.runs.run import Run
from agents.core.system.device import return_freed_memory
from agents.core.training.env_group import EnvGroup
from agents.core.types.env_rng import EnvRng
from envs import EnvSpec, Tape, TapedVectorEnv, signals, video
from envs.files import make_directory
from envs.scores import human_normalized

MAX_POOL = 10
"""Most environments that an evaluation steps together."""

SAMPLE_EVERY_STEPS = 50
"""An evaluation keeps every 50th observation of each environment."""

MOST_SAMPLES = 16
"""Most samples of observations that an evaluation keeps."""

STRIP_PICTURES = 8
"""Number of pictures in a game's filmstrip."""

GAP_PIXELS = 4
"""Width of the black gap between two pictures of a filmstrip."""

UNLIMITED_STEPS = 2**31
"""Tape length that no episode reaches, so that a tape holds whole episodes."""


@dataclass(frozen=True)
class Evaluation:
    """Returns of full episodes, with the environment, seed and tapes that reproduce them.

    Attributes:
        step: training step of the weights.
        explores_by: name of `exploration`: "epsilon" or "temperature".
        lengths: steps of each episode.
        cut: number of episodes that were truncated at the limit of steps.
    """

    spec: EnvSpec
    seed: int
    step: int
    explores_by: str
    exploration: float
    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    tapes: tuple[Tape, ...]
    cut: int = 0

    @property
    def mean(self) -> float:
        """The mean return."""
        return float(np.mean(self.returns))

    @property
    def ci95(self) -> float:
        """Half of the mean's 95% interval (Student's t); infinite for a single episode."""
        count = len(self.returns)
        if count < 2:
            return float("inf")
        # Only here: the import takes a quarter of the time of `--help`.
        from scipy import stats

        return float(stats.t.ppf(0.975, count - 1) * stats.sem(self.returns))

    @property
    def human_normalized(self) -> float | None:
        """(score - random) / (human - random).

        None for a game outside the table of 57, or under a protocol that is not comparable.
        """
        return human_normalized(self.spec.scored_game, self.mean)

    def metrics(self) -> dict[str, float]:
        values = {"eval/return_mean": self.mean, "eval/length_mean": float(np.mean(self.lengths))}
        if np.isfinite(self.ci95):
            values["eval/return_ci95"] = self.ci95
        if self.human_normalized is not None:
            values["eval/human_normalized"] = self.human_normalized
        return values

    def to_json(self) -> dict[str, Any]:
        """The content of eval.json."""
        return {
            **self.metrics(),
            "checkpoint_step": self.step,
            "episodes": len(self.returns),
            "most_steps": self.spec.most_steps,
            "cut": self.cut,
            self.explores_by: self.exploration,
            "seed": self.seed,
            "protocol": self.spec.protocol,
            "returns": list(self.returns),
            "lengths": list(self.lengths),
            "env_spec": self.spec.to_json(),
        }

    def summary(self) -> dict[str, float]:
        """The final score's columns in a table of runs."""
        interval = {"score_ci95": self.ci95} if np.isfinite(self.ci95) else {}
        human = {} if self.human_normalized is None else {"human_normalized": self.human_normalized}
        about = {"score_step": self.step, "score_episodes": len(self.returns)}
        return {"score": self.mean, **interval, **human, **about}

    def __str__(self) -> str:
        human = self.human_normalized
        score = "" if human is None else f", human-normalized {human:.1%}"
        interval = f" ± {self.ci95:.2f} (95%)" if np.isfinite(self.ci95) else ""
        # The environment's id implies its own limit, so that limit is not printed.
        says_limit = self.cut > 0 and self.spec.max_episode_frames > 0
        cut = f", {self.cut} cut off at {self.spec.most_steps:,} steps" if says_limit else ""
        return (
            f"return {self.mean:.2f}{interval}{score} over {len(self.returns)} full episodes{cut} "
            f"at {self.explores_by} {self.exploration:g} "
            f"({self.spec.protocol}, weights of step {self.step:,})"
        )


class Evaluator:
    """Plays episodes in an environment of its own, so that training is not affected.

    If an environment has no time limit, `EnvSpec.bounded` sets one, because a policy that makes no
    progress would never end. An Atari game in which nobody serves runs to the protocol's limit.

    Episode k of an evaluation is always the same seeded game. Every game that starts counts:
    stopping at the first games to end would favor short games.

    Args:
        num_threads: threads that step the environments; None for the default.
        most_steps: limit of an episode's steps; 0 for the environment's own limit.

    Attributes:
        samples: some observations of the last evaluation, each with the policy's state.
    """

    def __init__(
        self, spec: EnvSpec, seed: int, num_threads: int | None = None, most_steps: int = 0
    ):
        self.spec = spec.bounded(most_steps)
        self.seed = seed
        self.num_threads = num_threads
        self.samples: list[Sample] = []

    def evaluate(
        self, policy: Policy, episodes: int, step: int, exploration: float | None = None
    ) -> Evaluation:
        """Plays full episodes.

        Args:
            step: training step of the weights.
            exploration: ε or temperature; None for the policy's default in evaluations.

        Raises:
            Interrupted: a signal asks the process to end.
        """
        if exploration is None:
            exploration = policy.eval_exploration
        self.samples = []
        rounds = -(-episodes // MAX_POOL)
        tapes: list[Tape] = []
        returns: list[float] = []
        cut = 0
        pool = -(-episodes // rounds)
        for first in range(0, episodes, pool):
            played = self._round(policy, min(pool, episodes - first), first, exploration)
            returns += played[0]
            tapes += played[1]
            cut += played[2]
        lengths = tuple(len(tape.actions) for tape in tapes)
        kept = (tuple(returns), lengths, tuple(tapes), cut)
        return Evaluation(self.spec, self.seed, step, policy.explores_by, exploration, *kept)

    def _round(
        self, policy: Policy, pool: int, first: int, exploration: float
    ) -> tuple[list[float], list[Tape], int]:
        seed = int(np.random.SeedSequence([self.seed, first]).generate_state(1)[0] // 2)
        env = envs.make(
            self.spec,
            pool,
            seed=seed,
            tape_steps=UNLIMITED_STEPS,
            num_threads=self.num_threads,
        )
        with closing(env):
            return self._play(policy, env, seed, exploration)

    def _play(
        self, policy: Policy, env: TapedVectorEnv, seed: int, exploration: float
    ) -> tuple[list[float], list[Tape], int]:
        """Plays each environment's first episode; returns returns, tapes, and the number cut."""
        pool = env.num_envs
        group = EnvGroup(policy, env, EnvRng(seed, pool))
        group.reset()
        returns = np.full(pool, np.nan)
        tapes: dict[int, Tape] = {}
        cut = 0
        steps = count()
        while len(tapes) < pool:
            signals.check()
            if next(steps) % SAMPLE_EVERY_STEPS == 0 and len(self.samples) < MOST_SAMPLES:
                self.samples.append((torch.as_tensor(group.obs).clone(), group.begun_state))
            group.send(exploration)
            step, info = group.recv()
            if "episode" in info:
                for i in np.flatnonzero(info["_episode"]):
                    if np.isnan(returns[i]):
                        returns[i] = info["episode"]["r"][i]
                        tape = env.tapes()[i]
                        length = int(info["episode"]["l"][i])
                        cut += not step.terminated_N[i]
                        tapes[int(i)] = dataclasses.replace(
                            tape, actions=tape.actions[:length].copy()
                        )
        return returns.tolist(), [tapes[i] for i in range(pool)], cut


def film_evaluation(
    evaluation: Evaluation,
    run: Run,
    say: Callable[[str], None],
    max_steps: int | None = None,
) -> Path | None:
    """Films the first episode into the run's folder `videos`; returns the film's path.

    A PNG beside the film shows a few pictures of the episode in a row, equally spaced in time. A
    film is optional: on any failure, `say` gets one line and the result is None.
    """
    path = run.path / "videos" / f"{evaluation.step:012d}.mp4"
    try:
        return _film(evaluation, path, max_steps)
    except Exception as error:
        say(f"no video: {video.cure(error)}")
    except signals.Interrupted:
        say("no video: a signal stopped it")
    finally:
        # Otherwise the process keeps the encoder's buffers, and a few more after each film.
        return_freed_memory()
    return None


def _film(evaluation: Evaluation, path: Path, max_steps: int | None) -> Path:
    """Writes the film of the first episode to `path` and its filmstrip beside it."""
    pictures = evaluation.lengths[0] + 1
    length = min(pictures, max_steps or pictures)
    wanted = {round(each) for each in np.linspace(0, length - 1, STRIP_PICTURES)}
    strip: list[np.ndarray] = []

    def watched() -> Iterator[np.ndarray]:
        with closing(envs.render(evaluation.tapes[0])) as game:
            for number, picture in enumerate(islice(game, length)):
                if number in wanted:
                    strip.append(np.pad(picture, ((0, 0), (0, GAP_PIXELS), (0, 0))))
                signals.check()
                yield picture

    make_directory(path.parent)
    film = video.write(path, watched(), fps=video.fps_of(evaluation.spec))
    video.write_picture(path.with_suffix(".png"), np.concatenate(strip, axis=1))
    return film
