"""The device is decided in one place."""

import pytest
import torch

from openklear.models.numerics import device


@pytest.mark.parametrize(("there", "kind"), [(True, "cuda"), (False, "cpu")])
def test_the_gpu_where_there_is_one(there, kind, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert device().type == kind
