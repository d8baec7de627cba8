"""Checkpoints of Stable-Baselines3 play as they do there, and nothing in their files is run."""

from __future__ import annotations

import base64
import io
import json
import pickle
import random
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from support import refusals
from torch import Tensor, nn

import envs
from demos.__main__ import main
from demos.dataset import Dataset
from demos.policies import resolve
from demos.sb3 import Checkpoint, checkpoint
from demos.sb3_network import through
from envs import UserError

CARTPOLE = envs.spec("CartPole-v1")
BOX4 = {":type:": "<class 'gymnasium.spaces.box.Box'>", "dtype": "float32", "_shape": [4]}
DISCRETE2 = {":type:": "<class 'gymnasium.spaces.discrete.Discrete'>", "n": "2", "start": "0"}


class Screen(gymnasium.Env):
    """Atari's spaces as Stable-Baselines3 has them, channels last."""

    observation_space = spaces.Box(0, 255, (84, 84, 4), np.uint8)
    action_space = spaces.Discrete(6)

    def reset(self, **_: Any) -> tuple[np.ndarray, dict]:
        return np.zeros((84, 84, 4), np.uint8), {}


class Leaves:
    """A pickle that leaves a file behind when it is read."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.marker,))


def settings() -> dict[str, Any]:
    """What an archive of a DQN on CartPole tells."""
    return {
        "policy_class": {
            ":type:": "<class 'abc.ABCMeta'>",
            ":serialized:": "AAAA",
            "__module__": "stable_baselines3.dqn.policies",
        },
        "policy_kwargs": {"net_arch": [8]},
        "use_sde": False,
        "_last_original_obs": None,
        "observation_space": BOX4,
        "action_space": DISCRETE2,
    }


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"0.weight": (8, 4), "0.bias": (8,), "2.weight": (2, 8), "2.bias": (2,)}
    return {
        f"{net}.q_net.{name}": torch.randn(shape, generator=generator)
        for net in ("q_net", "q_net_target")
        for name, shape in shapes.items()
    }


def saved(value: object, **how: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **how)
    return file.getvalue()


def archive(path: Path, data: object = None, policy: bytes | None = None, **others: bytes) -> Path:
    """An archive as Stable-Baselines3 writes it, by default of a DQN on CartPole."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data", json.dumps(settings() if data is None else data))
        file.writestr("policy.pth", saved(tensors()) if policy is None else policy)
        for name, content in others.items():
            file.writestr(name, content)
    return path


def load(path: Path, env_id: str = "CartPole-v1", exploration: float | None = 0.0) -> Checkpoint:
    return checkpoint(f"sb3:{path}", envs.spec(env_id), 0, exploration)


def refusal(path: Path, env_id: str = "CartPole-v1") -> str:
    """What is said of a file that does not play."""
    said = refusals.refusal(lambda: load(path, env_id))
    assert said.startswith(f"{path} ")
    return said.removeprefix(f"{path} ")


def outputs(policy: Checkpoint, obs: np.ndarray) -> np.ndarray:
    return through(policy.layers, torch.from_numpy(obs)).numpy()


def made(algorithm: str, policy: str, env: object, **kwargs: Any) -> Any:
    """A model of Stable-Baselines3 with weights that no two of its networks share."""
    stable = pytest.importorskip("stable_baselines3")
    contrib = pytest.importorskip("sb3_contrib")
    kind = getattr(stable, algorithm, None) or getattr(contrib, algorithm)
    if algorithm in ("DQN", "QRDQN", "SAC"):
        kwargs["buffer_size"] = 10
    model = kind(policy, env, device="cpu", **kwargs)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.uniform_(-0.2, 0.2)
    return model


def reference(model: Any, obs: np.ndarray) -> np.ndarray:
    """The logits, means or values of a model's own network."""
    obs_N = torch.from_numpy(obs)
    with torch.no_grad():
        if hasattr(model.policy, "q_net"):
            return model.policy.q_net(obs_N).numpy()
        if hasattr(model.policy, "quantile_net"):
            return model.policy.quantile_net(obs_N).mean(dim=1).numpy()
        distribution = model.policy.get_distribution(obs_N).distribution
        continuous = isinstance(distribution, torch.distributions.Normal)
        return (distribution.mean if continuous else distribution.logits).numpy()


SMALL_CNN = {"features_extractor_kwargs": {"features_dim": 32}}
CASES = [
    ("DQN", "MlpPolicy", "CartPole-v1", {}),
    ("DQN", "MlpPolicy", "CartPole-v1", {"net_arch": [16, 8, 4], "activation_fn": nn.Tanh}),
    ("DQN", "MlpPolicy", "CartPole-v1", {"net_arch": []}),
    ("QRDQN", "MlpPolicy", "CartPole-v1", {"n_quantiles": 7, "activation_fn": nn.SiLU}),
    ("PPO", "MlpPolicy", "CartPole-v1", {}),
    ("PPO", "MlpPolicy", "CartPole-v1", {"net_arch": {"pi": [8], "vf": [6, 5]}}),
    ("PPO", "MlpPolicy", "Pendulum-v1", {"activation_fn": nn.LeakyReLU, "log_std_init": -1.0}),
    ("A2C", "MlpPolicy", "CartPole-v1", {"activation_fn": nn.ReLU, "ortho_init": False}),
    ("A2C", "MlpPolicy", "Pendulum-v1", {"net_arch": []}),
    ("TRPO", "MlpPolicy", "CartPole-v1", {}),
    ("DQN", "CnnPolicy", "Pong", {}),
    ("QRDQN", "CnnPolicy", "Pong", SMALL_CNN | {"n_quantiles": 5, "net_arch": [16]}),
    ("PPO", "CnnPolicy", "Pong", SMALL_CNN),
    ("A2C", "CnnPolicy", "Pong", SMALL_CNN | {"share_features_extractor": False}),
    ("PPO", "CnnPolicy", "Pong", SMALL_CNN | {"net_arch": [16], "normalize_images": False}),
    ("PPO", "MlpPolicy", "Pong", {"net_arch": [4]}),
]


@pytest.mark.parametrize(("algorithm", "policy", "env_id", "kwargs"), CASES)
def test_it_plays_what_stable_baselines3_plays(
    tmp_path: Path, algorithm: str, policy: str, env_id: str, kwargs: dict
) -> None:
    env = Screen() if env_id == "Pong" else env_id
    model = made(algorithm, policy, env, policy_kwargs=kwargs)
    model.save(tmp_path / "model")
    ours = load(tmp_path / "model.zip", env_id)
    rng, space = np.random.default_rng(0), model.observation_space
    obs = rng.normal(size=(32, *space.shape)).astype(np.float32)
    if env_id == "Pong":
        obs = rng.integers(256, size=(8, *space.shape)).astype(np.uint8)
    mine, theirs = outputs(ours, obs), reference(model, obs)
    if not isinstance(model.action_space, spaces.Box) and hasattr(model.policy, "action_net"):
        mine = torch.from_numpy(mine).log_softmax(dim=1).numpy()
    np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)
    actions, _ = model.predict(obs, deterministic=True)
    np.testing.assert_allclose(ours.act(obs, np.ones(len(obs), bool)), actions, atol=1e-5)
    label = {"QRDQN": "QR-DQN"}.get(algorithm, algorithm)
    assert ours.name.startswith(f"sb3:model.zip, {label}, ")


def test_discrete_observations_are_one_hot(tmp_path: Path) -> None:
    model = made("DQN", "MlpPolicy", "FrozenLake-v1")
    model.save(tmp_path / "model")
    actions, _ = model.predict(np.arange(16), deterministic=True)
    ours = load(tmp_path / "model.zip", "FrozenLake-v1")
    assert np.array_equal(ours.act(np.eye(16, dtype=np.float32), np.ones(16, bool)), actions)


def test_actions_are_clipped_to_their_bounds(tmp_path: Path) -> None:
    model = made("PPO", "MlpPolicy", "Pendulum-v1")
    with torch.no_grad():
        model.policy.action_net.bias.fill_(50.0)
    model.save(tmp_path / "model")
    obs = np.zeros((3, 3), np.float32)
    assert (
        load(tmp_path / "model.zip", "Pendulum-v1").act(obs, np.ones(3, bool)).tolist()
        == [[2.0]] * 3
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_a_policy_draws_at_its_temperature(tmp_path: Path, temperature: float) -> None:
    model = made("PPO", "MlpPolicy", "CartPole-v1")
    model.save(tmp_path / "model")
    ours = load(tmp_path / "model.zip", exploration=temperature)
    obs = np.tile(np.float32([1, -2, 3, -4]), (20_000, 1))
    p = np.exp(reference(model, obs[:1])[0] / temperature)
    share = ours.act(obs, np.ones(len(obs), bool)).mean()
    # Five standard deviations of a share of 20,000 draws are at most 0.018.
    assert share == pytest.approx(p[1] / p.sum(), abs=0.018) and 0.02 < share < 0.98


def test_continuous_actions_have_the_saved_deviation(tmp_path: Path) -> None:
    model = made("A2C", "MlpPolicy", "Pendulum-v1", policy_kwargs={"net_arch": [4]})
    with torch.no_grad():
        model.policy.log_std.fill_(-2.0)
    model.save(tmp_path / "model")
    obs = np.tile(np.float32([1, 0, 1]), (20_000, 1))
    ours = load(tmp_path / "model.zip", "Pendulum-v1", exploration=0.25)
    drawn = ours.act(obs, np.ones(len(obs), bool))
    assert drawn.mean() == pytest.approx(float(reference(model, obs[:1])[0, 0]), abs=0.01)
    assert drawn.std() == pytest.approx(0.5 * np.exp(-2.0), rel=0.03)


def test_epsilon_is_the_share_of_other_actions(tmp_path: Path) -> None:
    obs = np.tile(np.float32([1, -2, 3, -4]), (20_000, 1))
    path = archive(tmp_path / "dqn.zip")
    greedy = load(path).act(obs, np.ones(len(obs), bool))
    assert len(set(greedy.tolist())) == 1
    some = load(path, exploration=0.3).act(obs, np.ones(len(obs), bool))
    assert (some != greedy).mean() == pytest.approx(0.15, abs=0.013)


def test_equal_seeds_draw_equal_actions(tmp_path: Path) -> None:
    name, obs = f"sb3:{archive(tmp_path / 'dqn.zip')}", np.zeros((100, 4), np.float32)
    one, same, other = (
        resolve(name, CARTPOLE, seed, 1.0).act(obs, np.ones(100, bool)) for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same) and not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("algorithm", "env_id", "how"),
    [
        ("DQN", "CartPole-v1", "epsilon 0"),
        ("PPO", "CartPole-v1", "temperature 1"),
        ("PPO", "Pendulum-v1", "temperature 0"),
    ],
)
def test_a_checkpoint_explores_by_default_as_is_documented(
    tmp_path: Path, algorithm: str, env_id: str, how: str
) -> None:
    made(algorithm, "MlpPolicy", env_id).save(tmp_path / "model")
    assert load(tmp_path / "model.zip", env_id, exploration=None).name.endswith(f", {how}")


@pytest.mark.parametrize("exploration", [-0.1, 1.1, float("nan"), float("inf")])
def test_an_epsilon_that_is_no_probability_is_refused(tmp_path: Path, exploration: float) -> None:
    path = archive(tmp_path / "dqn.zip")
    with pytest.raises(UserError, match="--exploration .*: must be an epsilon from 0 to 1"):
        load(path, exploration=exploration)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"activation_fn": nn.PReLU}, "has the activation_fn <class 'torch.nn.modules.activation"),
        ({"activation_fn": lambda: nn.Tanh()}, "has the activation_fn <function"),
    ],
)
def test_an_activation_that_is_not_known_is_refused(
    tmp_path: Path, kwargs: dict, message: str
) -> None:
    made("PPO", "MlpPolicy", "CartPole-v1", policy_kwargs=kwargs).save(tmp_path / "model")
    assert message in refusal(tmp_path / "model.zip")


def test_an_extractor_of_a_persons_own_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.torch_layers import FlattenExtractor

    class Mine(FlattenExtractor): ...

    kwargs = {"features_extractor_class": Mine}
    made("DQN", "MlpPolicy", "CartPole-v1", policy_kwargs=kwargs).save(tmp_path / "model")
    assert "Mine'>, allowed are NatureCNN, FlattenExtractor" in refusal(tmp_path / "model.zip")


def first(weight: Tensor) -> dict[str, Tensor]:
    return {"q_net.q_net.0.weight": weight}


def head(outputs: int) -> dict[str, Tensor]:
    shapes = {"weight": (outputs, 8), "bias": (outputs,)}
    return {f"q_net.q_net.2.{name}": torch.ones(shape) for name, shape in shapes.items()}


def without(values: dict, key: str) -> dict:
    return {name: value for name, value in values.items() if name != key}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy_class": {"__module__": "mine"}}, "has a policy from 'mine'; allowed are DQN"),
        ({"policy_class": 7}, "has a policy from ''; allowed are"),
        ({"policy_class": {"__module__": "a\nb\x1b[2J"}}, "has a policy from 'a?b?[2J'"),
        ({"policy_kwargs": {"lstm_hidden_size": 8}}, "has the policy_kwargs 'lstm_hidden_size'"),
        (
            {"action_space": {":type:": "<class 'x.Text'>"}},
            "has the actions Text, allowed are Discrete",
        ),
        (
            {"action_space": {":type:": "<class 'x.MultiBinary'>", "n": "[2, 3]"}},
            "MultiBinary [2, 3]",
        ),
        ({"action_space": DISCRETE2 | {"start": "1"}}, "has the actions Discrete 2 from 1"),
        ({"action_space": None}, "has the actions of an unknown kind"),
        (
            {"action_space": DISCRETE2 | {"n": 3}},
            "was trained on actions Discrete 3, but CartPole-v1 has Discrete 2",
        ),
        (
            {"observation_space": BOX4 | {"_shape": [3]}},
            "was trained on observations Box [3], but CartPole-v1 has Box [4]",
        ),
        (
            {"observation_space": {":type:": "<class 'gymnasium.spaces.dict.Dict'>"}},
            "was trained on observations Dict, but",
        ),
    ],
)
def test_settings_that_cannot_be_followed_are_named(
    tmp_path: Path, changes: dict, message: str
) -> None:
    assert message in refusal(archive(tmp_path / "dqn.zip", settings() | changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: without(t, "q_net.q_net.2.bias"), "has no tensor 'q_net.q_net.2.bias'"),
        (lambda t: t | {"lstm.weight": torch.ones(1)}, "has a tensor 'lstm.weight', which no MLP"),
        (lambda t: t | first(torch.ones(8, 5)), "has layers that do not fit: "),
        (lambda t: t | {"q_net.q_net.2.bias": torch.ones(3)}, "has layers that do not fit: "),
        (lambda t: t | head(3), "has 3 outputs, which do not fit 2 actions"),
        (lambda t: t | head(4), "has 4 outputs, which do not fit 2 actions"),
        (lambda t: t | first(torch.ones(8)), "has a layer 'q_net.q_net.0' of"),
        (lambda t: t | {"q_net.q_net.0.bias": torch.full((8,), torch.nan)}, "that is not finite"),
        (lambda t: t | {"q_net.q_net.0.bias": torch.ones(8).double()}, "not plain float32"),
        (lambda t: t | first(torch.ones(()).expand(10**9, 4)), "not plain"),
        (lambda t: t | first(torch.ones(8, 4).to_sparse()), "holds more than tensors"),
        (lambda t: t | first(torch.ones(8, 4, device="meta")), "holds more than tensors"),
        (lambda t: t | first(torch.ones(2**31, 0)), "has a layer 'q_net.q_net.0' of another kind"),
        (lambda t: {}, "has no tensor 'q_net.q_net.0.weight'"),
    ],
)
def test_tensors_that_are_no_such_network_are_named(
    tmp_path: Path, change: Callable[[dict], dict], message: str
) -> None:
    assert message in refusal(archive(tmp_path / "dqn.zip", policy=saved(change(tensors()))))


def test_convolutions_that_are_not_natures_are_named(tmp_path: Path) -> None:
    model = made("DQN", "CnnPolicy", Screen(), policy_kwargs=SMALL_CNN)
    model.policy.q_net.features_extractor.cnn[2].weight.data = torch.ones(64, 32, 5, 5)
    model.save(tmp_path / "model")
    said = refusal(tmp_path / "model.zip", "Pong")
    assert "has a layer 'q_net.features_extractor.cnn.2' of another kind: [64, 32, 5, 5]" in said


def test_code_in_place_of_tensors_is_refused_and_does_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for value in (Leaves(marker), tensors() | {"q_net.q_net.0.weight": Leaves(marker)}):
        said = refusal(archive(tmp_path / "dqn.zip", policy=saved(value)))
        assert "holds more than tensors; none of it was run" in said
        assert not marker.exists()
    torch.load(io.BytesIO(saved(Leaves(marker))), weights_only=False)
    assert marker.exists(), "the pickle of this test leaves nothing"


def test_the_pickles_beside_what_is_read_do_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    code = pickle.dumps(Leaves(marker))
    hidden = {":serialized:": base64.b64encode(code).decode()}
    told = {
        name: {**value, **hidden} if isinstance(value, dict) else value
        for name, value in settings().items()
    }
    others = {
        "pytorch_variables.pth": saved(Leaves(marker)),
        "policy.optimizer.pth": saved(Leaves(marker)),
    }
    policy = load(archive(tmp_path / "dqn.zip", told | {"lr_schedule": hidden}, **others))
    policy.act(np.zeros((1, 4), np.float32), np.ones(1, bool))
    assert not marker.exists()


def test_stable_baselines3_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stable_baselines3", "sb3_contrib", "cloudpickle"):
        monkeypatch.setitem(sys.modules, name, None)
    assert load(archive(tmp_path / "dqn.zip")).name.startswith("sb3:dqn.zip, DQN, ")


def test_equal_files_have_equal_names_and_others_do_not(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    one, other = archive(tmp_path / "dqn.zip"), tmp_path / "other" / "dqn.zip"
    other.write_bytes(one.read_bytes())
    assert load(one).name == load(other).name
    archive(other, settings() | {"seed": 7})
    assert load(one).name != load(other).name


def test_a_file_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    archive(tmp_path / "dqn_pong.zip")
    assert refusal(tmp_path / "dqn_pong") == "does not exist; did you mean 'dqn_pong.zip'?"
    assert refusal(tmp_path) == "is a directory"


@pytest.mark.parametrize(
    ("member", "content", "message"),
    [
        ("data", b"{", "is damaged: its data"),
        ("data", b"[]", "is damaged: its data"),
        ("data", b"[" * 100_000, "is damaged: its data"),
        ("data", b"\xff\x00", "is damaged: its data"),
        ("data", None, "is not a checkpoint of Stable-Baselines3: it has no data"),
        ("policy.pth", None, "is not a checkpoint of Stable-Baselines3: it has no policy.pth"),
        ("policy.pth", b"", "has a policy.pth that is empty"),
        ("policy.pth", saved([1, 2]), "has a policy.pth that is damaged or holds more"),
        ("policy.pth", saved({"a": 1}), "has a policy.pth that is damaged or holds more"),
        ("policy.pth", saved({1: torch.ones(1)}), "has a policy.pth that is damaged or holds"),
        ("policy.pth", saved(tensors())[:-300], "has a policy.pth that is only a part of a zip"),
    ],
)
def test_an_archive_of_something_else_is_said_in_a_line(
    tmp_path: Path, member: str, content: bytes | None, message: str
) -> None:
    members = {"data": json.dumps(settings()).encode(), "policy.pth": saved(tensors())}
    with zipfile.ZipFile(tmp_path / "dqn.zip", "w") as file:
        for name, value in (members | {member: content}).items():
            if value is not None:
                file.writestr(name, value)
    assert message in refusal(tmp_path / "dqn.zip")


def test_what_is_no_zip_or_a_part_of_one_is_said_in_a_line(tmp_path: Path) -> None:
    path = archive(tmp_path / "dqn.zip")
    whole = path.read_bytes()
    for data in (saved(tensors())[:50], whole[:100], whole[:-10], whole[:-200]):
        path.write_bytes(data)
        assert refusal(path) == "is only a part of a zip archive, or a damaged one"


@pytest.mark.parametrize(("member", "most"), [("data", 2**24), ("policy.pth", 2**28)])
def test_a_member_that_would_fill_the_memory_is_not_read(
    tmp_path: Path, member: str, most: int
) -> None:
    path = archive(tmp_path / "dqn.zip")
    with zipfile.ZipFile(path, "a") as file:
        file.getinfo(member).file_size = most + 1
        file.writestr("more", b"")
    assert f"has {most + 1:,} bytes of {member}, at most {most:,} are allowed" in refusal(path)


def test_tensors_that_would_fill_the_memory_are_not_read(tmp_path: Path) -> None:
    inner = io.BytesIO(saved(tensors()))
    with zipfile.ZipFile(inner, "a") as file:
        file.infolist()[1].file_size = 2**31
        file.writestr("more", b"")
    said = refusal(archive(tmp_path / "dqn.zip", policy=inner.getvalue()))
    assert "bytes of tensors, at most 268,435,456 are allowed" in said


def test_a_compression_whose_size_cannot_be_bounded_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "dqn.zip", "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("data", json.dumps(settings()))
    assert "compressed in another way" in refusal(tmp_path / "dqn.zip")


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "dqn.zip", "wb") as file:
        file.truncate(2**30 + 1)
    assert "has 1,073,741,825 bytes, at most" in refusal(tmp_path / "dqn.zip")


def test_random_damage_is_an_error_in_a_line_or_none(tmp_path: Path) -> None:
    """Of the archive, where zip's checksums find it, and of the tensors inside, where none does."""
    path = archive(tmp_path / "dqn.zip")
    rng, whole, inner = random.Random(0), path.read_bytes(), saved(tensors())
    refused = []
    for round_ in range(400):
        data = bytearray(inner if round_ % 2 else whole)
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        if round_ % 2:
            archive(path, policy=bytes(data))
        else:
            path.write_bytes(data)
        try:
            load(path)
        except UserError as error:
            refused.append(str(error))
    assert len(refused) > 100 and not any("\n" in each for each in refused)


def demos(*args: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in args])
    return int(ended.value.code or 0)


@pytest.mark.parametrize("algorithm", ["DQN", "PPO"])
def test_a_checkpoint_demonstrates(
    tmp_path: Path, algorithm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made(algorithm, "MlpPolicy", "CartPole-v1").save(tmp_path / "model")
    args = ("record", "--env", "CartPole-v1", "--policy", f"sb3:{tmp_path / 'model.zip'}")
    for out in ("one", "two"):
        assert demos(*args, "--episodes", 2, "--out", tmp_path / out) == 0
    assert demos("verify", tmp_path / "one") == 0
    assert "2 of 2 episodes are as recorded" in capsys.readouterr().out
    one, two = (Dataset.open(tmp_path / out) for out in ("one", "two"))
    assert one.metadata.policy.startswith(f"sb3:model.zip, {algorithm}, ")
    assert [each.name for each in one.files()] == [each.name for each in two.files()]
    assert demos(*args, "--env", "Acrobot-v1", "--out", tmp_path / "three") == 2
    said = capsys.readouterr().err
    assert "was trained on observations Box [4], but Acrobot-v1 has Box [6]" in said
    assert said.count("\n") == 1 and not (tmp_path / "three").exists()
