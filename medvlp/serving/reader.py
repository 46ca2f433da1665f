"""A loaded bundle for who looks at pictures: everything it can say of one, in plain data, by whatever answers it has.

``medvlp predict`` and the reading room ask the same functions, so that a number on a page is the one that is printed.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medvlp.answers.asking.ask import ask_samples, needs_of
from medvlp.answers.asking.files import of_training, predict_files
from medvlp.answers.asking.model import Picture, Prepared, VisionLanguageModel
from medvlp.core.answers import Answer, Ask, Rows
from medvlp.core.errors import UserError
from medvlp.core.sample import Stack
from medvlp.serving.findings import finding_rows, refusal
from medvlp.text.hard_negatives import false_copies

__all__ = ["BANNER", "Reader"]

BANNER = "For research only: not a medical device, and not for decisions about patients."
_NO_MAP = "This model says nothing of where it looked."
_NO_WORDS = "This model compares no pictures with sentences."
_NO_INDEX = "No index of cases is loaded: make one with medvlp embed MODEL MANIFEST --index FOLDER."


class Reader:
    """A bundle at work behind one lock: safe to ask from several threads.

    Args:
        model: a loaded bundle.
        name: shown for it.

    Example:
        >>> Reader(medvlp.load("run/bundle")).findings(reader.prepare("one.dcm"))  # doctest: +SKIP
    """

    def __init__(self, model: VisionLanguageModel, *, name: str = "") -> None:
        self.model = model
        self.name = name or "model"
        self._lock = threading.RLock()

    # what it is -----------------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """Return what the bundle is and what it can be asked; a sentence for what it cannot."""
        bundle, model = self.model.bundle, self.model
        scores = any("scores" in answer.gives and answer.asks == "nothing" for answer in model.answers.values())
        return {
            "name": self.name,
            "hash": bundle.hash,
            "kinds": list(model.model.kinds),
            "preset": model.preset if "image" in model.model.kinds else None,
            "labels": list(bundle.labels),
            "answers": [
                {
                    "name": name,
                    "title": answer.title or name,
                    "asks": answer.asks,
                    "gives": sorted(answer.gives),
                    "labels": list(answer.labels),
                }
                for name, answer in model.answers.items()
            ],
            "banner": BANNER,
            "synthetic": bool(bundle.provenance.get("synthetic", False)),
            "gate": bundle.gate is not None,
            "index": None,
            "cannot": {
                "findings": None if scores else "This model scores no findings unasked.",
                "where": None if self._looking() else _NO_MAP,
                "ask": None if self._comparing() else _NO_WORDS,
                "check_report": None if self._comparing() else _NO_WORDS,
                "similar": _NO_INDEX,
            },
        }

    def prepare(self, image: Picture | tuple[Path, ...]) -> Prepared:
        """Run the model's preprocessing once, on a path or on what was read with the preset that `describe` names.

        Raises:
            UnreadableImage: if it cannot be read, with its reason and how to mend it.
            UserError: for what this model does not look at.
        """
        prepared = self.model.prepare(image)
        files = [Path(image)] if isinstance(image, str | Path) else image if isinstance(image, tuple) else []
        told = of_training(self.model, [file for file in files if file.is_file()])
        return prepared.warned(told)

    # what it says ---------------------------------------------------------------------------------------------------

    def findings(self, prepared: Prepared) -> dict[str, Any]:
        """Return what the bundle says of each finding, and why nothing where its gate holds the picture back."""
        with self._lock:
            found = predict_files(self.model, [prepared])
        told = found["results"][0]
        refused = refusal(told)
        kind = self.model.of_kind(prepared.kind)
        rows = finding_rows(told, kind.bundle.answers, [found["recipe"], *told.get("answers", {})], refused)
        looks = bool(self._looking()) and prepared.kind == "image"
        for row in rows:
            row["map"] = looks and refused is None and row["hit_rate"] is not None
        return {"refused": refused, "findings": rows, "warnings": list(told["warnings"])}

    def where(self, prepared: Prepared, asked: str, method: str | None = None) -> dict[str, Any]:
        """Return where in a picture the score of a finding comes from.

        Raises:
            UserError: if the model has no such map.
        """
        if isinstance(prepared.pixels, Stack) or prepared.record is None:
            raise UserError("A map is of a picture in a file: of a volume ask for the weights of its slices.")
        for answer in self._looking().values():
            if asked in answer.labels:
                with self._lock:
                    begun = self.model.begun(answer, Ask())
                    found = answer.look(self.model.model, prepared.sample, begun, [(asked, "")])
                if found is not None:
                    return _plain_map(found[0], prepared.record.box, "look")
        raise UserError(f"{_NO_MAP} Ask for a finding that it scores, not {asked!r}.")

    def ask(self, prepared: Prepared, sentence: str) -> dict[str, Any]:
        """Return a sentence against its denial.

        Raises:
            UserError: if the model compares no texts, or no rule denies the sentence.
        """
        said, denied = _denial(sentence)
        answer = self._comparing()
        if answer is None:
            raise UserError(_NO_WORDS)
        with self._lock:
            rows = self._rows(answer, prepared)
            margin = float(answer.margin(rows, self.model.model, [said], [denied])[0])
        return {"statement": said, "denial": denied, "margin": margin, "probability": None, "calibrated": False}

    def check_report(self, prepared: Prepared, text: str) -> dict[str, Any]:
        """Return what the picture says of each sentence of a report."""
        from medvlp.text.sentences import split_sentences

        why = "The bundle holds no calibration of sentences." if self._comparing() else _NO_WORDS
        return {
            "sentences": [{"text": each, "verdict": "not_judged", "why": why} for each in split_sentences(text)],
            "evidence": None,
        }

    def similar(self, prepared: Prepared | None, sentence: str | None, k: int = 8) -> dict[str, Any]:
        """Return the cases of the index that are most like a picture or a sentence.

        Raises:
            UserError: if there is no index.
        """
        raise UserError(_NO_INDEX)

    # ----------------------------------------------------------------------------------------------------------------

    def _looking(self) -> Mapping[str, Answer]:
        return {n: each for n, each in self.model.answers.items() if type(each).look is not Answer.look}

    def _comparing(self) -> Answer | None:
        """Return the first answer that compares pictures with texts."""
        return next((each for each in self.model.answers.values() if each.prompts), None)

    def _rows(self, answer: Answer, prepared: Prepared) -> Rows:
        kept: list[Rows] = []
        ask_samples(
            {},
            self.model.model,
            [prepared.sample],
            more=needs_of([answer], self.model.model),
            watch=lambda group, table: kept.append(Rows(table, group)),
        )
        return kept[0]


def _denial(sentence: str) -> tuple[str, str]:
    words = " ".join(sentence.split()).rstrip(".?! ")
    lower = words.lower()
    if lower.startswith(("is there ", "are there ")):
        words = f"There {lower.split()[0]} {words.split(maxsplit=2)[2]}"
    said = f"{words[:1].upper()}{words[1:]}."
    copies = false_copies(said, ("negation",))
    if not copies:
        raise UserError(
            f"No rule denies {said!r}, so nothing stands against it: state one finding, such as 'Left effusion.'."
        )
    return said, copies[0].text


def _plain_map(values: np.ndarray, box: tuple[float, ...], method: str) -> dict[str, Any]:
    there = np.maximum(values, 0)
    top = float(there.max())
    bytes_ = np.rint(255 * there / top if top > 0 else there).astype(np.uint8)
    rows, columns = values.shape
    return {
        "method": method,
        "rows": rows,
        "columns": columns,
        "values": base64.b64encode(bytes_.tobytes()).decode(),
        "box": [float(each) for each in box],
        "hit_rate": None,
    }
