"""Every test is in one tier, and every test file is named in one list of `support.tiers`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support.tiers import FAST, FULL, TIERS, tier_of

ROOT = Path(__file__).parents[1]
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
        assert len(tiers) == 1, item.nodeid


def test_pre_commit_runs_what_ci_runs_with_the_fast_tests_alone() -> None:
    """CI takes its commands from the README's block "check"."""
    readme = (ROOT / "README.md").read_text("utf-8")
    block = readme.split("<!-- ci: check -->")[1].split("```")[1].removeprefix("bash\n")
    of_ci = [command.strip() for command in block.split("&&")]
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    of_hooks = [hook["entry"] for repo in config["repos"] for hook in repo["hooks"]]
    assert of_hooks[:-1] == of_ci[:-1]
    assert of_hooks[-1].startswith("pytest ") and "-m fast" in of_hooks[-1]
    assert of_ci[-1].startswith("pytest ")
