"""The number format of the towers: that in which the device computes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from medvlp.training.precision import choose_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize("unit", ["_is_avx512_bf16_supported", "_is_amx_tile_supported"])
def test_a_processor_with_bfloat16_units_uses_them_and_one_without_does_not(
    unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    assert choose_precision("auto", CPU).dtype is torch.float32
    told = choose_precision("bfloat16", CPU)
    assert told.dtype is torch.bfloat16
    assert "many times slower than float32" in told.reason
    monkeypatch.setattr(torch.cpu, unit, lambda: True)
    assert choose_precision("auto", CPU).dtype is torch.bfloat16
    assert choose_precision("bfloat16", CPU).reason == "asked for"
    assert choose_precision("float32", CPU).dtype is torch.float32


@pytest.mark.parametrize(("major", "dtype"), [(7, torch.float32), (8, torch.bfloat16)], ids=["Turing", "Ampere"])
def test_a_gpu_that_emulates_bfloat16_has_no_units_for_it(
    major: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=major))
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)  # a tensor of it can be made
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    assert choose_precision("auto", torch.device("cuda")).dtype is dtype
