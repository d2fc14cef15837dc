"""Who goes on where a stage on a cluster is begun again, with a stand-in where Ray would be."""

import pytest
from tests.recipe.cluster_keys import asked


@pytest.mark.parametrize(("samplers", "placed", "made"), [(3, [2, 3, 1, 2], 1), (0, [2, 1, 2], 2)])
def test_only_ranks_and_who_sits_in_their_places_are_others(monkeypatch, tmp_path, samplers, placed, made):
    told = asked(monkeypatch, tmp_path, "cluster.trainers=2", f"cluster.samplers={samplers}", attempts=2)
    assert told["trained"] == placed
    kinds = [kind for kind, _, _ in told["places"]]
    assert kinds.count("Gang") == 2
    assert kinds.count("ClusterSampler") == made
    assert kinds.count("JudgePool") == 1 + 1, "and that of the evaluation after it"
