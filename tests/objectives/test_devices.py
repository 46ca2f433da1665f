"""Every objective of the package takes its steps on a device that is not the processor, with repeatable kernels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medvlp.core.errors import UserError
from medvlp.training.optimisers import OptimiserOptions
from medvlp.training.trainer import Trainer
from tests.objectives.test_exact import NAMES, case_of
from tests.training.elsewhere import ELSEWHERE, Devices
from tests.training.methods import BATCH, make_setup

#: What `training.deterministic` refuses on a GPU: words drawn by running sums, and maps that are made smaller.
REFUSED = ("cgt_gan", "dito", "dito_detector")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:for .* copying from a non-meta parameter")
@pytest.mark.parametrize(("name", "case"), NAMES)
def test_it_trains_and_is_resumed_on_a_device(name: str, case: str, tmp_path: Path) -> None:
    """What objectives, states and heads make, hold and restore lies where the model is, whatever they are made of."""
    lion = {"optimiser": OptimiserOptions(name="lion", rate=1e-3)}  # torch's AdamW knows its devices by name
    method = case_of(name, case)
    method = replace(method, phases=[{**phase, **lion} for phase in method.phases])
    with Devices(repeatable=name not in REFUSED):
        with pytest.raises(UserError, match="Training was interrupted"):
            Trainer(make_setup(method, tmp_path, double=False, device="meta")).fit(stop_at=method.end - BATCH)
        trainer = Trainer(make_setup(method, tmp_path, double=False, device="meta"))
        assert trainer.fit().skipped == 0
    assert {each.device for each in trainer.root.state_dict().values()} == {ELSEWHERE}
