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


class Demonstrations:
    """All steps of some episodes, in order. Frames stay on disk, or go to a GPU if they fit there.

    Attributes:
        size: number of steps, N.
        slot_N: the place of each step's observation among the frames.
        action_NK: the actions taken, in a policy's form.
        label_NK: the actions to imitate: an expert's labels, or else the actions taken.
        taught_M: indices of the steps that have a label; all of them without an expert.
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
        taught = np.concatenate([taught_by(each) for each in episodes])
        self.taught_M = torch.from_numpy(np.flatnonzero(taught))
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

    def minibatch(self, index_B: Tensor, encoding: PreviousInputs) -> DemoBatch:
        """The minibatch of these steps, with equal weights and all features kept."""
        ones_B = torch.ones(len(index_B), device=self.device)
        return DemoBatch(
            obs=self.observations(index_B),
            action_BK=self.labels(index_B),
            kept_BF=ones_B.unsqueeze(1),
            weight_B=ones_B,
            previous_BP=self.previous(index_B, encoding),
            legal_BA=self.legal(index_B),
        )

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

    Args:
        weight_N: importance of each step's loss.
        shift_pixels: most pixels by which images are shifted.
        num_features: features F that dropout applies to.
        dropout: share of features that dropout sets to 0.
        previous: the encoding of the previous action and reward that the network sees.

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
    ):
        self.source = source
        self.seed = seed
        self.weight_N = weight_N
        self.shift_pixels = shift_pixels
        self.num_features = num_features
        self.dropout = dropout
        self.previous = previous
        self.batch_size = min(batch_size, len(source.taught_M))
        self.per_epoch = len(source.taught_M) // self.batch_size
        self.drawn = 0
        self._epoch = -1
        self._order_N = torch.empty(0)

    def draw(self) -> DemoBatch:
        """Draws the next minibatch, with shifted images and with dropout factors."""
        epoch, number = divmod(self.drawn, self.per_epoch)
        if epoch != self._epoch:
            generator = self._generator(f"epoch {epoch}")
            taught_M = self.source.taught_M
            self._order_N = taught_M[torch.randperm(len(taught_M), generator=generator)]
            self._epoch = epoch
        index_B = self._order_N[number * self.batch_size : (number + 1) * self.batch_size]
        generator = self._generator(f"batch {self.drawn}")
        device = self.source.device
        batch = self.source.minibatch(index_B, self.previous)
        obs = batch.obs
        if obs.ndim == 4:
            obs = random_shift(obs, self.shift_pixels, generator)
        kept_BF = torch.ones(1)
        if self.dropout:
            drawn_BF = torch.rand(len(index_B), self.num_features, generator=generator)
            kept_BF = (drawn_BF >= self.dropout).float() / (1 - self.dropout)
        self.drawn += 1
        return replace(
            batch,
            obs=obs,
            kept_BF=kept_BF.to(device).expand(len(index_B), -1),
            weight_B=self.weight_N[index_B].to(device),
        )

    def _generator(self, purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(stream_seed(self.seed, purpose))
