"""Stages of CLIP-MoE in a run: batches within the clusters of the phase's feature pass, and resumed bit for bit."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from medvlp.config.recipe import full_tree, recipe_of
from medvlp.config.tree import check_config
from medvlp.core.errors import ConfigError, UserError
from medvlp.runs.train import Built, dry_run
from medvlp.training.checkpoints import latest
from medvlp.training.trainer import Trainer
from tests.tiny import tiny_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary

UPCYCLE = {"name": "upcycle", "kind": "text"}
EXPERTS = "model.towers.text.*.mlp.experts"


@pytest.fixture
def tree(tiny_cohort: CohortSummary, tmp_path: Path) -> dict[str, Any]:
    tree = tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache")
    clip = {"name": "clip"}
    tree["states"] = {"mcl": {"name": "mcl", "clusters": 2}}
    tree["phases"] = [
        {"until": 8, "objectives": [clip]},
        {
            "until": 40,
            "objectives": [clip],
            "surgery": [{**UPCYCLE, "experts": 2, "top": None}],
            "trainable": [f"{EXPERTS}.1.*"],
            "refresh": [{"state": "mcl", "every": 16}],
            "sampler": {"name": "within", "state": "mcl"},
        },
        {
            "until": 48,
            "objectives": [clip, {"name": "router_balance", "weight": 0.01}],
            "surgery": [{**UPCYCLE, "experts": 2}],
            "trainable": ["model.towers.text.*.mlp.router.*"],
        },
    ]
    tree["training"] |= {"validate_every": 1000, "checkpoint_every": 8}
    return tree


@pytest.mark.slow
def test_batches_lie_within_the_clusters_of_their_pass_and_a_killed_run_ends_with_the_same_bytes(
    tree: dict[str, Any], tmp_path: Path
) -> None:
    ends = {}
    for name, stops in (("whole", ()), ("killed", (16, 24, 32))):
        config = check_config({**tree, "run": str(tmp_path / name)}, source="test")
        for stop in (*stops, None):
            trainer = Trainer(Built(config).setup)
            if stop is None:
                trainer.fit()
            else:
                with pytest.raises(UserError, match="interrupted"):
                    trainer.fit(stop_at=stop)
        folder = latest(tmp_path / name)
        assert folder is not None
        ends[name] = {file.name: file.read_bytes() for file in sorted(folder.glob("*.safetensors"))}
    assert len(ends["whole"]) == 3
    assert ends["whole"] == ends["killed"]


def test_a_batch_of_the_stage_has_one_label(tree: dict[str, Any]) -> None:
    setup = Built(check_config(tree, source="test")).setup
    trainer = Trainer(setup)
    trainer.rehearsal(1)
    state: Any = setup.states["mcl"]
    for batch in itertools.islice(setup.phases[1].batches(8), 6):
        assert len(set(state.labels_of(batch.ids).tolist())) == 1
    labels = {
        label for b in itertools.islice(setup.phases[1].batches(8), 12) for label in state.labels_of(b.ids).tolist()
    }
    assert len(labels) > 1
    mixed = [set(state.labels_of(b.ids).tolist()) for b in itertools.islice(setup.phases[2].batches(40), 4)]
    assert max(map(len, mixed)) > 1


def test_the_sampler_of_the_data_waits_for_the_pass_of_its_state_as_that_of_a_phase_does(tree: dict[str, Any]) -> None:
    tree["data"]["sampler"] = tree["phases"][1].pop("sampler")
    tree["phases"] = [{**tree["phases"][1], "until": 16, "surgery": [], "trainable": ["*"]}]
    setup = Built(check_config(tree, source="test")).setup
    assert setup.phases[0].follows == "mcl"
    assert Trainer(setup).fit().samples_seen == 16


def test_what_only_trains_is_the_newest_expert_then_the_router(tree: dict[str, Any]) -> None:
    setup = Built(check_config(tree, source="test")).setup
    trainer = Trainer(setup)
    found = []
    for index in (1, 2):
        _, step = trainer.rehearsal(index)
        before = {name: tensor.clone() for name, tensor in trainer.root.named_parameters()}
        step(next(iter(setup.phases[index].batches(trainer.samples_seen))))
        found.append(
            {n.partition(".mlp.")[2] for n, p in trainer.root.named_parameters() if not torch.equal(p, before[n])}
        )
    assert found[0] == {f"experts.1.{i}.{part}" for i in (0, 2) for part in ("weight", "bias")}
    assert found[1] == {"router.weight"}


def test_a_run_without_samplers_of_its_phases_keeps_its_recipe(tree: dict[str, Any]) -> None:
    config = check_config({**tree, "phases": tree["phases"][:1]}, source="test")
    named = check_config({**tree, "phases": [{**tree["phases"][0], "sampler": "uniform"}]}, source="test")
    assert full_tree(config)["phases"][0]["sampler"] is None  # type: ignore[index]
    assert recipe_of(config) != recipe_of(named)


def test_what_cannot_be_is_refused_before_the_first_batch(tree: dict[str, Any]) -> None:
    tree["phases"][1]["sampler"] = {"name": "within", "stat": "mcl"}
    with pytest.raises(ConfigError, match=r"phases\[1\]\.sampler\.stat is not a known key: did you mean 'state'"):
        dry_run(check_config(tree, source="test"))
    tree["phases"][1]["sampler"] = {"name": "within", "column": "sex"}
    tree["phases"][1]["objectives"].append({"name": "router_balance"})
    with pytest.raises(ConfigError, match=r"text/rout\w+' cannot be computed"):  # a stage has no router yet
        dry_run(check_config(tree, source="test"))
