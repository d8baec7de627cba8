"""How varied the states of demonstrations are, and how decided the demonstrator is in them.

States fall into kinds by k-means on small pictures, or on standardized numbers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.sparse import csr_array
from scipy.stats import entropy

from demos.episode import Episode
from demos.frames import Frames, decode
from envs import EnvSpec

MOST_KINDS = 64
"""Most kinds of states."""

STATES_A_KIND = 8
"""States that a kind has at least on average; fewer states fall into fewer kinds."""

MOST_STATES = 4_096
"""Most states that are sorted into kinds, equally spaced among all."""

MOST_COMPARED = 500_000
"""Most states whose repetitions are counted."""

SIDE = 12
"""Height and width of the small pictures."""


@dataclass(frozen=True)
class States:
    """Statistics of the states in which a demonstrator acted.

    Attributes:
        visits_C: the share of each kind among the states; their sum is 1.
        entropy_C: the entropy of the actions in each kind, in bits; empty if actions are no single
            choices.
        action_entropy: the entropy of all actions, in bits; None as above.
        covered: the mean share of kinds that an episode visits.
        repeated: the share of states that another episode has too, bit for bit; None if the states
            are too many to compare.
        alike: two episodes by number, and the share of the shorter one's states that both have;
            None if there is one episode, or as above.
    """

    visits_C: np.ndarray
    entropy_C: np.ndarray
    action_entropy: float | None
    covered: float
    repeated: float | None
    alike: tuple[int, int, float] | None

    @property
    def effective_kinds(self) -> float:
        """How many kinds of states there are if rare kinds count less: exp of their entropy."""
        return float(np.exp(entropy(self.visits_C)))

    @property
    def mean_entropy(self) -> float:
        """The mean entropy of the actions over all states, given the state's kind, in bits."""
        return float(self.visits_C @ self.entropy_C)


def explored(episodes: list[Episode], spec: EnvSpec) -> States:
    """The statistics of the states of episodes, at least one.

    Raises:
        UserError: the replay of an episode differs from its recording.
    """
    frames = decode(episodes, spec)
    lengths = [len(each) for each in episodes]
    slot_N = np.concatenate(
        [first + np.arange(length) for first, length in zip(frames.first, lengths, strict=True)]
    )
    # The newest frame of a stack is its last one.
    slot_N = slot_N + spec.frame_stack - 1
    episode_N = np.repeat(np.arange(len(episodes)), lengths)
    action_N = np.concatenate([each.actions for each in episodes])
    chosen_M = np.linspace(0, len(slot_N) - 1, min(MOST_STATES, len(slot_N))).round().astype(int)
    kind_M = kinds(small(frames.data[slot_N[chosen_M]]))
    kind_M = np.unique(kind_M, return_inverse=True)[1]
    count_C = np.bincount(kind_M)
    entropy_C, all_actions = decisions(action_N[chosen_M], kind_M)
    repeated, alike = repetitions(frames, slot_N, episode_N)
    return States(
        visits_C=count_C / count_C.sum(),
        entropy_C=entropy_C,
        action_entropy=all_actions,
        covered=coverage(kind_M, episode_N[chosen_M]),
        repeated=repeated,
        alike=alike,
    )


def small(obs: np.ndarray) -> np.ndarray:
    """Features float64 (N, F) of observations: small pictures, or all numbers, standardized."""
    obs = obs.astype(np.float64)
    if obs.ndim >= 3 and min(obs.shape[1:3]) >= SIDE:
        height, width = (size // SIDE for size in obs.shape[1:3])
        obs = obs[:, : height * SIDE, : width * SIDE]
        obs = obs.reshape(len(obs), SIDE, height, SIDE, width, -1).mean(axis=(2, 4))
    features = obs.reshape(len(obs), -1)
    spread = features.std(axis=0)
    return (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def kinds(features_MF: np.ndarray) -> np.ndarray:
    """The kind (M,) of each state, by k-means with a fixed seed."""
    different = len(np.unique(features_MF, axis=0))
    count = max(1, min(MOST_KINDS, len(features_MF) // STATES_A_KIND, different))
    _, kind_M = kmeans2(features_MF, count, minit="++", rng=np.random.default_rng(0))
    return kind_M


def decisions(action_M: np.ndarray, kind_M: np.ndarray) -> tuple[np.ndarray, float | None]:
    """The entropy of the actions in each kind (C,) and of all actions, in bits.

    Empty and None if actions are no single choices.
    """
    if action_M.ndim != 1 or action_M.dtype.kind not in "iu":
        return np.empty(0), None
    number_M = np.unique(action_M, return_inverse=True)[1]
    count_CA = np.zeros((kind_M.max() + 1, number_M.max() + 1))
    np.add.at(count_CA, (kind_M, number_M), 1)
    of_all = entropy(count_CA.sum(axis=0), base=2)
    return np.asarray(entropy(count_CA, base=2, axis=1)), float(of_all)


def coverage(kind_M: np.ndarray, episode_M: np.ndarray) -> float:
    """The mean share of kinds that an episode visits."""
    visited = np.unique(np.stack([episode_M, kind_M]), axis=1)
    return len(visited[0]) / len(np.unique(episode_M)) / (kind_M.max() + 1)


def repetitions(
    frames: Frames, slot_N: np.ndarray, episode_N: np.ndarray
) -> tuple[float | None, tuple[int, int, float] | None]:
    """The share of states that another episode has too, and the two episodes most alike."""
    if len(slot_N) > MOST_COMPARED:
        return None, None
    state_N = identities(frames.data, slot_N)
    # A row is an episode; a column, a state that it has once or more.
    once = np.unique(np.stack([episode_N, state_N]), axis=1)
    has = csr_array((np.ones(once.shape[1]), (once[0], once[1])))
    holders_S = np.asarray(has.sum(axis=0))
    repeated = float((holders_S[state_N] > 1).mean())
    if episode_N[-1] == 0:
        return repeated, None
    common_EE = (has @ has.T).toarray()
    size_E = common_EE.diagonal().copy()
    share_EE = common_EE / np.minimum.outer(size_E, size_E)
    np.fill_diagonal(share_EE, -1.0)
    first, second = np.unravel_index(share_EE.argmax(), share_EE.shape)
    low, high = sorted((int(first), int(second)))
    return repeated, (low, high, float(share_EE[first, second]))


def identities(data: np.ndarray, slot_N: np.ndarray) -> np.ndarray:
    """Numbers (N,) of states; equal states have equal numbers."""
    known: dict[bytes, int] = {}
    digests = (hashlib.blake2b(data[slot].tobytes(), digest_size=16).digest() for slot in slot_N)
    return np.array([known.setdefault(digest, len(known)) for digest in digests])
