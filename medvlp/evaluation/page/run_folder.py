"""A run folder, or a lone results.json, to the page; and the pictures that a run keeps to draw it again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image

from medvlp.core.errors import DataError
from medvlp.core.files import read_json, write_json, write_text, written_whole
from medvlp.evaluation.page.inputs import Box, GalleryItem, Quarantined, ReportInputs, RetrievalExample, RetrievalHit
from medvlp.evaluation.page.render import render_report
from medvlp.evaluation.page.suite import render_suite
from medvlp.evaluation.results import Result, load_result
from medvlp.evaluation.suite import load_suite_table

__all__ = ["read_gallery", "read_run", "write_gallery", "write_report_page"]

_GALLERY = "gallery"
_ORDER = ("zero_shot", "existence", "linear_probe", "laterality", "retrieval")


def write_report_page(run: Path, out: Path) -> None:
    """Draw the page of a run folder, of one ``results.json``, or of a suite, into one HTML file.

    Args:
        run: folder with ``results/`` and, if there, config.yaml, environment.json, data.json and log.jsonl; or the
            folder of a suite, with its ``suite.json`` and ``table.json``.
        out: the HTML file, complete or absent.

    Raises:
        DataError: if there are no results, or a file is damaged.
    """
    run = Path(run)
    if (run / "suite.json").is_file() and not (run / "results").is_dir():
        write_text(Path(out), render_suite(load_suite_table(run / "table.json")))
        return
    write_text(Path(out), render_report(read_run(Path(run))))


def read_run(run: Path) -> ReportInputs:
    """Return what a run folder, or one ``results.json``, has for the page.

    Raises:
        DataError: if there are no results, or a file is damaged.
    """
    if run.is_file():
        result = load_result(run)
        return ReportInputs(title=result.title or f"Results: {result.name}", results=(result,))
    paths = [path for path in sorted((run / "results").glob("*.json")) if path.stem != _GALLERY]
    if not paths:
        raise DataError(
            f"{run} has no results/*.json to make a page of: run `medvlp evaluate` first, or name a results.json."
        )
    results = tuple(sorted((load_result(path) for path in paths), key=_order))
    gallery, retrieval = read_gallery(run)
    data = read_json(run / "data.json") if (run / "data.json").is_file() else {}
    config = _config(run / "config.yaml")
    quarantined = data.get("quarantined", [])
    records = [entry for entry in quarantined if isinstance(entry, Mapping)] if isinstance(quarantined, list) else []
    facts = {key: value for key, value in data.items() if key != "quarantined"}
    made = facts.pop("split_made", None)
    if isinstance(made, Mapping):
        told = {key: made.get(key) for key in ("name", "rule", "card", "unit", "flaw", "source")}
        facts["split_made"] = {key: value for key, value in told.items() if value}
    if "seed" in config:
        facts = {"seed": config["seed"], **facts}
    return ReportInputs(
        title=_title(config) or run.resolve().name,
        results=results,
        log=_log(run / "log.jsonl"),
        gallery=gallery,
        retrieval=retrieval,
        config=config,
        environment=read_json(run / "environment.json") if (run / "environment.json").is_file() else {},
        provenance=facts,
        quarantined=tuple(Quarantined(str(entry.get("id", "")), str(entry.get("reason", ""))) for entry in records),
    )


def write_gallery(run: Path, gallery: Sequence[GalleryItem], retrieval: Sequence[RetrievalExample]) -> None:
    """Keep the pictures of a page in ``results/gallery.json`` and ``results/gallery/*.png``.

    A heat map is kept in 8 bits over its own range, which is how the page shows it.
    """
    folder = run / "results" / _GALLERY
    items, examples = [], []
    for at, item in enumerate(gallery):
        heat: str | None = None
        if item.heat_map is not None:
            low, spread = item.heat_map.min(), np.ptp(item.heat_map)
            unit = (item.heat_map - low) / (spread if spread > 0 else 1)
            heat = _keep(folder / f"heat-{at:03d}.png", np.rint(255 * unit).astype(np.uint8))
        entry = {
            "image": _keep(folder / f"picture-{at:03d}.png", item.image),
            "heat_map": heat,
            "finding": item.finding,
            "score": float(item.score),
            "boxes": [asdict(box) for box in item.boxes],
            "truth": item.truth,
            "sentence": item.sentence,
            "note": item.note,
        }
        items.append(entry)
    for at, example in enumerate(retrieval):
        entry = {
            "image": _keep(folder / f"query-{at:03d}.png", example.image),
            "hits": [asdict(hit) for hit in example.hits],
            "expected_rank": float(example.expected_rank),
            "pool": int(example.pool),
            "relevant": int(example.relevant),
            "note": example.note,
        }
        examples.append(entry)
    write_json(run / "results" / f"{_GALLERY}.json", {"gallery": items, "retrieval": examples})


def read_gallery(run: Path) -> tuple[tuple[GalleryItem, ...], tuple[RetrievalExample, ...]]:
    """Return the pictures that `write_gallery` kept; nothing where there are none.

    Raises:
        DataError: if ``gallery.json`` or a picture is damaged.
    """
    path = run / "results" / f"{_GALLERY}.json"
    if not path.is_file():
        return (), ()
    document: dict[str, Any] = read_json(path)
    folder = run / "results" / _GALLERY
    try:
        items = tuple(
            GalleryItem(
                image=_kept(folder, entry["image"]),
                heat_map=None if entry["heat_map"] is None else _kept(folder, entry["heat_map"]) / 255.0,
                finding=str(entry["finding"]),
                score=float(entry["score"]),
                boxes=tuple(
                    Box(
                        float(box["left"]),
                        float(box["top"]),
                        float(box["right"]),
                        float(box["bottom"]),
                        str(box["label"]),
                    )
                    for box in entry["boxes"]
                ),
                truth=str(entry["truth"]),
                sentence=str(entry["sentence"]),
                note=str(entry["note"]),
            )
            for entry in document["gallery"]
        )
        examples = tuple(
            RetrievalExample(
                image=_kept(folder, entry["image"]),
                hits=tuple(
                    RetrievalHit(
                        rank=int(hit["rank"]),
                        text=str(hit["text"]),
                        score=float(hit["score"]),
                        correct=bool(hit["correct"]),
                    )
                    for hit in entry["hits"]
                ),
                expected_rank=float(entry["expected_rank"]),
                pool=int(entry["pool"]),
                relevant=int(entry["relevant"]),
                note=str(entry["note"]),
            )
            for entry in document["retrieval"]
        )
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise DataError(
            f"{path} or a picture that it names cannot be read ({type(error).__name__}: {error}): "
            f"delete it for a page without pictures, or evaluate again."
        ) from error
    return items, examples


def _order(result: Result) -> tuple[bool, int, str]:
    known = _ORDER.index(result.name) if result.name in _ORDER else len(_ORDER)
    return result.role == "control", known, result.name


def _keep(path: Path, pixels: NDArray[np.uint8]) -> str:
    with written_whole(path) as beside:
        Image.fromarray(np.ascontiguousarray(pixels)).save(beside, format="PNG")
    return path.name


def _kept(folder: Path, name: object) -> NDArray[np.uint8]:
    if not isinstance(name, str) or not re.fullmatch(r"[\w-]+\.png", name):
        raise ValueError(f"{name!r} is not a picture's file name")
    with Image.open(folder / name) as image:
        return np.asarray(image)


def _config(path: Path) -> dict[str, object]:
    if not path.is_file():
        return {}
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not YAML ({error}): restore it or remove it.") from error
    return tree if isinstance(tree, dict) else {}


def _title(config: Mapping[str, Any]) -> str:
    """Return objectives and towers of a training configuration; empty where it is none."""
    try:
        objectives = dict.fromkeys(each["name"] for phase in config["phases"] for each in phase["objectives"])
        towers = [
            part.get("architecture") or part["name"] for part in (config["model"]["vision"], config["model"]["text"])
        ]
    except (KeyError, TypeError, AttributeError):
        return ""
    return f"{' and '.join(map(str, objectives))}: {' with '.join(map(str, towers))}"


def _log(path: Path) -> list[Mapping[str, object]]:
    """Read JSON lines; a run that was killed may have torn the last one, which is left out."""
    if not path.is_file():
        return []
    rows: list[Mapping[str, object]] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for at, line in enumerate(lines):
        try:
            row = json.loads(line) if line.strip() else {}
        except json.JSONDecodeError as error:
            if at == len(lines) - 1:
                break
            raise DataError(f"{path} line {at + 1} is not JSON ({error}): restore the file or remove it.") from error
        if isinstance(row, dict):
            rows.append(row)
    return rows
