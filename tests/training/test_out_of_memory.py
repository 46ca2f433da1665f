"""What is told when a step does not fit into memory, or cannot be repeated bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medvlp.core.errors import UserError
from medvlp.training.trainer import Trainer
from tests.models.words import VISION
from tests.training.runs import MODEL, make_setup


@pytest.mark.parametrize(
    ("norm", "sentence"),
    [
        ("group", r"set training.chunks=2 \(the gradients stay the same\), or training.recompute=true, and resume\."),
        (
            "keep",
            r"training.chunks=2 \(its BatchNorm layers then see smaller chunks, which changes the gradients\), or",
        ),
    ],
)
def test_more_chunks_are_advised_with_what_they_change(norm: str, sentence: str, tmp_path: Path) -> None:
    setup = make_setup(tmp_path, spec={**MODEL, "vision": {**VISION, "norm": norm}})
    trainer = Trainer(replace(setup, phases=setup.phases[:1]))
    trainer.setup.model.register_forward_pre_hook(lambda *_: torch.empty(2**55))
    with pytest.raises(UserError, match=sentence):
        trainer.fit()


@pytest.mark.parametrize(("phases", "recompute"), [(1, True), (2, False)], ids=["it is on", "a phase has patches"])
def test_what_is_on_already_or_would_be_refused_is_not_advised(phases: int, recompute: bool, tmp_path: Path) -> None:
    setup = make_setup(tmp_path, spec=MODEL, options={"recompute": recompute})
    trainer = Trainer(replace(setup, phases=setup.phases[:phases]))
    trainer.setup.model.register_forward_pre_hook(lambda *_: torch.empty(2**55))
    with pytest.raises(UserError, match=r"set training.chunks=\d+ \(the gradients stay the same\) and resume\."):
        trainer.fit()


def test_what_has_no_deterministic_kernel_is_named(tmp_path: Path) -> None:
    setup = make_setup(tmp_path, spec=MODEL)
    trainer = Trainer(replace(setup, phases=setup.phases[:1]))
    trainer.setup.model.register_forward_pre_hook(lambda *_: torch.zeros(2).put_(torch.tensor([0]), torch.ones(1)))
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(UserError, match="deterministic is on, and torch has no such kernel of put_ on this device"):
            trainer.fit()
    finally:
        torch.use_deterministic_algorithms(False)
