"""Bundles of schema 1, as they were released before answers had entries of their own, say what they said then.

``schema_1/*.yaml`` were written by the code of that time; the numbers are what it said of the same weights and picture.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from medvlp.answers.asking.files import predict_files
from medvlp.answers.asking.model import load, prompt_sets
from medvlp.core.errors import UserError
from medvlp.models.bank import Bank, encoded_bank
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, load_bundle, save_bundle
from medvlp.text.wordpiece import train_wordpiece
from tests.models.test_bundle import sign

OLD = Path(__file__).parent / "schema_1"
TEXTS = ["effusion", "no effusion", "nodule", "no nodule", "fluid"]
CLIP = [-0.087379, -0.085603]  # cosines with "effusion" and "nodule"
PAIRS = [[0.996567, 0.998361, 0.999513], [0.99878, 0.99768, 0.999148]]


def waves(model: Any) -> Any:
    """Weights that no generator of random numbers makes: a sine in each tensor."""
    with torch.no_grad():
        for number, (name, tensor) in enumerate(sorted(model.state_dict().items())):
            if "said_" in name:
                tensor.fill_(3)
            elif ".book_" not in name and "logit_scale" not in name and tensor.is_floating_point():
                steps = torch.arange(tensor.numel(), dtype=torch.float64) * (1.0 + 0.1 * (number % 7))
                tensor.copy_((0.5 * torch.sin(steps)).reshape(tensor.shape))
                if name.endswith("weight") and tensor.ndim == 1:
                    tensor.add_(1.0)
    return model


def released(folder: Path, name: str) -> Path:
    """Write weights, words and bank vectors, and beside them the old ``bundle.yaml``."""
    described = yaml.safe_load((OLD / f"{name}.yaml").read_text())
    words = train_wordpiece(TEXTS * 3, vocab_size=128, max_length=16) if "text" in described["model"] else None
    banks = {
        key: encoded_bank(
            Bank(key, tuple(bank["texts"]), names=tuple(bank["names"])), {"name": "hashed_words", "width": 8}, where="t"
        )
        for key, bank in described["banks"].items()
    }
    model = waves(build_model(described["model"], tokenizer=words, banks=banks))
    save_bundle(folder, Bundle(model, words, described["preprocessing"], card="# Card\n"))
    (folder / "bundle.yaml").write_bytes((OLD / f"{name}.yaml").read_bytes())
    sign(folder)
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = (np.add.outer(np.arange(20) * 5, np.arange(40) * 3) % 256).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    return tmp_path / "p.png"


def test_a_model_of_prompts_gives_its_scores_probabilities_and_categories(picture: Path, tmp_path: Path) -> None:
    model = load(released(tmp_path / "b", "clip"))
    assert list(model.answers) == ["zero_shot", "retrieval"]
    assert model.bundle.labels == ("effusion", "nodule")
    first, second = prompt_sets(model.answers)
    assert (first.positive, first.negative, first.sided) == (
        ("effusion", "fluid"),
        ("no effusion",),
        ("{side} effusion",),
    )
    assert (second.label, second.positive) == ("nodule", ("nodule",))
    (result,) = predict_files(model, [picture])["results"]
    assert result["raw_scores"] == pytest.approx({"effusion": 0.504175, "nodule": 0.50949}, abs=2e-6)
    assert result["scores"] == pytest.approx({"effusion": 0.10561, "nodule": 0.50949}, abs=2e-6)
    assert (result["uncalibrated"], result["category"]) == (["nodule"], {"effusion": "indeterminate"})
    np.testing.assert_allclose(model.score(picture, ["effusion", "nodule"]), [CLIP], atol=2e-6)


def test_a_dual_stream_model_gives_its_findings_and_pairs(picture: Path, tmp_path: Path) -> None:
    model = load(released(tmp_path / "b", "medslip"))
    assert list(model.answers) == ["existence", "pairs"]
    assert model.bundle.labels == ("effusion", "nodule")
    found = predict_files(model, [picture])
    assert found["recipe"] == "existence"
    (result,) = found["results"]
    raw = {"no_finding": 0.178353, "effusion": 0.282601, "nodule": 0.312881}
    assert result["raw_scores"] == pytest.approx(raw, abs=2e-6)
    assert result["scores"] == pytest.approx({**raw, "effusion": 0.003283}, abs=2e-6)
    assert (result["uncalibrated"], result["category"]) == (["nodule", "no_finding"], {"effusion": "absent"})
    assert result["pairs"] == []
    pairs = model.ask("pairs", picture).pairs
    assert pairs is not None
    assert (pairs.places, pairs.findings) == (
        ("left_costophrenic", "right_apical_lung"),
        ("normal", "effusion", "nodule"),
    )
    np.testing.assert_allclose(pairs.values[0], PAIRS, atol=2e-6)


@pytest.mark.parametrize("name", ["clip", "medslip"])
def test_written_again_it_is_a_bundle_of_today_that_says_the_same(name: str, picture: Path, tmp_path: Path) -> None:
    old = released(tmp_path / "old", name)
    save_bundle(tmp_path / "new", load_bundle(old))
    assert yaml.safe_load((tmp_path / "new" / "bundle.yaml").read_text())["schema"] == "medvlp.bundle/2"
    told = [predict_files(load(folder), [picture]) for folder in (old, tmp_path / "new")]
    assert told[0] == told[1]
    assert load_bundle(tmp_path / "new").answers == load_bundle(old).answers


def test_a_bundle_of_a_later_schema_is_refused(tmp_path: Path) -> None:
    folder = released(tmp_path / "b", "clip")
    described = yaml.safe_load((folder / "bundle.yaml").read_text())
    (folder / "bundle.yaml").write_text(yaml.safe_dump({**described, "schema": "medvlp.bundle/3"}))
    sign(folder)
    with pytest.raises(UserError, match=r"has the schema 'medvlp\.bundle/3', this version reads .*: update medvlp"):
        load_bundle(folder)
