"""A checkpoint of two ranks, gone on from by one and by four; and the whole model that they hand on."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.laws.sharded_state import OPTIMIZERS, WRITERS
from transformers import AutoModelForCausalLM

from openklear.models.loading import load_model
from openklear.models.tiny import make_tiny
from openklear.training.sharded_trainee import read_weights

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]


def run(task: str, world: int, directory: Path) -> dict:
    """What the first rank found."""
    environment = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.laws.sharded_state", task]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(world), str(directory)], env=environment, stderr=subprocess.PIPE, text=True
        )
        for rank in range(world)
    ]
    for rank in ranks:
        _, errors = rank.communicate(timeout=600)
        assert rank.returncode == 0, errors
    return torch.load(directory / f"{task}-{world}-0.pt", weights_only=False)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("state")
    return directory, run("write", WRITERS, directory)


@pytest.fixture(scope="module", params=[1, 2, 4])
def read(request, written):
    return run("read", request.param, written[0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_number_of_ranks_goes_on_from_it(name, written, read):
    _, then = written
    assert torch.equal(read[name, "read"], then[name, "written"])
    exact = name == "adamw"  # Muon orthogonalises in bfloat16, which makes more of a difference in the last digit
    assert read[name, "losses"][0] == pytest.approx(then[name, "losses"][0], abs=1e-6)
    assert read[name, "losses"] == pytest.approx(then[name, "losses"], abs=1e-6 if exact else 2e-4)
    assert then[name, "losses"][0] != pytest.approx(then[name, "losses"][1], abs=1e-5), "a step moves the loss"
    assert float((read[name, "after"] - then[name, "after"]).abs().max()) <= (1e-6 if exact else 2e-3)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_its_weights_are_read_where_no_rank_is(name, written, recwarn):
    """As a report does, in another process than those that trained."""
    directory, then = written
    whole = make_tiny(16, 2, 2, 64, 7).model
    read_weights(directory / name, whole)
    assert torch.equal(torch.cat([p.detach().flatten() for p in whole.parameters()]), then[name, "written"])
    assert [str(one.message) for one in recwarn if "torch.distributed" in str(one.message)] == []


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_whole_model_is_a_plain_one(name, written):
    directory, then = written
    ours = load_model(directory / f"{name}-model").model
    theirs = AutoModelForCausalLM.from_pretrained(directory / f"{name}-model")
    assert type(theirs).__name__ == "Qwen3ForCausalLM"
    assert theirs.config.architectures == ["Qwen3ForCausalLM"]
    weights = torch.cat([p.detach().flatten() for p in ours.parameters()])
    assert torch.equal(weights, then[name, "written"])
    ids = torch.arange(7, 27)[None]
    with torch.no_grad():
        assert torch.equal(ours(input_ids=ids).logits, theirs.eval()(input_ids=ids).logits)
