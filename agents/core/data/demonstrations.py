"""Demonstrations for learning: minibatches gathered from frames on disk or on a GPU."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor

from agents.core.data.augmentation import random_shift
from agents.core.data.settings import DemoConfig
from agents.core.math.schedules import stream_seed
from agents.core.nets.previous import NO_PREVIOUS, PreviousInputs
from agents.core.runs.artifacts import Artifact, demonstrations
from agents.core.types.batches import DemoBatch
from agents.core.types.spaces import Spaces
from demos import Dataset, Episode
from demos.dataset import at_least_one
from demos.editing import split
from demos.frames import Frames, decode, require_learnable
from demos.shipped import find
from demos.verification import masks_of
from envs import EnvSpec, UserError


@dataclass(frozen=True)
class Window:
    """Consecutive steps of a minibatch.

    Attributes:
        steps: steps to learn from, T.
        burn_in: steps before them, which only warm up a memory.
        memory_size: width S of the memory, which is zero before the burn-in.
    """

    steps: int = 1
    burn_in: int = 0
    memory_size: int = 0


ONE_STEP = Window()
"""The window of a network without a memory."""


class Demonstrations:
    """All steps of some episodes, in order. Frames stay on disk, or go to a GPU if they fit there.

    Attributes:
        size: number of steps, N.
        slot_N: the place of each step's observation among the frames.
        action_NK: the actions taken, in a policy's form.
        label_NK: the actions to imitate: an expert's labels, or else the actions taken.
        taught_N: bool, the step has a label; True without an expert.
        taught_M: indices of the steps that have a label.
        reward_N: raw rewards.
        first_N, ended_N, terminated_N: bool, the step is the first or the last of its episode, or
            reaches a terminal state.
        legal_NA: bool, the actions that were legal; None if the environment has no masks.
    """

    def __init__(
        self, frames: Frames, episodes: list[Episode], spaces: Spaces, device: torch.device
    ):
        self.device = device
        self.stack = frames.spec.frame_stack
        self.frames = torch.from_numpy(frames.data)
        if device.type != "cpu" and fits(frames.data.nbytes, device):
            self.frames = self.frames.to(device)
        lengths = [len(each) for each in episodes]
        steps = [first + np.arange(n) for first, n in zip(frames.first, lengths, strict=True)]
        self.slot_N = torch.from_numpy(np.concatenate(steps))
        actions = np.concatenate([each.actions for each in episodes])
        self.action_NK = torch.from_numpy(spaces.chosen(actions))
        self.label_NK = self.action_NK
        if any(each.labels is not None for each in episodes):
            labels = np.concatenate([labels_of(each) for each in episodes])
            self.label_NK = torch.from_numpy(spaces.chosen(labels))
        self.taught_N = torch.from_numpy(np.concatenate([taught_by(each) for each in episodes]))
        self.taught_M = self.taught_N.nonzero().squeeze(1)
        self.size = len(actions)
        rewards = np.concatenate([each.rewards for each in episodes])
        self.reward_N = torch.from_numpy(rewards)
        self.first_N = torch.zeros(self.size, dtype=torch.bool)
        self.first_N[np.cumsum([0, *lengths[:-1]])] = True
        self.ended_N = self.first_N.roll(-1)
        self.terminated_N = torch.zeros(self.size, dtype=torch.bool)
        self.terminated_N[self.ended_N] = torch.tensor([each.terminated for each in episodes])
        self.legal_NA: Tensor | None = None
        if spaces.masked:
            self.legal_NA = torch.from_numpy(legal_actions(episodes, spaces))

    def observations(self, index_B: Tensor) -> Tensor:
        """The observations (B, ...) before these steps, on the device."""
        return self.observations_at(self.slot_N[index_B])

    def observations_at(self, slot_B: Tensor) -> Tensor:
        """The observations (B, ...) at these slots, on the device.

        A step's slot is `slot_N`; so many slots later is the observation so many steps later. The
        last observation of an episode is one slot after its last step's.
        """
        slot_B = slot_B.to(self.frames.device)
        if self.stack == 1:
            return self.frames[slot_B].to(self.device, non_blocking=True)
        slot_BS = slot_B.unsqueeze(1) + torch.arange(self.stack, device=slot_B.device)
        return self.frames[slot_BS].to(self.device, non_blocking=True)

    def spread(self, most: int) -> Tensor:
        """Indices of up to `most` steps with a label, int64, equally spaced."""
        count = len(self.taught_M)
        return self.taught_M[torch.linspace(0, count - 1, min(most, count)).round().long()]

    def labels(self, index_B: Tensor) -> Tensor:
        """The actions (B, K) to imitate in these steps, on the device."""
        return self.label_NK[index_B].to(self.device, non_blocking=True)

    def previous(self, index_B: Tensor, encoding: PreviousInputs) -> Tensor:
        """The encoded actions and rewards (B, P) before these steps, on the device."""
        before_B = (index_B - 1).clamp_min(0)
        known = (self.action_NK[before_B], self.reward_N[before_B], self.first_N[index_B])
        return encoding.encode(*known).to(self.device, non_blocking=True)

    def legal(self, index_B: Tensor) -> Tensor | None:
        """The legal actions (B, A) of these steps, on the device; None if all are legal."""
        if self.legal_NA is None:
            return None
        return self.legal_NA[index_B].to(self.device, non_blocking=True)

    def minibatch(
        self, first_B: Tensor, encoding: PreviousInputs, window: Window = ONE_STEP
    ) -> DemoBatch:
        """The minibatch of the windows that begin at these steps, with all features kept.

        Steps with a label have a weight of 1. A window may reach beyond an episode's end.
        """
        steps_T = torch.arange(window.steps)
        before_L = torch.arange(-window.burn_in, window.steps)
        index_BT = first_B.unsqueeze(1) + steps_T
        # Step 0 begins an episode, so that repeating it before the first window changes nothing.
        index_BL = (first_B.unsqueeze(1) + before_L).clamp_min(0)
        index_M = index_BL.flatten()
        index_N = index_BT.flatten()
        device = self.device
        legal_NA = self.legal(index_N)
        ones_BT1 = torch.ones(*index_BT.shape, 1, device=device)
        return DemoBatch(
            obs_BL=self.observations(index_M).unflatten(0, index_BL.shape),
            previous_BLP=self.previous(index_M, encoding).unflatten(0, index_BL.shape),
            memory_BS=torch.zeros(len(first_B), window.memory_size, device=device),
            start_BL=self.first_N[index_BL].to(device, non_blocking=True),
            action_BTK=self.labels(index_N).unflatten(0, index_BT.shape),
            kept_BTF=ones_BT1,
            weight_BT=self.taught_N[index_BT].to(device, non_blocking=True).float(),
            legal_BTA=None if legal_NA is None else legal_NA.unflatten(0, index_BT.shape),
            burn_in=window.burn_in,
        )

    def spread_windows(self, most_steps: int, window: Window) -> Tensor:
        """The first steps of windows that hold up to `most_steps` steps, equally spaced.

        Windows of one step have a label.
        """
        if window.steps == 1:
            return self.spread(most_steps)
        count = max(1, min(most_steps, self.size) // window.steps)
        return torch.linspace(0, self.size - window.steps, count).round().long()

    def balancing(self, num_actions: int) -> Tensor:
        """Weights (N,) that give each action to imitate the same total weight.

        Their mean over all steps with a label is 1.
        """
        label_M = self.label_NK[self.taught_M, 0]
        count_A = torch.bincount(label_M, minlength=num_actions)
        occurring = int((count_A > 0).sum())
        weight_A = len(label_M) / (occurring * count_A.clamp_min(1))
        return weight_A[self.label_NK[:, 0]].float()


def labels_of(episode: Episode) -> np.ndarray:
    """The actions (T, ...) of an episode to imitate."""
    return episode.actions if episode.labels is None else episode.labels


def taught_by(episode: Episode) -> np.ndarray:
    """Whether each step of an episode has an action to imitate, bool (T,)."""
    if episode.labeled is None:
        return np.ones(len(episode), bool)
    return episode.labeled


def fits(num_bytes: int, device: torch.device) -> bool:
    """Whether the bytes leave a GPU enough free memory for training; True on other devices."""
    return device.type != "cuda" or num_bytes < 0.7 * torch.cuda.mem_get_info(device)[0]


def legal_actions(episodes: list[Episode], spaces: Spaces) -> np.ndarray:
    """The legal actions of all steps of some episodes, bool (N, A); the episodes are replayed.

    The actions of demonstrator and expert count as legal. Without a replay, all actions do.
    """
    rows: list[np.ndarray] = []
    for episode, masks in zip(episodes, masks_of(episodes), strict=True):
        legal_TA = np.ones((len(episode), spaces.num_actions), bool) if masks is None else masks
        for actions in (episode.actions, labels_of(episode)):
            legal_TA[np.arange(len(episode)), spaces.combination(actions)] = True
        rows.append(legal_TA)
    return np.concatenate(rows)


def agreement(chosen_BK: Tensor, action_BK: Tensor) -> Tensor:
    """The share of actions equal to the demonstrator's; for continuous actions R².

    R² is the share of the variance of the demonstrator's actions that the chosen ones explain.
    """
    if not action_BK.is_floating_point():
        return (chosen_BK == action_BK).all(dim=1).float().mean()
    spread = (action_BK - action_BK.mean(dim=0)).square().sum()
    return 1 - (chosen_BK - action_BK).square().sum() / spread.clamp_min(1e-12)


@dataclass(frozen=True)
class DemoSplit:
    """Training episodes, held-out episodes, and scores to compare with.

    Attributes:
        training: episodes to learn from.
        held_out: episodes for validation; None if there are none.
        reference_scores: mean returns of random play, 0 if unknown, and of the demonstrator.
        digest: digest of the training and the held-out episodes; a resumed run must find the same.
        dataset: the dataset of the episodes.
    """

    training: Demonstrations
    held_out: Demonstrations | None
    reference_scores: tuple[float, float]
    digest: str
    dataset: Artifact


def load(config: DemoConfig, spec: EnvSpec, spaces: Spaces, device: torch.device) -> DemoSplit:
    """Loads the dataset of a config and splits it by episode.

    Raises:
        UserError: the dataset does not exist, is damaged or empty, or has another environment.
    """
    path = find(config.demos, spec)
    dataset = Dataset.open(path)
    recorded = dataset.metadata.spec
    # Recorded episodes have a limit of steps even if their environment has none.
    spec.bounded(recorded.most_steps).require_same(recorded.bounded(), f"{path} is")
    spec = recorded
    episodes = at_least_one(dataset, dataset.episodes())
    require_learnable(episodes, spec)
    learned = episodes
    held_out = []
    if config.validation_share > 0 and len(episodes) > 1:
        learned, held_out = split(episodes, 1 - config.validation_share, config.seed)
    learned = subset(learned, config.fraction, config.num_demos, config.seed)
    text = repr([each.digests[-1].tobytes() for each in learned + held_out]).encode()
    of_learned, of_held_out = frames_of(learned + held_out, spec).split(len(learned))
    training = Demonstrations(of_learned, learned, spaces, device)
    if not len(training.taught_M):
        raise UserError(f"{path} has no step in which its expert gave a label")
    validation = Demonstrations(of_held_out, held_out, spaces, device) if held_out else None
    references = dataset.metadata.reference_scores
    demonstrator = float(np.mean([each.score for each in episodes]))
    scores = (references.get("random", 0.0), demonstrator)
    digest = hashlib.blake2b(text, digest_size=8).hexdigest()
    source = demonstrations(dataset, episodes)
    return DemoSplit(training, validation, scores, digest, source)


def require_same(demos: DemoSplit, digest: str, name: str) -> None:
    """Raises a UserError if a resumed run finds other demonstrations than at its start."""
    if digest != demos.digest:
        raise UserError(f"--demos {name}: must be the episodes of the run's start")


def frames_of(episodes: list[Episode], spec: EnvSpec) -> Frames:
    """Decodes the frames of episodes for `spec`, and shows a progress bar meanwhile."""
    with Progress(transient=True) as progress:
        task = progress.add_task(f"frames of {len(episodes)} episodes", total=len(episodes))
        return decode(episodes, spec, done=lambda: progress.advance(task))


def subset(episodes: list[Episode], fraction: float, most: int, seed: int) -> list[Episode]:
    """A share of the episodes, at least one; a larger share contains every smaller share.

    Args:
        most: number of episodes to take of the share; 0 takes all.

    Raises:
        UserError: the share has fewer episodes than `most`.
    """
    order = np.random.default_rng(stream_seed(seed, "fraction")).permutation(len(episodes))
    shared = max(1, round(fraction * len(episodes)))
    if most > shared:
        raise UserError(f"--num-demos {most}: there are {shared} episodes to learn from")
    chosen = sorted(order[: most or shared].tolist())
    return [episodes[i] for i in chosen]


class DemoLoader:
    """Draws every step with a label at most once an epoch, in an order of seed and epoch alone.

    With windows of several steps, an epoch cuts the steps into windows that follow each other. Its
    first window begins at a random step.

    Args:
        weight_N: importance of each step's loss.
        shift_pixels: most pixels by which images are shifted; a window has one shift.
        num_features: features F that dropout applies to.
        dropout: share of features that dropout sets to 0.
        previous: the encoding of the previous action and reward that the network sees.
        window: the steps of a row of a minibatch, at most as many as there are.

    Attributes:
        drawn: minibatches drawn so far.
        batch_size: steps in a minibatch, at most the number of all steps.
    """

    def __init__(
        self,
        source: Demonstrations,
        batch_size: int,
        seed: int,
        weight_N: Tensor,
        shift_pixels: int,
        num_features: int,
        dropout: float,
        previous: PreviousInputs = NO_PREVIOUS,
        window: Window = ONE_STEP,
    ):
        self.source = source
        self.seed = seed
        self.weight_N = weight_N
        self.shift_pixels = shift_pixels
        self.num_features = num_features
        self.dropout = dropout
        self.previous = previous
        self.window = window
        self.begins = min(window.steps, source.size - window.steps + 1)
        self.whole = len(source.taught_M)
        if window.steps > 1:
            # Whatever step an epoch begins at, so many windows are whole.
            self.whole = (source.size - self.begins + 1) // window.steps
        self.rows = min(batch_size // window.steps, self.whole)
        self.batch_size = self.rows * window.steps
        self.per_epoch = self.whole // self.rows
        self.drawn = 0
        self._epoch = -1
        self._order_N = torch.empty(0)

    def draw(self) -> DemoBatch:
        """Draws the next minibatch, with shifted images and with dropout factors."""
        epoch, number = divmod(self.drawn, self.per_epoch)
        if epoch != self._epoch:
            self._order_N = self._order_of(self._generator(f"epoch {epoch}"))
            self._epoch = epoch
        first_B = self._order_N[number * self.rows : (number + 1) * self.rows]
        generator = self._generator(f"batch {self.drawn}")
        self.drawn += 1
        batch = self.source.minibatch(first_B, self.previous, self.window)
        index_BT = first_B.unsqueeze(1) + torch.arange(self.window.steps)
        weight_BT = self.weight_N[index_BT].to(self.source.device)
        return replace(
            batch,
            obs_BL=self._shifted(batch.obs_BL, generator),
            kept_BTF=self._kept(batch.kept_BTF, generator),
            weight_BT=batch.weight_BT * weight_BT,
        )

    def _order_of(self, generator: torch.Generator) -> Tensor:
        """The first steps of an epoch's windows, in the order in which it draws them."""
        steps = self.window.steps
        if steps == 1:
            taught_M = self.source.taught_M
            return taught_M[torch.randperm(len(taught_M), generator=generator)]
        begin = torch.randint(self.begins, (), generator=generator)
        return begin + steps * torch.randperm(self.whole, generator=generator)

    def _shifted(self, obs_BL: Tensor, generator: torch.Generator) -> Tensor:
        """Shifts the images (B, L, C, H, W) of each window together; other observations stay."""
        if obs_BL.ndim != 5:
            return obs_BL
        channels = obs_BL.shape[1:3]
        moved = random_shift(obs_BL.flatten(1, 2), self.shift_pixels, generator)
        return moved.unflatten(1, channels)

    def _kept(self, ones_BT1: Tensor, generator: torch.Generator) -> Tensor:
        """The dropout factors (B, T, F) of features; (B, T, 1) without dropout."""
        if not self.dropout:
            return ones_BT1
        drawn_BTF = torch.rand(*ones_BT1.shape[:2], self.num_features, generator=generator)
        kept_BTF = (drawn_BTF >= self.dropout).float() / (1 - self.dropout)
        return kept_BTF.to(self.source.device)

    def _generator(self, purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(stream_seed(self.seed, purpose))
