"""Recipes with states that a feature pass fills: what is refused before any batch, and what a pass may read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from medvlp.config.recipe import recipe_of, resumed
from medvlp.config.tree import check_config
from medvlp.core.errors import ConfigError, DataError
from medvlp.runs.train import dry_run, train
from medvlp.training.checkpoints import latest, load_checkpoint
from tests.tiny import tiny_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary

PROTOCLIP = {"name": "protoclip", "hidden": 16, "width": 8}


@pytest.fixture
def tree(tiny_cohort: CohortSummary, tmp_path: Path) -> dict[str, Any]:
    tree = tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache")
    tree["states"] = {"clusters": {"name": "clusters", "clusters": 3}}
    return tree


def phases(*objectives: Mapping[str, Any], refresh: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"until": 16, "objectives": [{"name": "clip"}, *objectives], "refresh": refresh}]


@pytest.mark.parametrize("over", ["cohort", pytest.param("episode", marks=pytest.mark.slow)])
def test_a_phase_fills_its_clusters_and_a_dry_run_does_too(tree: dict[str, Any], over: str) -> None:
    tree["phases"] = phases(PROTOCLIP, refresh=[{"state": "clusters", "every": 8, "over": over}])
    config = check_config(tree, source="test")
    assert "protoclip/image" in dry_run(config)
    train(config)
    states = load_checkpoint(latest(Path(tree["run"]))).states
    assert int(states["clusters|passes"]) == 2
    cohort = len(states["clusters|labels|image"])
    assert cohort == 8 if over == "episode" else cohort > 8


def test_an_episode_of_patients_has_one_study_of_each(tree: dict[str, Any]) -> None:
    tree["data"] |= {"one_of": "id.patient"}
    tree["phases"] = phases(PROTOCLIP, refresh=[{"state": "clusters", "every": 16, "over": "episode"}])
    done = train(check_config(tree, source="test"))
    states = load_checkpoint(latest(Path(tree["run"]))).states
    told = json.loads(bytes(states["clusters|ids"].tolist()))
    training = done.manifest.split_of("train")
    patient = dict(zip(training.column("id"), training.column("id.patient"), strict=True))
    count = len(set(patient.values()))
    assert count < len(patient)
    assert len({patient[each] for each in told[:count]}) == len(told[:count])
    tree["data"] |= {"one_of": "id.patiant"}
    with pytest.raises(DataError, match=r"no column 'id.patiant'.*did you mean 'id.patient'"):
        dry_run(check_config(tree, source="test"))


def test_labels_may_teach_from_outside(tree: dict[str, Any]) -> None:
    tree["states"]["clusters"]["external"] = {"fields": ["label.effusion", "label.nodule"]}
    tree["phases"] = phases({**PROTOCLIP, "external": True}, refresh=[{"state": "clusters", "every": 99}])
    config = check_config(tree, source="test")
    assert "protoclip/external_image" in dry_run(config)
    train(config)
    assert recipe_of(resumed(Path(tree["run"]))) == recipe_of(config)


def test_a_recipe_that_never_fills_them_is_refused(tree: dict[str, Any]) -> None:
    tree["phases"] = phases(PROTOCLIP, refresh=[])
    with pytest.raises(
        ConfigError,
        match=r"phases\[0\]: objective 'protoclip' needs the state 'clusters', which nothing fills: give the phase "
        r"refresh: \[{state: clusters, every: SAMPLES}\]",
    ):
        dry_run(check_config(tree, source="test"))


def test_a_pass_that_reads_what_no_head_gives_is_refused(tree: dict[str, Any]) -> None:
    tree["phases"] = phases(refresh=[{"state": "clusters", "every": 8}])
    with pytest.raises(ConfigError, match=r"Need 'image/proto' cannot be computed"):
        dry_run(check_config(tree, source="test"))


def test_a_state_that_reads_a_field_which_the_data_lack_is_refused(tree: dict[str, Any]) -> None:
    tree["states"] = {"findings": {"name": "class_prototypes", "labels": ["efusion"]}}
    tree["phases"] = phases({"name": "class_prototypes", "state": "findings"}, refresh=[])
    with pytest.raises(
        ConfigError,
        match=r"state 'findings' needs the field 'label.efusion', which the data lacks: did you mean 'label.effusion'",
    ):
        dry_run(check_config(tree, source="test"))


def test_a_pass_may_read_a_teacher_and_a_ramp_may_end_at_infinity(tree: dict[str, Any]) -> None:
    """Clusters and prototypes of frozen features; a teacher that comes to stand still, and its centre."""
    labels = {"labels": ["effusion"], "reads": "frozen:image/embedding"}
    ema = {
        "horizon": {"start": 100, "end": float("inf"), "until": 16, "shape": "cosine"},
        "centre": ["image/embedding"],
    }
    tree["states"] = {
        "frozen": {"name": "frozen"},
        "mean": {"name": "ema", **ema},
        "clusters": {"name": "clusters", "clusters": 3, "reads": ["frozen:image/embedding"]},
        "findings": {"name": "class_prototypes", **labels, "momentum": 1.0},
    }
    refresh = [{"state": name, "every": 99} for name in ("clusters", "findings")]
    tree["phases"] = phases({"name": "class_prototypes", "state": "findings"}, refresh=refresh)
    config = check_config(tree, source="test")
    train(config)
    states = load_checkpoint(latest(Path(tree["run"]))).states
    assert len(states["clusters|labels|image"].unique()) == 3
    founded = states["findings|prototypes"].any(dim=2)
    assert torch.equal(founded, states["findings|seen"] > 0)
    assert bool(founded.any())
    assert states["mean|centre|embedding"].ndim == 1
    assert recipe_of(resumed(Path(tree["run"]))) == recipe_of(config)
    tree["states"]["clusters"]["reads"] = ["frozen:image/proto"]
    with pytest.raises(ConfigError, match=r"Need 'image/proto' cannot be computed"):
        dry_run(check_config(tree, source="test"))
