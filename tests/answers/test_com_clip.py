"""ComCLIP: words of a sentence against their sub-images, by loops; left is left; what it reduces to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medvlp.answers._zones import ZONES, boxes_of_place, mask_of_boxes
from medvlp.answers.com_clip import ComClip, composed, parts_of
from medvlp.core.answers import Ask, Rows
from medvlp.core.errors import ConfigError
from medvlp.core.registry import build
from medvlp.core.sample import ImageRecord, Sample
from medvlp.core.table import FeatureTable
from medvlp.features.embed import embed, embed_parts
from medvlp.measures.retrieval import Retrieval
from medvlp.models.build import build_model
from medvlp.models.bundle import StoredAnswer, load_bundle, save_bundle
from medvlp.runs.evaluate import load_evaluation, open_evaluation
from tests.answers.tiny import small_model
from tests.models.words import DUAL, images
from tests.tiny import write_tree

LEFT, RIGHT = "Nodule in the left lower lobe.", "Nodule in the right lower lobe."


@pytest.fixture(scope="module")
def model() -> Any:
    return small_model()


def sample_of(pixels: Tensor, **fields: Any) -> Sample:
    size = float(pixels.shape[-1])
    record = ImageRecord(seed=0, box=(0.0, 0.0, size, size), source=(int(size), int(size)))
    return Sample("s", {"image": pixels, **fields}, {"image": record})


def near(answer: ComClip, model: Any, *samples: Sample, texts: tuple[str, ...]) -> np.ndarray:
    ask = Ask(sentences=texts)
    said = answer.answer(Rows(FeatureTable([s.id for s in samples], {}), samples), ask, answer.begin(model, ask))
    assert said.similarity is not None
    assert said.compared == texts
    return said.similarity


def raw(model: Any, view: str, value: Any) -> Tensor:
    return torch.from_numpy(embed_parts(model, view, [value], ("raw",))["raw"][0])


def test_it_is_the_picture_and_the_weighted_sub_images_of_its_words(model: Any) -> None:
    pixels, drawn = images(1, seed=5)[0], torch.tensor([[4.0, 8.0, 12.0, 20.0]])
    answer = ComClip(drawn=True)
    found = near(answer, model, sample_of(pixels, **{"boxes.nodule": drawn}), texts=(LEFT,))[0, 0]
    subject, place = torch.zeros(32, 32), torch.zeros(32, 32)
    subject[8:20, 4:12] = 1
    for y in range(32):
        for x in range(32):
            place[y, x] = 0.5 <= (x + 0.5) / 32 < 0.95 and 0.5 <= (y + 0.5) / 32 < 0.95
    words = ("nodule", "left lower lobe", "nodule, left lower lobe")
    subs = [raw(model, "image", pixels * mask) for mask in (subject, place, torch.maximum(subject, place))]
    scores = [max(float(raw(model, "text", word) @ sub), 0.0) for word, sub in zip(words, subs, strict=True)]
    assert sum(scores) > 0
    whole = raw(model, "image", pixels)
    for score, sub in zip(scores, subs, strict=True):
        whole = whole + score / sum(scores) * sub
    assert found == pytest.approx(float(F.cosine_similarity(whole, raw(model, "text", LEFT), dim=0)), abs=1e-5)


def test_sub_images_that_are_the_picture_itself_leave_the_cosine_as_it_is(model: Any) -> None:
    """f is twice f_I: no place is known, so the one predicate is the whole picture, or every place is all of it."""
    pixels, texts = images(2, seed=6), ("Rib fracture.", "Nodule.", "No effusion.")
    samples = [sample_of(each) for each in pixels]
    plain = embed(model, "image", list(pixels)) @ embed(model, "text", list(texts)).T
    np.testing.assert_allclose(near(ComClip(), model, *samples, texts=texts), plain, atol=1e-5)
    whole = {
        "mask.left_lower_lobe": torch.ones(32, 32, dtype=torch.bool),
        "mask.nodule": torch.ones(32, 32, dtype=torch.bool),
    }
    samples = [sample_of(each, **whole) for each in pixels]
    plain = embed(model, "image", list(pixels)) @ embed(model, "text", [LEFT]).T
    np.testing.assert_allclose(near(ComClip(drawn=True), model, *samples, texts=(LEFT,)), plain, atol=1e-5)


def test_left_is_the_right_half_of_the_film_in_a_mirrored_view_too(model: Any) -> None:
    record = ImageRecord(seed=0, box=(0.0, 0.0, 20.0, 20.0), source=(20, 20))
    mirrored = ImageRecord(seed=0, box=(0.0, 0.0, 20.0, 20.0), source=(20, 20), flip=True)
    boxes = boxes_of_place("lower lobe", "left")
    plain, flipped = (mask_of_boxes(boxes, each, (12, 12)) for each in (record, mirrored))
    assert plain.any(0).nonzero().flatten().tolist() == [6, 7, 8, 9, 10]
    assert torch.equal(plain, flipped.flip(1))
    nobody_knows = ImageRecord(seed=0, box=(0.0, 0.0, 20.0, 20.0), flip=True)
    assert torch.equal(mask_of_boxes(boxes, nobody_knows, (12, 12)), flipped)
    assert boxes_of_place("lower lobe", "bilateral") == [ZONES["lower lobe"], boxes[0]]
    half = torch.zeros(1, 32, 32)
    half[:, 16:, 16:] = 1.0  # something in the patient's left lower quarter only
    both = near(ComClip(), model, sample_of(half), texts=(LEFT, RIGHT))
    other = near(ComClip(), model, sample_of(half.flip(2)), texts=(LEFT, RIGHT))
    assert not np.allclose(both, other)


def test_a_view_of_a_part_of_the_film_has_the_films_places() -> None:
    """The view shows the lower right quarter of the film: the left lower lobe reaches from its left edge."""
    record = ImageRecord(seed=0, box=(10.0, 10.0, 20.0, 20.0), source=(20, 20))
    mask = mask_of_boxes(boxes_of_place("lower lobe", "left"), record, (10, 10))
    assert mask[:9, :9].all()
    assert not mask[9].any()
    assert not mask_of_boxes(boxes_of_place("lower lobe", "right"), record, (10, 10)).any()


def test_what_is_denied_has_no_part_and_what_is_said_keeps_its_side() -> None:
    assert parts_of("No left effusion. No pneumothorax.") == ()
    places = [part.place for part in parts_of("Small left pleural effusion and right upper lobe consolidation.")]
    assert [place for place in places if place] == [("pleural space", "left")] * 2 + [("upper lobe", "right")] * 2


def test_weights_sum_to_one_and_are_numbers_where_scores_vanish() -> None:
    """The sum that the authors' code divides by is 0 here, and with scores of both signs it may be near to it."""
    draw = torch.Generator().manual_seed(0)
    whole, words = torch.zeros(4), torch.randn(3, 4, generator=draw)
    same = torch.randn(4, generator=draw).expand(3, 4)
    torch.testing.assert_close(composed(whole, same, words), same[0])
    opposed = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert composed(torch.zeros(2), opposed, torch.tensor([[1.0, 0.0]] * 2)).tolist() == [1.0, 0.0]
    assert composed(torch.zeros(2), opposed, torch.zeros(2, 2)).tolist() == [0.0, 0.0]
    assert composed(whole, torch.zeros(0, 4), torch.zeros(0, 4)) is whole


def test_rows_without_picture_are_unknown_and_without_sentences_nothing_is_said(model: Any) -> None:
    found = near(ComClip(), model, sample_of(images(1)[0]), Sample("empty", {}), texts=(LEFT,))
    assert np.isnan(found).tolist() == [[False], [True]]
    answer, ask = ComClip(), Ask()
    said = answer.answer(Rows(FeatureTable(["s"], {}), [sample_of(images(1)[0])]), ask, answer.begin(model, ask))
    assert said.parts() == ()


def test_what_cannot_be_is_refused_and_it_is_built_again_from_what_it_releases() -> None:
    vision = build_model({"name": "vision", "vision": DUAL["vision"]}, tokenizer=None)
    with pytest.raises(ConfigError, match="com_clip compares images with sentences, and this model does not"):
        ComClip().check(vision)
    answer = ComClip(drawn=True)
    again = build("answers", {"name": "com_clip", **answer.released()}, where="bundle")
    assert again.released() == answer.released()


@pytest.mark.slow
def test_an_evaluation_asks_it_with_the_texts_of_the_whole_split(
    tiny_run: Any, tiny_cohort: Any, tmp_path: Path
) -> None:
    """Pictures come group by group, and each is compared with every record's text."""
    bundle = load_bundle(tiny_run.bundle)
    more = StoredAnswer(name="com_clip", component="com_clip", options={"drawn": True})
    save_bundle(tmp_path / "bundle", replace(bundle, answers=(*bundle.answers, more)))
    tree = {"model": str(tmp_path / "bundle"), "out": str(tmp_path / "out"), "evaluation": {"split": "train"}}
    tree["data"] = {"root": str(tiny_cohort.root), "layout": "phantom", "where": {"view_position": ["PA", "AP"]}}
    tree["data"]["allow_leaks"] = True
    evaluation = open_evaluation(load_evaluation(write_tree(tmp_path / "e.yaml", tree)))
    said = evaluation.predictions("com_clip")
    assert said is not None
    assert said.similarity is not None
    texts = [str(text) for text in evaluation.judged.table.columns["text"]]
    assert said.similarity.shape == (len(texts), len(texts))
    assert list(said.compared) == texts
    assert {"retrieval", "com_clip"} <= {result.name for result in Retrieval().run(evaluation)}
