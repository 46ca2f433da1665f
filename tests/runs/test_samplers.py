"""Samplers and views of a batch in a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from medvlp.config.recipe import recipe_of
from medvlp.config.tree import check_config
from medvlp.core.errors import ConfigError, UserError
from medvlp.runs.phases import phase_begin, phase_ends, short_of_warmup
from medvlp.runs.train import Built, dry_run, train
from tests.messages import messages
from tests.tiny import tiny_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary


@pytest.fixture
def tree(tiny_cohort: CohortSummary, tmp_path: Path) -> dict[str, Any]:
    return tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache")


def test_one_of_is_short_for_its_sampler(tree: dict[str, Any]) -> None:
    sampler = {"name": "one_of", "column": "id.patient"}
    short, long = (
        check_config({**tree, "data": {**tree["data"], **data}}, source="test")
        for data in ({"one_of": "id.patient"}, {"sampler": sampler})
    )
    assert short == long
    assert recipe_of(short) == recipe_of(long)
    by_name = check_config({**tree, "data": {**tree["data"], "sampler": "uniform"}}, source="test")
    assert recipe_of(by_name) == recipe_of(check_config(tree, source="test"))
    with pytest.raises(ConfigError, match="data has one_of and a sampler: give one of the two"):
        check_config({**tree, "data": {**tree["data"], "sampler": sampler, "one_of": "id.patient"}}, source="test")


def test_a_run_draws_by_the_values_of_a_column(tree: dict[str, Any]) -> None:
    tree["data"]["sampler"] = {"name": "balanced", "column": "sex", "weights": {"F": 1.0}}
    tree["phases"][0]["until"] = 8
    assert train(check_config(tree, source="test")).outcome.samples_seen == 8
    tree["data"]["sampler"]["weights"] = {"X": 1.0}
    with pytest.raises(ConfigError, match=r"names 'X', which no record has in 'sex': allowed are F, M"):
        dry_run(check_config(tree, source="test"))


def test_a_phase_has_views_of_its_batches(tree: dict[str, Any]) -> None:
    tree["phases"] = [{"until": 8, "objectives": [{"name": "clip"}]}]
    plain = dry_run(check_config(tree, source="test"))
    tree["phases"][0]["batch_views"] = [{"name": "mixup", "alpha": 5.0}]
    mixed = dry_run(check_config(tree, source="test"))
    assert plain.split("loss")[0] == mixed.split("loss")[0]
    assert plain != mixed
    tree["phases"][0]["batch_views"] = [{"name": "mixup", "alfa": 5.0}]
    with pytest.raises(ConfigError, match=r"phases\[0\]\.batch_views\[0\]\.alfa is not a known key: did you mean"):
        dry_run(check_config(tree, source="test"))


@pytest.mark.parametrize(
    ("sampler", "sentence"),
    [
        ({"name": "balanced", "column": "label.efusion"}, r"^phases\[1\]: .*label\.efusion"),
        (
            {"name": "within", "state": "mlc"},
            r"phases\[1\]: the sampler 'within' follows the state 'mlc': did you mean",
        ),
        ({"name": "within", "state": "mcl"}, r"follows the state 'mcl', which nothing fills: give the phase refresh"),
    ],
)
def test_a_faulty_sampler_of_a_later_phase_is_refused_before_the_first(
    tree: dict[str, Any], sampler: dict[str, Any], sentence: str
) -> None:
    tree["states"] = {"mcl": {"name": "mcl", "clusters": 2}}
    tree["phases"] = [
        {"until": 8, "objectives": [{"name": "clip"}]},
        {"until": 16, "objectives": [{"name": "clip"}], "sampler": sampler},
    ]
    for run in (train, dry_run):
        with pytest.raises(UserError, match=sentence):
            run(check_config(tree, source="test"))
    assert not (Path(tree["run"]) / "checkpoints").exists()


def test_a_phase_begins_where_the_batch_ends_in_which_the_one_before_it_does(tree: dict[str, Any]) -> None:
    clip = {"objectives": [{"name": "clip"}]}
    tree["training"]["batch"] = 8
    tree["phases"] = [{"until": 20, **clip}, {"until": 33, **clip}, {"until": 50, **clip}]
    config = check_config(tree, source="test")
    assert phase_ends(config) == [24, 40, 50]
    assert [phase_begin(config, phase) for phase in config.phases] == [0, 24, 40]
    tree["phases"][1]["until"] = 23
    with pytest.raises(
        ConfigError, match=r"phases\[1\] ends after 23 samples, within the last batch of the phase before"
    ):
        phase_ends(check_config(tree, source="test"))


def test_an_optimiser_that_is_done_before_its_warm_up_is_told_of(tree: dict[str, Any]) -> None:
    own = {"rate": 1e-3, "warmup": 17}
    tree["training"]["batch"], tree["optimiser"] = 8, {"rate": 1e-3, "warmup": 32}
    clip = {"objectives": [{"name": "clip"}]}
    tree["phases"] = [{"until": 16, **clip}, {"until": 32, "optimiser": own, **clip}]
    assert short_of_warmup(check_config(tree, source="test")) == [
        "phases[1].optimiser.warmup is 17 samples, and its training ends after 16: the learning rate only rises, to "
        "0.94 of phases[1].optimiser.rate. Set warmup lower."
    ]
    tree["optimiser"]["warmup"], own["warmup"] = 64, 16
    (sentence,) = short_of_warmup(check_config(tree, source="test"))
    assert sentence.startswith("optimiser.warmup is 64 samples, and its training ends after 32: ")
    assert "to 0.50 of optimiser.rate" in sentence
    assert sentence in dry_run(check_config(tree, source="test")).splitlines()
    with messages() as told:
        Built(check_config(tree, source="test"))
    assert sentence in told


def test_a_phase_behind_part_of_a_batch_has_whole_batches_of_its_own(tree: dict[str, Any]) -> None:
    """Each batch of `within` has one value, wherever the phase before it ended."""
    tree["training"]["batch"] = 4
    clip = {"objectives": [{"name": "clip"}]}
    tree["phases"] = [{"until": 6, **clip}, {"until": 16, **clip, "sampler": {"name": "within", "column": "sex"}}]
    built = Built(check_config(tree, source="test"))
    sex = dict(zip(built.manifest.column("id").tolist(), built.manifest.column("sex").tolist(), strict=True))
    batches = built.setup.phases[1].batches(8)
    assert all(len({sex[each] for each in next(batches).ids}) == 1 for _ in range(6))
