"""The optimization step: number format, gradient clipping, copies of the network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import reduce
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from agents.core.math.schedules import Linear
from agents.core.optimize.cuda_graphs import GraphedFunction, signature
from agents.core.optimize.optimizers import OPTIMIZERS
from agents.core.system import distributed
from agents.core.system.codec import all_like, like
from agents.core.system.device import resolve_precision, roles, share_cores

INFERENCE_ROWS = 16
"""Observations that are worth a core of their own: fewer take less time than waking it."""


class LearnerConfig(Protocol):
    """The settings a learner reads from an algorithm's config."""

    @property
    def optimizer(self) -> str: ...
    @property
    def learning_rate(self) -> Linear: ...
    @property
    def optimizer_epsilon(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def max_grad_norm(self) -> float: ...
    @property
    def precision(self) -> str: ...
    @property
    def num_threads(self) -> int: ...
    @property
    def overlap_learning(self) -> bool: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def ema_updates(self) -> int: ...


class Minibatch(Protocol):
    """What an update learns from: it can be split, and says how much each sample counts."""

    @property
    def size(self) -> int: ...
    @property
    def weight(self) -> Tensor | float: ...
    def split(self, shards: int) -> list[Any]: ...


M = TypeVar("M", bound=Minibatch)
R = TypeVar("R")

Loss = Callable[[M], tuple[Tensor, dict[str, Tensor]]]
"""From a minibatch to the loss of each sample and other values of each, whose means are logged."""


class Learner:
    """Owns a network, its device and number format, and the way it is updated.

    Parameters stay float32 and contiguous, whatever the precision and the layout of the
    activations: fused optimizers walk memory flat, and checkpoints are contiguous.

    Attributes:
        network: what is trained.
        average: what is evaluated and kept: the network, or a mean of its weights that forgets
            (after Polyak and Juditsky 1992, https://doi.org/10.1137/0330046).
        acting: which of the two chooses actions.
    """

    def __init__(self, network: nn.Module, config: LearnerConfig, device: torch.device):
        self.device = device
        self.network = network.to(device)
        convolves = any(isinstance(module, nn.Conv2d) for module in network.modules())
        self.precision = resolve_precision(config.precision, device, convolves)
        # Threads pay off in convolutions; what a small MLP does takes less time than waking them.
        wide = device.type == "cpu" and convolves
        learning, _ = roles(config.num_threads, config.overlap_learning)
        cores = share_cores(learning, config.batch_size) if wide else (1, 1)
        self.shards, self.threads_per_shard = cores
        torch.set_num_threads(self.threads_per_shard)
        pool = max(1, 2 * self.shards - 2)  # Enough for acting too, where that is beside.
        self._workers = ThreadPoolExecutor(pool, "learner", torch.set_num_threads, cores[1:])
        self.averages, self.acting = config.ema_updates > 0, self.network
        self.average = self.target_copy() if self.averages else self.network
        self.parameters = list(self.network.parameters())
        self._averages: list[Tensor] = list(self.average.parameters())
        self._keep_average = get_ema_multi_avg_fn(decay=1 - 1 / max(1, config.ema_updates))
        sizes = (config.learning_rate.start, config.optimizer_epsilon, config.weight_decay)
        self.optimizer = OPTIMIZERS[config.optimizer](self.parameters, *sizes)
        if device.type == "cuda":
            # A recorded step reads them from the device.
            rate = torch.tensor(config.learning_rate.start, device=device)
            self.optimizer.param_groups[0].update(lr=rate, capturable=True)
        self._rate = config.learning_rate.start
        self.max_grad_norm = config.max_grad_norm or float("inf")
        self._captured: dict[tuple[Any, ...], GraphedFunction] = {}

    def autocast(self) -> AbstractContextManager[Any]:
        """Inside it, matrix products run in the learner's precision.

        Torch keeps one cache of cast weights for all threads. Which thread fills it first, and
        which one empties it, would change how gradients round; so each use casts for itself.
        """
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.precision, cache_enabled=False)

    def repeat(self, function: Callable[..., R], *given: Any) -> R:
        """Call a function; on a GPU, as one CUDA graph for each signature of its arguments.

        `GraphedFunction` says what the function must be like. Ranks that exchange gradients use
        no graph. The next call may overwrite the result.
        """
        key = (function, *(signature(each) for each in given))
        if key not in self._captured:
            alone = self.device.type == "cuda" and distributed.size() == 1
            self._captured[key] = GraphedFunction(function, captures=alone)
        return self._captured[key](*given)

    def infer(self, forward: Callable[..., R], *inputs: Tensor) -> list[R]:
        """What `forward` says of inputs (N, ...), under the learner's precision, in parts.

        On a CPU a convolutional network's rows are shared out to the cores, as a minibatch is; on a
        GPU the next call may overwrite the result.
        """
        shards = max(1, min(self.shards, len(inputs[0]) // INFERENCE_ROWS))
        parts = list(zip(*(each.tensor_split(shards) for each in inputs), strict=True))
        rest = [self._workers.submit(self._forward, forward, *part) for part in parts[1:]]
        first = self.repeat(self._forward, forward, *parts[0])
        return [first, *(future.result() for future in rest)]

    def _forward(self, forward: Callable[..., R], *inputs: Tensor) -> R:
        # Both settings are a thread's own.
        with torch.no_grad(), self.autocast():
            return forward(*inputs)

    def target_copy(self) -> nn.Module:
        """A copy of the network that takes no gradient; buffers are the network's own."""
        shared = {id(buffer): buffer for buffer in self.network.buffers()}
        return copy.deepcopy(self.network, shared).requires_grad_(False)

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """Inside it the averaged weights choose actions."""
        before, self.acting = self.acting, self.average
        try:
            yield
        finally:
            self.acting = before

    def update(self, loss: Loss[M], batch: M) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One step down the importance-weighted mean of the loss.

        On a CPU a large batch is split over threads, each with its own forward and backward
        pass (see `share_cores`); the gradients are added in a fixed order, so that it is as
        reproducible as one thread. Gradients and means are those of all ranks together.

        On a GPU it is repeated (see `repeat`).

        Returns:
            Detached means of the loss, the gradient norm and the loss's values; and the latter
            for each sample, which the next update may overwrite.
        """
        means, values = self.repeat(self._step, loss, batch)
        names = ["losses/loss", *values, "losses/grad_norm"]
        return dict(zip(names, means.clone().unbind(), strict=True)), values

    def _step(self, loss: Loss[M], batch: M) -> tuple[Tensor, dict[str, Tensor]]:
        """Means of the loss, its values and the gradient norm in one tensor; and the values."""
        shards = batch.split(self.shards)
        rest = [self._workers.submit(self._gradient, loss, s, batch.size) for s in shards[1:]]
        parts = [self._gradient(loss, shards[0], batch.size), *(f.result() for f in rest)]
        gradients, shares, values = zip(*parts, strict=True)
        # Laid out as their parameters, whatever layout the backward pass chose.
        totals = [reduce(Tensor.add, share).contiguous() for share in zip(*gradients, strict=True)]
        means = torch.stack(shares).sum(dim=0)
        distributed.sum_([*totals, means])
        for parameter, gradient in zip(self.parameters, totals, strict=True):
            parameter.grad = gradient
        norm = nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm, foreach=True)
        self.optimizer.step()
        if self.averages:
            self._keep_average(self._averages, [*self.parameters], 0)
        of_samples = {name: torch.cat([v[name] for v in values], dim=-1) for name in values[0]}
        return torch.cat([means, norm.unsqueeze(0)]), of_samples

    def _gradient(
        self, loss: Loss[M], shard: M, size: int
    ) -> tuple[tuple[Tensor, ...], Tensor, dict[str, Tensor]]:
        """The shard's share of a batch of `size`: gradient of the mean, means, values."""
        with self.autocast():
            loss_B, values = loss(shard)
        mean = (loss_B * shard.weight).sum() / size
        gradient = torch.autograd.grad(mean, self.parameters)
        values = {name: value.detach() for name, value in values.items()}
        sums = torch.stack([mean.detach(), *(value.sum() / size for value in values.values())])
        return gradient, sums, values

    @property
    def learning_rate(self) -> float:
        """The size of the next step."""
        return self._rate

    def set_learning_rate(self, learning_rate: float) -> None:
        """Take steps of this size from now on."""
        if learning_rate == self._rate:
            return
        self._rate, group = learning_rate, self.optimizer.param_groups[0]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(learning_rate)
        else:
            group["lr"] = learning_rate

    def weights(self) -> dict[str, Tensor]:
        """What acting needs: the tensors of the averaged network."""
        return dict(self.average.state_dict())

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Act with these weights, and learn on from them.

        Raises:
            ValueError: they are of another network, or not finite; then nothing is loaded.
        """
        fitting = all_like(weights, self.weights(), "weights")
        for network in (self.network, self.average):
            network.load_state_dict(fitting)

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state, and the network's weights where `weights` is their average."""
        moments = self.optimizer.state_dict()["state"]
        state: dict[str, Any] = {str(index): moment for index, moment in moments.items()}
        return state | ({"network": dict(self.network.state_dict())} if self.averages else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up from `state_dict`, after `load_weights`.

        Raises:
            ValueError: it is of another network or optimizer; then nothing is loaded.
        """
        moments = self._fitting_moments({k: v for k, v in state.items() if k != "network"})
        if self.averages:
            own = dict(self.network.state_dict())
            self.network.load_state_dict(all_like(state["network"], own, "network"))
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})
        # What was recorded works on the tensors of before.
        self._captured.clear()

    def _fitting_moments(self, state: dict[str, Any]) -> dict[int, Any]:
        """The optimizer's state by the numbers of the parameters, each as that needs it."""
        if not state:
            return {}
        if state.keys() != set(map(str, range(len(self.parameters)))):
            raise ValueError("the optimizer's state is of other parameters")
        moments: dict[int, Any] = {}
        for index, parameter in enumerate(self.parameters):
            # Of a number of steps and of each moment: the shape tells which one it is.
            kinds = {tuple(each.shape): each.detach() for each in (parameter, torch.zeros(()))}
            found = dict(state[str(index)])
            if found.keys() != state["0"].keys():
                raise ValueError(f"the optimizer's state of parameter {index} is another")
            for name, each in found.items():
                own = kinds.get(tuple(each.shape), parameter.detach())
                like(each.to(own.device), own, f"the optimizer's {name} of parameter {index}")
            moments[index] = found
        return moments

    @contextmanager
    def unless_refused(self) -> Iterator[None]:
        """What is loaded inside counts only where nothing is raised: else all is as before."""
        modules = (self.network, self.average)
        before = [copy.deepcopy(module.state_dict()) for module in modules]
        optimizer = copy.deepcopy(self.optimizer.state_dict())
        try:
            yield
        except BaseException:
            for module, weights in zip(modules, before, strict=True):
                module.load_state_dict(weights)
            self.optimizer.load_state_dict(optimizer)
            raise


def means_of(metrics: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each metric over several updates, on its device."""
    return {name: torch.stack([each[name] for each in metrics]).mean() for name in metrics[0]}


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Make `target` equal to `source`, its buffers too, in place."""
    target.load_state_dict(source.state_dict())
