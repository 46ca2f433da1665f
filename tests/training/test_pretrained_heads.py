"""A head that starts from a file: read once, checked, and not written again while it stays what the file holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from medvlp.core import ConfigError, UserError
from medvlp.core.files import sha256_of
from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import HeadSpec
from medvlp.core.registry import build
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, load_bundle, save_bundle
from medvlp.text.wordpiece import train_wordpiece
from medvlp.training.checkpoints import latest, load_checkpoint
from medvlp.training.setup import Setup
from medvlp.training.task import make_plan
from medvlp.training.trainer import Trainer
from tests.methods.world import methods
from tests.models.words import DUAL, dual
from tests.training.runs import MODEL, final_hashes, make_setup, weights_of

FROZEN = ("*", "!model.heads.generator.*")
SPEC = {**MODEL, "projection": {}}


@pytest.fixture(autouse=True)
def components() -> Iterator[None]:
    with methods():
        yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    draw = torch.Generator().manual_seed(9)
    tensors = {"pixels.weight": torch.randn(64, 8, generator=draw), "pixels.bias": torch.randn(64, generator=draw)}
    save_file(tensors, tmp_path / "generator.safetensors")
    return tmp_path / "generator.safetensors"


def setup_of(run: Path, file: Path, *, trainable: tuple[str, ...] = FROZEN) -> Setup:
    """The run of `tests.training.runs` with the reconstruction beside, in both phases."""
    setup = make_setup(run, spec=SPEC)
    objective = build("objectives", {"name": "reconstruct", "weights": str(file)}, where="x")
    phases = [
        dataclasses.replace(
            phase,
            objectives={**phase.objectives, "reconstruct": objective},
            weights={**phase.weights, "reconstruct": 1.0},
            trainable=trainable if i == 0 else (*trainable, "!model.towers.text.*"),
        )
        for i, phase in enumerate(setup.phases)
    ]
    for phase in phases:
        setup.model.mount({"generator": objective.heads()["generator"]}, make_plan(phase.objectives, {}))
    setup.states["average"].restructure(setup.model)
    return dataclasses.replace(setup, phases=phases)


@pytest.mark.slow
def test_a_frozen_head_keeps_its_file_and_is_left_out_of_checkpoints_that_resume_bit_for_bit(
    file: Path, tmp_path: Path
) -> None:
    trainer = Trainer(setup_of(tmp_path / "whole", file))
    trainer.fit()
    held = load_file(file)
    assert all(torch.equal(trainer.setup.model.heads["generator"].state_dict()[n], t) for n, t in held.items())
    checkpoint = load_checkpoint(latest(tmp_path / "whole"))
    assert not any("heads.generator" in name for name in checkpoint.weights)
    assert checkpoint.trainer["left_out"] == {"generator": sha256_of(file)}
    for stop in (24, 56):
        run = tmp_path / str(stop)
        with pytest.raises(UserError, match="interrupted"):
            Trainer(setup_of(run, file)).fit(stop_at=stop)
        again = Trainer(setup_of(run, file))
        again.fit()
        assert final_hashes(run) == final_hashes(tmp_path / "whole")
        assert all(torch.equal(t, weights_of(again.root)[n]) for n, t in weights_of(trainer.root).items())
    changed = {name: tensor + 1 for name, tensor in held.items()}
    save_file(changed, file)
    with pytest.raises(
        UserError, match=r"was trained with other weights of the head 'generator' \(SHA-256 .* put that"
    ):
        Trainer(setup_of(tmp_path / "whole", file)).fit()


def test_a_head_that_trains_is_written_as_every_other(file: Path, tmp_path: Path) -> None:
    Trainer(setup_of(tmp_path / "run", file, trainable=("*",))).fit()
    checkpoint = load_checkpoint(latest(tmp_path / "run"))
    assert checkpoint.trainer["left_out"] == {}
    trained = checkpoint.weights["model.heads.generator.pixels.weight"]
    assert not torch.equal(trained, load_file(file)["pixels.weight"])


def test_gradients_reach_the_tower_through_a_frozen_head(file: Path) -> None:
    model: Any = dual(SPEC)
    model.mount({"generator": HeadSpec("coarse_image", weights=str(file))}, Plan.of(keys("image/raw")))
    model.heads["generator"].requires_grad_(False)
    rows = torch.ones(2, 8, requires_grad=True)
    model.heads["generator"](rows).sum().backward()
    torch.testing.assert_close(rows.grad, load_file(file)["pixels.weight"].sum(dim=0).expand(2, -1))


def test_a_head_of_the_model_may_start_from_a_file_and_its_bundle_names_none(file: Path, tmp_path: Path) -> None:
    words = train_wordpiece(["no effusion"] * 2, vocab_size=64, max_length=16)
    head = {"name": "coarse_image", "weights": str(file)}
    model: Any = build_model({**DUAL, "heads": {"generator": head}}, tokenizer=words)
    assert model.loaded_heads() == {"generator": sha256_of(file)}
    assert model.unchanged_heads() == {}  # it belongs to the model: every checkpoint has it
    save_bundle(tmp_path / "b", Bundle(model=model, tokenizer=words, preprocessing=[]))
    file.unlink()
    again = load_bundle(tmp_path / "b").model
    for name, tensor in model.heads["generator"].state_dict().items():
        assert torch.equal(again.heads["generator"].state_dict()[name], tensor)


def test_files_that_do_not_fit_are_refused(file: Path, tmp_path: Path) -> None:
    plan = Plan.of(keys("image/raw"))

    def mount(path: Path) -> None:
        dual(DUAL).mount({"generator": HeadSpec("coarse_image", weights=str(path))}, plan)

    with pytest.raises(
        UserError, match=r"head generator.weights '.*none' cannot be read \(FileNotFoundError\): give a"
    ):
        mount(tmp_path / "none")
    pickled = tmp_path / "weights.pth"
    torch.save(load_file(file), pickled)
    with pytest.raises(UserError, match=r"weights.pth' cannot be read \(SafetensorError\): give a safetensors file"):
        mount(pickled)
    save_file({"pixels.weight": torch.ones(64, 9), "pixels.bias": torch.ones(64)}, file)
    with pytest.raises(UserError, match=r"in 1 tensors: 'pixels.weight' is \(64, 9\) in the file and \(64, 8\) in the"):
        mount(file)
    save_file({"pixels.weight": torch.ones(64, 8)}, file)
    with pytest.raises(UserError, match=r"'pixels.bias' is no such tensor in the file and \(64,\) in the head: set"):
        mount(file)
    model: Any = dual({**DUAL, "heads": {"generator": {"name": "coarse_image"}}})
    with pytest.raises(ConfigError, match=r"head generator: it is mounted already, without the weights"):
        model.mount({"generator": HeadSpec("coarse_image", weights=str(file))}, plan)
