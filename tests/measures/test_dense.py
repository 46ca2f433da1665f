"""Dice and average precision of a cohort, against loops by hand; what counts as a case and what does not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from torch import nn

from medvlp.answers.asking.places import write_mask, written_places
from medvlp.answers.boxes import Boxes
from medvlp.answers.segmentation import Segmentation as AnswerSegmentation
from medvlp.core.errors import DataError, UserError
from medvlp.core.predictions import BoxSet, Mask, Predictions
from medvlp.core.sample import ImageRecord, Sample
from medvlp.data.manifest import Manifest
from medvlp.data.mask_files import runs_of
from medvlp.data.pipeline import Records, apply_views
from medvlp.data.views.read_volume import ReadVolume
from medvlp.data.views.take_slice import TakeSlice
from medvlp.evaluation.detection import ap_rows
from medvlp.evaluation.evidence import measured_of
from medvlp.measures import point_values
from medvlp.measures.detection import Detection
from medvlp.measures.segmentation import Segmentation
from tests.answers.test_segmentation import ask, plain_model

IDS = tuple("abcde")


def cohort(**columns: list[Any]) -> Manifest:
    patients = {"id.patient": [f"p{name}" for name in IDS]}
    return Manifest.of({"id": list(IDS), "image": [f"{i}.png" for i in IDS], **patients, **columns}, root=Path())


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((10, 12), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_dice_is_that_of_the_drawn_cases_and_unknown_ones_count_nowhere() -> None:
    drawn = [rectangle(0, 0, 4, 4), rectangle(2, 2, 8, 6), None, rectangle(1, 1, 3, 3), None]
    said = [rectangle(0, 0, 4, 8), rectangle(3, 2, 9, 6), rectangle(0, 0, 2, 2), rectangle(5, 5, 6, 6), drawn[0]]
    runs = [None if mask is None else runs_of(mask) for mask in drawn]
    data = cohort(**{"mask.mass": runs, "label.mass": [1.0, 1.0, 0.0, 1.0, None]})  # c is known to be empty, e unknown
    masks = tuple({"mass": Mask.of(mask)} for mask in said if mask is not None)
    found = Segmentation().values(Predictions(IDS, masks=masks), data)
    by_hand = []
    for true, predicted in zip(drawn[:2] + drawn[3:4], said[:2] + said[3:4], strict=True):
        both = sum(bool(true[y, x] and predicted[y, x]) for y in range(10) for x in range(12))
        by_hand.append(2 * both / (true.sum() + predicted.sum()))
    assert found["dice/mass"] == pytest.approx(np.mean(by_hand))
    assert found["dice/macro"] == found["dice/mass"]
    table = Segmentation()._cases(Predictions(IDS, masks=masks), data)
    assert table["id"].tolist() == ["a", "b", "c", "d"]
    assert table["present"].tolist() == [True, True, False, True]
    evaluation: Any = SimpleNamespace(
        knows_patients=True,
        judged=SimpleNamespace(manifest=data),
        options=SimpleNamespace(split="test"),
        splits=frozenset({"test"}),
        giving=lambda part: [("masks", None, Predictions(IDS, masks=masks))],
        facts={"seed": 0, "resamples": 0, "split": "test"},
    )
    (result,) = Segmentation().run(evaluation)
    assert result.find("lowest_dice", "mass").value == pytest.approx(min(by_hand))
    alarm = result.find("false_alarm", "mass")  # of the one case without it
    assert (alarm.value, alarm.counts.n) == (1.0, 1)
    assert {row.split for row in result.metrics} == {"test"}


def test_masks_stand_beside_the_one_training_mask_that_agrees_best() -> None:
    """Three of four training masks are one: it is the control, in the sides of each judged picture."""
    often, seldom = rectangle(0, 0, 6, 5), rectangle(6, 5, 12, 10)
    train = [often, np.kron(often, np.ones((2, 2), bool)), seldom, None, often]
    judged = [rectangle(0, 0, 6, 10), rectangle(0, 0, 3, 5), rectangle(6, 5, 12, 10), None, None]
    said = [rectangle(0, 0, 6, 10), rectangle(0, 0, 6, 5), rectangle(6, 0, 12, 10), seldom, often]

    def runs(masks: list[Any]) -> list[Any]:
        return [None if mask is None else runs_of(mask) for mask in masks]

    nowhere = [1.0, 1.0, 1.0, 0.0, None]
    data = cohort(**{"mask.mass": runs(judged), "label.mass": nowhere})
    masks = tuple({"mass": Mask.of(mask)} for mask in said)
    evaluation: Any = SimpleNamespace(
        knows_patients=True,
        judged=SimpleNamespace(manifest=data),
        manifest=SimpleNamespace(split_of=lambda split: cohort(**{"mask.mass": runs(train)})),
        options=SimpleNamespace(split="test"),
        splits=frozenset({"test", "train"}),
        giving=lambda part: [("masks", None, Predictions(IDS, masks=masks))],
        facts={"seed": 0, "resamples": 100, "split": "test"},
    )
    own, control = Segmentation().run(evaluation)
    assert (control.name, control.role) == ("masks_constant_mask", "control")
    pairs = [
        [2 * (drawn & mask).sum() / (drawn.sum() + mask.sum()) for mask in (predicted, often)]
        for drawn, predicted in zip(judged[:3], said[:3], strict=True)
    ]
    assert control.find("dice", "mass").value == pytest.approx(np.mean(pairs, axis=0)[1])
    for label in ("constant_mask", "constant_mask/mass"):
        row = own.find("dice_difference", label)
        assert row.value == pytest.approx(np.mean([one - other for one, other in pairs]))
        assert row.counts.n == 3
    (kept,) = (measured_of({each.name: each for each in (own, control)}, "masks"),)
    assert kept is not None
    row, mass = kept["rows"][0], kept["labels"]["mass"]
    assert (row["metric"], row["label"], mass["metric"]) == ("dice", "macro", "dice")
    assert (mass["value"], mass["n"]) == (own.find("dice", "mass").value, 3)
    assert mass["false_alarm"]["value"] == own.find("false_alarm", "mass").value == 1
    (over,), (each,) = kept["over"], mass["over"]
    assert over["control"] == each["control"] == "one training mask a finding"
    assert each["value"] == own.find("dice_difference", "constant_mask/mass").value


def test_a_finding_that_is_nowhere_drawn_takes_nobody_s_number_for_dice() -> None:
    """The first finding has only false alarms: they do not stand where the Dice of the second one does."""
    mask = rectangle(0, 0, 4, 4)
    drawn = {
        "mask.edema": [None] * 5,
        "mask.mass": [runs_of(mask)] * 5,
        "label.edema": [0.0] * 5,
        "label.mass": [1.0] * 5,
    }
    masks = ({"edema": Mask.of(mask), "mass": Mask.of(mask)},) * 5
    evaluation: Any = SimpleNamespace(
        knows_patients=True,
        judged=SimpleNamespace(manifest=cohort(**drawn)),
        options=SimpleNamespace(split="test"),
        splits=frozenset({"test"}),
        giving=lambda part: [("masks", None, Predictions(IDS, masks=masks))],
        facts={"seed": 0, "resamples": 0, "split": "test"},
    )
    (result,) = Segmentation().run(evaluation)
    kept = measured_of({"masks": result}, "masks")
    assert kept is not None
    assert {label: row["metric"] for label, row in kept["labels"].items()} == {"mass": "dice"}


def test_each_finding_has_its_own_places_and_a_mean_is_over_findings_not_cases() -> None:
    one, two = rectangle(0, 0, 4, 4), rectangle(6, 6, 9, 9)
    drawn = {"mask.mass": [runs_of(one)] * 5, "mask.fracture": [runs_of(two), *[None] * 4]}
    masks = ({"mass": Mask.of(one), "fracture": Mask.of(one)},) * 5
    found = Segmentation().values(Predictions(IDS, masks=masks), cohort(**drawn))
    assert found == {"dice/mass": 1.0, "dice/fracture": 0.0, "dice/macro": 0.5}
    places = [[0.0, 0, 4, 4], [6.0, 6, 9, 9]]
    data = cohort(**{"boxes.mass": [places[:1]] * 5, "boxes.fracture": [places[1:]] * 5})
    said = (BoxSet(np.array(places), np.array([0.9, 0.9]), ("mass", "fracture")),) * 5
    assert set(Detection().values(Predictions(IDS, boxes=said), data).values()) == {1.0}


def test_the_ids_of_a_cohort_are_not_listed_anew_for_each_case(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    made = Manifest.column
    monkeypatch.setattr(Manifest, "column", lambda self, name: asked.append(name) or made(self, name))
    mask = rectangle(0, 0, 4, 4)
    data = cohort(**{"mask.mass": [runs_of(mask)] * 5, "label.mass": [1.0] * 5})
    said = Predictions(IDS, masks=({"mass": Mask.of(mask)},) * 5)
    assert Segmentation().values(said, data)["dice/mass"] == 1
    assert asked.count("id") < 2


def test_a_slice_of_a_volume_is_measured_on_what_is_drawn_in_that_slice(tmp_path: Path) -> None:
    """A model of single slices that draws all of each is right where all is drawn, and alarms where nothing is."""
    drawn = np.zeros((12, 10, 6), np.uint8)  # i, j, k
    drawn[:, :, 1:4] = 1
    for name, voxels in (("ct", drawn * 100.0), ("organ", drawn)):
        nibabel.Nifti1Image(voxels, np.diag([-1.0, -1.0, 2.0, 1.0])).to_filename(tmp_path / f"{name}.nii.gz")
    columns = {"volume": ["ct.nii.gz"] * 2, "mask.organ": ["organ.nii.gz"] * 2, "number.slice": [2.0, 5.0]}
    data = Manifest.of({"id": ["drawn", "empty"], **columns}, root=tmp_path)
    model = plain_model("image", classes=1)
    head = dict(model.heads.items())["image/segmentation"]
    nn.init.constant_(head.get_submodule("output").bias, 99.0)
    views = [ReadVolume(size=12, windows=("ct_soft_tissue_v1",)), TakeSlice()]
    samples = [apply_views(Records(data).sample(row), views) for row in range(2)]
    said = ask(model, AnswerSegmentation(labels=["organ"]), *samples)
    table = Segmentation()._cases(said, data)
    assert table["pixels"].tolist() == [120, 0]
    assert table["predicted"].tolist() == [120, 120]
    assert table["dice"].tolist() == pytest.approx([1.0, float("nan")], nan_ok=True)


@pytest.mark.parametrize(("order", "name"), [((0, 1, 2), "organ.nii.gz"), ((2, 0, 1), "ORGAN.NII")])
def test_a_volume_s_mask_in_another_grid_counts_where_it_lies_in_the_patient(
    tmp_path: Path, order: tuple[int, int, int], name: str
) -> None:
    """Drawn on the same voxels, stored with its axes turned and in another order: it is still the same organ."""
    affine = np.array([[-2.0, 0, 0, 30], [0, -2, 0, 40], [0, 0, 3, -50], [0, 0, 0, 1]])
    voxels = np.zeros((8, 8, 8), np.uint8)
    voxels[1:4, 2:7, 3:5] = 1
    drawn = nibabel.Nifti1Image(voxels, affine)
    ends = np.array([[order[axis], 1 - 2 * (axis != 2)] for axis in range(3)])
    drawn.as_reoriented(ends).to_filename(tmp_path / name)
    data = Manifest.of({"id": ["a"], "volume": ["a.nii"], "mask.organ": [name]}, root=tmp_path)
    said = Mask.of(voxels.T > 0, world=tuple(map(tuple, affine[:3].tolist())))
    assert Segmentation().values(Predictions(("a",), masks=({"organ": said},)), data)["dice/organ"] == 1


def test_a_volume_s_mask_without_a_place_goes_voxel_by_voxel_and_one_beside_its_picture_is_refused(
    tmp_path: Path,
) -> None:
    """Neither sform nor qform: the axes and the origin that reading guesses say nothing. With both, places count."""
    affine = np.array([[-2.0, 0, 0, 30], [0, -2, 0, 40], [0, 0, 3, -50], [0, 0, 0, 1]])
    voxels = np.zeros((8, 7, 6), np.uint8)
    voxels[1:4, 2:7, 3:5] = 1
    said = Predictions(("a",), masks=({"organ": Mask.of(voxels.T > 0, world=tuple(map(tuple, affine[:3].tolist())))},))
    for name, given in (("bare", None), ("beside", np.eye(4)), ("right", affine)):
        nibabel.Nifti1Image(voxels, given).to_filename(tmp_path / f"{name}.nii.gz")
    nibabel.Nifti1Image(voxels[:, :, 1:], None).to_filename(tmp_path / "cut.nii.gz")
    nibabel.Nifti1Image(voxels * 0, np.eye(4)).to_filename(tmp_path / "empty.nii.gz")

    def dice(name: str) -> dict[str, float]:
        columns = {"id": ["a"], "volume": ["a.nii"], "mask.organ": [f"{name}.nii.gz"]}
        return Segmentation().values(said, Manifest.of(columns, root=tmp_path))

    assert dice("right")["dice/organ"] == dice("bare")["dice/organ"] == 1
    assert dice("empty") == {}, "none is none, wherever it lies"
    with pytest.raises(DataError, match="the mask lies beside its picture in the patient: write it with its picture's"):
        dice("beside")
    with pytest.raises(DataError, match=r"the mask is \(5, 7, 8\) and its picture \(6, 7, 8\): bring one"):
        dice("cut")


def test_a_volume_s_mask_is_written_where_the_model_read_it_and_none_without_a_place(tmp_path: Path) -> None:
    """The series is not read again: slices that were made where some were missing are in the grid too."""
    affine = np.array([[-2.0, 0.1, 0, 30], [0, -2, 0, 40], [0, 0, 3, -50], [0, 0, 0, 1]])
    voxels = np.random.default_rng(0).random((3, 4, 5)) > 0.5
    mask = Mask.of(voxels, world=tuple(map(tuple, affine[:3].tolist())))
    path = write_mask(mask, tmp_path / "series with a gap", tmp_path / "out" / "001_organ")
    written = nibabel.load(path)
    np.testing.assert_allclose(written.affine, affine, atol=1e-6)
    assert np.array_equal(np.asarray(written.dataobj).T > 0, voxels)
    assert path.read_bytes()[4:8] == bytes(4), "no time (RFC 1952, 2.3.1): the same mask is the same file"
    with pytest.raises(UserError, match="cine has no place in a patient, which a NIfTI file of its masks needs"):
        write_mask(Mask.of(voxels), tmp_path / "cine", tmp_path / "out" / "001_organ")


def test_masks_of_findings_in_any_language_are_files_of_their_own(tmp_path: Path) -> None:
    said = Predictions(
        ("a",), masks=({name: Mask.of(np.eye(4, dtype=bool)) for name in ("肺炎", "气胸", "mass/left")},)
    )
    written_places(said, 0, tmp_path / "a.png", tmp_path / "out", number=1, names=set())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"001_{n}.png" for n in ("肺炎", "气胸", "mass_left")
    }


def boxes(*rows: tuple[float, float, float, float, float, str]) -> BoxSet:
    return BoxSet(
        np.array([row[:4] for row in rows]).reshape(-1, 4),
        np.array([row[4] for row in rows]),
        tuple(row[5] for row in rows),
    )


SAID = (
    boxes((0, 0, 10, 10, 0.9, "mass"), (0, 0, 10, 10, 0.8, "mass")),  # right; a second one of the same
    boxes((50, 50, 60, 60, 0.7, "mass")),  # beside it
    boxes((5, 5, 9, 9, 0.6, "mass")),  # nothing is there
    boxes((1, 0, 10, 10, 0.5, "mass")),  # right
    boxes((0, 0, 99, 99, 0.99, "mass")),  # nobody knows
)
TRUE: list[Any] = [[[0, 0, 10, 10]], [[0, 0, 10, 10]], [], [[0, 0, 10, 10]], None]


def test_average_precision_counts_false_boxes_of_cases_known_to_be_empty_and_none_of_unknown_ones() -> None:
    data = cohort(**{"boxes.mass": TRUE})
    found = Detection().values(Predictions(IDS, boxes=SAID), data)
    # In order of score: right, again, beside, none there, right; three are drawn.
    precisions = [1 / 1, 2 / 5]
    assert found["ap/mass"] == pytest.approx(sum(precisions) / 3)
    assert found["ap/macro"] == found["ap/mass"]


def test_the_overlap_that_chooses_a_checkpoint_is_the_one_that_is_asked_for() -> None:
    data, said = cohort(**{"boxes.mass": TRUE}), Predictions(IDS, boxes=SAID)
    options: dict[str, Any] = {"detection": {"iou": [0.95]}, "segmentation": None}
    found = point_values("boxes", Boxes(labels=["mass"]), said, data, options=options)
    assert found["boxes/ap/mass"] == Detection(iou=(0.95,)).values(said, data)["ap/mass"]
    assert found["boxes/ap/mass"] < Detection().values(said, data)["ap/mass"]


def test_a_mean_over_findings_is_over_as_many_cases_as_there_are_pictures() -> None:
    data = cohort(**{"boxes.mass": TRUE, "boxes.fracture": [None, *[[[0, 0, 5, 5]]] * 4]})
    found = Detection()._cases(SAID, data, 0.5)
    rows = {row.label: row.counts for row in ap_rows(found, iou=0.5, seed=0, resamples=0)}
    assert {label: (counts.n, counts.patients) for label, counts in rows.items()} == {
        "mass": (4, 4), "fracture": (4, 4), "macro": (5, 5),
    }  # fmt: skip


def test_findings_that_an_answer_does_not_name_are_no_miss_of_it() -> None:
    data = cohort(**{"boxes.mass": TRUE, "boxes.fracture": [[[0, 0, 5, 5]]] * 5})
    said = Predictions(IDS, boxes=SAID)
    answer = Boxes(labels=["mass"])
    found = point_values("boxes", answer, said, data)
    assert found == {
        f"boxes/{name}": value for name, value in Detection().values(said, data.without("boxes.fracture")).items()
    }
    assert found["boxes/ap/macro"] == found["boxes/ap/mass"]
    # A finding that it names and never tells is one.
    both = point_values("boxes", Boxes(labels=["mass", "fracture"]), said, data)
    assert both["boxes/ap/fracture"] == 0
    assert both["boxes/ap/macro"] == pytest.approx(found["boxes/ap/mass"] / 2)
    evaluation: Any = SimpleNamespace(
        knows_patients=True,
        model=SimpleNamespace(model=SimpleNamespace(vision_kind="image")),
        judged=SimpleNamespace(manifest=data),
        manifest=data,
        options=SimpleNamespace(split="test"),
        splits=frozenset({"test"}),
        giving=lambda part: [("boxes", answer, said)],
        facts={"seed": 0, "resamples": 100, "split": "test"},
    )
    (result,) = Detection(iou=(0.3,)).run(evaluation)
    assert [row.label for row in result.metrics] == ["mass", "macro"]
    assert result.find("ap@0.3", "macro").value == pytest.approx(found["boxes/ap/mass"])
    assert result.cases is not None
    by_case = result.cases[["patient_id", "drawn", "predicted", "right"]].to_numpy().tolist()
    assert by_case == [["pa", 1, 2, 1], ["pb", 1, 1, 0], ["pc", 0, 1, 0], ["pd", 1, 1, 1]]


class _Train:
    """Prepared training pictures, each with one drawn box."""

    def __init__(self) -> None:
        self.manifest = cohort(**{"boxes.mass": [[[0, 0, 5, 5]]] * 5})
        self.records = Records(self.manifest)

    def __len__(self) -> int:
        return len(self.manifest)

    def sample(self, index: int) -> Sample:
        record = ImageRecord(seed=0, box=(0, 0, 12, 10), source=(10, 12))
        return Sample(IDS[index], {"image": torch.zeros(1, 10, 12)}, {"image": record})


def test_where_no_judged_picture_has_a_box_there_is_no_result_whatever_training_pictures_have() -> None:
    train, answer = _Train(), Boxes(labels=["mass"])

    def evaluation(boxes: list[Any]) -> Any:
        data = cohort(**{"boxes.mass": boxes})
        return SimpleNamespace(
            knows_patients=True,
            model=SimpleNamespace(model=SimpleNamespace(vision_kind="image")),
            judged=SimpleNamespace(manifest=data, prepared=train),
            options=SimpleNamespace(split="test"),
            splits=frozenset({"test", "train"}),
            part=lambda split: SimpleNamespace(prepared=train),
            giving=lambda part: [("boxes", answer, Predictions(IDS, boxes=SAID))],
            facts={"seed": 0, "resamples": 20, "split": "test"},
        )

    assert list(Detection().run(evaluation([[], [], [], [], None]))) == []
    own, control = Detection().run(evaluation(TRUE))
    values = [each.find("ap@0.3", "macro").value for each in (own, control)]
    assert own.find("ap_difference@0.3", "constant_box").value == pytest.approx(values[0] - values[1])
    assert values[0] != values[1]
    assert control.role == "control"


def test_the_control_of_a_finding_without_training_boxes_has_those_of_all_others() -> None:
    train = _Train()
    judged = SimpleNamespace(prepared=train)
    evaluation: Any = SimpleNamespace(
        judged=judged,
        splits=frozenset({"test", "train"}),
        options=SimpleNamespace(split="test"),
        part=lambda split: judged,
    )
    made = Detection()._control(evaluation, ["mass", "fracture"])
    assert made is not None
    for drawn in made:
        assert dict(zip(drawn.labels, drawn.boxes.tolist(), strict=True)) == {
            "mass": [0, 0, 5, 5], "fracture": [0, 0, 5, 5],
        }  # fmt: skip
    assert Detection()._control(evaluation, ["fracture"]) is None
