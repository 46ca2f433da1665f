"""Small trees in the layouts of public data sets, with pictures that can be read: noise, a square where a box is."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from medvlp.data.cards import load_card
from tests.io.conftest import dicom_writer

__all__ = ["TREES"]

SIDE, CASES = 64, 8
BOX = (16, 16, 40, 40)


def pixels(seed: str, *, box: bool = False) -> np.ndarray:
    values = np.random.default_rng(list(seed.encode())).integers(0, 160, (SIDE, SIDE)).astype(np.uint8)
    if box:
        x0, y0, x1, y1 = BOX
        values[y0:y1, x0:x1] += 90
    return values


def picture(path: Path, *, box: bool = False, scale: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels("/".join(path.parts[-4:]), box=box).repeat(scale, 0).repeat(scale, 1)).save(path)


def dicom(path: Path, *, box: bool = False, sex: str = "F", age: str = "050Y", view: str = "PA") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = {0x00080018: ("UI", f"1.2.{int.from_bytes(path.stem.encode())}"), 0x00100020: ("LO", path.stem)}
    tags |= {0x00100040: ("CS", sex), 0x00101010: ("AS", age), 0x00185101: ("CS", view)}
    dicom_writer(path.parent)(pixels(path.name, box=box), tags).rename(path)


def table(path: Path, rows: Sequence[Sequence[object]], *, packed: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", newline="") if packed else open(path, "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows(rows)


def nih_chestxray14(root: Path) -> None:
    head = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    head += "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
    words, rows, boxes, lists = ["Effusion", "Cardiomegaly|Mass", "No Finding", "Hernia"], [], [], ([], [])
    for i in range(2 * CASES):
        name, word = f"{i:08d}_000.png", words[i % 4]
        rows.append(f"{name},{word},0,{i},5{i % 10},{'MF'[i % 2]},{'PA' if i % 3 else 'AP'},64,64,0.1,0.1")
        lists[i < CASES].append(name)
        if word == "Effusion":
            x, y, w, h = (1024 * each // SIDE for each in (16, 16, 24, 24))
            boxes.append(f"{name},Effusion,{x},{y},{w},{h}")
        picture(root / "images_001" / "images" / name, box=word == "Effusion")
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join([head, *rows]) + "\n")
    (root / "BBox_List_2017.csv").write_text("\n".join(["Image Index,Finding Label,Bbox [x,y,w,h],,,", *boxes]) + "\n")
    (root / "train_val_list.txt").write_text("\n".join(lists[0]))
    (root / "test_list.txt").write_text("\n".join(lists[1]))


def chexpert(root: Path) -> None:
    words = list(load_card("chexpert").labels.values())
    head = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *words]
    for part in ("train", "valid"):
        rows: list[list[object]] = [head]
        for i in range(CASES):
            path = f"{part}/patient{i + 100 * (part == 'valid'):05d}/study1/view1_frontal.jpg"
            picture(root / path)
            rows.append([path, "Female", 50, "Frontal", "AP", *(float((i + k) % 2) for k in range(len(words)))])
        table(root / f"{part}.csv", rows)
    rows = [["Path", *words]]
    for i in range(CASES):
        path = f"test/patient{i + 200:05d}/study1/view1_frontal.jpg"
        picture(root / path)
        rows.append([path, *(float((i + k) % 2) for k in range(len(words)))])
    table(root / "test_labels.csv", rows)


def mimic_cxr(root: Path) -> None:
    words = list(load_card("mimic_cxr").labels.values())
    meta: list[list[object]] = [
        ["dicom_id", "subject_id", "study_id", "ViewPosition", "Rows", "Columns", "StudyDate", "StudyTime"]
    ]
    split: list[list[object]] = [["dicom_id", "study_id", "subject_id", "split"]]
    labels: list[list[object]] = [["subject_id", "study_id", *words]]
    for i in range(2 * CASES):
        who, study = 10000000 + i, 50000000 + i
        meta.append([f"d{i}", who, study, "PA" if i % 2 else "AP", 64, 64, 21500101 + i, 1])
        split.append([f"d{i}", study, who, "test" if i < CASES else "train"])
        labels.append([who, study, *(float((i + k) % 2) for k in range(len(words)))])
        picture(root / f"files/p10/p{who}/s{study}/d{i}.jpg")
        text = root / f"files/p10/p{who}/s{study}.txt"
        text.write_text(f"FINDINGS: {'Small left' if i % 2 else 'No'} pleural effusion.\nIMPRESSION: Number {i}.\n")
    for name, rows in (("metadata", meta), ("split", split), ("chexpert", labels)):
        table(root / f"mimic-cxr-2.0.0-{name}.csv.gz", rows, packed=True)


def vindr_cxr(root: Path) -> None:
    card = load_card("vindr_cxr")
    local = [words[0] for words in card.vocabularies["local"].values()]
    words = list(card.labels.values())
    for part in ("train", "test"):
        boxes: list[list[object]] = [["image_id", "rad_id", "class_name", "x_min", "y_min", "x_max", "y_max"]]
        labels: list[list[object]] = [["image_id", "rad_id", *words]]
        for i in range(CASES):
            name, reader = f"{part}{i}", "consensus" if part == "test" else "R1"
            told = {word: int((i + k) % 4 == 0) for k, word in enumerate(words)} | {"No finding": 0}
            labels.append([name, reader, *(told[word] for word in words)])
            boxes += [[name, reader, word, *BOX] for word in local if told[word]]
            dicom(root / part / f"{name}.dicom", box=True, sex="FM"[i % 2])
        table(root / "annotations" / f"annotations_{part}.csv", boxes)
        table(root / "annotations" / f"image_labels_{part}.csv", labels)


def rsna_pneumonia(root: Path) -> None:
    labels: list[list[object]] = [["patientId", "x", "y", "width", "height", "Target"]]
    for i in range(3 * CASES):
        name = f"image-{i:02d}"
        dicom(root / "stage_2_train_images" / f"{name}.dcm", box=bool(i % 2), sex="FM"[i % 2])
        labels.append([name, 16, 16, 24, 24, 1] if i % 2 else [name, "", "", "", "", 0])
    table(root / "stage_2_train_labels.csv", labels)


def siim_pneumothorax(root: Path) -> None:
    for part in ("train", "test"):
        rows: list[list[object]] = [["new_filename", "ImageId", "has_pneumo"]]
        for i in range(CASES):
            name, positive = f"{i}_{part}_{i % 2}_.png", bool(i % 2)
            picture(root / "png_images" / name, box=positive)
            mask = np.zeros((SIDE, SIDE), np.uint8)
            if positive:
                mask[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
            (root / "png_masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(root / "png_masks" / name)
            rows.append([name, f"1.2.{part == 'test':d}.{i}", i % 2])
        table(root / f"stage_1_{part}_images.csv", rows)


def covidx(root: Path) -> None:
    words = ("normal", "pneumonia", "COVID-19")
    for part in ("train", "val", "test"):
        lines = []
        for i in range(CASES):
            picture(root / part / f"{part}{i}.png")
            lines.append(f"{part}{i} {part}{i}.png {words[i % 3]} {'rsna' if i % 2 else 'cohen'}")
        (root / f"{part}.txt").write_text("\n".join(lines) + "\n")


def covid_chestxray(root: Path) -> None:
    head = [
        "patientid",
        "offset",
        "sex",
        "age",
        "finding",
        "survival",
        "intubated",
        "went_icu",
        "view",
        "modality",
        "date",
    ]
    head += ["location", "folder", "filename", "doi", "url", "license", "clinical_notes", "other_notes"]
    kinds = ["Pneumonia/Viral/COVID-19", "Pneumonia/Bacterial/Streptococcus", "No Finding", "Tuberculosis"]
    rows: list[list[object]] = [head]
    for i in range(2 * CASES):
        picture(root / "images" / f"{i}.png")
        note = f"Day {i}: {'bilateral effusion' if i % 2 else 'clear lungs'}."
        rows.append([i, i, "FM"[i % 2], 50, kinds[i % 4], "", "", "", "PA" if i % 3 else "AP", "X-ray", 2020, "A"])
        rows[-1] += ["images", f"{i}.png", "", f"https://example.org/{i}", "CC BY", note, ""]
    table(root / "metadata.csv", rows)


def pneumonia_kermany(root: Path) -> None:
    for at, part in enumerate(("train", "val", "test")):
        for i in range(CASES):
            number = 100 * at + i
            picture(root / "chest_xray" / part / "NORMAL" / f"IM-{1000 + number:04d}-0001.jpeg")
            kind = "virus" if i % 2 else "bacteria"
            picture(root / "chest_xray" / part / "PNEUMONIA" / f"person{500 + number}_{kind}_{number}.jpeg")


def openi(root: Path) -> None:
    terms = ["normal", "Pleural Effusion/left", "Cardiomegaly", "Opacity/lung"]
    (root / "ecgen-radiology").mkdir(parents=True)
    for i in range(2 * CASES):
        image, words = f"CXR{i}_IM-0001-{i:04d}", f"{'Left effusion' if i % 2 else 'Clear lungs'}, number {i}."
        picture(root / "NLMCXR_png" / f"{image}.png")
        sections = f'<AbstractText Label="FINDINGS">{words}</AbstractText>'
        (root / "ecgen-radiology" / f"{i}.xml").write_text(
            f'<eCitation><uId id="CXR{i}"/><MedlineCitation><Article><Abstract>{sections}</Abstract></Article>'
            f"</MedlineCitation><MeSH><major>{terms[i % 4]}</major></MeSH>"
            f'<parentImage id="{image}"><figureId>F1</figureId></parentImage></eCitation>'
        )


def chestx_det(root: Path) -> None:
    scale = 1024 // SIDE  # its outlines are of 1024 pixels, whatever a picture says
    for part, folder in (("train", "train_data"), ("test", "test-data")):
        entries = []
        for i in range(CASES):
            name, words = f"{part == 'test':d}{i}.png", ["Effusion", "Nodule"] if i % 2 else []
            picture(root / folder / name, box=bool(words), scale=scale)
            x0, y0, x1, y1 = (scale * each for each in BOX)
            corners = [[x0, y0], [x0, y1], [x1, y1], [x1, y0]]
            entries.append(
                {
                    "file_name": name,
                    "syms": words,
                    "boxes": [[x0, y0, x1, y1]] * len(words),
                    "polygons": [corners] * len(words),
                }
            )
        (root / f"ChestX_Det_{part}.json").write_text(json.dumps(entries))


def vqa_rad(root: Path) -> None:
    entries = []
    for i in range(3 * CASES):
        name, kind = f"synpic{i // 2}.jpg", "CLOSED" if i % 3 else "OPEN"
        picture(root / "VQA_RAD Image Folder" / name)
        told = {"qid": i, "image_name": name, "image_organ": "CHEST", "answer_type": kind, "question_type": "PRES"}
        told |= {"phrase_type": "freeform", "question": f"Is finding {i % 4} seen?", "question_frame": "Is it seen?"}
        told |= {"answer": ("Yes", "no")[i % 2] if i % 3 else "left lung", "image_case_url": "NULL"}
        entries.append(told)
    (root / "VQA_RAD Dataset Public.json").write_text(json.dumps(entries))


def padchest(root: Path) -> None:
    head = ["", "ImageID", "ImageDir", "StudyID", "PatientID", "PatientSex_DICOM", "Projection", "Report"]
    rows: list[list[object]] = [[*head, "MethodLabel", "Labels"]]
    for i in range(2 * CASES):
        picture(root / "0" / f"{i}.png")
        terms = ["normal"] if i % 2 else ["pleural effusion", "cardiomegaly"]
        told = ["F", "PA" if i % 3 else "AP", "sin hallazg", "Physician" if i % 4 else "RNN_model", terms]
        rows.append([i, f"{i}.png", 0, f"s{i}", f"p{i}", *told])
    table(root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", rows)


TREES: dict[str, Callable[[Path], None]] = {
    made.__name__: made
    for made in (
        nih_chestxray14,
        chexpert,
        mimic_cxr,
        vindr_cxr,
        rsna_pneumonia,
        siim_pneumothorax,
        covidx,
        covid_chestxray,
        pneumonia_kermany,
        openi,
        chestx_det,
        padchest,
    )
}
