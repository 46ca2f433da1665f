"""A device is named by its kind, or by its number where there are several of it."""

from __future__ import annotations

import pytest
import torch

from medvlp.core import collectives
from medvlp.core.devices import choose_device
from medvlp.core.errors import ConfigError


def test_one_of_several_gpus_is_chosen_by_number_and_the_process_own_by_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    found = [str(choose_device(wish).device) for wish in ("auto", "cuda", "cuda:0", "cuda:1", "cpu")]
    assert found == ["cuda:1", "cuda:1", "cuda:0", "cuda:1", "cpu"]
    with pytest.raises(ConfigError, match=r"device is 'cuda:2', .*: choose one of auto, cuda, .*cpu, cuda:0, cuda:1\."):
        choose_device("cuda:2")


def test_several_processes_of_a_mac_train_on_its_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither gloo nor NCCL sends tensors of mps."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").device == torch.device("mps")
    monkeypatch.setattr(collectives, "world_size", lambda: 2)
    chosen = choose_device("auto")
    assert (chosen.device, chosen.reason) == (
        torch.device("cpu"),
        "the first of cuda, cpu that this machine has is cpu",
    )
    with pytest.raises(ConfigError, match=r"'mps', but torch sees none for several processes: choose"):
        choose_device("mps")
