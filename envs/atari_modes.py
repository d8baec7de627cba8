"""Atari games in another mode or difficulty, which ale-py's vector environment does not support.

The emulators step one after the other. The steps of preprocessing and their order equal ale-py's.
Images are shrunk by averages over areas; a pixel differs from ale-py's by at most a gray level.
"""

from __future__ import annotations

import functools

import ale_py
import numpy as np
from gymnasium import Space, spaces

from envs.catalog import rom_of
from envs.pool import Transition
from envs.spec import EnvSpec


class ModePool:
    """A `Pool` of Atari games in one mode and difficulty."""

    legal: np.ndarray | None = None

    def __init__(self, spec: EnvSpec, num_envs: int, num_threads: int, *, rgb: bool) -> None:
        del num_threads
        self._consoles = [_Console(spec, rgb=rgb) for _ in range(num_envs)]
        first = self._consoles[0]
        shape = (1, *first.size, 3) if rgb else (spec.frame_stack, *first.size)
        self.single_observation_space: Space = spaces.Box(0, 255, shape, np.uint8)
        self.single_action_space: Space = spaces.Discrete(len(first.actions))

    def reset(self, seeds: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Pool.reset`."""
        for i in np.flatnonzero(mask):
            self._consoles[i].reset(int(seeds[i]))
        return self._observations(), self._lives()

    def send(self, actions: np.ndarray) -> None:
        """As `Pool.send`."""
        self._actions = actions.copy()

    def recv(self) -> Transition:
        """As `Pool.recv`; the games step now."""
        pairs = zip(self._consoles, self._actions.tolist(), strict=True)
        reward = np.array([console.step(action) for console, action in pairs], np.float32)
        terminated = np.array([console.over for console in self._consoles])
        truncated = np.array([console.timed_out for console in self._consoles]) & ~terminated
        final_obs = None
        ended = terminated | truncated
        if ended.any():
            final_obs = self._observations()
            for i in np.flatnonzero(ended):
                self._consoles[i].reset(None)
        lives = self._lives()
        return Transition(self._observations(), reward, terminated, truncated, lives, final_obs)

    def close(self) -> None:
        """As `Pool.close`; each emulator is freed with its object."""

    def _observations(self) -> np.ndarray:
        return np.stack([console.stack for console in self._consoles])

    def _lives(self) -> np.ndarray:
        return np.array([console.lives for console in self._consoles], np.int32)


class _Console:
    """One emulator and its current observation.

    Attributes:
        actions: the emulator's actions, by the number of the environment's action.
        size: height and width of an observation in pixels.
        stack: the newest frames, oldest first.
        over: the game has ended.
        timed_out: the game has reached the limit of frames.
        lives: the number of lives left.
    """

    def __init__(self, spec: EnvSpec, *, rgb: bool):
        assert spec.game is not None
        self._spec = spec
        self._rgb = rgb
        self._rom = rom_of(spec.game)
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self._ale = ale_py.ALEInterface()
        self._ale.setFloat("repeat_action_probability", spec.repeat_action_probability)
        self._load(0)
        full = spec.full_action_space
        ale = self._ale
        self.actions = ale.getLegalActionSet() if full else ale.getMinimalActionSet()
        self._fires = spec.fire_reset and ale_py.Action.FIRE in self.actions
        self.size = ale.getScreenDims() if rgb else (spec.screen_size, spec.screen_size)
        frames = 1 if rgb else spec.frame_stack
        self.stack = np.zeros((frames, *self.size, *([3] if rgb else [])), np.uint8)
        self.over = False
        self.timed_out = False
        self.lives = 0

    def reset(self, seed: int | None) -> None:
        """Begins a game; a seed of None keeps the emulator's random state."""
        if seed is not None:
            self._load(seed)
        self._ale.reset_game()
        if self._fires:
            self._ale.act(ale_py.Action.FIRE)
        most = max(self._spec.noop_max, 1)
        for _ in range(int(self._noops.integers(most)) - self._fires):
            self._ale.act(ale_py.Action.NOOP)
            if self._ale.game_over():
                self._ale.reset_game()
        self._frames_played = 0
        self.over = False
        self.timed_out = False
        self.lives = self._ale.lives()
        self._raw = [self._screen(), np.zeros_like(self._screen())]
        self.stack = np.zeros_like(self.stack)
        self._see()

    def step(self, action: int) -> float:
        """Plays an action for the frames of one step; returns the reward."""
        reward = 0.0
        for left in range(self._spec.frameskip, 0, -1):
            reward += self._ale.act(self.actions[action])
            self.over = self._ale.game_over()
            self._frames_played += 1
            self.timed_out = self._frames_played >= self._spec.max_episode_frames
            if self.over or self.timed_out:
                break
            if left <= 2:
                self._raw[left - 1] = self._screen()
        self._see()
        self.lives = self._ale.lives()
        return reward

    def _load(self, seed: int) -> None:
        self._ale.setInt("random_seed", seed)
        self._ale.loadROM(self._rom)
        if self._spec.mode is not None:
            self._ale.setMode(self._spec.mode)
        if self._spec.difficulty is not None:
            self._ale.setDifficulty(self._spec.difficulty)
        self._noops = np.random.default_rng(seed)

    def _screen(self) -> np.ndarray:
        return self._ale.getScreenRGB() if self._rgb else self._ale.getScreenGrayscale()

    def _see(self) -> None:
        if self._spec.maxpool:
            self._raw[0] = np.maximum(*self._raw)
        image = self._raw[0] if self._rgb else shrink(self._raw[0], *self.size)
        self.stack = np.concatenate([self.stack[1:], image[None]])


def shrink(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Shrinks an image uint8 (H, W); each new pixel is the average over its area."""
    rows = areas(image.shape[0], height)
    columns = areas(image.shape[1], width)
    return np.rint(rows @ image.astype(np.float32) @ columns.T).clip(0, 255).astype(np.uint8)


@functools.lru_cache
def areas(size: int, new_size: int) -> np.ndarray:
    """The weight of each old pixel of a line in each new pixel, float32 (new_size, size)."""
    edges = np.arange(new_size + 1) * size / new_size
    old = np.arange(size)
    begin = np.maximum(edges[:-1, None], old)
    end = np.minimum(edges[1:, None], old + 1)
    return ((end - begin).clip(0) * new_size / size).astype(np.float32)
