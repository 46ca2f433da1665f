"""Prompts learned on a released model: what a run leaves, how it goes on, and how it is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from medvlp.config.tree import check_config
from medvlp.core.errors import UserError
from medvlp.runs.train import dry_run, train
from medvlp.training.checkpoints import latest
from tests.models.words import VIT
from tests.tiny import tiny_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained
    from tests.cli.conftest import Ran

    Cli = Callable[..., Ran]

LABELS = ["effusion", "cardiomegaly"]


def tree_of(run: Path, cohort: CohortSummary, base: Path, patch: str) -> dict[str, Any]:
    """Learned prompts for two findings on a released model, which stands still."""
    tree = tiny_tree(run, cohort.root, run.parent / "cache")
    tree["init_from"] = str(base)
    for name, words in (("present", ("effusion.", "large heart.")), ("absent", ("no effusion.", "normal heart."))):
        path = run.parent / f"{name}.txt"
        path.write_text("\n".join(words))
        tree.setdefault("banks", {})[name] = {"file": str(path)}
    head = {"name": "text_classifier", "bank": "present", "against": "absent"}
    tree["phases"] = [
        {
            "until": 48,
            "trainable": ["model.patches.*"],
            "patches": [{"name": patch, "view": f"bank.{name}", "tokens": 2} for name in ("present", "absent")],
            "objectives": [{"name": "classify", "labels": LABELS, "head": head}],
        }
    ]
    return tree


@pytest.mark.parametrize("patch", ["coop", "cocoop"])
@pytest.mark.slow
def test_prompts_are_learned_resumed_released_alone_and_asked(
    cli: Cli, tiny_cohort: CohortSummary, tiny_run: Trained, tmp_path: Path, patch: str
) -> None:
    run = tmp_path / "run"
    done = train(check_config(tree_of(run, tiny_cohort, tiny_run.bundle, patch), source="test"))
    cut = tree_of(tmp_path / "cut", tiny_cohort, tiny_run.bundle, patch)
    with pytest.raises(UserError, match="interrupted"):
        train(check_config(cut, source="test"), stop_at=24)
    train(check_config(cut, source="test"))
    for name in ("weights", "optimiser"):
        own, whole = (load_file(latest(tmp_path / folder) / f"{name}.safetensors") for folder in ("cut", "run"))
        assert own.keys() == whole.keys()
        assert all(torch.equal(own[key], whole[key]) for key in own)
    # The towers are the first bundle's, bit for bit; the rest is a file of kilobytes.
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_run.bundle, done.bundle))
    added = load_file(run / "patches" / "model.safetensors")
    assert added
    assert {name.partition(".")[0] for name in added} == {"patches"}
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items() if name not in added)
    assert (run / "patches" / "model.safetensors").stat().st_size < 8192
    film = next((tiny_cohort.root / "dicom").rglob("*.dcm"))
    whole = json.loads(cli("predict", done.bundle, film, "--json").out)
    both = json.loads(cli("predict", tiny_run.bundle, film, "--patches", run / "patches", "--json").out)
    assert set(whole["results"][0]["scores"]) == set(LABELS)
    assert both["results"] == whole["results"]
    assert "The patches in" in cli("predict", done.bundle, film, "--patches", run / "patches").refused()


def test_a_run_that_trains_the_towers_leaves_no_patches(
    tiny_cohort: CohortSummary, tiny_run: Trained, tmp_path: Path
) -> None:
    tree = tree_of(tmp_path / "run", tiny_cohort, tiny_run.bundle, "coop")
    tree["phases"][0] |= {"trainable": ["*"], "until": 8}
    train(check_config(tree, source="test"))
    assert (tmp_path / "run" / "bundle").is_dir()
    assert not (tmp_path / "run" / "patches").exists()


def test_gopro_is_a_recipe_of_crops_prompts_and_two_objectives(
    tiny_cohort: CohortSummary, tiny_run: Trained, tmp_path: Path
) -> None:
    tree = tree_of(tmp_path / "run", tiny_cohort, tiny_run.bundle, "gopro")
    del tree["init_from"]
    tree["model"] = {**tree["model"], "vision": {**VIT, "image_size": 32, "channels": 1}}
    crops = {"name": "crops", "number": 1, "size": 32}
    tree["data"]["suffix"] = [
        {**crops, "scale": [0.3, 1.0], "to": "image.strong"},
        {"name": "intensity", "field": "image.strong", "gamma": 0.5},
        {**crops, "scale": [0.8, 1.0], "to": "image.mixed"},
        {"name": "intensity", "field": "image.mixed", "noise": 0.05},
    ]
    phase = tree["phases"][0]
    phase["objectives"].append({"name": "gopro", "simclr": 0.1})
    phase["trainable"] += ["model.heads.image/gopro.*"]
    told = dry_run(check_config(tree, source="test"))
    for term in ("classify/binary", "gopro/consistency", "gopro/simclr"):
        assert term in told
    assert "image.mixed: findings_texts" in told
