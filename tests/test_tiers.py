"""Every test is in one tier, and every test file is named in one list of `support.tiers`."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiers import FAST, FULL, TIERS, tier_of

FILES = {file.stem.removeprefix("test_") for file in Path(__file__).parent.glob("test_*.py")}


def test_every_test_file_has_one_tier() -> None:
    assert sorted(FILES - FAST - FULL) == [], "add it to support/tiers.py"
    assert sorted((FAST | FULL) - FILES) == [], "no such file"
    assert sorted(FAST & FULL) == []


def test_a_marker_decides_before_the_file() -> None:
    assert tier_of("losses", set()) == "fast"
    assert tier_of("losses", {"full", "parametrize"}) == "full"
    assert tier_of("resume", set()) == tier_of("not yet listed", set()) == "full"
    assert tier_of("resume", {"fast"}) == "fast"
    assert tier_of("losses", {"fast", "slow"}) == "slow"


def test_every_collected_test_has_one_tier(request: pytest.FixtureRequest) -> None:
    for item in request.session.items:
        tiers = {marker.name for marker in item.iter_markers() if marker.name in TIERS}
        file = Path(item.path).stem.removeprefix("test_")
        assert tier_of(file, tiers) in tiers, item.nodeid
