"""The number format of the towers: that in which the device computes."""

from __future__ import annotations

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
