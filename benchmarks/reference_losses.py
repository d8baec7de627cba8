"""Computes losses, gradients and returns with rlax, DeepMind's library of equations.

    python -m benchmarks.reference_losses --out tests/reference/rlax.json

The file has the inputs and rlax's results, so that `tests/test_reference_losses.py` compares ours
without rlax. It needs neither torch nor our agents: an environment of its own is enough, with
`pip install "jax[cpu]" rlax ale-py gymnasium msgspec tyro`. All is computed in float64, of inputs
that float32 represents exactly.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from envs import UserError, command_line
from envs.entry import command as one_line_errors
from envs.files import write_atomically

Case = dict[str, Any]
"""Named inputs, and rlax's results under `result`, all as lists."""

SEED = 21

BATCH, ACTIONS, ATOMS, QUANTILES, STEPS = 4, 3, 9, 5, 8


@dataclass(frozen=True)
class Arguments:
    out: Path | None = None  # File to write; standard output by default.


class Reference:
    """Draws inputs and calls rlax for each row of a batch."""

    def __init__(self) -> None:
        for package in ("jax", "rlax"):
            if importlib.util.find_spec(package) is None:
                raise UserError(f"{package} is not installed: pip install 'jax[cpu]' rlax")
        self.jax: Any = importlib.import_module("jax")
        self.jax.config.update("jax_enable_x64", True)
        self.rlax: Any = importlib.import_module("rlax")
        self.rng = np.random.default_rng(SEED)

    def normal(self, *shape: int) -> np.ndarray:
        """Normal numbers in steps of 1/256, which float32 and short JSON represent exactly."""
        return np.round(self.rng.normal(size=shape) * 256) / 256

    def actions(self) -> np.ndarray:
        return self.rng.integers(ACTIONS, size=BATCH)

    def discounts(self) -> np.ndarray:
        """A discount of each row; the last row's return does not bootstrap."""
        return np.array([0.875, 0.5, 0.96875, 0.0])

    def loss(self, function: Callable[..., Any], inputs: Case, fixed: Case | None = None) -> Case:
        """The loss of each row and its gradient by the first input, (B, ...)."""
        both = self.jax.vmap(self.jax.value_and_grad(lambda *row: function(*row, **(fixed or {}))))
        loss_B, gradient = both(*inputs.values())
        return as_lists(inputs | (fixed or {}) | {"result": loss_B, "gradient": gradient})


def as_lists(case: Case) -> Case:
    return {
        name: value if isinstance(value, float) else np.asarray(value).tolist()
        for name, value in case.items()
    }


def double_q_learning(reference: Reference) -> Case:
    """The TD error, not its square."""
    inputs = {
        "q_BA": reference.normal(BATCH, ACTIONS),
        "action_B": reference.actions(),
        "reward_B": reference.normal(BATCH),
        "discount_B": reference.discounts(),
        "q_next_BA": reference.normal(BATCH, ACTIONS),
        "select_BA": reference.normal(BATCH, ACTIONS),
    }
    return reference.loss(reference.rlax.double_q_learning, inputs)


def categorical_projection(reference: Reference) -> Case:
    """Targets between atoms, on atoms and beyond the ends; probabilities sum to 1."""
    support_Z = np.linspace(-2, 2, ATOMS)
    target_BZ = 2 * reference.normal(BATCH, ATOMS)
    target_BZ[0] = support_Z
    target_BZ[1] = 0.5
    prob_BZ = reference.rng.integers(1, 64, size=(BATCH, ATOMS)).astype(float)
    prob_BZ[:, 0] += 1024 - prob_BZ.sum(axis=1)
    prob_BZ /= 1024
    inputs = {"target_BZ": target_BZ, "prob_BZ": prob_BZ, "support_Z": support_Z}
    project = reference.jax.vmap(reference.rlax.categorical_l2_project, in_axes=(0, 0, None))
    return as_lists(inputs | {"result": project(*inputs.values())})


def categorical_q_learning(reference: Reference) -> Case:
    support_Z = np.linspace(-2, 2, ATOMS)
    inputs = {
        "logits_BAZ": reference.normal(BATCH, ACTIONS, ATOMS),
        "action_B": reference.actions(),
        "reward_B": reference.normal(BATCH),
        "discount_B": reference.discounts(),
        "next_logits_BAZ": reference.normal(BATCH, ACTIONS, ATOMS),
    }

    def loss(logits: Any, action: Any, reward: Any, discount: Any, next_logits: Any) -> Any:
        outcome = (action, reward, discount)
        return reference.rlax.categorical_q_learning(
            support_Z, logits, *outcome, support_Z, next_logits
        )

    return reference.loss(loss, inputs) | {"support_Z": support_Z.tolist()}


def categorical_divergence(reference: Reference) -> Case:
    """KL(m, p) of the target's and the estimate's logits, without the gradient by the target."""
    inputs = {
        "logits_BZ": reference.normal(BATCH, ATOMS),
        "target_logits_BZ": reference.normal(BATCH, ATOMS),
    }

    def loss(logits: Any, target_logits: Any) -> Any:
        return reference.rlax.categorical_kl_divergence(target_logits, logits)

    return reference.loss(loss, inputs)


def quantile_q_learning(reference: Reference) -> Case:
    """QR-DQN with κ = 1; rlax has the quantiles before the actions."""
    midpoint_I = (np.arange(QUANTILES) + 0.5) / QUANTILES
    inputs = {
        "quantiles_BAI": reference.normal(BATCH, ACTIONS, QUANTILES),
        "action_B": reference.actions(),
        "reward_B": reference.normal(BATCH),
        "discount_B": reference.discounts(),
        "next_quantiles_BAI": 2 * reference.normal(BATCH, ACTIONS, QUANTILES),
    }

    def loss(quantiles: Any, action: Any, reward: Any, discount: Any, following: Any) -> Any:
        return reference.rlax.quantile_q_learning(
            quantiles.T, midpoint_I, action, reward, discount, following.T, following.T, 1.0
        )

    return reference.loss(loss, inputs)


def implicit_quantiles(reference: Reference) -> Case:
    """IQN with κ = 1: sampled fractions, and another number of targets."""
    inputs = {
        "quantiles_BI": reference.normal(BATCH, QUANTILES),
        "fraction_BI": reference.rng.integers(1, 256, size=(BATCH, QUANTILES)) / 256,
        "target_BJ": 2 * reference.normal(BATCH, QUANTILES + 2),
    }
    fixed = {"huber_param": 1.0}
    return reference.loss(reference.rlax.quantile_regression_loss, inputs, fixed)


def value_rescaling(reference: Reference) -> Case:
    x = np.concatenate([reference.normal(8), [0.0, -1e-3, 1e-3, 50.0, -2_000.0, 30_000.0]])
    return as_lists(
        {
            "x": x,
            "result": reference.rlax.signed_hyperbolic(x),
            "inverse": reference.rlax.signed_parabolic(x),
        }
    )


def lambda_returns(reference: Reference) -> Case:
    """Q(λ) with a termination at step 2 and a truncation at step 5."""
    trace_lambda = 0.65
    ended_T = np.arange(STEPS) % 3 == 2
    inputs = {
        "reward_T": reference.normal(STEPS),
        "discount_T": np.where(np.arange(STEPS) == 2, 0.0, 0.9375),
        "next_value_T": reference.normal(STEPS),
    }
    # rlax cuts the trace by a λ of 0.
    return_T = reference.rlax.lambda_returns(*inputs.values(), trace_lambda * ~ended_T)
    return as_lists(inputs | {"ended_T": ended_T, "trace_lambda": trace_lambda, "result": return_T})


def retrace_returns(reference: Reference) -> Case:
    """Retrace with a termination at step 2 and a truncation at step 5."""
    ended_T = np.arange(STEPS) % 3 == 2
    inputs = {
        "reward_T": reference.normal(STEPS),
        "discount_T": np.where(np.arange(STEPS) == 2, 0.0, 0.9375),
        "next_value_T": reference.normal(STEPS),
        "taken_T": reference.normal(STEPS),
        "trace_T": reference.rng.integers(257, size=STEPS) / 256,
    }
    # rlax begins with the action of the second step, and cuts the trace by a weight of 0.
    weight_T = np.where(ended_T[:-1], 0.0, inputs["trace_T"][1:])
    return_T = reference.rlax.general_off_policy_returns_from_q_and_v(
        inputs["taken_T"][1:],
        inputs["next_value_T"],
        inputs["reward_T"],
        inputs["discount_T"],
        weight_T,
    )
    return as_lists(inputs | {"ended_T": ended_T, "result": return_T})


CASES = (
    double_q_learning,
    categorical_projection,
    categorical_q_learning,
    categorical_divergence,
    quantile_q_learning,
    implicit_quantiles,
    value_rescaling,
    lambda_returns,
    retrace_returns,
)


def compute() -> dict[str, Any]:
    """All cases by name, with the versions that computed them."""
    reference = Reference()
    versions = {name: importlib.metadata.version(name) for name in ("jax", "rlax", "numpy")}
    cases = {case.__name__: case(reference) for case in CASES}
    return {"versions": versions, "seed": SEED, "cases": cases}


def as_json(result: dict[str, Any]) -> str:
    """JSON with one line for each array."""
    cases = ",\n".join(
        f"  {json.dumps(name)}: {{\n"
        + ",\n".join(f"    {json.dumps(field)}: {json.dumps(v)}" for field, v in case.items())
        + "\n  }"
        for name, case in result["cases"].items()
    )
    versions = json.dumps(result["versions"])
    return f'{{"versions": {versions}, "seed": {result["seed"]}, "cases": {{\n{cases}\n}}}}\n'


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.reference_losses", description=__doc__
        )
        text = as_json(compute())
        if arguments.out is None:
            sys.stdout.write(text)
        else:
            write_atomically(arguments.out, text.encode())
            print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
