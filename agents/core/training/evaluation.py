"""Evaluation: full, unclipped episodes of a seeded, rebuilt environment, one tape per episode."""

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
"""Environments an evaluation steps together."""

SAMPLE_EVERY_STEPS = 50
"""An evaluation keeps every 50th observation of each environment."""

MOST_SAMPLES = 16
"""The most times that an evaluation keeps observations."""

STRIP_PICTURES = 8
"""Pictures of a game in its filmstrip."""

GAP_PIXELS = 4
"""Width of the black gap between two pictures of a filmstrip."""

UNLIMITED_STEPS = 2**31
"""Tape length that no episode reaches: tapes start only where an evaluation says."""


@dataclass(frozen=True)
class Evaluation:
    """Returns of full episodes, with what must be known to trust and repeat them."""

    spec: EnvSpec
    seed: int
    step: int
    explores_by: str
    exploration: float
    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    tapes: tuple[Tape, ...]
    cut: int = 0
    """Games that did not end but reached the limit of steps."""

    @property
    def mean(self) -> float:
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
        """(score - random) / (human - random); None outside the 57 games of the table, and
        under a protocol that cannot be compared."""
        return human_normalized(self.spec.scored_game, self.mean)

    def metrics(self) -> dict[str, float]:
        values = {"eval/return_mean": self.mean, "eval/length_mean": float(np.mean(self.lengths))}
        if np.isfinite(self.ci95):
            values["eval/return_ci95"] = self.ci95
        if self.human_normalized is not None:
            values["eval/human_normalized"] = self.human_normalized
        return values

    def to_json(self) -> dict[str, Any]:
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
        """What a table of runs shows of a final score."""
        interval = {"score_ci95": self.ci95} if np.isfinite(self.ci95) else {}
        human = {} if self.human_normalized is None else {"human_normalized": self.human_normalized}
        about = {"score_step": self.step, "score_episodes": len(self.returns)}
        return {"score": self.mean, **interval, **human, **about}

    def __str__(self) -> str:
        human = self.human_normalized
        score = "" if human is None else f", human-normalized {human:.1%}"
        interval = f" ± {self.ci95:.2f} (95%)" if np.isfinite(self.ci95) else ""
        # A limit that an id is registered with is known with the id.
        says_limit = self.cut > 0 and self.spec.max_episode_frames > 0
        cut = f", {self.cut} cut off at {self.spec.most_steps:,} steps" if says_limit else ""
        return (
            f"return {self.mean:.2f}{interval}{score} over {len(self.returns)} full episodes{cut} "
            f"at {self.explores_by} {self.exploration:g} "
            f"({self.spec.protocol}, weights of step {self.step:,})"
        )


class Evaluator:
    """Plays episodes on an environment of its own, so that training never notices.

    Where an environment has no time limit, an episode is truncated after `EnvSpec.bounded`'s steps:
    a policy that gets nowhere would never end. On Atari too, a game in which nobody serves runs to
    the protocol's limit.

    Episode k of an evaluation is always the same seeded game, and every game that was
    started counts: stopping at the first games to end would favor short ones.

    Attributes:
        samples: observations of the last evaluation, a few of many.
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
        """Play full episodes.

        Args:
            step: after how many steps the weights were learned.
            exploration: epsilon or temperature; None is the policy's own.

        Raises:
            Interrupted: a signal asked the process to end.
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
        """Each environment's first episode: returns, tapes, and how many were truncated."""
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
    """Film the first episode into the run, with a filmstrip beside the film: as PNG a few pictures
    at equal distances in a row.

    A film is an ornament: whatever fails is said in a line, and None is returned.
    """
    path = run.path / "videos" / f"{evaluation.step:012d}.mp4"
    try:
        return _film(evaluation, path, max_steps)
    except Exception as error:
        say(f"no video: {video.cure(error)}")
    except signals.Interrupted:
        say("no video: it was stopped")
    finally:
        # An encoder's buffers would stay with the process, a little more of them each time.
        return_freed_memory()
    return None


def _film(evaluation: Evaluation, path: Path, max_steps: int | None) -> Path:
    """The film of the first episode at `path`, its filmstrip beside it; raises what fails."""
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
