"""An expert beside a learner: who plays, what is labeled, and what a dataset keeps of it."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import run_tiny
from gymnasium import spaces
from support.devices import CPU
from support.refusals import refusal

import envs
from agents.core.data.aggregate import Aggregate
from agents.core.data.demonstrations import Demonstrations
from agents.core.training.building import spaces_of
from demos import Dataset, Episode, Metadata, record, verify
from demos.coaching import Coached, Mixture, Seen, Takeover, differ
from demos.editing import merged, save
from demos.frames import decode
from demos.packing import pack, unpack
from demos.scripts import Script
from envs import UserError

TWO = spaces.Discrete(2)

EXPERT = Script("expert", lambda obs: obs.argmax(axis=1))
"""Names the symbol that `toy/Identity-v0` shows, which is right."""

LEARNER = Script("learner", lambda obs: (obs.argmax(axis=1) + 1) % obs.shape[1])
"""Is always wrong."""


def always(name: str, action: int) -> Script:
    return Script(name, lambda obs: np.full(len(obs), action))


def seen(games: int, start: bool = False) -> Seen:
    obs = np.zeros((games, 1), np.float32)
    return Seen(obs, np.full(games, start), np.zeros(games, np.float32), None)


def coached_games(coach: str = "mixture", games: int = 5, beta: float = 0.5) -> list[Episode]:
    spec = envs.spec("toy/Identity-v0")
    space = envs.spaces_of(spec)[1]
    expert = Mixture(EXPERT, space, beta, seed=3)
    coached = Coached(
        Takeover(EXPERT, space, patience_steps=3) if coach == "takeover" else expert,
        LEARNER,
        space,
    )
    return list(record(spec, coached, games, seed=0, labels=lambda: coached.labels))


@pytest.mark.parametrize(("beta", "least", "most"), [(0, 0, 0), (0.5, 400, 600), (1, 1000, 1000)])
def test_the_expert_plays_its_share_and_labels_every_step(
    beta: float, least: int, most: int
) -> None:
    mixture = Mixture(always("expert", 1), TWO, beta, seed=1)
    mixture.begin(1000)
    advice = mixture.advise(seen(1000), np.zeros(1000, np.int64))
    assert least <= advice.plays_N.sum() <= most
    assert advice.labeled_N.all() and (advice.action_N == 1).all()


def test_the_same_seed_draws_the_same_steps() -> None:
    def drawn(seed: int) -> list[bool]:
        mixture = Mixture(always("expert", 1), TWO, 0.5, seed)
        mixture.begin(20)
        return mixture.advise(seen(20), np.zeros(20, np.int64)).plays_N.tolist()

    assert drawn(1) == drawn(1) != drawn(2)


def test_the_expert_takes_over_after_errors_and_gives_back_after_right_steps() -> None:
    takeover = Takeover(always("expert", 1), TWO, patience_steps=2)
    takeover.begin(1)
    plays: list[bool] = []
    # An error, a right step, and three errors: the count is 1, 0, 1, 2, and then 0 again. The
    # next error speaks for the expert, and two right steps end its turn.
    for own in (0, 1, 0, 0, 0, 1, 1, 1):
        advice = takeover.advise(seen(1), np.array([own]))
        plays.append(bool(advice.plays_N[0]))
        assert (advice.labeled_N == advice.plays_N).all()
    assert plays == [False, False, False, True, True, True, False, False]


def test_a_takeover_ends_with_its_game() -> None:
    takeover = Takeover(always("expert", 1), TWO, patience_steps=1)
    takeover.begin(2)
    wrong_N = np.zeros(2, np.int64)
    assert takeover.advise(seen(2), wrong_N).plays_N.all()
    new = dataclasses.replace(seen(2), start=np.array([True, False]))
    right_then_wrong_N = np.array([1, 0])
    assert takeover.advise(new, right_then_wrong_N).plays_N.tolist() == [False, True]


def test_close_continuous_actions_do_not_differ() -> None:
    box = spaces.Box(-1, 1, (2,), np.float32)
    first = np.array([[0.0, 0.0], [0.0, 0.0]], np.float32)
    second = np.array([[0.1, -0.1], [0.1, 0.3]], np.float32)
    assert differ(box, first, second).tolist() == [False, True]


def test_labels_are_the_experts_and_actions_are_those_played() -> None:
    played = coached_games(beta=0.5)
    for episode in played:
        assert episode.labels is not None and episode.labeled is not None
        observed = np.stack([obs for obs, *_ in envs.replay(episode.tape)])[: len(episode)]
        right = observed.argmax(axis=1)
        assert (episode.labels == right).all() and episode.labeled.all()
        wrong = (right + 1) % observed.shape[1]
        assert ((episode.actions == right) | (episode.actions == wrong)).all()
        assert 0 < (episode.actions == right).mean() < 1
        assert verify(episode) is None
    assert "learner with expert (β 0.5)" in played[0].policy


def test_what_the_expert_takes_over_is_labeled_and_played() -> None:
    (episode,) = coached_games("takeover", games=1)
    assert episode.labels is not None and episode.labeled is not None
    # Two errors are allowed; the third begins the turn of the expert, which never gives back.
    assert episode.labeled.tolist() == [False] * 2 + [True] * (len(episode) - 2)
    taught = episode.labeled
    assert (episode.actions[taught] == episode.labels[taught]).all()


def test_an_experts_action_must_be_one_of_the_environments() -> None:
    mixture = Mixture(always("expert", 7), TWO, 1.0, seed=0)
    mixture.begin(1)
    why = refusal(lambda: mixture.advise(seen(1), np.zeros(1, np.int64)))
    assert "the policy 'expert' returned" in why and "from 0 to 1" in why


def about() -> Metadata:
    return Metadata(spec=envs.spec("toy/Identity-v0"), policy="p", created="today", command="tests")


def test_a_dataset_keeps_labels(tmp_path: Path) -> None:
    played = coached_games("takeover", games=3)
    dataset = save(tmp_path / "labeled", about(), played)
    plain = save(tmp_path / "plain", about(), record(about().spec, EXPERT, 2, seed=9))
    for kept, episode in zip(dataset.episodes(), played, strict=True):
        assert kept.labels is not None and kept.labeled is not None
        np.testing.assert_array_equal(kept.labels, episode.labels)
        np.testing.assert_array_equal(kept.labeled, episode.labeled)
        assert kept.labels.dtype == kept.actions.dtype
    _, both = merged([dataset, plain], "tests", "today")
    assert [each.labels is None for each in both] == [False] * 3 + [True] * 2


def test_labels_of_vectors_and_stored_observations_return_too() -> None:
    labels = np.array([[0.5, 1.0], [-0.5, 0.0]], np.float32)
    episode = Episode(
        spec=about().spec,
        seed=None,
        actions=np.zeros((2, 2), np.float32),
        rewards=np.zeros(2, np.float32),
        terminated=True,
        digests=np.zeros((1, 16), np.uint8),
        policy="p",
        observations=np.arange(6, dtype=np.float32).reshape(3, 2),
        labels=labels,
        labeled=np.array([True, False]),
    )
    again = unpack(pack(episode), episode.spec)
    np.testing.assert_array_equal(again.labels, labels)
    assert again.labeled is not None and again.labeled.tolist() == [True, False]
    np.testing.assert_array_equal(again.observations, episode.observations)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"labels": None}, "labels and labeled must both be there"),
        ({"labeled": None}, "labels and labeled must both be there"),
        ({"labels": np.zeros(3, np.int64)}, "labels are int64 (3,), but the actions are"),
        ({"labels": np.zeros(10, np.float32)}, "labels are float32 (10,), but the actions are"),
        ({"labeled": np.ones(9, bool)}, "labeled is bool (9,)"),
        ({"labeled": np.ones(10, np.int8)}, "labeled is int8 (10,)"),
    ],
)
def test_labels_that_do_not_fit_are_refused(changes: dict[str, Any], why: str) -> None:
    (episode,) = coached_games(games=1)
    assert why in refusal(lambda: dataclasses.replace(episode, **changes))


def test_a_label_that_is_not_finite_is_refused() -> None:
    (episode,) = coached_games(games=1)
    actions = episode.actions.astype(np.float32)
    labels = actions.copy()
    labels[3] = np.nan
    changed = {"actions": actions, "labels": labels}
    why = refusal(lambda: dataclasses.replace(episode, **changed))
    assert why == "the label of step 4 is nan, not finite"


def without_labeled(table: pa.Table) -> pa.Table:
    return table.drop_columns(["labeled"])


def labels_of_another_type(table: pa.Table) -> pa.Table:
    column = table.schema.get_field_index("label")
    return table.set_column(column, "label", table["label"].cast(pa.float64()))


def labeled_as_numbers(table: pa.Table) -> pa.Table:
    column = table.schema.get_field_index("labeled")
    return table.set_column(column, "labeled", table["labeled"].cast(pa.int8()))


def a_label_missing(table: pa.Table) -> pa.Table:
    values = table["label"].to_pylist()
    values[2] = None
    column = table.schema.get_field_index("label")
    return table.set_column(column, "label", pa.array(values, table["label"].type))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (without_labeled, "its columns are"),
        (labels_of_another_type, "its labels are double, but its actions"),
        (labeled_as_numbers, "its column 'labeled' is int8, but must be bool"),
        (a_label_missing, "a label is missing"),
    ],
)
def test_damaged_labels_are_named(spoil: Callable[[pa.Table], pa.Table], why: str) -> None:
    (episode,) = coached_games(games=1)
    table = pq.read_table(io.BytesIO(pack(episode)))
    about = pq.ParquetFile(io.BytesIO(pack(episode))).metadata.metadata[b"joystick"]
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, spoil(table).schema, store_schema=False) as writer:
        writer.write_table(spoil(table))
        writer.add_key_value_metadata({"joystick": json.dumps(json.loads(about))})
    assert why in refusal(lambda: unpack(sink.getvalue(), episode.spec))


def demonstrations_of(episodes: list[Episode]) -> Demonstrations:
    spec = episodes[0].spec
    return Demonstrations(decode(episodes, spec), episodes, spaces_of(spec), CPU)


def test_a_learner_imitates_labels_and_not_the_actions_played() -> None:
    played = coached_games("takeover", games=2)
    source = demonstrations_of(played)
    labels = np.concatenate([each.labels for each in played if each.labels is not None])
    assert source.label_NK[:, 0].tolist() == labels.tolist()
    taught = np.concatenate([each.labeled for each in played if each.labeled is not None])
    assert source.taught_M.tolist() == np.flatnonzero(taught).tolist()
    actions = np.concatenate([each.actions for each in played])
    assert source.action_NK[:, 0].tolist() == actions.tolist()


def test_an_aggregate_draws_all_labeled_steps_alike() -> None:
    data = Aggregate(batch_size=500, seed=1)
    first = demonstrations_of(coached_games("takeover", games=1))
    second = demonstrations_of(coached_games("mixture", games=2))
    data.add(first)
    data.add(second)
    assert data.size == first.size + second.size
    assert data.taught == len(first.taught_M) + second.size
    batches = [data.draw() for _ in range(20)]
    assert all(batch.size == 500 for batch in batches)
    for batch in batches:
        # The label is the symbol that the observation shows.
        assert (batch.action_NK[:, 0] == batch.obs_BL[:, 0].argmax(dim=1)).all()
    again = Aggregate(batch_size=500, seed=1)
    again.add(first)
    again.add(second)
    again.drawn = 19
    assert (again.draw().obs_BL == batches[-1].obs_BL).all()


def test_an_aggregate_counts_each_step_once_on_average() -> None:
    spec = envs.spec("CartPole-v1")
    space = envs.spaces_of(spec)[1]
    coached = Coached(Mixture(always("expert", 1), space, 0.0, 1), always("learner", 0), space)
    played = list(record(spec, coached, 4, seed=0, labels=lambda: coached.labels))
    data = Aggregate(batch_size=4000, seed=5)
    data.add(demonstrations_of(played[:1]))
    data.add(demonstrations_of(played[1:]))
    drawn = data.draw().obs_BL[:, 0]
    unique, counts = drawn.unique(dim=0, return_counts=True)
    assert len(unique) == data.size
    expected = 4000 / data.size
    assert (counts - expected).abs().max() < 6 * expected**0.5


def test_a_dataset_without_a_single_label_is_refused(tmp_path: Path) -> None:
    played = coached_games("mixture", games=2)
    silent = [dataclasses.replace(each, labeled=np.zeros(len(each), bool)) for each in played]
    path = Dataset.open(save(tmp_path / "silent", about(), silent).path).path
    with pytest.raises(UserError, match="no step in which its expert gave a label"):
        run_tiny(tmp_path, "bc", "--env", "toy/Identity-v0", "--demos", str(path))
