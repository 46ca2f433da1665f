from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.registry import build
from medvlp.core.sample import ImageRecord, Sample
from medvlp.core.triplet import Triplet
from medvlp.data.collate import collate
from medvlp.data.pipeline import added_fields
from medvlp.data.views.triplet_matrix import TripletMatrix
from medvlp.text.medslip_matrix import matrix_of, save_matrix
from medvlp.text.medslip_vocabulary import load_medslip_vocabulary
from medvlp.text.mention_triplets import of_report
from medvlp.text.triplet_files import StatedTriplet, StudyTriplets, write_triplets

WORDS = load_medslip_vocabulary()
REPORT = "Small left pleural effusion. No pneumothorax. Possible nodule in the right upper lobe. Heart size is normal."


def said(sample: Sample, name: str = "vector.triplets") -> dict[tuple[str, str], float]:
    values = sample.fields[name]
    assert isinstance(values, torch.Tensor)
    return {
        (WORDS.anatomies[i // 75], WORDS.observations[i % 75]): values[i].item()
        for i in (values >= 0).nonzero().flatten().tolist()
    }


def seen(view: TripletMatrix, flip: bool = False, **fields: object) -> Sample:
    record = ImageRecord(0, (0.0, 0.0, 4.0, 4.0), flip=flip)
    return view(Sample("a", fields, {"image": record}), torch.Generator())


def test_a_report_becomes_the_matrix_that_its_triplets_make() -> None:
    expected = matrix_of([of_report(REPORT, study_id="a")]).values[0]
    found = seen(TripletMatrix(), text=REPORT)
    assert torch.equal(found.fields["vector.triplets"], torch.from_numpy(expected.ravel()).float())
    facts = said(found)
    assert facts[("left_pleural", "effusion")] == 1
    assert facts[("pleural_unspec", "pneumothorax")] == 0
    assert ("upper_right_lobe", "nodule") not in facts
    assert found.fields["text"] == REPORT


def test_policies_are_those_of_the_matrix() -> None:
    soft = said(seen(TripletMatrix(uncertain="soft"), text=REPORT))
    assert soft[("upper_right_lobe", "nodule")] == 0.5
    both = said(seen(TripletMatrix(both_sides=True), text="Bilateral pleural effusions."))
    assert both[("left_pleural", "effusion")] == both[("right_pleural", "effusion")] == 1


def test_labels_stand_at_the_usual_place_of_their_finding() -> None:
    facts = said(
        seen(
            TripletMatrix(source="labels"),
            **{"label.effusion": 1.0, "label.cardiomegaly": 0.0, "label.mass": -1.0, "label.hernia": float("nan")},
        )
    )
    assert facts == {("pleural_unspec", "effusion"): 1, ("heart_size", "cardiomegaly"): 0}
    chosen = TripletMatrix(source="labels", labels=("cardiomegaly",))
    assert said(seen(chosen, **{"label.effusion": 1.0, "label.cardiomegaly": 1.0})) == {
        ("heart_size", "cardiomegaly"): 1
    }


@pytest.mark.parametrize("suffix", [".jsonl", ".npz"])
def test_a_file_is_looked_up_by_study(suffix: str, tmp_path: Path) -> None:
    studies = [of_report(REPORT, study_id="s1"), of_report("Clear lungs.", study_id="s2")]
    path = tmp_path / f"triplets{suffix}"
    if suffix == ".npz":
        save_matrix(matrix_of(studies), path)
    else:
        write_triplets(studies, path)
    view = TripletMatrix(source="file", file=str(path))
    found = seen(view, **{"id.study": "s1", "text": "other words"})
    assert said(found) == said(seen(TripletMatrix(), text=REPORT))
    with pytest.raises(
        DataError, match=r"has no line of the study of sample 'a': make it from .* or set missing: skip"
    ):
        seen(view, **{"id.study": "s3"})
    if suffix == ".jsonl":  # written anew, it is read anew
        write_triplets([of_report("Clear lungs. Normal heart.", study_id="s1")], path)
        assert said(seen(view, **{"id.study": "s1"})) != said(found)
    lenient = TripletMatrix(source="file", file=str(path), missing="skip")
    assert "vector.triplets" not in seen(lenient, **{"id.study": "s3"}).fields
    with pytest.raises(DataError, match=r"the sample 'a' has no id\.study: give the manifest that column"):
        seen(view, text="x")


def test_radgraphs_words_in_a_file_are_read_as_published(tmp_path: Path) -> None:
    triplet = Triplet("midlung|right", "right", "opacities", "present", "", "Right midlung opacities .")
    write_triplets([StudyTriplets("s", "", "radgraph", (StatedTriplet(triplet),))], tmp_path / "t.jsonl")
    view = TripletMatrix(source="file", file=str(tmp_path / "t.jsonl"))
    assert said(seen(view, **{"id.study": "s"})) == {("other", "opacity"): 1}
    mended = TripletMatrix(source="file", file=str(tmp_path / "t.jsonl"), midlung_right=True)
    assert said(seen(mended, **{"id.study": "s"})) == {("right_mid_lung", "opacity"): 1}


def test_of_a_mirrored_picture_rows_change_sides_but_words_have_done_so_already(tmp_path: Path) -> None:
    write_triplets([of_report(REPORT, study_id="s")], tmp_path / "t.jsonl")
    view = TripletMatrix(source="file", file=str(tmp_path / "t.jsonl"))
    plain, mirrored = (said(seen(view, flip=flip, **{"id.study": "s"})) for flip in (False, True))
    assert mirrored[("right_pleural", "effusion")] == plain[("left_pleural", "effusion")] == 1
    assert ("left_pleural", "effusion") not in mirrored
    words = said(seen(TripletMatrix(), flip=True, text="Right pleural effusion."))
    assert words[("right_pleural", "effusion")] == 1
    sideless = said(seen(TripletMatrix(source="labels"), flip=True, **{"label.effusion": 1.0}))
    assert sideless == {("pleural_unspec", "effusion"): 1}


def test_a_sample_of_which_nothing_is_known_has_no_row() -> None:
    view = TripletMatrix()
    samples = [seen(view, text=REPORT), seen(view, text="  "), seen(view), seen(view, text=REPORT)]
    batch = collate(samples, torch.arange(4))
    assert batch["vector.triplets"].owner.tolist() == [0, 3]
    assert batch["vector.triplets"].values.shape == (2, 3825)
    assert "vector.triplets" not in seen(TripletMatrix(source="labels"), text=REPORT).fields


def test_it_says_what_it_adds_and_stays_out_of_the_cached_prefix() -> None:
    view = build("data/views", {"name": "triplet_matrix", "labels": ["mass"], "source": "labels"}, where="test")
    assert added_fields([view]) == ("vector.triplets",) or list(added_fields([view])) == ["vector.triplets"]
    assert view.random


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"has source 'report' and file 'x\.npz': name a file with source: file, and wi"
    ):
        TripletMatrix(file="x.npz")
    with pytest.raises(
        ConfigError, match="reads a text field, looks at an image and writes a vector field, not 'label"
    ):
        TripletMatrix(field="label.x")
    with pytest.raises(ConfigError, match="There is no version 'v9' of the MeDSLIP vocabulary"):
        TripletMatrix(vocabulary="v9")
    with pytest.raises(ConfigError, match="The finding 'gout' has no column"):
        seen(TripletMatrix(source="labels"), **{"label.gout": 1.0})
    (tmp_path / "t.jsonl").write_text("")
    study = of_report("Clear lungs.", study_id="s")
    write_triplets([study, study], tmp_path / "t.jsonl")
    with pytest.raises(DataError, match=r"t\.jsonl holds a study on two lines: give each one line"):
        seen(TripletMatrix(source="file", file=str(tmp_path / "t.jsonl")), **{"id.study": "s"})
