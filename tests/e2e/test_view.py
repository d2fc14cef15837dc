"""`openklear view` over a run of this version."""

import json

import numpy as np
import pytest
import torch

from openklear.data.store import prepared, read_problems
from openklear.durable.sealed import latest
from openklear.models.loading import load_model
from openklear.models.logprobs import sequence_logprobs
from openklear.reporting.viewer.answers import Answers
from openklear.reporting.viewer.export import export
from openklear.rollout.records import read_rollouts

pytestmark = pytest.mark.slow


def test_ratios_are_those_of_the_weights_after_the_updates(finished):
    stage = finished / "rl-math"
    checkpoint = latest(stage)
    problems = {one.id: one for one in read_problems(prepared(finished / "prepare").problems)}
    groups, trained = read_rollouts(stage / "iterations" / checkpoint.name / "rollouts.parquet", problems)
    model = load_model(checkpoint).model
    asked = Answers([finished])
    number = next(one.id for one in asked.exhibits() if one.directory == stage)
    view, iteration = asked.phase_view(number), int(checkpoint.name)
    assert iteration in asked.phase(number)["weights"]
    for (group, sample), one in list(trained.items())[:4]:
        rollout = groups[group].rollouts[sample]
        ids = torch.from_numpy(np.concatenate([rollout.prompt_ids, rollout.completion.token_ids])).long()[None]
        mask = (torch.arange(ids.shape[1]) >= len(rollout.prompt_ids))[None]
        logprobs, _ = sequence_logprobs(model, ids, mask)
        ratios = np.exp(logprobs[mask].detach().numpy() - one.old_logprobs)
        found = view.clip(iteration, group, sample)["after"]
        assert found["ratios"] == pytest.approx(ratios, abs=2e-4)
        assert set(found["kinds"]) <= set(".n" if one.advantage == 0 else ".hln")
        assert "".join(view.rollout(iteration, group, sample)["tokens"])


def test_a_run_can_be_exported(finished, tmp_path):
    assert "texts are in this file" in export([finished], tmp_path / "page.html")
    held = (tmp_path / "page.html").read_text().partition('id="embedded">')[2].partition("</script>")[0]
    found = json.loads(held)
    assert {key.partition("/")[0] for key in found} >= {"list", "exported", "phase", "iteration", "rollout"}
