"""A recipe with surgery: refused when built or done at its boundary, released with it, and started from again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from medvlp.config.recipe import recipe_of, resumed
from medvlp.config.tree import check_config
from medvlp.core.errors import ConfigError
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, load_model, save_bundle
from medvlp.models.surgery import operate
from medvlp.runs.build import build_parts
from medvlp.runs.start import start_from
from medvlp.runs.train import Built, dry_run, train
from medvlp.text.wordpiece import train_wordpiece
from medvlp.training.checkpoints import latest, load_checkpoint
from medvlp.training.trainer import Trainer
from tests.messages import messages
from tests.tiny import tiny_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary

POSITION = "towers.text.position"
STRETCH = {"name": "stretch_positions", "keep": 20, "ratio": 2}
LENGTH = 20 + 2 * 28


@pytest.fixture
def tree(tiny_cohort: CohortSummary, tmp_path: Path) -> dict[str, Any]:
    tree = tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache")
    frozen = ["*", f"!model.{POSITION}[:20]"]
    clip = [{"name": "clip"}]
    tree["phases"] = [
        {"until": 16, "objectives": clip},
        {"until": 32, "objectives": clip, "surgery": [STRETCH], "trainable": frozen},
    ]
    tree["training"]["validate_every"] = 16
    return tree


@pytest.mark.slow
def test_a_run_is_released_at_the_shape_of_its_best_checkpoint(tree: dict[str, Any]) -> None:
    config = check_config(tree, source="test")
    done = train(config)
    assert recipe_of(resumed(done.run)) == recipe_of(config)
    for name, length in (("step-00000002", 48), ("step-00000004", LENGTH)):
        built = Built(config)
        trainer = Trainer(built.setup)
        trainer.resume()  # as the run has ended: behind the surgery
        folder = done.run / "checkpoints" / name
        with messages() as told:
            built.release(dataclasses.replace(done.outcome, best=folder), trainer)
        assert any("best checkpoint is of phases[0]: no later" in each for each in told) == (length == 48)
        model, checkpoint = load_model(done.bundle), load_checkpoint(folder)
        assert model.get_parameter(POSITION).shape[0] == length
        assert bool(model.spec.get("surgery")) == (length == LENGTH)
        # The average is released, surgery and all.
        assert torch.equal(model.get_parameter(POSITION), checkpoint.states[f"average|model.{POSITION}"])


def test_another_run_starts_from_the_changed_model(tree: dict[str, Any], tmp_path: Path) -> None:
    tree["phases"] = [{**tree["phases"][1], "until": 8}]  # in the first phase already
    first = train(check_config(tree, source="test"))
    bundle = load_model(first.bundle)
    assert bundle.get_parameter(POSITION).shape[0] == LENGTH
    tree |= {"run": str(tmp_path / "second"), "init_from": str(first.bundle)}
    tree["phases"] = [{"until": 8, "objectives": [{"name": "clip"}]}]
    second = train(check_config(tree, source="test"))
    start = load_checkpoint(second.run / "checkpoints" / "step-00000000").weights[f"model.{POSITION}"]
    assert torch.equal(start, bundle.get_parameter(POSITION))
    assert load_model(second.bundle).spec["surgery"] == bundle.spec["surgery"] == [STRETCH]
    assert load_checkpoint(latest(second.run)).weights[f"model.{POSITION}"].shape[0] == LENGTH


def test_heads_and_needs_are_of_the_model_as_the_surgery_of_its_bundle_left_it(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    words = train_wordpiece(["left effusion", "clear lungs"] * 2, vocab_size=64, max_length=16)
    start = build_model(tree["model"], tokenizer=words)
    operate(start, [{"name": "upcycle", "kind": "text", "experts": 2}, {"name": "keep_prefix", "width": 4}])
    save_bundle(tmp_path / "start", Bundle(start, words, preprocessing=[]))
    tree["init_from"] = str(tmp_path / "start")
    denoise = {"name": "denoise", "denoiser": {"size": 8, "channels": [8, 8]}}
    tree["phases"] = [{"until": 8, "objectives": [{"name": "clip"}, {"name": "router_balance"}, denoise]}]
    model: Any = build_parts(check_config(tree, source="test"), words, ("image", "text")).model
    assert model.heads["denoiser"].context.in_features == 4
    start_from(model, tmp_path / "start")
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("heads.denoiser.")}
    assert own.keys() == start.state_dict().keys()
    assert all(torch.equal(tensor, own[name]) for name, tensor in start.state_dict().items())


@pytest.mark.slow
def test_a_teacher_that_would_copy_a_changed_student_is_refused_before_the_first_batch(tree: dict[str, Any]) -> None:
    """Surgery stays and patches go with their phase; at a phase's end the student is as it is in that phase."""
    surgery, lora = {"surgery": [STRETCH]}, {"patches": [{"name": "lora", "kind": "text"}]}
    noise = {"patches": [{"name": "noise", "kind": "text"}]}  # has no tensors
    for changes, begin, refused in (
        ([{}, surgery, {}], 16, None),
        ([{}, surgery, {}], 24, 1),
        ([{}, surgery, {}], 40, 2),
        ([lora, {}, {}], 16, 0),
        ([lora, {}, {}], 24, None),
        ([noise, {}, {}], 16, None),
    ):
        tree["phases"] = [
            {"until": 16 * (i + 1), "objectives": [{"name": "clip"}], **change} for i, change in enumerate(changes)
        ]
        tree["states"] = {"before": {"name": "frozen", "begin": begin}}
        config = check_config(tree, source="test")
        if refused is None:
            Built(config)
        else:
            with pytest.raises(ConfigError, match=rf"states\.before\.begin is {begin}, in phases\[{refused}\], where"):
                Built(config)


def test_what_cannot_be_done_is_refused_before_the_first_batch(tree: dict[str, Any]) -> None:
    tree["phases"][1]["surgery"] = [{**STRETCH, "keep": 47}]
    with pytest.raises(ConfigError, match=r"phases\[1\]\.surgery\[0\]: stretch_positions keeps 47 positions and the"):
        dry_run(check_config(tree, source="test"))
    tree["phases"][1]["surgery"] = [{**STRETCH, "kep": 2}]
    with pytest.raises(ConfigError, match=r"phases\[1\]\.surgery\[0\]\.kep is not a known key: did you mean 'keep'"):
        dry_run(check_config(tree, source="test"))
