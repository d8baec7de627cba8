"""The tier of every test file: `fast` is what a person runs after each change.

    pytest -m fast              golden values, contracts, command lines, architecture, tapes
    pytest -m "not slow"        all of CI: fast and full
    pytest -m slow              long learning runs and full products, before a release

A test's own marker decides before its file. A file that is in neither list counts as full, and
`test_tiers.py` names it.
"""

from __future__ import annotations

TIERS = ("fast", "full", "slow")

FAST = {
    "acting",
    "architecture",
    "benchmark_results",
    "building",
    "card",
    "categorical",
    "cli",
    "command_line",
    "demos",
    "distributions",
    "earlier_names",
    "env_options",
    "envs",
    "files",
    "gpu_benchmark",
    "learner",
    "log",
    "losses",
    "masks",
    "munchausen",
    "networks",
    "normalize",
    "output",
    "portable_names",
    "priorities",
    "progress",
    "qrdqn",
    "random_play",
    "recurrence",
    "replay",
    "replay_mixed",
    "report_statistics",
    "rescaling",
    "returns",
    "rollouts",
    "run",
    "same_run",
    "sac",
    "schedules",
    "sequences",
    "squashed",
    "tapes",
    "tiers",
    "torsos",
    "toys",
    "value_networks",
    "words",
}

FULL = {
    "batched_replay",
    "benchmarks",
    "capture",
    "checkpoint_content",
    "compare",
    "contract",
    "dashboard",
    "demos_append",
    "demos_cli",
    "demos_format",
    "demos_frames",
    "demos_hostile",
    "demos_human",
    "demos_minari",
    "demos_minari_foreign",
    "demos_replay",
    "demos_sb3",
    "demos_sb3_files",
    "demos_sb3_trained",
    "demos_scripts",
    "demos_stored",
    "distributed",
    "docs",
    "docs_blocks",
    "examples",
    "fuzz",
    "help",
    "hostile_arguments",
    "imitation",
    "joystick",
    "kills",
    "learning",
    "lifecycle",
    "locks",
    "memory",
    "no_waiting",
    "overlap_learning",
    "policy_alone",
    "portable",
    "probe",
    "python_api",
    "reference_losses",
    "report_hostile",
    "report_page",
    "report_reading",
    "report_script",
    "resume",
    "run_hostile",
    "search",
    "shipped",
    "siblings",
    "sweep",
    "user_envs",
    "wandb",
    "wandb_runs",
    "watch",
    "wheel",
}


def tier_of(file: str, markers: set[str]) -> str:
    """The tier of a test in `test_<file>.py` with these markers."""
    own = [tier for tier in TIERS if tier in markers]
    return own[-1] if own else "fast" if file in FAST else "full"
