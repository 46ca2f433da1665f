"""What all adapters share: folds pooled, findings that choose for themselves, missing labels, a head in a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medvlp.adaptation._adapter import Adapter
from medvlp.adaptation._release import adapted_bundle, scaled
from medvlp.adaptation.ensemble import Ensemble
from medvlp.adaptation.gda import Gda
from medvlp.adaptation.linear import Linear
from medvlp.adaptation.residual import Residual
from medvlp.adaptation.tip import Tip
from medvlp.adaptation.tip_tuned import TipTuned
from medvlp.answers.asking.model import VisionLanguageModel
from medvlp.core.answers import ProbeTable
from medvlp.core.errors import ConfigError, DataError, UserError
from medvlp.core.registry import available, build
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer, load_bundle, save_bundle
from tests.adaptation.worlds import gaussians
from tests.models.words import DUAL, VISION, dual

TABLE = gaussians(3, rows=60)
FOLDS = np.arange(60) % 3
QUICK: list[Adapter] = [
    Linear(strengths=(0.01, 1.0)),
    Gda(),
    Tip(),
    TipTuned(sharpness=(3.0,), weights=(0.3,), epochs=(0, 3)),
    Residual(ratios=(0.3,), epochs=(0, 3), hidden=4),
]


def part(rows: np.ndarray) -> ProbeTable:
    patients = [who for who, taken in zip(TABLE.patients, rows, strict=True) if taken]
    return ProbeTable(TABLE.features[rows], {n: v[rows] for n, v in TABLE.labels.items()}, patients)


def test_each_fold_is_scored_by_what_was_fitted_on_the_others_and_the_pool_chooses() -> None:
    strengths = (0.001, 0.1, 10.0)
    found = Linear(strengths=strengths).fit_folds(TABLE, FOLDS, {})
    for name, truth in TABLE.labels.items():
        pooled = []
        for strength in strengths:
            scores = np.zeros(60)
            for fold in range(3):
                own = Linear(strengths=(strength,), refit=False).fit(part(fold != FOLDS), part(fold == FOLDS), {})
                scores[fold == FOLDS] = own.log_odds(part(fold == FOLDS).features)[:, own.labels.index(name)]
            within = [(a, b) for a in np.flatnonzero(truth == 1) for b in np.flatnonzero(truth == 0)]
            won = [np.sign(scores[a] - scores[b]) / 2 + 0.5 for a, b in within if FOLDS[a] == FOLDS[b]]
            pooled.append((np.mean(won), scores))
        best = int(np.argmax([value for value, _ in pooled]))
        assert found.answer.chosen[name] == best
        assert found.answer.validation_auroc[name] == pytest.approx(pooled[best][0])
        assert found.scores[name] == pytest.approx(pooled[best][1], abs=1e-5)


@pytest.mark.parametrize("adapter", QUICK, ids=lambda each: type(each).__name__)
def test_what_is_not_known_takes_no_part(adapter: Adapter) -> None:
    labels = {name: np.where(values == -1, np.nan, values) for name, values in TABLE.labels.items()}
    first = adapter.fit_folds(TABLE, FOLDS, {}).answer.log_odds(TABLE.features)
    second = adapter.fit_folds(replace(TABLE, labels=labels), FOLDS, {}).answer.log_odds(TABLE.features)
    assert np.array_equal(first, second)
    assert np.isfinite(first).all()


@pytest.mark.parametrize("adapter", QUICK, ids=lambda each: type(each).__name__)
def test_two_far_classes_are_told_apart(adapter: Adapter) -> None:
    far = gaussians(4, rows=60, apart=12.0)
    assert min(adapter.fit_folds(far, FOLDS, {}).answer.validation_auroc.values()) > 0.95


def test_the_ensemble_holds_the_probe_and_words_that_say_more_are_used() -> None:
    words = {name: np.eye(12)[k] - 0.0 for k, name in enumerate(TABLE.labels)}
    alone = Ensemble(weights=(0.0,)).fit_folds(TABLE, FOLDS, words)
    plain = Linear().fit_folds(TABLE, FOLDS, {})
    assert alone.answer.log_odds(TABLE.features) == pytest.approx(plain.answer.log_odds(TABLE.features), abs=1e-8)
    both = Ensemble().fit_folds(TABLE, FOLDS, words)
    assert all(both.answer.validation_auroc[n] >= plain.answer.validation_auroc[n] for n in words)
    with pytest.raises(DataError, match="starts from words, and not every finding has a text vector"):
        Ensemble().fit_folds(TABLE, FOLDS, {})
    with pytest.raises(ConfigError, match=r"probe\.weights\[0\] is -1.0: input should be greater than or equal to 0"):
        build("adaptation", {"name": "ensemble", "weights": [-1.0]}, where="probe")


def test_a_patient_in_two_folds_is_refused() -> None:
    with pytest.raises(DataError, match="A patient is in two folds: draw folds of patients"):
        Linear().fit_folds(replace(TABLE, patients=["one"] * 60), FOLDS, {})


def test_all_rows_of_a_patient_may_be_in_one_fold() -> None:
    folds, patients = np.arange(60) // 2 % 3, [str(row // 2) for row in range(60)]
    found, apart = (Linear().fit_folds(each, folds, {}) for each in (replace(TABLE, patients=patients), TABLE))
    assert all(np.array_equal(found.scores[name], apart.scores[name]) for name in TABLE.labels)


@pytest.mark.parametrize(
    "adapter",
    [Linear(strengths=(1e-4, 1e-2, 10.0)), TipTuned(sharpness=(3.0,), weights=(3.0, 30.0, 0.1), epochs=(0,))],
    ids=["apart", "together"],
)
def test_a_finding_that_nobody_in_validation_has_leaves_the_choice_to_the_other(adapter: Adapter) -> None:
    """Where findings choose for themselves it takes the middle of the grid."""
    validation = gaussians(5, rows=60)
    only = adapter.fit(*(replace(each, labels={"edema": each.labels["edema"]}) for each in (TABLE, validation)), {})
    none = {**validation.labels, "effusion": np.zeros(60)}
    found = adapter.fit(TABLE, replace(validation, labels=none), {})
    assert only.chosen["edema"] != 1
    assert found.chosen == {"edema": only.chosen["edema"], "effusion": 1 if adapter.apart else only.chosen["edema"]}
    assert np.isnan(found.validation_auroc["effusion"])


TOWER = {"name": "timm", "architecture": "resnet10t", "image_size": 32, "channels": 1}
READ = [{"name": "read", "size": 32, "preset": "dicom_voi_v1"}]
NORMED = {"name": "projection", "hidden": 16, "norm": "batch", "stage": "batch"}
PLAIN = {"name": "vision", "vision": TOWER}
BEHIND = {**PLAIN, "projection": NORMED}


@pytest.mark.parametrize(
    "spec", [pytest.param(PLAIN, marks=pytest.mark.slow), BEHIND], ids=["within the tower", "behind a batch norm"]
)
@pytest.mark.parametrize("adapter", QUICK, ids=lambda each: type(each).__name__)
def test_a_bundle_scores_as_the_adapter_does_and_its_order_is_kept(
    adapter: Adapter, spec: dict[str, object], tmp_path: Path
) -> None:
    model = build_model(spec, tokenizer=None)
    base = Bundle(model=model.eval(), tokenizer=None, preprocessing=READ)
    pictures = list(np.random.default_rng(0).random((60, 32, 32), dtype=np.float32))
    features = VisionLanguageModel(base).embed_image(pictures).astype(float)
    table = replace(TABLE, features=features)
    folded = adapter.fit_folds(table, FOLDS, {})
    tensors = scaled(folded, table.labels)
    made = adapted_bundle(base, folded.answer, tensors, features="image/embedding", facts={"adapter": "x"})
    save_bundle(tmp_path / "bundle", made)
    assert "image/adapted" not in model.heads
    said = VisionLanguageModel(load_bundle(tmp_path / "bundle")).ask("adapted", pictures).scores
    assert said is not None
    for k, name in enumerate(folded.answer.labels):
        plain = folded.answer.log_odds(features)[:, k]
        odds = np.log(said[name] / (1 - said[name]))
        slope, shift = np.polyfit(plain, odds, 1)
        assert slope > 0
        assert odds == pytest.approx(slope * plain + shift, abs=2e-3 * max(1.0, np.ptp(odds)))


def test_a_bundle_that_was_adapted_is_adapted_again(tmp_path: Path) -> None:
    model = build_model(PLAIN, tokenizer=None)
    base = Bundle(model=model.eval(), tokenizer=None, preprocessing=READ)
    pictures = list(np.random.default_rng(0).random((60, 32, 32), dtype=np.float32))
    table = replace(TABLE, features=VisionLanguageModel(base).embed_image(pictures).astype(float))

    def adapted(bundle: Bundle, adapter: Adapter, folder: Path) -> VisionLanguageModel:
        folded = adapter.fit_folds(table, FOLDS, {})
        tensors = scaled(folded, table.labels)
        save_bundle(folder, adapted_bundle(bundle, folded.answer, tensors, features="image/embedding", facts={}))
        return VisionLanguageModel(load_bundle(folder))

    first = adapted(base, Linear(), tmp_path / "first")
    second, alone = (
        adapted(bundle, Tip(), tmp_path / name).ask("adapted", pictures).scores
        for bundle, name in ((first.bundle, "second"), (base, "alone"))
    )
    assert second is not None
    assert alone is not None
    assert all(np.array_equal(second[name], alone[name]) for name in alone)
    assert type(first.bundle.model.heads["image/adapted"]).__name__ == "LinearHead"


def test_a_model_of_films_and_volumes_that_was_adapted_to_films_answers_of_volumes_as_before() -> None:
    model = dual({**DUAL, "stack": {"name": "slices", "slice": VISION}}).eval()
    prompts = [{"name": "p", "label": "edema", "positive": ["edema"], "negative": ["no edema"]}]
    older = StoredAnswer("zero_shot", "zero_shot", {"prompts": prompts}, ["edema"], {"name": "dot"})
    base = Bundle(model=model, tokenizer=None, preprocessing=READ, answers=(older,))
    table = replace(TABLE, features=TABLE.features[:, : model.embed_dim])
    folded = Linear().fit_folds(table, FOLDS, {})
    made = adapted_bundle(base, folded.answer, scaled(folded, table.labels), features="image/embedding", facts={})
    asked = VisionLanguageModel(made)
    assert list(asked.of_kind("image").answers) == ["adapted", "zero_shot"]
    volumes = asked.of_kind("stack")
    assert list(volumes.answers) == ["zero_shot"]
    with pytest.raises(UserError, match=r"This bundle cannot be asked 'adapted': .*zero_shot"):
        volumes.ask("adapted", "volume.nii.gz")


def test_scaled_scores_of_the_folds_are_log_odds() -> None:
    far = gaussians(6, rows=400, apart=3.0, missing=False)
    folded = Gda().fit_folds(far, np.arange(400) % 5, {})
    made, plain = scaled(folded, far.labels), folded.answer.tensors
    for k, name in enumerate(folded.answer.labels):
        slope = made["output.weight"][k, 0] / plain["output.weight"][k, 0]
        shift = made["output.bias"][k] - slope * plain["output.bias"][k]
        chance = 1 / (1 + np.exp(-(slope * folded.scores[name] + shift)))
        high = chance > 0.5
        assert far.labels[name][high].mean() == pytest.approx(chance[high].mean(), abs=0.05)


def test_what_is_listed_as_a_probe_is_one() -> None:
    for name in available("adaptation"):
        assert hasattr(build("adaptation", {"name": name}, where="here"), "fit")
