"""The optimization step: gradients, clipping, optimizers and averages of named networks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from agents.core.optimize.optimizers import OPTIMIZERS
from agents.core.optimize.settings import OptimizerConfig
from agents.core.system import distributed
from agents.core.system.codec import all_like, like
from agents.core.system.compute import Compute


class Minibatch(Protocol):
    """The data of an update: it can be split, and gives the importance of each sample."""

    @property
    def size(self) -> int: ...
    @property
    def weight(self) -> Tensor | float: ...
    def split(self, shards: int) -> list[Any]: ...


@dataclass(frozen=True)
class LossOutput:
    """The result of a loss for a minibatch.

    Attributes:
        loss: loss of each sample, (B,) or (L, B); the learner takes the weighted mean.
        metrics: other values of each sample; their means are logged.
        priority_B: priority of each sample in a replay, such as |TD error|; None without
            priorities.
    """

    loss: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)
    priority_B: Tensor | None = None


class Update(NamedTuple):
    """The result of an update.

    Attributes:
        metrics: means of the loss and its metrics, and the norm of the gradient, detached.
        priority_B: `LossOutput.priority_B` of the whole minibatch; the next update may overwrite
            it.
    """

    metrics: dict[str, Tensor]
    priority_B: Tensor | None


M = TypeVar("M", bound=Minibatch)

Loss = Callable[[M], LossOutput]


class WeightAverage:
    """A running mean of a network's weights, in a second network.

    The mean is exponential: unlike in Polyak and Juditsky 1992,
    https://doi.org/10.1137/0330046, old weights fade.

    Args:
        source: the network in training.
        target: the network that holds the mean.
        updates: number of updates over which the mean is taken, about.
    """

    def __init__(self, source: nn.Module, target: nn.Module, updates: int):
        self.source = source
        self.target = target
        self._means: list[Tensor] = list(target.parameters())
        self._weights: list[Tensor] = list(source.parameters())
        self._mix = get_ema_multi_avg_fn(decay=1 - 1 / updates)

    def update(self) -> None:
        """Adds the present weights to the mean."""
        self._mix(self._means, self._weights, 0)

    def copy_buffers(self) -> None:
        """Copies the source's buffers to the target, such as statistics of observations."""
        buffers = zip(self.target.buffers(), self.source.buffers(), strict=True)
        for mine, theirs in buffers:
            mine.copy_(theirs)


class Part:
    """A network in training, with its optimizer and clipping.

    Parameters stay float32 and contiguous, whatever the precision and layout of the activations.
    Fused optimizers walk memory flat, and checkpoints are contiguous.

    After each step the part calls `after_step()` of every module that has it. The method changes
    buffers in place and never waits for the device, because a CUDA graph may record it.

    Args:
        network: the network, already on its device.
        average: the running mean of the network, if there is one.
        in_policy: whether the policy's weights hold the network; else `Learner.state_dict` does.

    Attributes:
        frozen: whether updates leave the network unchanged (`Learner.freeze`).
    """

    def __init__(
        self,
        network: nn.Module,
        config: OptimizerConfig,
        average: WeightAverage | None = None,
        in_policy: bool = True,
    ):
        self.network: Any = network
        self.average = average
        self.in_policy = in_policy
        self.frozen = False
        self.parameters = list(network.parameters())
        after_step = (getattr(module, "after_step", None) for module in network.modules())
        self._after_step: list[Any] = [each for each in after_step if callable(each)]
        self.max_grad_norm = config.max_grad_norm or float("inf")
        rate = config.learning_rate.start
        sizes = (rate, config.optimizer_epsilon, config.weight_decay)
        self.optimizer = OPTIMIZERS[config.optimizer](self.parameters, *sizes)
        self.learning_rate = rate
        if self.parameters[0].device.type == "cuda":
            # A captured step reads the learning rate from the device.
            on_device = torch.tensor(rate, device=self.parameters[0].device)
            self.optimizer.param_groups[0].update(lr=on_device, capturable=True)

    def set_learning_rate(self, learning_rate: float) -> None:
        """Sets the size of later steps."""
        if learning_rate == self.learning_rate:
            return
        self.learning_rate = learning_rate
        group = self.optimizer.param_groups[0]
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(learning_rate)
        else:
            group["lr"] = learning_rate

    def step(self, gradients: list[Tensor]) -> Tensor:
        """Takes one step along the clipped gradients; returns their norm before clipping."""
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        norm = nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm, foreach=True)
        self.optimizer.step()
        for follow in self._after_step:
            follow()
        if self.average is not None:
            self.average.update()
        return norm

    @property
    def num_updates(self) -> int:
        """Number of optimization steps so far, including those before a resume."""
        for moments in self.optimizer.state.values():
            return int(moments["step"])
        return 0

    @property
    def _kept_elsewhere(self) -> bool:
        """Whether the policy's weights hold the network itself, and not its average."""
        return self.in_policy and self.average is None

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state, and the network's weights if the policy does not hold them."""
        moments = self.optimizer.state_dict()["state"]
        state: dict[str, Any] = {str(index): moment for index, moment in moments.items()}
        if not self._kept_elsewhere:
            state["network"] = dict(self.network.state_dict())
        return state

    def checked(self, state: dict[str, Any]) -> tuple[dict[int, Any], dict[str, Tensor] | None]:
        """Checks a state of `state_dict`; returns its moments and its network's weights, if any.

        Raises:
            ValueError: the state comes from another network or optimizer.
        """
        moments = self._fitting_moments({k: v for k, v in state.items() if k != "network"})
        if self._kept_elsewhere:
            return moments, None
        own = dict(self.network.state_dict())
        return moments, all_like(state.get("network"), own, "network")

    def take_up(self, moments: dict[int, Any], weights: dict[str, Tensor] | None) -> None:
        """Loads the moments and weights that `checked` returned."""
        if weights is not None:
            self.network.load_state_dict(weights)
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": moments})

    def _fitting_moments(self, state: dict[str, Any]) -> dict[int, Any]:
        """The optimizer's state by parameter number, checked against the parameters' shapes."""
        if not state:
            return {}
        if state.keys() != set(map(str, range(len(self.parameters)))):
            raise ValueError("the optimizer's state belongs to other parameters")
        moments: dict[int, Any] = {}
        for index, parameter in enumerate(self.parameters):
            # The shape tells whether a tensor is a number of steps or a moment.
            kinds = {tuple(each.shape): each.detach() for each in (parameter, torch.zeros(()))}
            found = dict(state[str(index)])
            if found.keys() != state["0"].keys():
                raise ValueError(f"the optimizer's state of parameter {index} has other fields")
            for name, each in found.items():
                own = kinds.get(tuple(each.shape), parameter.detach())
                like(each.to(own.device), own, f"the optimizer's {name} of parameter {index}")
            moments[index] = found
        return moments


class Learner:
    """Updates named networks on minibatches, all on one device and with one thread pool.

    Args:
        compute: runs the forward and backward passes.
        parts: the networks by name, such as "policy", or "actor" and "critic".
    """

    def __init__(self, compute: Compute, parts: Mapping[str, Part]):
        self.compute = compute
        self.parts = dict(parts)

    def update(self, loss: Loss[M], batch: M, parts: tuple[str, ...] = ()) -> Update:
        """Takes one step down the importance-weighted mean of the loss.

        On a CPU, threads share a large batch, each with its own forward and backward pass (see
        `share_cores`). The gradients are added in a fixed order, so that the result is as
        reproducible as with one thread. Gradients and means are taken over all ranks. On a GPU the
        update is a CUDA graph (see `Compute.graphed`).

        Args:
            loss: called with the minibatch, or with each shard of it.
            batch: the minibatch, on the device.
            parts: names of the networks to update; by default all that are not frozen.

        Raises:
            ValueError: a part is frozen or unknown, or no part is left.
        """
        trainable = tuple(name for name, part in self.parts.items() if not part.frozen)
        chosen = parts or trainable
        if not chosen or not set(chosen) <= set(trainable):
            raise ValueError(f"parts {chosen}: must be among {trainable}, which are not frozen")
        means, names, priority_B = self.compute.graphed(self._step, loss, batch, chosen)
        metrics = dict(zip(names, means.clone().unbind(), strict=True))
        return Update(metrics, priority_B)

    def _step(
        self, loss: Loss[M], batch: M, chosen: tuple[str, ...]
    ) -> tuple[Tensor, list[str], Tensor | None]:
        """Takes the step; returns all means in one tensor, their names, and the priorities."""
        parts = [self.parts[name] for name in chosen]
        parameters = [parameter for part in parts for parameter in part.parameters]
        shards = batch.split(self.compute.shards)
        work = [(loss, shard, batch.size, parameters) for shard in shards]
        found = self.compute.shared(self._gradient, work)
        gradients, sums, outputs = zip(*found, strict=True)
        # The backward pass may choose another layout than the contiguous one of the parameters.
        totals = [reduce(Tensor.add, share).contiguous() for share in zip(*gradients, strict=True)]
        means = torch.stack(sums).sum(dim=0)
        distributed.sum_([*totals, means])
        norms: list[Tensor] = []
        for part in parts:
            own = totals[: len(part.parameters)]
            totals = totals[len(part.parameters) :]
            norms.append(part.step(own))
        names = ["losses/loss", *outputs[0].metrics, *self._names_of_norms(chosen)]
        return torch.cat([means, torch.stack(norms)]), names, joined_priorities(outputs)

    def _names_of_norms(self, chosen: tuple[str, ...]) -> list[str]:
        if len(self.parts) == 1:
            return ["losses/grad_norm"]
        return [f"losses/{name}_grad_norm" for name in chosen]

    def _gradient(
        self, loss: Loss[M], shard: M, size: int, parameters: list[Tensor]
    ) -> tuple[tuple[Tensor, ...], Tensor, LossOutput]:
        """Computes a shard's share of the gradient and of the means of a batch of `size`.

        Returns:
            The gradient, the shares of the means of loss and metrics, and the loss's output.
        """
        with self.compute.autocast():
            output = loss(shard)
        mean = (output.loss * shard.weight).sum() / size
        gradient = torch.autograd.grad(mean, parameters)
        values = [value.detach().sum() / size for value in output.metrics.values()]
        return gradient, torch.stack([mean.detach(), *values]), output

    def freeze(self, name: str, frozen: bool = True) -> None:
        """Excludes a part from later updates, or includes it again."""
        self.parts[name].frozen = frozen
        self.compute.forget_graphs()

    @property
    def learning_rate(self) -> float:
        """The step size of the first part."""
        return next(iter(self.parts.values())).learning_rate

    def set_learning_rate(self, learning_rate: float, *names: str) -> None:
        """Sets the step size of the named parts, or of all parts."""
        for name in names or tuple(self.parts):
            self.parts[name].set_learning_rate(learning_rate)

    @property
    def num_updates(self) -> int:
        """Number of the first part's optimization steps, including those before a resume."""
        return next(iter(self.parts.values())).num_updates

    def state_dict(self) -> dict[str, Any]:
        """The state of each part by its name."""
        return {name: part.state_dict() for name, part in self.parts.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads a state of `state_dict`; the policy's weights must be loaded before.

        Raises:
            ValueError: the state has other parts, networks or optimizers; nothing is loaded.
        """
        if len(self.parts) == 1 and all(name.isdigit() or name == "network" for name in state):
            # Version 0.1 had one part without a name.
            state = dict.fromkeys(self.parts, state)
        if state.keys() != self.parts.keys():
            raise ValueError(f"the learner's parts are {sorted(state)}, not {sorted(self.parts)}")
        checked = {name: part.checked(state[name]) for name, part in self.parts.items()}
        for name, part in self.parts.items():
            part.take_up(*checked[name])
        self.compute.forget_graphs()

    @contextmanager
    def unless_refused(self) -> Iterator[None]:
        """A context manager that restores networks and optimizers if its block raises."""
        modules: list[nn.Module] = []
        for part in self.parts.values():
            modules.append(part.network)
            if part.average is not None:
                modules.append(part.average.target)
        before = [copy.deepcopy(module.state_dict()) for module in modules]
        moments = {
            name: copy.deepcopy(part.optimizer.state_dict()) for name, part in self.parts.items()
        }
        try:
            yield
        except BaseException:
            for module, weights in zip(modules, before, strict=True):
                module.load_state_dict(weights)
            for name, part in self.parts.items():
                part.optimizer.load_state_dict(moments[name])
            self.compute.forget_graphs()
            raise


def joined_priorities(outputs: tuple[LossOutput, ...]) -> Tensor | None:
    """The priorities of all shards in order; None if the losses give none."""
    parts = [each.priority_B.detach() for each in outputs if each.priority_B is not None]
    return torch.cat(parts, dim=-1) if parts else None


def means_of(metrics: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each metric over several updates, on its device."""
    return {name: torch.stack([each[name] for each in metrics]).mean() for name in metrics[0]}
