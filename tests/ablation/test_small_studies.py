"""The small studies of SFT compare what they say: arms that are trained on as many rows of what is measured."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from openklear.ablation.definition import Study, load_study
from openklear.ablation.design import recipe_of
from openklear.data.store import prepared, read_demonstrations
from openklear.run.pipeline import run_pipeline

SMALL = Path(__file__).parents[2] / "studies" / "small"
SMALLER = {"world.demonstrations": 240, "data.selection.budget": 60}


def rows_of(study: Study, path: Path, arm: str, root: Path) -> Counter[str]:
    """Rows by domain that an arm trains on, of a smaller world."""
    smaller = study.model_copy(update={"set": {**study.set, **SMALLER}})
    run_pipeline(recipe_of(smaller, path, smaller.arm_named(arm), 0), root, through="prepare")
    return Counter(one.problem.domain for one in read_demonstrations(prepared(root / "prepare").demonstrations))


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "arms"), [("top-sources", ("top-1", "top-3")), ("correctness-difficulty", ("hard-mixed", "hard-correct"))]
)
def test_arms_have_as_many_rows_of_the_domain_that_is_measured(name, arms, tmp_path):
    """K-Center over both domains took 1,270 programs in one arm and 832 in the one that it is compared with."""
    path = SMALL / f"{name}.toml"
    study = load_study(path)
    assert {measure.domain for measure in study.measure} == {"code"}
    for arm in arms:
        assert rows_of(study, path, arm, tmp_path / arm) == {"code": SMALLER["data.selection.budget"]}
