"""The law over two processes (gloo): dealt evenly or not, the gradient of a step is the one of a single process."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.laws.ranks import CLIP, SFT, SHARES, alone, cases, name_of, supervised_cases
from tests.training.step_cases import distance, tiny_model

pytestmark = pytest.mark.long
TOLERANCES = {torch.float32: 1e-6, torch.float64: 1e-12}


@pytest.fixture(scope="module")
def dealt(tmp_path_factory):
    """Gradient and metrics of every case by rank."""
    directory = tmp_path_factory.mktemp("ranks")
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.laws.ranks"]
    environment = {"PYTHONPATH": f"{root / 'src'}:{root}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen([*command, str(rank), str(directory)], env=environment, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for rank in ranks:
        _, errors = rank.communicate(timeout=300)
        assert rank.returncode == 0, errors
    return [torch.load(directory / f"rank-{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def whole():
    return alone()


@pytest.mark.parametrize("case", cases(), ids=lambda case: name_of(*case))
def test_two_ranks_have_the_gradient_of_one(dealt, whole, case):
    dtype, aggregation = case[0], case[3]
    name = name_of(*case)
    expected, metrics = whole[name]
    (first, ours), (second, theirs) = (rank[name] for rank in dealt)
    assert torch.equal(first, second)
    assert ours == theirs
    if aggregation == "klear_released":
        assert distance(expected, first) > 0.01
        return
    assert distance(expected, first) <= TOLERANCES[dtype]
    assert ours["loss"] == pytest.approx(metrics["loss"], rel=1e-5, abs=1e-6)
    assert ours["tokens"] == metrics["tokens"]
    assert ours["ratio_histogram_positive"] == metrics["ratio_histogram_positive"]


@pytest.mark.parametrize(("dtype", "share"), supervised_cases())
def test_two_ranks_have_the_supervised_gradient_of_one(dealt, whole, dtype, share):
    expected, metrics = whole[SFT, dtype]
    (first, ours), (second, theirs) = (rank[SFT, dtype, share] for rank in dealt)
    assert torch.equal(first, second)
    assert ours == theirs
    assert distance(expected, first) <= TOLERANCES[dtype]
    assert ours == {"loss": pytest.approx(metrics["loss"], rel=TOLERANCES[dtype]), "tokens": metrics["tokens"]}


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("kind", ["rl", SFT])
def test_two_ranks_take_the_steps_of_one(dealt, whole, kind, share):
    """The weights after clipped steps: the norm that clips is that of the whole gradient, on every rank."""
    start = torch.cat([p.detach().flatten() for p in tiny_model(dtype=torch.float64).parameters()])
    expected, norms = whole["trained", kind]
    (first, ours), (second, theirs) = (rank["trained", kind, share] for rank in dealt)
    assert torch.equal(first, second)
    assert ours == theirs == pytest.approx(norms, rel=1e-10)
    assert min(norms) > 2 * CLIP
    assert float((expected - start).norm()) > 0.01
    assert float((first - expected).abs().max()) <= 1e-12


@pytest.mark.parametrize("kind", ["rl", SFT])
def test_a_loss_that_is_not_finite_on_one_rank_stops_all(dealt, kind):
    (first, stayed), (second, _) = (rank["refused", kind] for rank in dealt)
    assert first == second
    assert "is nan" in first
    assert stayed
