"""What was tried to make an update faster on this CPU, each change alone, in turns.

    python -m benchmarks.candidates

An update is DQN's on a fixed batch of Atari transitions with the Nature network; what samples the
batch or acts is not in it. Speeds are those of learning, in samples per second. Compilation is
timed apart, and not in them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from agents import dqn
from agents.core.math import losses
from agents.core.nets import pixels, torsos
from agents.core.system.device import resolve_device, tune_process
from agents.core.training.config import require
from agents.core.training.launch import one_line_errors
from agents.core.types.batches import Batch
from agents.core.types.spaces import Spaces
from benchmarks.machine import write_result
from envs import command_line

Update = Callable[[], object]

SPACES = Spaces(1, (4, 84, 84), torch.uint8, stack=4, num_actions=6, atari=True)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    batch_size: int = 256  # Samples in an update.
    num_threads: int = 0  # CPU threads; 0 is one per core.
    rounds: int = 7  # Turns of each candidate, after one that does not count.
    updates: int = 4  # Updates in a turn.


def agent_of(arguments: Arguments, **settings: Any) -> dqn.DQN:
    """An agent that learns with the Nature network, fp32 unless it is said."""
    tune_process()
    torch.manual_seed(1)
    given: dict[str, Any] = {"precision": "fp32", "torso": "nature", "hidden": 512} | settings
    config = dqn.Config(batch_size=arguments.batch_size, num_threads=arguments.num_threads, **given)
    return dqn.build(config, SPACES, resolve_device("cpu"))


def as_it_is(arguments: Arguments, **settings: Any) -> Update:
    """Our update, with these settings of the algorithm."""
    agent = agent_of(arguments, **settings)
    return partial(agent.learner.update, agent.loss, batch_of(arguments.batch_size))


def with_pixels(convert: Callable[[pixels.Pixels, Tensor], Tensor], arguments: Arguments) -> Update:
    """Our update, with another way from bytes to what the first convolution reads."""
    update = as_it_is(arguments)

    def patched() -> None:
        with mock.patch.object(pixels.Pixels, "forward", convert):
            update()

    return patched


def plain(_: pixels.Pixels, obs_BCHW: Tensor) -> Tensor:
    """Scaled, one channel after the other."""
    return torsos.scaled(obs_BCHW)


def transposed_bytes(_: pixels.Pixels, obs_BCHW: Tensor) -> Tensor:
    """Scaled in channels_last, where the bytes are brought one by one."""
    return torsos.scaled(obs_BCHW.contiguous(memory_format=torch.channels_last))


def transposed_floats(_: pixels.Pixels, obs_BCHW: Tensor) -> Tensor:
    """Scaled, and then brought to channels_last one by one."""
    return torsos.scaled(obs_BCHW).contiguous(memory_format=torch.channels_last)


def folded(convolution: nn.Conv2d, obs_BCHW: Tensor) -> Tensor:
    """The Nature network's first convolution on bytes, with its scale folded into its weights."""
    last = pixels.channels_last(obs_BCHW).float().permute(0, 3, 1, 2)
    return functional.conv2d(last, convolution.weight * (1 / 255), convolution.bias, 4)


def space_to_depth(convolution: nn.Conv2d, obs_BCHW: Tensor) -> Tensor:
    """The same, as a 2 x 2 convolution on the 64 bytes of each 4 x 4 pixels of 4 frames."""
    blocks = obs_BCHW.unflatten(3, (21, 4)).unflatten(2, (21, 4))
    last = blocks.permute(0, 2, 4, 1, 3, 5).flatten(3).float().permute(0, 3, 1, 2)
    weight = convolution.weight.unflatten(3, (2, 4)).unflatten(2, (2, 4))
    weight = weight.permute(0, 1, 3, 5, 2, 4).flatten(1, 3) * (1 / 255)
    return functional.conv2d(last, weight, convolution.bias)


Convolve = Callable[[nn.Conv2d, Tensor], Tensor]


class FirstLayer(nn.Module):
    """A convolution on bytes, computed in another way."""

    def __init__(self, convolution: nn.Conv2d, convolve: Convolve):
        super().__init__()
        self.convolution, self.convolve = convolution, convolve

    def forward(self, obs_BCHW: Tensor) -> Tensor:
        return self.convolve(self.convolution, obs_BCHW)


def with_first_layer(convolve: Convolve, arguments: Arguments) -> Update:
    """Our update, with another first layer."""
    agent = agent_of(arguments)
    for network in (agent.learner.network, agent.target):
        (torso,) = (m for m in network.modules() if isinstance(m, torsos.ConvTorso))
        convolution = torso.convolutions[0]
        assert isinstance(convolution, nn.Conv2d)
        torso.convolutions[0] = FirstLayer(convolution, convolve)
    update = partial(agent.learner.update, agent.loss, batch_of(arguments.batch_size))

    def patched() -> None:
        with mock.patch.object(pixels.Pixels, "forward", lambda _, obs_BCHW: obs_BCHW):
            update()

    return patched


def on_all_cores(arguments: Arguments) -> Update:
    """Our update, each operation shared out to all cores instead of the batch."""
    agent = agent_of(arguments)
    learner = agent.learner
    threads, learner.shards = learner.shards * learner.threads_per_shard, 1
    batch = batch_of(arguments.batch_size)

    def update() -> None:
        torch.set_num_threads(threads)
        learner.update(agent.loss, batch)
        torch.set_num_threads(learner.threads_per_shard)

    return update


def compiled(arguments: Arguments) -> Update:
    """Our update, its two networks compiled by inductor."""
    agent = agent_of(arguments)
    agent.learner.network.compile()
    agent.target.compile()
    return partial(agent.learner.update, agent.loss, batch_of(arguments.batch_size))


def both_passes_as_one(arguments: Arguments) -> Update:
    """Double DQN's two passes through θ as one on twice the batch."""
    agent = agent_of(arguments, double=True)

    def loss(batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            q_next_BA = agent.target(batch.next_obs)
        both = agent.learner.network(torch.cat([batch.obs, batch.next_obs]))
        q_BA, select_BA = both.chunk(2)
        error_B = losses.td_error(
            q_BA, batch.action_B, batch.reward_B, batch.discount_B, q_next_BA, select_BA.detach()
        )
        return losses.huber(error_B), {}

    return partial(agent.learner.update, loss, batch_of(arguments.batch_size))


CANDIDATES: dict[str, Callable[[Arguments], Update]] = {
    "as it is": as_it_is,
    "bf16 autocast": partial(as_it_is, precision="bf16"),
    "no channels_last": partial(with_pixels, plain),
    "bytes transposed one by one": partial(with_pixels, transposed_bytes),
    "floats transposed one by one": partial(with_pixels, transposed_floats),
    "1/255 in the first weights": partial(with_first_layer, folded),
    "space to depth": partial(with_first_layer, space_to_depth),
    "cores share operations": on_all_cores,
    "torch.compile": compiled,
    "double, as it is": partial(as_it_is, double=True),
    "double, one pass for both": both_passes_as_one,
}
"""What a name compares itself with is the last one before it that is as it is."""


def batch_of(size: int) -> Batch:
    """Random transitions."""
    generator = torch.Generator().manual_seed(1)
    obs = torch.randint(0, 256, (2, size, 4, 84, 84), generator=generator, dtype=torch.uint8)
    action_B = torch.randint(0, 6, (size,), generator=generator)
    one_B = torch.ones(size)
    return Batch(obs[0], action_B, one_B, one_B, obs[1], one_B, torch.arange(size))


def measure(arguments: Arguments) -> dict[str, Any]:
    """Samples per second of each candidate in each round, and their ratio to what is."""
    updates, first_s = {}, {}
    for name, make in CANDIDATES.items():
        updates[name] = make(arguments)
        start = time.perf_counter()
        updates[name]()
        first_s[name] = time.perf_counter() - start
    rounds: dict[str, list[float]] = {name: [] for name in updates}
    for number in range(1 + arguments.rounds):
        for name, update in updates.items():
            start = time.perf_counter()
            for _ in range(arguments.updates):
                update()
            seconds = time.perf_counter() - start
            if number > 0:
                rounds[name].append(arguments.updates * arguments.batch_size / seconds)
    candidates, base = [], rounds["as it is"]
    for name, speeds in rounds.items():
        base = speeds if name.endswith("as it is") else base
        ratio = statistics.median(a / b for a, b in zip(speeds, base, strict=True))
        candidates.append(
            {
                "candidate": name,
                "samples_per_second": round(statistics.median(speeds), 1),
                "ratio": round(ratio, 3),
                "first_update_s": round(first_s[name], 2),
                "rounds": [round(speed, 1) for speed in speeds],
            }
        )
    return {"batch_size": arguments.batch_size, "candidates": candidates}


def show(result: dict[str, Any]) -> None:
    """Print the candidates as a table."""
    table = Table("candidate", "samples/s", "times as it is", "first update, s", box=None)
    for each in result["candidates"]:
        speed, first = f"{each['samples_per_second']:,.0f}", f"{each['first_update_s']:.1f}"
        table.add_row(each["candidate"], speed, f"{each['ratio']:.2f}", first)
    Console().print(table)


def main(args: list[str] | None = None) -> None:
    with one_line_errors():
        arguments = command_line.parse(
            Arguments, args=args, prog="python -m benchmarks.candidates", description=__doc__
        )
        for name in ("batch_size", "rounds", "updates"):
            require(getattr(arguments, name) >= 1, name, getattr(arguments, name), "at least 1")
        result = measure(arguments)
        show(result)
        print(f"wrote {write_result('candidates', result)}")


if __name__ == "__main__":
    main()
