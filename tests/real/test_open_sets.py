"""Layouts of the open sets on their real files: the packs beside the repository, and reports and tables of a wheel.

Every row is compared with the file that it comes from, read here in another way; each number that a card gives as
counted is counted again.
"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from medvlp.data.cards import DataCard, load_card
from medvlp.data.layouts import index_cohort
from medvlp.data.leakage import check_split
from medvlp.data.manifest import Manifest

Pack = Callable[[str], Path]


@pytest.fixture(scope="module")
def wheel() -> Path:
    spec = importlib.util.find_spec("torchxrayvision")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package torchxrayvision is not installed, whose wheel holds the reports and tables")
    return Path(spec.submodule_search_locations[0]) / "data"


def counted(card: DataCard, what: str, split: str = "") -> int:
    (value,) = (each.value for each in card.counts if (each.what, each.split) == (what, split))
    return value


def records(manifest: Manifest) -> list[dict[str, object]]:
    return [manifest.record(row) for row in range(len(manifest))]


def same_groups(one: list[object], other: list[object]) -> bool:
    """Whether two columns of names part the rows alike."""
    pairs = set(zip(one, other, strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_kermany_row_for_row(pack: Pack) -> None:
    root = pack("pneumonia-kermany")
    with open(root / "labels.csv", newline="") as handle:
        told = {row["path"]: row for row in csv.DictReader(handle)}
    found = records(index_cohort("pneumonia_kermany", root))
    assert {str(record["image"]) for record in found} == set(told)
    for record in found:
        row = told[str(record["image"])]
        kind = row["subtype"]
        assert record["split"] == row["split"]
        assert (record["label.no_finding"], record["label.pneumonia"]) == (kind == "NORMAL", kind != "NORMAL")
        assert record["label.bacterial_pneumonia"] == (kind == "BACTERIA")
        assert record["label.viral_pneumonia"] == (kind == "VIRUS")
    rows = [told[str(record["image"])] for record in found]
    assert same_groups([record["id.patient"] for record in found], [row["patient_group"] for row in rows])
    assert len({row["patient_group"] for row in rows}) == 950
    assert check_split(index_cohort("pneumonia_kermany", root), images=False) == []


def test_covid_row_for_row(pack: Pack) -> None:
    root = pack("covid-cxr")
    with open(root / "metadata.csv", newline="", encoding="utf-8-sig") as handle:
        told = {row["filename"]: row for row in csv.DictReader(handle)}
    manifest = index_cohort("covid_chestxray", root, {"masks": "annotations/v7-lung-masks"})
    found = records(manifest)
    assert manifest.meta["skipped"] == {}
    assert {Path(str(record["image"])).name for record in found} == set(told)
    for record in found:
        row = told[Path(str(record["image"])).name]
        assert record.get("text", "") == row["clinical_notes"].strip()
        assert record["finding"] == row["finding"]
        assert record["label.covid19"] == (row["finding"] == "COVID-19") if row["finding"] != "Pneumonia" else True
        assert ("label.covid19" in record) == (row["finding"] != "Pneumonia")
        assert record.get("offset") == (float(row["offset"]) if row["offset"] else None)
        assert record.get("age") == (float(row["age"]) if row["age"] else None)
        assert record.get("survival", "") == row["survival"]
    views = Counter(str(record["view_position"]) for record in found)
    assert views == {"PA": 53, "AP": 27 + 8, "LATERAL": 8}
    assert len({record["id.patient"] for record in found}) == 45
    assert len(manifest.having("mask.lungs")) == 63


def test_vqa_rad_row_for_row_and_its_shared_images(pack: Pack) -> None:
    root = pack("vqa-rad")
    card = load_card("vqa_rad")
    told = {
        str(entry["qid"]): (split, entry)
        for split in ("train", "test")
        for entry in json.loads((root / f"{split}set.json").read_text())
    }
    manifest = index_cohort("vqa_rad", root)
    assert set(manifest.column("id")) == set(told)
    assert len(manifest) == counted(card, "rows:with frames")
    for record in records(manifest):
        split, entry = told[str(record["id"])]
        assert record["split"] == split
        assert record["image"] == f"images/{entry['image_name']}"
        assert record["text.question"] == entry["question"].strip()
        assert record["text.answer"] == str(entry["answer"]).strip()
        assert record["answer_type"] in ("OPEN", "CLOSED")
        assert not {"ATRIB", "PRSE"} & set(str(record["question_type"]).split(", "))
    assert Counter(manifest.column("answer_type")) == {"CLOSED": 2095, "OPEN": 1420}
    assert manifest.meta["images_without_question"] == ["images/synpic35356.jpg"]
    test, train = manifest.split_of("test"), manifest.split_of("train")
    assert len(test) == counted(card, "rows", "test")
    assert len(train) == counted(card, "rows:with frames", "train")
    assert sum(kind != "frame" for kind in train.column("phrase_type")) == counted(card, "rows", "train")
    assert len(set(manifest.column("image"))) == counted(card, "images") == counted(card, "files") - 1
    assert len(set(test.column("image"))) == counted(card, "images", "test")
    assert set(test.column("image")) <= set(train.column("image"))  # the flaw that the card states
    said = set(zip(train.column("image"), train.column("text.question"), strict=True))
    assert sum(pair in said for pair in zip(test.column("image"), test.column("text.question"), strict=True)) == 14


def test_chestx_det_row_for_row_and_as_its_card_counts(pack: Pack) -> None:
    root = pack("chestx-det-labels")
    card = load_card("chestx_det")
    finding_of = {word: finding for finding, word in card.labels.items()}
    manifest = index_cohort("chestx_det", root, {"require_files": False})
    found = {str(record["id"]): record for record in records(manifest)}
    for split in ("train", "test"):
        entries = json.loads((root / f"ChestX_Det_{split}.json").read_text())
        boxes: Counter[str] = Counter()
        for entry in entries:
            record = found[f"{split}/{entry['file_name']}"]
            for finding in card.labels:
                mine = [
                    box for word, box in zip(entry["syms"], entry["boxes"], strict=True) if finding_of[word] == finding
                ]
                assert record[f"boxes.{finding}"] == mine
                assert record[f"label.{finding}"] == bool(mine)
                boxes[finding] += len(mine)
        assert len(entries) == counted(card, "images", split)
        assert sum(not entry["syms"] for entry in entries) == counted(card, "images:without a finding", split)
        assert boxes.total() == counted(card, "boxes", split)
        assert boxes == {finding: counted(card, f"boxes:{finding}", split) for finding in card.labels}
    assert len(found) == counted(card, "images")


def test_open_i_reports_are_the_archives_and_as_the_card_counts(wheel: Path, pack: Pack) -> None:
    card = load_card("openi")
    manifest = index_cohort("openi", wheel, {"require_files": False, "labels": "mesh"})
    told: dict[str, tuple[str, dict[str, str]]] = {}
    images: Counter[int] = Counter()
    empty = unindexed = reports = normal = 0
    with tarfile.open(wheel / "NLMCXR_reports.tgz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is None:
                continue
            root = ElementTree.fromstring(file.read())
            uid = root.find("uId").get("id")  # type: ignore[union-attr]
            sections = {part.get("Label", "").lower(): part.text or "" for part in root.iter("AbstractText")}
            names = [str(image.get("id")) for image in root.iter("parentImage")]
            reports += 1
            images[len(names)] += 1
            empty += not (sections["findings"].strip() or sections["impression"].strip())
            terms = [term.text for term in root.iterfind("MeSH/major")]
            unindexed += "No Indexing" in terms
            normal += "normal" in terms
            told |= {name: (str(uid), sections) for name in names}
    assert reports == counted(card, "reports")
    assert empty == counted(card, "reports:without findings and impression")
    assert unindexed == counted(card, "reports:not indexed")
    assert normal == counted(card, "mesh:no_finding")
    assert images[0] == counted(card, "reports:without image") == len(manifest.meta["reports_without_image"])  # type: ignore[arg-type]
    assert images[1] == counted(card, "reports:with 1 image")
    assert all(images[n] == counted(card, f"reports:with {n} images") for n in range(2, 6))
    assert len(manifest) == counted(card, "images")
    assert set(manifest.column("id")) == set(told)
    for record in records(manifest):
        uid, sections = told[str(record["id"])]
        assert record["id.study"] == uid
        assert all(record.get(f"text.{name}", "") == " ".join(words.split()) for name, words in sections.items())


def test_open_i_gold_labels_join_every_row_of_the_table(wheel: Path, pack: Pack) -> None:
    path = pack("openi-gold") / "openi_gld_std14.csv"
    with open(path, newline="") as handle:
        told = {row["filename"]: row for row in csv.DictReader(handle)}
    manifest = index_cohort("openi", wheel, {"rows": "report", "gold": str(path)})
    labelled = [record for record in records(manifest) if "label.effusion" in record]
    assert {str(record["id"]) for record in labelled} | set(manifest.meta["empty_reports"]) >= set(told)  # type: ignore[call-overload]
    assert len(labelled) == len(set(told) & set(manifest.column("id")))
    words = load_card("openi").labels
    for record in labelled:
        row = told[str(record["id"])]
        assert all(record[f"label.{finding}"] == float(row[word]) for finding, word in words.items())


def test_vindr_on_kaggles_table_as_the_card_counts(wheel: Path, tmp_path: Path) -> None:
    card = load_card("vindr_cxr")
    with gzip.open(wheel / "vinbigdata-train.csv.gz", "rt") as handle:
        text = handle.read()
    (tmp_path / "train.csv").write_text(text)
    rows = list(csv.DictReader(text.splitlines()))
    assert len(rows) == counted(card, "rows:Kaggle", "train")
    assert len({row["rad_id"] for row in rows}) == counted(card, "readers", "train")
    each = index_cohort("vindr_cxr", tmp_path, {"readers": "each", "require_files": False})
    assert len(each) == 3 * counted(card, "images", "train") == counted(card, "readings:PhysioNet", "train")
    boxes = sum(len(some) for name in each.names_of("boxes") for some in each.arrow(name).to_pylist())
    assert boxes == counted(card, "boxes:Kaggle", "train") == sum(row["class_id"] != "14" for row in rows)
    majority = index_cohort("vindr_cxr", tmp_path, {"require_files": False})
    _, place = np.unique(each.column("id.study"), return_inverse=True)
    for count in card.counts:
        rule, _, finding = count.what.partition(":")
        if rule in ("label", "union"):
            votes = np.bincount(place, weights=each.column(f"label.{finding}"))
            assert np.sum(votes >= (2 if rule == "label" else 1)) == count.value
        if rule == "label":
            assert np.sum(majority.column(f"label.{finding}")) == count.value
