"""RAD-ChestCT: a label is at any of its places, axes of the arrays are the patient's, volumes are unpacked once."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from medvlp.core.errors import DataError
from medvlp.data.cards import load_card
from medvlp.data.layouts import index_cohort
from medvlp.data.splits import make_split
from medvlp.io import read_volume

WORDS = sorted(set(load_card("rad_chestct").labels.values()))
HEAD = ["NoteAcc_DEID", *(f"{word}*{place}" for word in (*WORDS, "mass") for place in ("heart", "left_upper", "other"))]


def labels(path: Path, scans: dict[str, set[str]], *, value: str = "1.0") -> None:
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(HEAD)
        for name, there in scans.items():
            writer.writerow([name, *(value if column in there else "0.0" for column in HEAD[1:])])


def body() -> np.ndarray:
    """Marked at the head, the front and the patient's right, as the release's axes begin."""
    voxels = np.full((4, 5, 6), -1000, np.int16)
    voxels[0, 2, 3], voxels[2, 0, 3], voxels[2, 2, 0] = 100, 200, 300
    return voxels


@pytest.fixture
def release(tmp_path: Path) -> Path:
    labels(tmp_path / "imgtrain_Abnormality_and_Location_Labels.csv", {"trn1": {"mass*heart"}, "trn2": set()})
    labels(tmp_path / "imgvalid_Abnormality_and_Location_Labels.csv", {"val1": {"hernia*other"}})
    tst = {"tst1": {"nodule*left_upper", "calcification*heart"}, "tst2": set(), "tst3": set()}
    labels(tmp_path / "imgtest_Abnormality_and_Location_Labels.csv", tst)
    rows = ["MRN_DEID,NoteAcc_DEID,Set_Assigned,Subset_Assigned"]
    rows += [f"mrn{min(i, 4)},{name},x,y" for i, name in enumerate(("trn1", "trn2", "val1", "tst3", "tst1", "tst2"))]
    (tmp_path / "Summary_3630.csv").write_text("\n".join(rows))
    (tmp_path / "npz").mkdir()
    for name in ("trn1", "val1", "tst1", "tst2"):
        np.savez_compressed(tmp_path / "npz" / f"{name}.npz", ct=body())
    whole = (tmp_path / "npz" / "tst1.npz").read_bytes()
    at = whole.index(b"PK\x01\x02") + 24  # says that it unpacks to 4 GiB
    (tmp_path / "npz" / "tst3.npz").write_bytes(whole[:at] + b"\xf0\xff\xff\xff" + whole[at + 4 :])
    return tmp_path


def test_a_finding_at_any_place_is_its_label_and_a_scan_without_a_volume_is_listed(release: Path) -> None:
    manifest = index_cohort("rad_chestct", release)
    assert manifest.column("id").tolist() == ["trn1", "val1", "tst1", "tst2"]
    assert manifest.column("id.patient").tolist() == ["mrn0", "mrn2", "mrn4", "mrn4"]
    assert manifest.column("split").tolist() == ["train", "validate", "test", "test"]
    assert manifest.meta["skipped"] == {"missing_file": ["trn2.nii.gz"], "unreadable": ["tst3"]}
    assert len(manifest.names_of("label")) == 16
    there = {"nodule", "coronary_calcification", "arterial_wall_calcification"}
    assert {name for name in load_card("rad_chestct").labels if manifest.record(2)[f"label.{name}"] == 1} == there
    assert manifest.column("label.hiatal_hernia").tolist() == [0, 1, 0, 0]
    every = index_cohort("rad_chestct", release, {"every_abnormality": True})
    assert every.column("label.mass").tolist() == [1, 0, 0, 0]
    assert make_split(manifest, "external").parts == {"test": ("trn1", "tst1", "tst2", "val1")}


def test_head_front_and_right_are_where_the_release_has_them(release: Path) -> None:
    volume = read_volume(index_cohort("rad_chestct", release).path(2, "volume"))
    np.testing.assert_allclose(volume.spacing, 0.8)
    places = {value: np.argwhere(volume.voxels == value)[0] for value in (100, 200, 300)}
    head, front, right = (np.array(volume.world_of(*(float(n) for n in places[v]))) for v in (100, 200, 300))
    np.testing.assert_allclose(head - front, [0, -1.6, 1.6], atol=1e-5)  # right, front, head, in mm
    np.testing.assert_allclose(right - front, [2.4, -1.6, 0], atol=1e-5)


def test_a_volume_is_unpacked_once_and_needs_no_array_then(release: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    first = index_cohort(
        "rad_chestct", release, {"unpack": str(tmp_path / "away")}, progress=lambda n, of: told.append((n, of))
    )
    assert told == [(n, 5) for n in range(1, 6)]
    assert not (release / "nifti").exists()
    (tmp_path / "away" / "trn1.nii.gz").write_bytes(b"kept")
    for path in (release / "npz").iterdir():
        path.unlink()
    again = index_cohort("rad_chestct", release, {"unpack": str(tmp_path / "away")})
    assert again.column("id").tolist() == first.column("id").tolist()
    assert (tmp_path / "away" / "trn1.nii.gz").read_bytes() == b"kept"


def test_faults_are_one_sentence(release: Path) -> None:
    path = release / "imgtest_Abnormality_and_Location_Labels.csv"
    labels(path, {"tst1": {"nodule*heart"}}, value="2")
    with pytest.raises(DataError, match="a label of 'nodule' is neither 0 nor 1"):
        index_cohort("rad_chestct", release)
    labels(path, {"tst9": set()})
    with pytest.raises(DataError, match="does not say whose scan tst9 is: download both tables again"):
        index_cohort("rad_chestct", release)
    path.write_text("NoteAcc_DEID,mass*heart\ntst1,0\n")
    with pytest.raises(DataError, match=r"has no column 'emphysema\*PLACE'"):
        index_cohort("rad_chestct", release)
    path.write_text("a,b\n1,2,3\n")
    with pytest.raises(DataError, match="cannot be read as a table"):
        index_cohort("rad_chestct", release)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="has no column 'NoteAcc_DEID'"):
        index_cohort("rad_chestct", release)
    for each in release.glob("img*.csv"):
        each.unlink()
    with pytest.raises(DataError, match="holds none of RAD-ChestCT's tables of labels"):
        index_cohort("rad_chestct", release)
    (release / "Summary_3630.csv").unlink()
    with pytest.raises(DataError, match="holds no table of patients"):
        index_cohort("rad_chestct", release)
