"""What a model says of files, as the table that ``medvlp score`` reads."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medvlp.core.files import written_whole
from medvlp.data.picture_files import PictureFile


def write_score_table(path: Path, found: Mapping[str, Any], rows: Sequence[PictureFile]) -> int:
    """Write a CSV with a row for each picture that was read; returns how many.

    Columns: ``id``, ``patient_id``, ``split`` where a manifest tells one, and for each finding ``label:NAME`` and
    ``score:NAME`` (the probability where the bundle holds a calibration). What nobody knows is blank, to be filled in
    before it is scored. Where the bundle has a gate ``group:gate`` says ``held back`` or ``let in``; ``synthetic`` is 1
    where a manifest says so.

    Args:
        path: of the file.
        found: what `predict_files` returned.
        rows: what it was asked about, see `files_of`.

    Raises:
        UserError: if the file cannot be written.

    Example:
        >>> import tempfile
        >>> row = PictureFile("a", (Path("a.png"),), patient="p", labels={"edema": 1.0})
        >>> found = {"results": [{"path": "a.png", "id": "a", "scores": {"edema": 0.25}}]}
        >>> file = Path(tempfile.mkdtemp()) / "predictions.csv"
        >>> write_score_table(file, found, [row]), file.read_text().splitlines()
        (1, ['id,patient_id,label:edema,score:edema', 'a,p,1,0.25'])
    """
    known = {(row.id, str(row.files[0])): row for row in rows}  # two manifests may both number their rows
    findings = list(dict.fromkeys(name for result in found["results"] for name in result.get("scores", {})))
    placed = any(row.split is not None for row in rows)
    gated = any("abstained" in result for result in found["results"])
    synthetic = any(row.synthetic for row in rows)
    header = ["id", "patient_id", *(["split"] if placed else []), *(["synthetic"] if synthetic else [])]
    header += [f"{kind}:{name}" for name in findings for kind in ("label", "score")] + (["group:gate"] if gated else [])
    with written_whole(path) as temporary, open(temporary, "w", -1, "utf-8", "backslashreplace", "") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        for result in found["results"]:
            row = known[result.get("id", result["path"]), result["path"]]
            cells: list[object] = [row.id, row.patient or "", *([row.split or ""] if placed else [])]
            cells += [int(row.synthetic)] if synthetic else []
            for name in findings:
                label = row.labels.get(name)
                cells += ["" if label is None else f"{label:g}", result.get("scores", {}).get(name, "")]
            if gated:
                cells.append({True: "held back", False: "let in", None: ""}[result.get("abstained")])
            writer.writerow(cells)
    return len(found["results"])
