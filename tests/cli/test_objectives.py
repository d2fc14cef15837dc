"""`openklear objectives`: the figure, the table, and what they say to bad input."""

import json
from pathlib import Path

import pytest

from openklear.cli.main import main
from openklear.objectives.policy import CATALOG


def run(capsys, *words):
    code = main(["objectives", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_table_names_every_loss_with_its_numbers(capsys):
    code, out, _ = run(capsys, "table")
    assert code == 0
    for name, entry in CATALOG.items():
        assert f"\n{name}\n" in f"\n{out}"
        assert entry.source in out
    assert "clip_low 0.0003, clip_high 0.0004" in out
    assert "klear_released" in out
    code, out, _ = run(capsys, "table", "--format", "json")
    document = json.loads(out)
    assert [row["name"] for row in document["objectives"]] == list(CATALOG)
    assert set(document["aggregations"]) >= {"token_mean", "constant"}
    _, out, _ = run(capsys, "table", "--format", "markdown")
    assert len(out.splitlines()) == len(CATALOG) + 2
    assert len({line.replace("\\|", "").count("|") for line in out.splitlines()}) == 1
    assert out in (Path(__file__).parents[2] / "docs" / "objectives.md").read_text(), "docs/objectives.md is behind"


def test_plot_writes_and_names_the_file(capsys, tmp_path):
    path = tmp_path / "w.html"
    code, out, _ = run(capsys, "plot", "gppo", "sapo", "-o", str(path), "--set", "gppo.beta_low=0.25")
    assert (code, out.strip()) == (0, str(path))
    assert "beta_low 0.25" in path.read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("custom",), "there is no loss named custom; choose from gppo, ce_gppo"),
        (("nix",), "there is no loss named nix; choose from gppo, ce_gppo"),
        (
            ("gppo", "--set", "gppo.beta=1"),
            "gppo.beta: unknown key; did you mean beta_low? its keys are type, clip_low, clip_high, beta_low,",
        ),
        (("gppo", "--set", "gppo.clip_low"), "write NAME.KEY=VALUE"),
        (("gppo", "--set", "gppo.clip_low=much"), 'clip_low: must be a number from 0 to 1, not the text "much"'),
        (("gppo", "--set", "gppo.clip_low=3"), "gppo.clip_low: must be a number from 0 to 1, not 3"),
        (("gppo", "--set", "cispo.clip_low=0.1"), "the figure draws gppo; name the loss too"),
        (("gppo", "-o", "weights.pdf"), ".svg, .png, .html"),
        (("gppo", "--low", "2"), "r = 1 must lie between them"),
        (("reinforce", "--set", "reinforce.clip_low=0.1"), "reinforce.clip_low: unknown key;"),
    ],
)
def test_bad_input_is_explained(capsys, words, said):
    code, out, err = run(capsys, "plot", *words)
    assert code == 2
    assert said in err + out
    assert "Traceback" not in err
