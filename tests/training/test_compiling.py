"""Compiled blocks of towers give the gradients of plain ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medvlp.core.errors import ConfigError, UserError
from medvlp.models.build import build_model
from medvlp.training.compiling import compilable
from medvlp.training.recompute import blocks_of, recomputable
from medvlp.training.trainer import Trainer
from tests.models.words import DUAL, HashWords
from tests.training.runs import make_setup
from tests.training.test_recompute import MODELS
from tests.training.world import make_task, own_part, whole_batch, worst

Backend = str | Callable[..., Any]


def step(case: str, chunks: int, backend: Backend | None, *, recompute: bool = False) -> dict[str, Tensor]:
    """Gradients and statistics of a step."""
    task, root = make_task(*MODELS[case], chunks=chunks)
    task._compiled = {} if backend is None else compilable(task.model, recompute=recompute, backend=backend)
    task._blocks = recomputable(task.model) if recompute else []
    task.backward(own_part(whole_batch()), dict.fromkeys(task.objectives, 1.0), samples_seen=0)
    gradients = {name: p.grad for name, p in root.named_parameters() if p.grad is not None}
    return {**gradients, **{f"buffer {name}": each.clone().float() for name, each in root.named_buffers()}}


@pytest.mark.slow
@pytest.mark.parametrize("case", MODELS)
def test_traced_blocks_give_the_gradients_of_plain_ones(case: str) -> None:
    torch._dynamo.reset()
    graphs = []

    def traced(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        graphs.append(len(inputs))
        return graph.forward

    found = step(case, 2, traced, recompute=case != "batch norm")
    assert len(graphs) >= 2  # with gradients, and without in the pass that looks ahead
    assert not worst(step(case, 2, None), found, relative=1e-5, absolute=1e-7)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++, which torch's compiler calls")
@pytest.mark.parametrize(("case", "recompute"), [("batch norm", False), ("dropout", True)])
def test_compiled_blocks_give_the_gradients_of_plain_ones(case: str, recompute: bool) -> None:
    torch._dynamo.reset()
    found = step(case, 2, "inductor", recompute=recompute)
    assert not worst(step(case, 2, None), found, relative=1e-4, absolute=1e-6)


def test_blocks_of_all_towers_are_compiled_and_stay_as_they_are() -> None:
    model = build_model(DUAL, tokenizer=HashWords(), seed=3)
    names = set(model.state_dict())
    assert list(compilable(model, backend="eager")) == blocks_of(model) != []
    assert set(model.state_dict()) == names


def test_what_cannot_be_compiled_is_told_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    trainer = Trainer(make_setup(tmp_path / "run", options={"compile": True}))
    sentence = r"torch could not compile a block of a tower \(.+\): empty its cache .* resume"
    with torch._inductor.config.patch({"cpp.cxx": (str(compiler),)}), pytest.raises(UserError, match=sentence):
        trainer.fit()


def test_batch_norm_that_is_computed_again_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"does not go with training.recompute where a tower has BatchNorm"):
        step("batch norm", 1, "eager", recompute=True)


def test_patches_and_a_missing_compiler_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model(DUAL, tokenizer=HashWords(), seed=3)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match=r"training.compile needs a C\+\+ compiler on a processor: install g\+\+"):
        compilable(model)
    spec = {**DUAL, "patches": [{"name": "adapter", "on": "block.after[0]"}]}
    with pytest.raises(ConfigError, match=r"training.compile does not go with patches"):
        compilable(build_model(spec, tokenizer=HashWords(), seed=3))
