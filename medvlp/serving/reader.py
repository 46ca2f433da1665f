"""A loaded bundle for who looks at pictures: everything it can say of one, in plain data, by whatever answers it has.

``medvlp predict`` and the reading room ask the same functions, so that a number on a page is the one that is printed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medvlp.answers.asking.ask import needs_of
from medvlp.answers.asking.files import of_training, predict_files
from medvlp.answers.asking.maps import hit_rate, looking, maps_of_findings, maps_of_words, offered
from medvlp.answers.asking.model import Picture, Prepared, VisionLanguageModel
from medvlp.answers.asking.slices import slice_weights
from medvlp.answers.sentences.evaluator import SentenceEvaluator
from medvlp.core.answers import Answer, Rows
from medvlp.core.errors import UserError
from medvlp.core.keys import Key, parse_key
from medvlp.core.sample import Stack
from medvlp.core.table import FeatureTable
from medvlp.data.collate import collate
from medvlp.features.case_index import CaseIndex
from medvlp.features.feature_pass import feature_pass
from medvlp.models.bundle import StoredAnswer
from medvlp.models.card import SYNTHETIC
from medvlp.models.gate import NO_GATE
from medvlp.serving.findings import finding_rows, refusal
from medvlp.serving.maps import plain_map
from medvlp.serving.said import said_of
from medvlp.text.hard_negatives import false_copies
from medvlp.text.sentences import split_sentences

BANNER = "For research only: not a medical device, and not for decisions about patients."
_NO_MAP = "This model says nothing of where it looked."
_NO_ANSWER = (
    "This model answers no question, or nobody measured how well: evaluate it with into_bundle=true on questions."
)
_NO_SLICES = "This model gives no slice a weight."
_NO_WORDS = "This model compares no pictures with sentences."
_NOT_CALIBRATED = (
    "Nobody has calibrated sentences on this bundle: evaluate it with the measure `sentences` and into_bundle=true."
)
_OTHER_KIND = "Sentences were calibrated on pictures of another kind."
_SEEN = "sentence_alike"  # what verdicts rest on, told first: like sentences, so that neither words nor base rates help
_NO_INDEX = "No index of cases is loaded: make one with medvlp embed MODEL MANIFEST --index FOLDER."


class Reader:
    """A bundle at work behind one lock: safe to ask from several threads.

    Args:
        model: a loaded bundle.
        name: shown for it.
        index: folder of cases that `medvlp embed --index` made with this very model; None for none.

    Raises:
        UserError: if the index is another model's.

    Example:
        >>> from medvlp.models.build import build_model
        >>> from medvlp.models.bundle import Bundle
        >>> from medvlp.text import train_wordpiece
        >>> words = train_wordpiece(["pleural effusion", "clear lungs"] * 2, vocab_size=64, max_length=16)
        >>> small = build_model({"name": "single", "width": 16, "layers": 1, "image_size": 32}, tokenizer=words)
        >>> bundle = Bundle(small, words, preprocessing=[{"name": "read", "size": 32}])
        >>> Reader(VisionLanguageModel(bundle)).describe()["cannot"]["findings"]
        'This model scores no findings unasked.'
    """

    def __init__(self, model: VisionLanguageModel, *, name: str = "", index: str | Path | None = None) -> None:
        self.model = model
        self.name = name or "model"
        self._lock = threading.RLock()
        self._cases = None if index is None else CaseIndex.load(index, model=model.bundle.hash)
        stored = model.bundle.sentences
        self._checker = None if stored is None or not model.cosines else SentenceEvaluator.of(stored)

    def describe(self) -> dict[str, Any]:
        """Return what the bundle is and what it can be asked; a sentence for what it cannot."""
        bundle, model = self.model.bundle, self.model
        scores = any("scores" in answer.gives and answer.asks == "nothing" for answer in model.answers.values())
        return {
            "name": self.name,
            "hash": bundle.hash,
            "kinds": list(model.model.kinds),
            "preset": model.preset if "image" in model.model.kinds else None,
            "synthetic": bool(bundle.provenance.get("synthetic", False)),
            "index": self._cases and {**self._cases.meta, "cases": len(self._cases), "findings": self._cases.findings},
            "cannot": {
                "findings": None if scores else "This model scores no findings unasked.",
                "where": None if looking(self.model) else _NO_MAP,
                "slices": None if self._weighing() else _NO_SLICES,
                "ask": None if self._comparing() else _NO_WORDS,
                "check_report": None if self._checker else _NOT_CALIBRATED if self._comparing() else _NO_WORDS,
                "question": None if _asked(model) else _NO_ANSWER,
                "similar": None if self._cases else _NO_INDEX,
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
        return prepared.warned(of_training(self.model, [[file for file in files if file.is_file()]])[0])

    def findings(self, prepared: Prepared) -> dict[str, Any]:
        """Return what the bundle says of each finding and beside that, and why nothing where its gate holds it back."""
        with self._lock:
            found = predict_files(self.model, [prepared])
        result = found["results"][0]
        refused = refusal(self.model.verdict(prepared))
        kind = self.model.of_kind(prepared.kind)
        rows = finding_rows(result, kind.bundle.answers, [found["recipe"], *result.get("answers", {})], refused)
        for row in rows:
            row["hit_rate"] = hit_rate(self._released(row["answer"]), row["finding"])
            row["map"] = refused is None and prepared.kind == "image" and offered(row["hit_rate"])
        said = [] if refused else said_of(result, kind.answers, kind.bundle.answers)
        notes = [*result["warnings"], *([SYNTHETIC] if self.model.bundle.provenance.get("synthetic") else [])]
        if self.model.bundle.gate is None and prepared.kind == "image" and refused is None:
            notes.append(NO_GATE)
        return {"refused": refused, "findings": rows, "said": said, "warnings": notes}

    def where(self, prepared: Prepared, asked: str, method: str | None = None) -> dict[str, Any]:
        """Return where in a picture the score of a finding, or of a sentence against its denial, comes from.

        Args:
            prepared: a picture of a file.
            asked: a finding as `findings` names it, or a sentence.
            method: a component of `medvlp.features.maps`; None: the one that hit best on validation pictures.

        Raises:
            UserError: if the model has no such map, no rule denies the sentence, or the picture is held back.
        """
        finding = any(asked in answer.labels for answer in self.model.answers.values())
        said, denied = (asked, "") if finding else _denial(asked)
        self._let_in(prepared)
        if isinstance(prepared.pixels, Stack) or prepared.record is None:
            raise UserError("A map is of a picture in a file: of a volume ask for the weights of its slices.")
        with self._lock:
            if denied:
                return plain_map(maps_of_words(self.model, prepared.sample, said, denied, method), None)
            for name, answer in looking(self.model).items():
                found = None
                if said in answer.labels:
                    found = maps_of_findings(self.model, name, answer, prepared.sample, [(said, "")], method)
                if found is not None:
                    return plain_map(found[0], hit_rate(self._released(name), said, method))
        raise UserError(f"{_NO_MAP} Ask for a finding that it scores, not {said!r}.")

    def slices(self, prepared: Prepared) -> dict[str, Any]:
        """Return how much each slice of a volume counts in what the model makes of it.

        ``weights`` sum to 1; ``place_mm`` is the middle of each slice in RAS mm; ``heaviest`` counts from 0.

        Raises:
            UserError: if the model gives no slice a weight, or the volume is held back.
        """
        if not self._weighing() or not isinstance(prepared.pixels, Stack):
            raise UserError(_NO_SLICES)
        self._let_in(prepared)
        with self._lock:
            found = slice_weights(self.model.of_kind("stack").model, prepared.pixels)
        weights = [] if found.weights is None else found.weights.round(6).tolist()
        return {"weights": weights, "place_mm": found.position.round(3).tolist(), "heaviest": found.shown}

    def ask(self, prepared: Prepared, sentence: str) -> dict[str, Any]:
        """Return a sentence against its denial: how much nearer the picture is to it, than the mean picture is.

        ``probability`` that it is true, and ``prior``, what base rates alone give, where the bundle has calibrated
        sentences and has heard such a one; else ``calibrated`` is false, and where nothing was calibrated on pictures
        of this kind the margin is that of the picture alone.

        Raises:
            UserError: if the model compares no texts, no rule denies the sentence, or the picture is held back.
        """
        said, denied = _denial(sentence)
        answer = self._comparing()
        if answer is None:
            raise UserError(_NO_WORDS)
        self._let_in(prepared)
        result = {"statement": said, "denial": denied, "probability": None, "prior": None, "calibrated": False}
        with self._lock:
            if not self.model.cosines:
                model = self.model.of_kind(prepared.kind).model
                rows = Rows(self._table(prepared, needs_of([answer], model)), [prepared.sample])
                return {**result, "margin": float(answer.margin(rows, model, [said], [denied])[0])}
            image, words = self._image(prepared), self.model.embed_text([said, denied])
            if self._checker is None or prepared.kind != self.model.model.vision_kind:
                return {**result, "margin": float(image @ (words[0] - words[1]))}
            facts = self._checker.facts(image, said, self.model.embed_text)
        fact = next((each for each in facts if each["against"] == denied and each["probability"] is not None), None)
        if fact is not None:
            result |= {"probability": fact["probability"], "prior": fact["prior"], "calibrated": True}
        return {**result, "margin": float((image - self._checker.mean_image) @ (words[0] - words[1]))}

    def question(self, prepared: Prepared, question: str) -> dict[str, Any]:
        """Return what each answer to questions says to one about a picture, as `predict_files` does, with its evidence.

        Raises:
            UserError: if no such answer was measured on pictures of this kind, or the picture is held back.
        """
        kind = self.model.of_kind(prepared.kind)
        if not (asked := _asked(kind)):
            raise UserError(_NO_ANSWER)
        self._let_in(prepared)
        said = []
        for name, answer in asked.items():
            with self._lock:
                result = predict_files(kind, [prepared], recipe=name, question=question)["results"][0]
            said += said_of(result, {name: answer}, kind.bundle.answers, asks="question")
        return {"question": question, "said": said}

    def check_report(self, prepared: Prepared, text: str) -> dict[str, Any]:
        """Return what the picture says of each sentence of a report, and how good such checks were found to be.

        Sentences are those of findings and impression; a verdict is ``supported``, ``contradicted``, ``undecided``
        or, where no rule states the contrary or validation never heard it, ``not_judged``. Each has its ``facts``.

        Raises:
            UserError: if the picture is held back.
        """
        why = _NO_WORDS if self._comparing() is None else _NOT_CALIBRATED if self._checker is None else ""
        why = why or ("" if prepared.kind == self.model.model.vision_kind else _OTHER_KIND)
        if self._checker is None or why:
            found = [{"text": each, "verdict": "not_judged", "why": why, "facts": []} for each in split_sentences(text)]
            return {"sentences": found, "evidence": None}
        self._let_in(prepared)
        with self._lock:
            checked = self._checker.report(self._image(prepared), text, self.model.embed_text)
        stored = self.model.bundle.sentences or {}
        parts: dict[str, dict[str, Any]] = {"auroc": {}, "errors": {}}
        rows = stored.get("evidence", {})
        for name, row in sorted(rows.items(), key=lambda each: not each[0].startswith(_SEEN)):
            parts["auroc" if name.startswith("sentence_") else "errors"][name] = row
        return {"sentences": [asdict(each) for each in checked], "evidence": {**parts, "data": stored.get("data")}}

    def similar(
        self, prepared: Prepared | None, sentence: str | None, k: int = 8, *, findings: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Return the cases of the index that are most like a picture or a sentence; captions tell nobody's name.

        Args:
            prepared: a picture; None with a sentence.
            sentence: any words; None with a picture.
            k: most cases.
            findings: that a case must have.

        Raises:
            UserError: if there is no index, not one of the two was given, or the model compares no texts.
        """
        if self._cases is None:
            raise UserError(_NO_INDEX)
        if (prepared is None) == (not sentence):
            raise UserError("Search by a picture or by a sentence: give one of the two.")
        if sentence and not self.model.cosines:
            raise UserError(_NO_WORDS)
        kinds = self.model.model.kinds if prepared is None else (prepared.kind,)
        columns = [self.model.of_kind(kind).features for kind in kinds]
        with self._lock:
            if prepared is None:
                vector = self.model.embed_text(str(sentence))[0]
            else:
                self._let_in(prepared)
                vector = self._table(prepared, frozenset({parse_key(columns[0])}))[columns[0]][0]
                vector = vector / max(float(np.linalg.norm(vector)), 1e-12)
            found = self._cases.search(vector, columns, k, findings=findings)
        return {"cases": [asdict(case) for case in found.cases], "folded": found.folded}

    def _let_in(self, prepared: Prepared) -> None:
        refused = refusal(self.model.verdict(prepared))
        if refused is not None:
            raise UserError(f"{refused['sentence']} Nothing is said of it.")

    def _released(self, name: str) -> StoredAnswer | None:
        return next((each for each in self.model.bundle.answers if each.name == name), None)

    def _comparing(self) -> Answer | None:
        """Return the first answer that compares pictures with texts."""
        return next((each for each in self.model.answers.values() if each.prompts), None)

    def _weighing(self) -> bool:
        if "stack" not in self.model.model.kinds:
            return False
        own = self.model.of_kind("stack")
        return own.model.slice_weights is not None and bool(needs_of(own.answers.values(), own.model, streams=True))

    def _image(self, prepared: Prepared) -> np.ndarray:
        return self.model.embed_prepared([prepared.pixels])[0]

    def _table(self, prepared: Prepared, needs: frozenset[Key]) -> FeatureTable:
        model = self.model.of_kind(prepared.kind).model
        return feature_pass(model, [collate([prepared.sample], torch.arange(1))], needs)


def _asked(model: VisionLanguageModel) -> dict[str, Answer]:
    """Return the answers to questions of which a bundle holds how good they are."""
    measured = {each.name for each in model.bundle.answers if each.measured is not None}
    return {name: each for name, each in model.answers.items() if each.asks == "question" and name in measured}


def _denial(sentence: str) -> tuple[str, str]:
    words = " ".join((sentence or "").split()).rstrip(".?! ")
    lower = words.lower()
    if lower.startswith(("is there ", "are there ")):
        words = f"There {lower.split()[0]} {words.split(maxsplit=2)[2]}"
    said = f"{words[:1].upper()}{words[1:]}."
    copies = false_copies(said, ("negation",))
    if not copies:
        raise UserError(
            f"No rule denies {said!r}, so nothing stands against it: state one finding in English, as 'Left effusion.'."
        )
    return said, copies[0].text
