"""Checkpoints that Stable-Baselines3 trained act here as `predict(deterministic=True)` there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import Space, spaces
from support import refusals
from test_demos_cli import demos
from torch import nn

import envs
from demos.sb3 import Checkpoint, checkpoint
from demos.sb3_network import through
from envs import UserError

stable = pytest.importorskip("stable_baselines3")
contrib = pytest.importorskip("sb3_contrib")

OLD = Path(__file__).parent / "sb3_old"
"""Trained by Stable-Baselines3 1.1.0 and 1.8.0 with gym's spaces; see its README.md."""


class Noise(gymnasium.Env):
    """Observations and rewards at random, of any spaces; ten steps an episode."""

    def __init__(self, observations: Space, actions: Space) -> None:
        self.observation_space, self.action_space = observations, actions

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        self.steps += 1
        reward = float(self.np_random.normal())
        return self.observation_space.sample(), reward, self.steps == 10, False, {}


BOX, PICTURE = spaces.Box(-2, 2, (5,), np.float32), spaces.Box(0, 255, (40, 44, 3), np.uint8)
WIDE = spaces.Box(np.float32([-3, 0]), np.float32([-1, 0.5]))
NOISES: dict[str, tuple[Space, Space]] = {
    "Few": (BOX, spaces.Discrete(3)),
    "Bits": (BOX, spaces.MultiBinary(3)),
    "Choices": (BOX, spaces.MultiDiscrete([3, 2, 4])),
    "Wide": (BOX, WIDE),
    "Matrix": (BOX, spaces.Box(-1, 1, (2, 3), np.float32)),
    "Dict": (spaces.Dict({"a": BOX, "b": spaces.Discrete(3)}), spaces.Discrete(3)),
    "Number": (spaces.Discrete(7), spaces.Discrete(3)),
    "Numbers": (spaces.MultiDiscrete([3, 4]), spaces.Discrete(3)),
    "Switches": (spaces.MultiBinary(6), spaces.Discrete(3)),
    "Picture": (PICTURE, spaces.Discrete(4)),
    "PictureBox": (PICTURE, WIDE),
    "Bytes": (spaces.Box(0, 255, (6,), np.uint8), spaces.Discrete(3)),
}
for name, (observations, actions) in NOISES.items():
    gymnasium.register(
        f"noise/{name}-v0",
        Noise,
        kwargs={"observations": observations, "actions": actions},
    )

Q_LEARNING = {"learning_starts": 50, "buffer_size": 200}
ROLLOUT = {"n_steps": 32, "batch_size": 32}
HOW: dict[str, dict[str, Any]] = {
    "DQN": Q_LEARNING,
    "QRDQN": Q_LEARNING,
    "PPO": ROLLOUT,
    "TRPO": ROLLOUT,
    "RecurrentPPO": ROLLOUT,
    "MaskablePPO": ROLLOUT,
    "SAC": Q_LEARNING,
    "TD3": Q_LEARNING,
    "DDPG": Q_LEARNING,
    "TQC": Q_LEARNING,
    "CrossQ": Q_LEARNING,
}
SMALL = {"features_extractor_kwargs": {"features_dim": 16}}


def train(algorithm: str, policy: str, env: Any, steps: int = 100, **how: Any) -> Any:
    kind = getattr(stable, algorithm, None) or getattr(contrib, algorithm)
    model = kind(policy, env, device="cpu", seed=3, **{**HOW.get(algorithm, {}), **how})
    return model.learn(steps)


def load(path: Path, env_id: str, exploration: float | None = 0.0) -> Checkpoint:
    return checkpoint(f"sb3:{path}", envs.spec(env_id), 0, exploration)


def acts_the_same(model: Any, path: Path, env_id: str, count: int = 200) -> None:
    space = model.observation_space
    space.seed(1)
    if env_id.startswith("noise/"):
        obs = np.stack([space.sample() for _ in range(count)])
    else:
        obs = np.random.default_rng(1).normal(size=(count, *space.shape)).astype(np.float32)
    seen = observed(obs, space)
    policy = load(path, env_id)
    # A policy that hardly learned may always do the same, so what its network says is compared too.
    said = through(policy.layers, torch.from_numpy(seen)).numpy()
    np.testing.assert_allclose(said, network_says(model, obs), rtol=1e-4, atol=1e-5)
    assert (said.std(axis=0) > 0).any()
    theirs, _ = model.predict(obs, deterministic=True)
    ours = policy.act(seen, np.ones(count, bool))
    if isinstance(model.action_space, spaces.Box):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    else:
        assert np.array_equal(ours, theirs)
    assert all(model.action_space.contains(each) for each in ours.astype(model.action_space.dtype))


def network_says(model: Any, obs: np.ndarray) -> np.ndarray:
    """The values, logits or means of a model's own network."""
    policy = model.policy
    obs_N = policy.obs_to_tensor(obs)[0]
    with torch.no_grad():
        if hasattr(policy, "q_net"):
            return policy.q_net(obs_N).numpy()
        if hasattr(policy, "quantile_net"):
            return policy.quantile_net(obs_N).mean(dim=1).numpy()
        features_NF = policy.extract_features(obs_N)
        # The actor's and the critic's, where they share nothing.
        features_NF = features_NF[0] if isinstance(features_NF, tuple) else features_NF
        return policy.action_net(policy.mlp_extractor.forward_actor(features_NF)).numpy()


def observed(obs: np.ndarray, space: Space) -> np.ndarray:
    """What a pool of ours makes of observations."""
    if isinstance(space, spaces.Discrete):
        return np.eye(int(space.n), dtype=np.float32)[obs]
    if isinstance(space, spaces.MultiDiscrete):
        return np.stack([spaces.flatten(space, each) for each in obs]).astype(np.float32)
    return obs if len(space.shape or ()) == 3 else obs.astype(np.float32)


CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("DQN", "MlpPolicy", "CartPole-v1", {}),
    ("DQN", "MlpPolicy", "CartPole-v1", {"net_arch": [16, 8, 4], "activation_fn": nn.Tanh}),
    ("DQN", "MlpPolicy", "CartPole-v1", {"net_arch": []}),
    ("DQN", "MlpPolicy", "noise/Number-v0", {}),
    ("DQN", "MlpPolicy", "noise/Numbers-v0", {}),
    ("DQN", "MlpPolicy", "noise/Switches-v0", {}),
    ("DQN", "MlpPolicy", "noise/Bytes-v0", {}),
    ("DQN", "CnnPolicy", "noise/Picture-v0", SMALL),
    ("QRDQN", "MlpPolicy", "CartPole-v1", {"n_quantiles": 7}),
    ("QRDQN", "CnnPolicy", "noise/Picture-v0", SMALL | {"n_quantiles": 5, "net_arch": [16]}),
    ("PPO", "MlpPolicy", "CartPole-v1", {"ortho_init": False, "activation_fn": nn.Softplus}),
    ("PPO", "MlpPolicy", "CartPole-v1", {"net_arch": {"pi": [8], "vf": [6, 5]}}),
    ("PPO", "MlpPolicy", "Pendulum-v1", {"log_std_init": -1.0}),
    ("PPO", "MlpPolicy", "noise/Bits-v0", {}),
    ("PPO", "MlpPolicy", "noise/Choices-v0", {}),
    ("PPO", "MlpPolicy", "noise/Matrix-v0", {}),
    ("PPO", "MlpPolicy", "noise/Picture-v0", {"net_arch": [4]}),
    ("PPO", "CnnPolicy", "noise/Picture-v0", SMALL),
    ("PPO", "CnnPolicy", "noise/Picture-v0", SMALL | {"normalize_images": False}),
    ("PPO", "CnnPolicy", "noise/PictureBox-v0", SMALL | {"share_features_extractor": False}),
    ("A2C", "MlpPolicy", "noise/Choices-v0", {"net_arch": []}),
    ("A2C", "MlpPolicy", "noise/Wide-v0", {}),
    ("A2C", "CnnPolicy", "noise/Picture-v0", SMALL),
    ("TRPO", "MlpPolicy", "CartPole-v1", {}),
    ("TRPO", "MlpPolicy", "noise/Bits-v0", {}),
    ("TRPO", "CnnPolicy", "noise/Picture-v0", SMALL),
]


@pytest.mark.parametrize(("algorithm", "policy", "env_id", "kwargs"), CASES)
def test_a_trained_checkpoint_acts_as_it_does_there(
    tmp_path: Path, algorithm: str, policy: str, env_id: str, kwargs: dict
) -> None:
    model = train(algorithm, policy, env_id, policy_kwargs=kwargs)
    model.save(tmp_path / "model")
    acts_the_same(model, tmp_path / "model.zip", env_id)


@pytest.mark.parametrize("squashes", [False, True])
@pytest.mark.parametrize("algorithm", ["PPO", "A2C"])
def test_a_policy_with_gsde_acts_by_its_mean_and_only_so(
    tmp_path: Path, algorithm: str, squashes: bool
) -> None:
    kwargs = {"squash_output": squashes}
    model = train(algorithm, "MlpPolicy", "noise/Wide-v0", use_sde=True, policy_kwargs=kwargs)
    model.save(tmp_path / "model")
    path = tmp_path / "model.zip"
    acts_the_same(model, path, "noise/Wide-v0")
    assert load(path, "noise/Wide-v0", exploration=None).name.endswith("temperature 0")
    with pytest.raises(UserError, match="--exploration 0.5: .* uses gSDE, so only 0 is allowed"):
        load(path, "noise/Wide-v0", exploration=0.5)


def test_stacked_and_transposed_screens_play_atari(tmp_path: Path) -> None:
    """What SB3's make_atari_env and VecFrameStack make: (4, 84, 84) after VecTransposeImage."""
    vec = stable.common.vec_env
    screen = spaces.Box(0, 255, (84, 84, 1), np.uint8)
    stacked = vec.VecFrameStack(vec.DummyVecEnv([lambda: Noise(screen, spaces.Discrete(6))]), 4)
    model = train("DQN", "CnnPolicy", stacked, steps=56, policy_kwargs=SMALL)
    model.save(tmp_path / "model")
    obs = np.random.default_rng(0).integers(256, size=(200, 4, 84, 84)).astype(np.uint8)
    theirs, _ = model.predict(obs, deterministic=True)
    ours = load(tmp_path / "model.zip", "PongNoFrameskip-v4").act(obs, np.ones(200, bool))
    assert np.array_equal(ours, theirs)


def vec_normalize(env_id: str, **how: Any) -> Any:
    vec = stable.common.vec_env
    return vec.VecNormalize(vec.DummyVecEnv([lambda: gymnasium.make(env_id)]), **how)


def refusal(path: Path, env_id: str) -> str:
    said = refusals.refusal(lambda: load(path, env_id))
    assert said.startswith(f"{path} ")
    return said


@pytest.mark.parametrize("algorithm", ["PPO", "A2C", "TRPO", "DQN", "QRDQN"])
def test_a_policy_behind_vecnormalize_is_refused(tmp_path: Path, algorithm: str) -> None:
    train(algorithm, "MlpPolicy", vec_normalize("MountainCar-v0"), 300).save(tmp_path / "model")
    said = refusal(tmp_path / "model.zip", "MountainCar-v0")
    assert "with VecNormalize" in said and "script:module:function can play it" in said


@pytest.mark.parametrize("algorithm", ["DQN", "QRDQN"])
def test_rewards_behind_vecnormalize_do_not_keep_q_learning_from_playing(
    tmp_path: Path, algorithm: str
) -> None:
    model = train(algorithm, "MlpPolicy", vec_normalize("CartPole-v1", norm_obs=False))
    model.save(tmp_path / "model")
    acts_the_same(model, tmp_path / "model.zip", "CartPole-v1")


def test_observations_out_of_bounds_before_and_after_tell_nothing(tmp_path: Path) -> None:
    """An environment whose bounds are wrong was not trained with VecNormalize."""

    class Sloppy(Noise):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
            _, *rest = super().step(action)
            return np.full(5, 3.0, np.float32), *rest

    model = train("DQN", "MlpPolicy", Sloppy(BOX, spaces.Discrete(3)), 103)
    model.save(tmp_path / "model")
    acts_the_same(model, tmp_path / "model.zip", "noise/Few-v0")


@pytest.mark.parametrize(
    ("algorithm", "policy", "env_id", "message"),
    [
        ("SAC", "MlpPolicy", "Pendulum-v1", "has a policy of SAC; allowed are DQN, QR-DQN, PPO"),
        ("TD3", "MlpPolicy", "Pendulum-v1", "has a policy of TD3 or DDPG; allowed are"),
        ("DDPG", "MlpPolicy", "Pendulum-v1", "has a policy of TD3 or DDPG; allowed are"),
        ("TQC", "MlpPolicy", "Pendulum-v1", "has a policy of TQC; allowed are"),
        ("CrossQ", "MlpPolicy", "Pendulum-v1", "has a policy of CrossQ; allowed are"),
        ("ARS", "MlpPolicy", "CartPole-v1", "has a policy of ARS; allowed are"),
        ("RecurrentPPO", "MlpLstmPolicy", "CartPole-v1", "has a policy of RecurrentPPO; allowed"),
        ("MaskablePPO", "MlpPolicy", "CartPole-v1", "has a policy of MaskablePPO; allowed are"),
        ("PPO", "MultiInputPolicy", "noise/Dict-v0", "was trained on observations Dict, but"),
    ],
)
def test_a_trained_checkpoint_of_another_kind_is_refused_by_name(
    tmp_path: Path, algorithm: str, policy: str, env_id: str, message: str
) -> None:
    # Without masks, MaskablePPO only begins to train.
    steps = 0 if algorithm == "MaskablePPO" else 52
    train(algorithm, policy, env_id, steps).save(tmp_path / "model")
    assert message in refusal(tmp_path / "model.zip", env_id)


def test_frames_that_were_stacked_are_named(tmp_path: Path) -> None:
    vec = stable.common.vec_env
    stacked = vec.VecFrameStack(vec.DummyVecEnv([lambda: gymnasium.make("CartPole-v1")]), 4)
    train("PPO", "MlpPolicy", stacked).save(tmp_path / "model")
    said = refusal(tmp_path / "model.zip", "CartPole-v1")
    assert "was trained on observations Box [16], but CartPole-v1 has Box [4]" in said


@pytest.mark.parametrize("path", sorted(OLD.glob("*.zip")), ids=lambda path: path.stem)
def test_a_checkpoint_of_an_older_version_acts_as_it_did_there(path: Path) -> None:
    asked = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    ours = load(path, "CartPole-v1").act(asked, np.ones(200, bool))
    answered = np.load(path.with_suffix(".npy"))
    assert np.array_equal(ours, answered) and 0 < answered.mean() < 1


def test_there_are_checkpoints_of_older_versions() -> None:
    assert len(list(OLD.glob("*.zip"))) == 4


@pytest.mark.parametrize(
    ("env_id", "sizes"), [("noise/Choices-v0", (3, 2, 4)), ("noise/Bits-v0", (2, 2, 2))]
)
def test_several_actions_at_once_are_drawn_at_a_temperature(
    tmp_path: Path, env_id: str, sizes: tuple[int, ...]
) -> None:
    model = train("PPO", "MlpPolicy", env_id)
    with torch.no_grad():
        model.policy.action_net.weight.normal_(0, 1)
    model.save(tmp_path / "model")
    obs = np.tile(np.float32([1, -1, 0.5, 2, 0]), (20_000, 1))
    ours = load(tmp_path / "model.zip", env_id, exploration=0.5)
    drawn = ours.act(obs, np.ones(len(obs), bool))
    distribution = model.policy.get_distribution(torch.from_numpy(obs[:1])).distribution
    for k, size in enumerate(sizes):
        if isinstance(distribution, list):
            p = distribution[k].probs[0].detach().numpy()
        else:
            p = np.array([1 - distribution.probs[0, k].item(), distribution.probs[0, k].item()])
        expected = p**2 / (p**2).sum()
        shares = np.bincount(drawn[:, k].astype(int), minlength=size) / len(drawn)
        np.testing.assert_allclose(shares, expected, atol=0.018)
    default = load(tmp_path / "model.zip", env_id, exploration=None)
    assert default.name.endswith("temperature 1")


@pytest.mark.parametrize(
    ("algorithm", "env_id"),
    [("DQN", "CartPole-v1"), ("QRDQN", "CartPole-v1"), ("PPO", "toy/Pair-v0")],
)
def test_a_trained_checkpoint_records_and_verifies(
    tmp_path: Path, algorithm: str, env_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train(algorithm, "MlpPolicy", env_id).save(tmp_path / "model")
    (tmp_path / "latest.zip").symlink_to("model.zip")
    out, policy = tmp_path / "out", f"sb3:{tmp_path / 'latest.zip'}"
    args = ("--env", env_id, "--policy", policy, "--episodes", 2, "--out", out)
    assert demos("record", *args) == 0
    assert demos("verify", out) == 0
    assert "2 of 2 episodes are as recorded" in capsys.readouterr().out
