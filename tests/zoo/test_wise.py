"""WiSE: both ends bit for bit, the middle by hand, nothing kept that belongs to other weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from medvlp.core.errors import DataError
from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import HeadSpec
from medvlp.models.architectures._towers import TowerModel
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer, load_bundle, save_bundle, save_patches
from medvlp.models.surgery import operate
from medvlp.text import train_wordpiece
from medvlp.text.tokenizers import TransformersTokenizer
from medvlp.zoo import convert
from tests.models.words import DUAL, VIT
from tests.zoo.small import clip_words

if TYPE_CHECKING:
    from medvlp.runs.train import Trained


@pytest.fixture
def tuned(tiny_run: Trained, tmp_path: Path) -> Path:
    """The tiny run's bundle with other weights, as a run that started from it would release it."""
    bundle = load_bundle(tiny_run.bundle)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in bundle.model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    judged = tuple(replace(answer, operating_points={"x": {}}, calibration={"x": {}}) for answer in bundle.answers)
    card = "# Card\n\n## Probabilities and thresholds\n\nThey stand in `bundle.yaml`.\n\n## Limits\n\nFew.\n"
    save_bundle(tmp_path / "tuned", replace(bundle, answers=judged, card=card))
    return tmp_path / "tuned"


def test_the_ends_are_the_two_bundles_and_the_middle_is_their_mean(
    tiny_run: Trained, tuned: Path, tmp_path: Path
) -> None:
    own, given = (load_bundle(each).model.state_dict() for each in (tuned, tiny_run.bundle))
    for share in (0.0, 0.25, 1.0):
        options = {"start": str(tiny_run.bundle), "share": share}
        found = convert(tuned, name="wise", options=options)
        for name, tensor in found.model.state_dict().items():
            if share in (0.0, 1.0):
                assert torch.equal(tensor, (given, own)[int(share)][name]), name
            else:
                torch.testing.assert_close(tensor, 0.75 * given[name] + 0.25 * own[name])
        assert all(a.operating_points is None and a.calibration is None for a in found.answers)
        assert found.gate is None
        save_bundle(tmp_path / "mixed", found)
        assert load_bundle(tmp_path / "mixed").card.startswith("# Card\n\n## Limits\n\nFew.\n\nWeights: ")
        assert found.provenance["wise"]["share"] == share  # type: ignore[index]


def test_what_was_mixed_with_a_model_of_synthetic_data_says_so(tiny_run: Trained, tuned: Path, tmp_path: Path) -> None:
    real = load_bundle(tuned)
    save_bundle(tmp_path / "real", replace(real, provenance={**real.provenance, "synthetic": False}))
    found = convert(tmp_path / "real", name="wise", options={"start": str(tiny_run.bundle)})
    assert found.provenance["synthetic"] is True
    assert found.card.endswith("Trained on synthetic data: it proves the machinery and knows nothing of patients.\n")
    back = convert(tiny_run.bundle, name="wise", options={"start": str(tmp_path / "real")})
    assert back.provenance["synthetic"] is True


def test_a_head_of_the_tuned_alone_stays_as_it_is(tiny_run: Trained, tuned: Path, tmp_path: Path) -> None:
    more = load_bundle(tuned)
    assert isinstance(more.model, TowerModel)
    more.model.mount({"image/grade": HeadSpec("linear", {"classes": 2}, keep=True)}, Plan.of(keys("image/grade")))
    with torch.no_grad():
        more.model.heads["image/grade"].output.weight.fill_(3.0)  # type: ignore[union-attr]
    save_bundle(tmp_path / "more", more)
    found = convert(tmp_path / "more", name="wise", options={"start": str(tiny_run.bundle)})
    save_bundle(tmp_path / "mixed", found)
    kept = load_bundle(tmp_path / "mixed").model.state_dict()
    assert bool((kept["heads.image/grade.output.weight"] == 3.0).all())


def test_a_head_that_scores_other_findings_is_refused(tmp_path: Path) -> None:
    for name, labels in (("start", ["edema", "mass"]), ("tuned", ["edema", "nodule"]), ("same", ["edema", "mass"])):
        model = build_model({"name": "vision", "vision": VIT}, tokenizer=None)
        model.mount({"image/findings": HeadSpec("linear", {"classes": 2}, keep=True)}, Plan.of(keys("image/findings")))
        asked = StoredAnswer("findings", "findings", {"labels": labels, "part": "findings"}, labels)
        save_bundle(tmp_path / name, Bundle(model=model, tokenizer=None, preprocessing=[], answers=(asked,)))
    options = {"start": str(tmp_path / "start")}
    with pytest.raises(DataError, match=r"'findings' scores edema, nodule in .*tuned and edema, mass in .*start: "):
        convert(tmp_path / "tuned", name="wise", options=options)
    assert convert(tmp_path / "same", name="wise", options=options).labels == ("edema", "mass")


def test_a_head_that_gives_other_answers_is_refused(tmp_path: Path) -> None:
    """Questions: the lists stand in another order, so that "yes" of one is "no" of the other."""
    words = train_wordpiece(["no effusion"] * 2, vocab_size=64, max_length=16)
    spec = {**DUAL, "vision": VIT, "heads": {"question": {"name": "question_classifier", "answers": 2}}}
    for name, listed in (("start", ["no", "yes"]), ("tuned", ["yes", "no"])):
        asked = StoredAnswer("question", "question", {"answers": listed})
        model = build_model(spec, tokenizer=words)
        save_bundle(tmp_path / name, Bundle(model=model, tokenizer=words, preprocessing=[], answers=(asked,)))
    with pytest.raises(DataError, match=r"'question' scores yes, no in .*tuned and no, yes in .*start: "):
        convert(tmp_path / "tuned", name="wise", options={"start": str(tmp_path / "start")})


def test_what_patches_learnt_cannot_be_mixed(tmp_path: Path) -> None:
    words = train_wordpiece(["left effusion", "clear lungs"] * 2, vocab_size=64, max_length=16)
    lora = {"name": "lora", "kind": "image", "on": "linear[blocks.*.attn.qkv]", "rank": 2}
    codes = {"name": "fdt", "codes": 4, "shared": "codes"}
    runs = {"start": {}, "lora": {"patches": [lora]}, "heads": {"heads": {"image/fdt": codes, "text/fdt": codes}}}
    runs |= {"masked": {"patches": [{"name": "masked_image", "kind": "image"}]}}
    for name, more in runs.items():
        model = build_model({**DUAL, "vision": VIT, **more}, tokenizer=words)
        save_bundle(tmp_path / name, Bundle(model=model, tokenizer=words, preprocessing=[]))
    options = {"start": str(tmp_path / "start")}
    with pytest.raises(
        DataError, match=r"lora learnt in patches, .* \('patches\..*Tune the towers themselves, or judge"
    ):
        convert(tmp_path / "lora", name="wise", options=options)
    # What heads of the tuned alone share is theirs, and stays as it is.
    found = convert(tmp_path / "heads", name="wise", options=options).model.state_dict()
    assert any(name.startswith("shared.codes.") for name in found)
    convert(tmp_path / "masked", name="wise", options=options)  # a patch that a model in use is the same without


def test_a_bundle_of_other_towers_is_refused(tuned: Path, tmp_path: Path) -> None:
    starter = convert(Path("efficientnet_lite0"), name="starter", options={"random": 1})
    save_bundle(tmp_path / "other", starter)
    with pytest.raises(
        DataError, match=r"tuned was not tuned from .*other \('towers.image.* differs\): give start the"
    ):
        convert(tuned, name="wise", options={"start": str(tmp_path / "other")})


def test_a_tower_that_grew_is_refused_as_its_blocks_have_other_names(tmp_path: Path) -> None:
    words = train_wordpiece(["left effusion", "clear lungs"] * 2, vocab_size=64, max_length=16)
    single = {"name": "single", "width": 16, "layers": 2, "attention_heads": 2, "image_size": 32, "embed_dim": 8}
    fewer = {"name": "weight_inheritance", "kind": "text", "layers": [1]}
    for start, surgery in (
        ({**DUAL, "vision": VIT}, {"name": "grow_depth", "kind": "text", "after": [0]}),
        (single, {"name": "grow_depth", "kind": "text", "after": [0]}),
        (single, fewer),
    ):
        model = build_model(start, tokenizer=words, seed=1)
        save_bundle(tmp_path / "start", Bundle(model=model, tokenizer=words, preprocessing=[]))
        operate(model, [surgery])
        save_bundle(tmp_path / "grown", Bundle(model=model, tokenizer=words, preprocessing=[]))
        with pytest.raises(DataError, match=r"grown was not tuned from .*start \(.* differs\): give start the"):
            convert(tmp_path / "grown", name="wise", options={"start": str(tmp_path / "start")})


def test_a_bundle_of_other_words_is_refused(tmp_path: Path) -> None:
    for lowercase in (True, False):
        words = train_wordpiece(["left effusion"] * 2, vocab_size=64, max_length=16, lowercase=lowercase)
        model = build_model({**DUAL, "vision": VIT}, tokenizer=words)
        save_bundle(tmp_path / str(lowercase), Bundle(model=model, tokenizer=words, preprocessing=[]))
    with pytest.raises(DataError, match="their tokenizers differ"):
        convert(tmp_path / "True", name="wise", options={"start": str(tmp_path / "False")})


def test_a_tokenizer_that_was_saved_again_is_the_same_one(tmp_path: Path) -> None:
    """One of transformers has other files each time: it writes where it came from, and what it cut last."""
    words = TransformersTokenizer.of(clip_words(), max_length=16)
    model = build_model({**DUAL, "vision": VIT}, tokenizer=words)
    save_bundle(tmp_path / "start", Bundle(model=model, tokenizer=words, preprocessing=[]))
    tuned = load_bundle(tmp_path / "start")
    with torch.no_grad():
        next(tuned.model.parameters()).add_(1)
    assert tuned.tokenizer is not None
    assert tuned.tokenizer(["a report that is longer than sixteen letters"]).truncated == 1
    save_bundle(tmp_path / "tuned", tuned)
    found = convert(tmp_path / "tuned", name="wise", options={"start": str(tmp_path / "start")})
    assert found.tokenizer is not None
    assert found.tokenizer.identity == tuned.tokenizer.identity
    assert save_patches(tmp_path / "patches", found, base=tmp_path / "start")
