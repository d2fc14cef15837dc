"""The device is decided in one place."""

import pytest
import torch

from openklear.errors import UsageError
from openklear.models.numerics import device, set_up, weights_type


@pytest.mark.parametrize(("there", "kind"), [(True, "cuda"), (False, "cpu")])
def test_the_gpu_where_there_is_one(there, kind, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert device().type == kind


@pytest.mark.parametrize(
    ("gpu", "able", "kind"),
    [(False, False, "float32"), (True, True, "bfloat16"), (True, False, "float32")],
)
def test_auto_is_what_the_device_computes_in(gpu, able, kind, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: able)
    assert weights_type("auto") == kind
    assert weights_type("bfloat16") == "bfloat16", "what is asked for is not weighed"


def test_the_device_that_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    taken = []
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    try:
        set_up(1, "cuda:1")
        assert device() == torch.device("cuda:1") == taken[-1]
        set_up(1, "cpu")
        assert device().type == "cpu", "also where there is a GPU"
        with pytest.raises(UsageError, match=r'there are 2 GPUs here, counted from 0; write "cuda:1"'):
            set_up(1, "cuda:2")
        assert device().type == "cpu", "a refusal changes nothing"
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(UsageError, match='torch finds no GPU here; write "auto" or "cpu"'):
            set_up(1, "cuda")
    finally:
        monkeypatch.undo()
        set_up(1)
