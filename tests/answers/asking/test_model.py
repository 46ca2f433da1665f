"""What `medvlp.load` gives, on a bundle that a run released."""

from __future__ import annotations

import copy
import dataclasses
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import PIL.Image
import pytest
import torch

import medvlp
from medvlp.answers.asking.files import files_of, predict_files
from medvlp.answers.asking.model import VisionLanguageModel, prompt_sets
from medvlp.core.answers import Ask
from medvlp.core.errors import ConfigError, UserError
from medvlp.core.keys import Plan, keys
from medvlp.core.protocols import HeadSpec
from medvlp.data.layouts.phantom import index
from medvlp.io.errors import UnreadableImage
from medvlp.models.bank import Bank
from medvlp.models.build import build_model
from medvlp.models.bundle import Bundle, StoredAnswer, load_bundle
from medvlp.serving.reader import Reader
from tests.models.words import DUAL, VISION, HashWords

if TYPE_CHECKING:
    from medvlp.phantom.cohort import CohortSummary
    from medvlp.runs.train import Trained

TEXTS = ["left effusion", "no effusion"]


@pytest.fixture(scope="module")
def model(tiny_run: Trained) -> VisionLanguageModel:
    return medvlp.load(tiny_run.bundle)


@pytest.fixture(scope="module")
def films(tiny_cohort: CohortSummary) -> list[Path]:
    manifest = index(tiny_cohort.root).where({"view_position": ["PA", "AP"]})
    return [tiny_cohort.root / str(manifest.record(i)["image"]) for i in range(5)]


def test_it_says_what_it_looks_at_and_can_be_asked(model: VisionLanguageModel) -> None:
    assert repr(model) == "VisionLanguageModel(kinds=image, answers=zero_shot, retrieval)"


def test_a_score_is_the_cosine_of_two_unit_embeddings(model: VisionLanguageModel, films: list[Path]) -> None:
    images, texts = model.embed_image(films), model.embed_text(TEXTS)
    for rows in (images, texts):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(model.score(films, TEXTS), images @ texts.T, atol=1e-6)
    assert model.score(films[0], TEXTS[0]).shape == (1, 1)


def test_a_film_is_scored_the_same_whoever_lies_beside_it(model: VisionLanguageModel, films: list[Path]) -> None:
    together = predict_files(model, films)["results"]
    small = VisionLanguageModel(model.bundle, batch=2)
    for i, film in enumerate(films):
        alone = predict_files(small, [film])["results"][0]
        assert alone["path"] == together[i]["path"] == str(film)
        for label, score in alone["scores"].items():
            assert score == pytest.approx(together[i]["scores"][label], abs=1e-5)


def test_predictions_are_the_formula_written_out(model: VisionLanguageModel, films: list[Path]) -> None:
    found = predict_files(model, films[:1], name="m")
    assert set(found) == {"model", "recipe", "results"}
    assert (found["model"], found["recipe"]) == ("m", "zero_shot")
    result = found["results"][0]
    assert set(result) == {"path", "scores", "calibrated", "warnings"}
    assert result["calibrated"] is False
    image = model.embed_image(films[0])[0].astype(np.float64)
    prompts = {each.label: each for each in prompt_sets(model.answers)}
    assert set(result["scores"]) == set(prompts) == set(model.bundle.labels)
    for label, score in result["scores"].items():
        sides = []
        for texts in (prompts[label].positive, prompts[label].negative):
            mean = model.embed_text(texts).astype(np.float64).mean(axis=0)
            sides.append(model.scale * float(image @ mean / np.linalg.norm(mean)))
        assert score == pytest.approx(1 / (1 + math.exp(sides[1] - sides[0])), abs=2e-6)


def test_pixels_are_the_file_that_they_were_read_from(model: VisionLanguageModel, films: list[Path]) -> None:
    pixels = medvlp.read_image(films[0]).pixels
    np.testing.assert_allclose(model.score(pixels, TEXTS), model.score(films[0], TEXTS), atol=1e-6)


def test_preprocessing_is_that_of_training(model: VisionLanguageModel, films: list[Path], tiny_run: Trained) -> None:
    """The released model embeds a film as the table of the run's own data does."""
    from medvlp.runs.embed import embed_manifest

    table = embed_manifest(tiny_run.bundle, tiny_run.run / "manifest.parquet", root=None, workers=1)
    manifest = tiny_run.manifest
    for i in (0, 3):
        row = list(table.ids).index(str(manifest.record(i)["id"]))
        path = manifest.path(i)
        assert path is not None
        np.testing.assert_allclose(table["image/embedding"][row], model.embed_image(path)[0], atol=1e-6)


def test_whatever_names_a_file_or_a_device_is_taken(tiny_run: Trained, films: list[Path]) -> None:
    class Elsewhere(os.PathLike[str]):
        def __fspath__(self) -> str:
            return str(films[0])

    model = medvlp.load(tiny_run.bundle, device=torch.device("cpu"))
    np.testing.assert_array_equal(model.embed_image(Elsewhere()), model.embed_image(films[0]))
    assert model.ask("zero_shot", [Elsewhere()]).scores == model.ask("zero_shot", films[:1]).scores


def test_a_tensor_of_pixels_is_taken_as_an_array_is(model: VisionLanguageModel) -> None:
    pixels = torch.linspace(0, 1, 30 * 40).reshape(30, 40)
    expected = model.embed_image(pixels.numpy())
    for tensor in (pixels, pixels.double(), pixels.clone().requires_grad_()):
        np.testing.assert_array_equal(model.embed_image(tensor), expected)
    rounded = pixels.bfloat16()  # numpy has no such type
    np.testing.assert_array_equal(model.embed_image(rounded), model.embed_image(rounded.float().numpy()))


def test_a_heat_map_lies_over_the_models_view_and_sums_to_the_score(
    model: VisionLanguageModel, films: list[Path]
) -> None:
    found = model.explain(films[0], TEXTS[0])
    assert found.score == pytest.approx(model.score(films[0], TEXTS[0]).item(), abs=1e-5)
    assert float(found.values.sum()) == pytest.approx(found.score, abs=1e-5)
    prepared = model.prepare(films[0])
    assert found.resized(32).shape == tuple(prepared.pixels.shape[-2:])
    assert prepared.record is not None
    assert prepared.record.box[2] > prepared.record.box[0]


@pytest.mark.parametrize("device", ["gpu", "cuda:77"])
def test_a_device_that_is_not_there_is_refused(device: str, tiny_run: Trained) -> None:
    with pytest.raises(UserError, match=rf"device is '{device}', but torch sees none: choose one of auto, .*cpu"):
        medvlp.load(tiny_run.bundle, device=device)


def test_what_cannot_be_scored_is_refused(model: VisionLanguageModel, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("not an image")
    with pytest.raises(UnreadableImage, match=r"a\.txt cannot be read \(not_an_image\)"):
        predict_files(model, [tmp_path / "a.txt"])
    with pytest.raises(ConfigError, match=r"There is no recipe 'zero': did you mean 'zero_shot'\?"):
        predict_files(model, [], recipe="zero")
    with pytest.raises(UserError, match="There is no text to embed"):
        model.embed_text([])
    with pytest.raises(UserError, match="There is no picture to embed: give at least one"):
        model.score([], TEXTS)
    with pytest.raises(UserError, match="There is no picture to ask 'zero_shot' about: give at least one"):
        model.ask("zero_shot", [])
    for missing in (None, math.nan, ("a", "b")):  # of no row, of the word "nan", of two rows
        with pytest.raises(UserError, match=r"A text to embed is .*, and no string"):
            model.embed_text(["a", missing, "b"])  # type: ignore[list-item]
    with pytest.raises(UserError, match=r"A text to embed is None, and no string"):
        model.score(np.zeros((4, 4)), None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"What is asked is 'Edema\?', and no Ask: write it as Ask\(questions="):
        model.ask("zero_shot", np.zeros((4, 4)), "Edema?")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"'zero_shot' knows no finding 'Edema': did you mean 'edema'\?"):
        model.ask("zero_shot", np.zeros((4, 4)), Ask(findings=("effusion", "Edema")))
    with pytest.raises(UserError, match=r"sentences of an Ask are strings, and None is none"):
        Ask(sentences=None)  # type: ignore[arg-type]
    for pictures, texts in ((np.zeros((4, 4)), TEXTS), (["a.png", "b.png"], TEXTS[0])):
        with pytest.raises(UserError, match="A heat map is of one image and one text: ask for those of several one af"):
            model.explain(pictures, texts)  # type: ignore[arg-type]
    others = {"NoneType": None, "<U5": np.array(["a.png"]), "complex128": np.eye(4) * 1j}
    for what, other in others.items():
        with pytest.raises(UserError, match=rf"A picture is the path of a file or an array .*, not of {what}: "):
            model.embed_image(other)  # type: ignore[arg-type]
    for array in (np.zeros((2, 2, 3)), np.full((4, 4), 255.0), np.full((4, 4), np.nan), PIL.Image.new("L", (4, 4), 9)):
        with pytest.raises(UserError, match="An image as an array"):
            model.embed_image(array)  # type: ignore[arg-type]


def test_what_a_bundle_cannot_be_asked_is_one_sentence(tiny_run: Trained, films: list[Path]) -> None:
    bundle = load_bundle(tiny_run.bundle)
    wordless = VisionLanguageModel(dataclasses.replace(bundle, answers=bundle.answers[1:]))
    assert list(wordless.answers) == ["retrieval"]
    with pytest.raises(UserError, match=r"answers nothing unasked \(retrieval\): give a question, name .* or score it"):
        predict_files(wordless, films[:1])
    with pytest.raises(UserError, match="This bundle cannot be asked 'zero_shot': "):
        wordless.ask("zero_shot", films[0])
    bare = VisionLanguageModel(dataclasses.replace(bundle, answers=()))
    with pytest.raises(UserError, match=r"answers nothing unasked \(it has no answers\)"):
        predict_files(bare, films[:1])
    # Its embeddings are all that it has, and they are compared as cosines.
    np.testing.assert_array_equal(bare.score(films[0], TEXTS), bare.embed_image(films[0]) @ bare.embed_text(TEXTS).T)


def test_a_classifier_by_texts_compares_embeddings_as_the_model_that_it_was_made_of(
    tiny_run: Trained, films: list[Path]
) -> None:
    """What learned prompts release: one answer, of a head that reads the embedding."""
    bundle = load_bundle(tiny_run.bundle)
    before = VisionLanguageModel(bundle).score(films[0], TEXTS)
    model: Any = copy.deepcopy(bundle.model)
    model.add_bank(Bank("asked", ("effusion", "nodule")))
    head = HeadSpec("text_classifier", {"classes": 2, "bank": "asked"}, keep=True)
    model.mount({"image/findings": head}, Plan.of(keys("image/findings")))
    asked = StoredAnswer("findings", "findings", {"labels": ["effusion", "nodule"]}, ["effusion", "nodule"])
    prompted = VisionLanguageModel(dataclasses.replace(bundle, model=model, answers=(asked,)))
    assert prompted.features == "image/embedding"
    np.testing.assert_array_equal(prompted.score(films[0], TEXTS), before)


def test_an_answer_says_of_files_what_it_says_in_the_document(model: VisionLanguageModel, films: list[Path]) -> None:
    said = model.ask("zero_shot", films)
    document = predict_files(model, films)["results"]
    assert said.ids == tuple(str(number) for number in range(len(films)))
    assert said.scores is not None
    for label, values in said.scores.items():
        assert values == pytest.approx([row["scores"][label] for row in document], abs=1e-6)
    some = model.ask("zero_shot", films, Ask(findings=("effusion",)))
    assert some.scores is not None
    np.testing.assert_array_equal(some.scores["effusion"], said.scores["effusion"])
    assert list(some.scores) == ["effusion"]


def test_lists_and_single_words_ask_what_tuples_do(model: VisionLanguageModel, films: list[Path]) -> None:
    assert Ask(findings=["effusion"]) == Ask(findings=("effusion",)) == Ask(findings="effusion")  # type: ignore[arg-type]
    expected = model.score(films, TEXTS[0])
    said = model.ask("retrieval", films, Ask(sentences=TEXTS[0])).similarity  # type: ignore[arg-type]
    assert said is not None
    np.testing.assert_allclose(said, expected, atol=1e-6)


def test_it_is_asked_and_explained_in_any_mode_of_torch(tiny_run: Trained, films: list[Path]) -> None:
    model = medvlp.load(tiny_run.bundle)
    expected, scores = model.explain(films[0], TEXTS[0]).values, model.score(films, TEXTS)
    with torch.inference_mode():
        loaded, made = medvlp.load(tiny_run.bundle), VisionLanguageModel(load_bundle(tiny_run.bundle))
        for each in (model, loaded, made):
            assert each.ask("zero_shot", films[0]).ids == ("0",)
            np.testing.assert_allclose(each.explain(films[0], TEXTS[0]).values, expected, atol=1e-6)
    np.testing.assert_allclose(loaded.explain(films[0], TEXTS[0]).values, expected, atol=1e-6)
    model.model.train()
    np.testing.assert_allclose(model.explain(films[0], TEXTS[0]).values, expected, atol=1e-6)
    assert model.model.training
    np.testing.assert_allclose(model.score(films, TEXTS), scores, atol=1e-6)


def test_what_a_copy_was_asked_is_made_by_the_copy(model: VisionLanguageModel, films: list[Path]) -> None:
    """The ids of the original's answers, by which their prompts' vectors are kept, may come again in the copy."""
    expected = model.ask("zero_shot", films).scores
    other = VisionLanguageModel(model.bundle)
    kept = {(id(other.answers["zero_shot"]), *key[1:]): (each, None) for key, (each, _) in model._begun.items()}
    other._begun = kept
    assert expected is not None
    found = other.ask("zero_shot", films).scores
    assert found is not None
    np.testing.assert_array_equal(found["effusion"], expected["effusion"])


@torch.no_grad()
def test_prompts_are_those_of_the_weights_that_the_model_has_now(tiny_run: Trained, films: list[Path]) -> None:
    """Whoever trains a loaded model further asks the trained one, as a model that was never asked before does."""
    model, fresh = medvlp.load(tiny_run.bundle), medvlp.load(tiny_run.bundle)
    before = model.ask("zero_shot", films).scores
    for each in (model, fresh):
        for number, weight in enumerate(each.model.towers["text"].parameters()):
            weight.grad = torch.linspace(-1, 1, weight.numel()).view_as(weight) * (number + 1)
        torch.optim.SGD(each.model.towers["text"].parameters(), lr=0.1).step()
    found, expected = model.ask("zero_shot", films).scores, fresh.ask("zero_shot", films).scores
    assert before is not None
    assert found is not None
    assert expected is not None
    np.testing.assert_array_equal(found["effusion"], expected["effusion"])
    assert not np.allclose(found["effusion"], before["effusion"], atol=1e-4)


@pytest.mark.parametrize("recipe", [None, "chexzero_v1"])
def test_prompts_are_embedded_at_the_first_call_only(
    model: VisionLanguageModel, films: list[Path], recipe: str | None
) -> None:
    fresh = VisionLanguageModel(model.bundle)
    passes: list[int] = []
    watch = fresh.model.towers["text"].register_forward_hook(lambda *_: passes.append(1))
    first = predict_files(fresh, films[:1], recipe=recipe)
    assert passes
    passes.clear()
    again = predict_files(fresh, [fresh.prepare(films[0])], recipe=recipe)
    watch.remove()
    assert not passes
    assert again["results"][0]["scores"] == first["results"][0]["scores"]
    assert "path" not in again["results"][0]


def test_a_model_of_single_slices_names_what_reads_volumes_by_it(tmp_path: Path) -> None:
    tower = {"name": "timm", "architecture": "resnet10t", "image_size": 32, "channels": 3}
    model = build_model({"name": "vision", "vision": tower}, tokenizer=None)
    read = [{"name": "read_volume", "size": 32}, {"name": "take_slice"}]
    nibabel.save(nibabel.Nifti1Image(np.zeros((16, 16, 4), np.int16), np.eye(4)), tmp_path / "scan.nii.gz")
    with pytest.raises(UserError, match="no picture of a whole file: for slices take `medvlp embed --slices`"):
        VisionLanguageModel(Bundle(model=model.eval(), tokenizer=None, preprocessing=read)).prepare(
            tmp_path / "scan.nii.gz"
        )


def test_weights_of_slices_are_told_where_an_answer_reads_what_they_weigh(tmp_path: Path) -> None:
    """Masks are drawn from maps of all slices: no pooler has a say in them."""
    nibabel.save(nibabel.Nifti1Image(np.zeros((16, 16, 4), np.int16), np.eye(4)), tmp_path / "scan.nii.gz")
    heads = {
        "stack/volume": {"name": "slice_pooler", "heads": 2},
        "stack/raw": {"name": "projection", "reads": "volume"},
    }
    heads |= {"stack/drawn": {"name": "fpn", "classes": 1, "width": 4}}
    spec = {**DUAL, "vision": {"name": "slices", "slice": {**VISION, "channels": 3}}, "heads": heads}
    masks = StoredAnswer("masks", "segmentation", options={"labels": ["lung"], "part": "drawn"}, labels=("lung",))
    bundle = Bundle(
        model=build_model(spec, tokenizer=HashWords()).eval(),
        tokenizer=HashWords(),
        preprocessing=[{"name": "read_volume", "size": 32}],
        answers=(StoredAnswer("zero_shot", "zero_shot", labels=("effusion",)), masks),
    )
    loaded = VisionLanguageModel(bundle)
    told = {
        name: predict_files(loaded, [tmp_path / "scan.nii.gz"], recipe=name)["results"][0] for name in loaded.answers
    }
    assert told["zero_shot"]["slices"]["count"] == 4
    assert "masks" in told["masks"]
    assert "slices" not in told["masks"]
    alone = VisionLanguageModel(dataclasses.replace(bundle, answers=(masks,)))
    found = [Reader(each).describe()["cannot"]["slices"] for each in (loaded, alone)]
    assert found == [None, "This model gives no slice a weight."]


def test_a_model_of_pictures_alone_says_that_it_reads_no_texts() -> None:
    tower = {"name": "timm", "architecture": "resnet10t", "image_size": 32, "channels": 1}
    model = build_model({"name": "vision", "vision": tower}, tokenizer=None)
    loaded = VisionLanguageModel(
        Bundle(model=model.eval(), tokenizer=None, preprocessing=[{"name": "read", "size": 32}])
    )
    for asked in (lambda: loaded.explain(np.zeros((32, 32)), "a"), lambda: loaded.embed_text("a")):
        with pytest.raises(UserError, match="This model reads no texts: ask for one of its answers instead"):
            asked()


def test_a_folder_does_not_say_which_film_is_the_prior_and_shows_one_film_after_the_other(tmp_path: Path) -> None:
    for name in ("frontal.png", "lateral.png"):
        PIL.Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / name)
    counts = []
    for vision in ({"name": "biovil_t", "width": 8, "layers": 1, "heads": 2}, {"name": "slices"}):
        built = build_model({**DUAL, "vision": {**vision, "slice": VISION}}, tokenizer=HashWords())
        loaded = VisionLanguageModel(Bundle(built, HashWords(), preprocessing=[{"name": "read_stack", "size": 32}]))
        counts.append([len(loaded.prepare(row.source).pixels.pixels) for row in files_of(loaded, [tmp_path])])
    assert counts == [[1, 1], [2]]
