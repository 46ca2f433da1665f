"""Labels in prose after a bundle without words: locked towers stay what they were, and only what was said is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from medvlp.config.tree import check_config
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, load_bundle, save_bundle
from medvlp.runs.release import origin_of
from medvlp.runs.train import train
from tests.config.test_configs import tiny_bert
from tests.messages import messages
from tests.tiny import VISION, tiny_tree

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary

WHOSE = {"release": "Towers", "licence": "CC-BY-NC-4.0"}


def test_a_model_of_words_from_a_tower_a_text_encoder_and_labels(tiny_cohort: CohortSummary, tmp_path: Path) -> None:
    seen = build_model({"name": "vision", "vision": VISION}, tokenizer=None, seed=5)
    save_bundle(tmp_path / "tower", Bundle(model=seen.eval(), tokenizer=None, preprocessing=[], provenance=WHOSE))
    bert = str(tiny_bert(tmp_path / "bert"))
    tree = tiny_tree(tmp_path / "run", tiny_cohort.root, tmp_path / "cache")
    tree["init_from"] = str(tmp_path / "tower")
    tree["tokenizer"] = {"name": "transformers", "path": bert, "max_length": 48}
    tree["model"] = {**tree["model"], "text": {"name": "transformers", "path": bert}}
    tree["data"]["suffix"] = [{"name": "captions", "overwrite": True, "findings": ["effusion", "edema"]}]
    phase = {
        "until": 32,
        "objectives": [{"name": "clip", "positives": "true_of"}],
        "trainable": ["*", "!model.towers.*"],
    }
    tree["phases"] = [phase]
    tree["answers"] = {"zero_shot": {"prompts": "cxr_labels_v1"}}
    tree["training"] = {"batch": 16, "validate_every": 16, "remember": True}
    with messages() as told:
        done = train(check_config(tree, source="test"))
    released = load_bundle(done.bundle)
    for kind, expected in (("image", seen.towers["image"]), ("text", build_text(bert))):
        own = released.model.towers[kind].state_dict()
        assert own.keys() == expected.state_dict().keys()
        assert all(torch.equal(own[name], tensor) for name, tensor in expected.state_dict().items())
    whose = {"start_release": "Towers", "start_licence": "CC-BY-NC-4.0"}
    assert whose == {name: v for name, v in released.provenance.items() if name.startswith("start_")}
    assert origin_of(done.bundle) == {**whose, "start_synthetic": True}  # of whatever is trained from it, on whomever
    assert "Licence of the weights that training started from: CC-BY-NC-4.0." in released.card
    asked = next(answer for answer in released.answers if answer.name == "zero_shot")
    assert set(asked.labels) == {"effusion", "edema"}
    assert any("no training text names it" in text and "pneumonia" in text for text in told)


def build_text(path: str) -> torch.nn.Module:
    """The text tower as its folder holds it."""
    from medvlp.models.encoders.transformers import TransformersEncoder
    from medvlp.text.tokenizers import TransformersTokenizer

    return TransformersEncoder(words=TransformersTokenizer(path, max_length=48), path=path)
