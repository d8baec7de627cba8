"""Reports a run: its settings and sources at the start, its totals and score at the end."""

from __future__ import annotations

import os
import platform
import re
from typing import Any

import torch

from agents.core.logging.log import Logger
from agents.core.logging.reporter import Reporter, SilentReporter
from agents.core.runs import artifacts
from agents.core.runs.artifacts import Artifact
from agents.core.runs.run import Run
from agents.core.system import distributed
from agents.core.system.device import cpu_name
from agents.core.training.config import to_json
from agents.core.training.evaluation import Evaluator, film_evaluation
from agents.core.training.loop import Training
from agents.core.training.trainers import overlaps_learning
from demos import provenance
from envs import EnvSpec, signals
from envs.machine import available_cores, peak_memory_bytes

SCORE_SEED = 30_000
"""Seed of the final score's games; it differs from the seed that chose the best weights."""

ORIGIN = {"dataset": "dataset", "model": "initial_model"}
"""Key in the logged config for each type of artifact that a run begins with."""


FRESH_EPISODES = "resumed with new episodes: weights, optimizer, counters and replay are the run's"


def headline(training: Training) -> str:
    """The first line of a training: algorithm, environment, machine and directory."""
    config = training.config
    run = training.run
    compute = training.agent.policy.compute
    threads = compute.shards * compute.threads_per_shard
    ranks = f"{distributed.size()} ranks, " if distributed.size() > 1 else ""
    beside = ", learning beside acting" if overlaps_learning(config) else ""
    how = f"preset {config.preset}, {ranks}{compute.device.type}, {threads} threads{beside}"
    name = run.algo if run else type(training.agent).__name__
    path = run and run.path
    return f"{name} on {training.spec.protocol} ({how}, {compute.precision}) -> {path}"


def not_exact(spec: EnvSpec, differs: str) -> str:
    """The note on a run whose environment is not reproducible."""
    return (
        f"{spec.env_id} is not reproducible ({differs}): a resume will not be exact, because its"
        " episodes begin anew; --init-from takes only the weights"
    )


def begun(parts: str) -> str:
    """The note on the weights that a run takes from another run."""
    return f"begins where another ended: {parts}"


def stopped(training: Training) -> str:
    """The message after a signal stops training, with the command that goes on."""
    path = training.run and training.run.path
    return f"stopped at step {training.step:,}; --resume {path} goes on"


def unsaved(run: Run, step: int) -> str:
    """The error of a training whose last step could not be saved."""
    at = run.newest_step()
    kept = "nothing is saved" if at is None else f"--resume {run.path} goes on from step {at:,}"
    return f"training ended at step {step:,}, which could not be saved; {kept}"


def unscored(training: Training) -> str:
    """The message after a signal stops the scoring, with the command that repeats it."""
    path = training.run and training.run.path
    return f"training is saved, its score is not; --resume {path} scores it"


def open_logger(training: Training, console: bool = True) -> Reporter:
    """Opens the first rank's reporter, from this step on; the other ranks report nothing.

    Args:
        console: whether the reporter prints.
    """
    run = training.run
    config = training.config
    spec = training.spec
    step = training.step
    if run is None or distributed.rank() > 0:
        return SilentReporter()
    seconds = run.truncate_metrics(step) if step > 0 else 0.0
    run.save_config(to_json(config), spec.to_json())
    game = short_name(spec)
    compute = training.agent.policy.compute
    sources = sources_of(training)
    precision = {torch.float32: "fp32", torch.bfloat16: "bf16"}[compute.precision]
    logger = Logger(
        run,
        {
            **to_json(config),
            "protocol": spec.protocol,
            "env_spec": spec.to_json(),
            "hardware": hardware(compute.device) | {"precision": precision},
            "commit": provenance.commit(),
            **{ORIGIN[source.type]: source.metadata for source in sources},
        },
        total_steps=config.total_steps,
        frames_per_step=frames_per_step(training),
        wandb_mode=config.wandb,
        group=config.group or f"{run.algo}-{game}",
        job_type=training.trainer.job_type,
        tags=(run.algo, game, compute.device.type, precision, *config.tags),
        console=console,
        start_step=step,
        start_time=seconds,
    )
    for source in sources:
        logger.uses(source)
    return logger


def short_name(spec: EnvSpec) -> str:
    """The short name of an environment: Pong for `ALE/Pong-v5`, else its id."""
    return re.sub(r"^ALE/(\w+)-v5$", r"\1", spec.env_id).replace("/", "-")


def sources_of(training: Training) -> list[Artifact]:
    """The artifacts that training begins with: demonstrations, and the run of `--init-from`.

    A resumed run leaves `--init-from` out, because that run may have changed or be deleted.
    """
    demos = getattr(training.agent, "demos", None)
    sources = [] if demos is None else [demos.dataset]
    if training.config.init_from and training.step == 0:
        run = Run.open(training.config.init_from)
        sources.append(artifacts.model(run, {"path": str(run.path.resolve())}))
    return sources


def hardware(device: torch.device) -> dict[str, Any]:
    """A description of the machine, as JSON values."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": device.type,
        "gpu": gpu,
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "cores_available": available_cores(),
        "ranks": distributed.size(),
        "system": platform.platform(),
        "torch": torch.__version__,
    }


def frames_per_step(training: Training) -> int:
    """Emulated frames in a step of the environment; 1 for a demonstrated step."""
    return training.spec.frameskip if training.trainer.steps_environments else 1


def totals(training: Training, seconds: float) -> dict[str, float]:
    """Totals of a training: steps, updates, speed and memory (10⁹ bytes).

    Args:
        seconds: wall-clock time of the training, including evaluations.
    """
    learner = training.agent.learner
    values = {
        "total_steps": training.step,
        "total_frames": training.step * frames_per_step(training),
        "updates": learner.num_updates,
        "wall_clock_seconds": seconds,
        "steps_per_second": training.step / max(seconds, 1e-9),
        "peak_memory_gb": peak_memory_bytes() / 1e9,
    }
    device = training.agent.policy.device
    if device.type == "cuda":
        values["peak_gpu_memory_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
    return values


def score_best(training: Training, logger: Reporter) -> None:
    """Scores the best weights on games that did not choose them; saves the score and a film."""
    agent = training.agent
    config = training.config
    run = training.run
    assert run is not None
    if training.evaluated_step != training.step:
        training.evaluate(logger)
        signals.check()
    _, step = run.weights("best", agent.load_weights)
    threads = config.num_threads or None
    evaluator = Evaluator(training.spec, SCORE_SEED, threads, config.eval_most_steps)
    result = evaluator.evaluate(agent.eval_policy, config.final_eval_episodes, step)
    compared = training.trainer.compared(result.mean)
    run.save_score(result.to_json() | compared)
    logger.message(f"score: {result}{in_words(compared)}")
    summary = {**result.summary(), **plain(compared)}
    logger.summary(summary)
    if config.video:
        path = film_evaluation(result, run, logger.message)
        if path is not None:
            # The film shows the best weights, which may be older than the last.
            logger.video(result.step, path)
    logger.artifact(artifacts.model(run, summary), ("best", "final"))


def plain(compared: dict[str, float]) -> dict[str, float]:
    """The values by short names: "of_demonstrator" for `eval/of_demonstrator`."""
    return {name.rpartition("/")[2]: value for name, value in compared.items()}


def in_words(compared: dict[str, float]) -> str:
    """The values as text: `eval/of_demonstrator` 0.93 is ", 93.0% of demonstrator"."""
    return "".join(f", {v:.1%} {n.replace('_', ' ')}" for n, v in plain(compared).items())
