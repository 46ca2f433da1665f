"""Every objective of the package takes its steps on a device that is not the processor, with repeatable kernels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medvlp.core import collectives
from medvlp.core.errors import UserError
from medvlp.training.optimisation import OptimiserOptions
from medvlp.training.trainer import Trainer
from tests.objectives.test_exact import NAMES, case_of
from tests.training.elsewhere import ELSEWHERE, Devices
from tests.training.methods import AT_THE_END, BATCH, Method, make_setup

#: What `training.deterministic` refuses on a GPU: words drawn by running sums, and maps that are made smaller.
REFUSED = ("cgt_gan", "dito", "dito_detector")
#: Objectives and states that compute in float64 where there is any.
WIDE = ("capro", "cgt_gan", "class_prototypes", "clip", "clip_refine", "denoise", "protoclip")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
@pytest.mark.parametrize(("name", "case"), NAMES)
def test_it_trains_and_is_resumed_on_a_device(name: str, case: str, tmp_path: Path) -> None:
    """What objectives, states and heads make, hold and restore lies where the model is, whatever they are made of."""
    train_and_resume(name, case, tmp_path, Devices(repeatable=name not in REFUSED))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
@pytest.mark.parametrize(("name", "case"), [each for each in NAMES if each[0] in WIDE])
def test_it_trains_and_is_resumed_on_a_device_without_float64(
    name: str, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = {ELSEWHERE: torch.float32}
    monkeypatch.setattr(collectives, "widest", lambda device: there.get(device, torch.float64))
    train_and_resume(name, case, tmp_path, Devices(repeatable=False, wide=False))


def train_and_resume(name: str, case: str, tmp_path: Path, devices: Devices) -> None:
    lion = {"optimiser": OptimiserOptions(name="lion", rate=1e-3)}  # torch's AdamW knows its devices by name
    method = case_of(name, case)
    method = replace(method, phases=[{**phase, **lion} for phase in method.phases])
    with devices:
        with pytest.raises(UserError, match="Training was interrupted"):
            trainer_on(method, tmp_path).fit(stop_at=method.end - BATCH)
        trainer = trainer_on(method, tmp_path)
        assert trainer.fit().skipped == 0
    assert {each.device for each in trainer.root.state_dict().values()} == {ELSEWHERE}


def trainer_on(method: Method, run: Path) -> Trainer:
    return Trainer(make_setup(method, run, double=False, device="meta", checkpoint_every=AT_THE_END))
