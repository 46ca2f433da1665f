"""What a model says of single files, in the form that ``medvlp predict --json`` prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np

from medvlp.answers.applied.decisions import Decisions, read_decisions
from medvlp.answers.asking.ask import ask_samples, needs_of
from medvlp.answers.asking.maps import DrawnMap, draw_maps, refuse_maps, stated_of
from medvlp.answers.asking.model import Prepared, VisionLanguageModel, prompt_sets
from medvlp.answers.asking.places import written_places
from medvlp.answers.asking.read_ahead import read_ahead
from medvlp.answers.prompting.recipe_files import load_recipe, recipe_names
from medvlp.answers.prompting.recipe_scores import RecipeScores
from medvlp.core.answers import Answer, Ask
from medvlp.core.decoding import Decoding
from medvlp.core.errors import ConfigError, DataError, UserError, did_you_mean
from medvlp.core.keys import parse_key
from medvlp.core.predictions import Predictions
from medvlp.core.sample import Sample, Stack
from medvlp.core.table import FeatureTable
from medvlp.data.parallel import Progress, notify
from medvlp.data.picture_files import PictureFile, picture_files
from medvlp.data.quarantine import quarantined
from medvlp.data.stacks import stack_of
from medvlp.models.encoders.biovil_t import reads_priors

_MOST_PAIRS = 50


def predict_files(
    model: VisionLanguageModel,
    paths: Sequence[Path | PictureFile | Prepared],
    *,
    recipe: str | None = None,
    question: str | None = None,
    decoding: Decoding | None = None,
    name: str = "",
    maps: Path | None = None,
    out: Path | None = None,
    table: Path | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Ask a model about files.

    Args:
        model: a loaded bundle.
        paths: as for `files_of`, or what it returned, or what `VisionLanguageModel.prepare` returned: that has neither
            a ``path`` nor files of masks. What cannot be read is listed, and the rest goes on.
        recipe: one of the bundle's answers, or a zero-shot recipe, see `medvlp.answers.prompting.recipe_files`; None:
            every answer of the bundle that needs no question, and with a question those that take one.
        question: for answers that take one.
        decoding: how words of reports and written answers are chosen; None: as the bundle's answer does.
        name: of the model, for the output.
        maps: folder for a picture of each thing that is stated, with where it was seen; none of a picture that the
            gate holds back.
        out: folder for masks: a PNG of the file's size a finding, of a volume NIfTI in the file's own grid.
        table: file that the scores will go to; without any they are refused before a file is read.
        workers: processes that read many pictures; 0: this one. It reads volumes itself, as they are large.
        progress: called with (done, total) files.

    Returns:
        ``{"model", "recipe", "results": [{"path", "scores", "calibrated", "warnings"}]}``, and where some cannot be
        read ``unreadable: [{"path", "reason", "hint"}]``. Rows of a manifest have an ``id``.
        ``recipe`` names the answer that the scores are of; scores of further answers stand under ``answers``. What else
        the answers say is there as ``pairs``, ``relations``, ``boxes``, ``masks`` and ``text``, and what a second one
        says so (a report beside the answer to a question) under ``answers``. Where the bundle holds a calibration for
        the answer, `scores` are probabilities of those findings that it covers, ``raw_scores`` are what they were made
        of, ``category`` says ``present``, ``absent`` or ``indeterminate`` by the bundle's conformal sets, ``limits``
        the score up to which it is absent and that from which it is present, and `calibrated` is true where every score
        is a probability; ``uncalibrated`` names those that are not. Where the bundle has a gate also ``abstained``, and
        ``ood``: ``{"flagged", "score", "reasons"}``, flagged where the score is above 1 or the picture blank. The
        scores of a flagged picture mean nothing; they are given so that it can be studied.
        Of a model whose pooler weighs slices also ``slices``: how many there are, and the number (from 1), the place
        and the weight of the one that counts most.

    Raises:
        ConfigError: for an unknown recipe, or one that this model cannot serve.
        DataError: if the recipe has no score for these images.
        UnreadableImage: if no file can be read; the first one's.
        UserError: if nothing can be asked, a question or words of what takes or writes none, or maps of what the model
            or the answer has none of.
    """
    rows, question = list[PictureFile | Prepared](), (question or "").strip()  # blank ones have no answer
    for path in paths:
        rows += files_of(model, [path]) if isinstance(path, Path) else [path]
    kinds = [row.kind if isinstance(row, Prepared) else model.kind_of(row.source) for row in rows]
    kinds = kinds or [model.model.vision_kind]
    wanted, done = _Wanted(recipe, question, decoding, maps, out, table), count(1)
    asked = []
    for single, own in _of_kinds(model, kinds, wanted):
        these = {number: rows[number] for number in own if number < len(rows)}
        asked.append(_asked(single, these, wanted, workers, lambda: notify(progress, next(done), len(rows))))
    failed = {number: error for each in asked for number, error in each.failed.items()}
    results = {number: result for each in asked for number, result in each.results.items()}
    if failed and not results:
        raise failed[min(failed)]
    unreadable = [_unreadable(rows[number], failed[number]) for number in sorted(failed)]
    return {
        "model": name,
        "recipe": next((each.recipe for each in asked if each.results), asked[0].recipe),
        "results": [results[number] for number in sorted(results)],
        **({"unreadable": unreadable} if unreadable else {}),
    }


def files_of(model: VisionLanguageModel, paths: Sequence[Path], *, root: Path | None = None) -> list[PictureFile]:
    """Return what a model is asked about: files, those of folders, rows of manifests.

    Args:
        model: a loaded bundle.
        paths: images, folders of images, manifests; of a model of stacks volumes, folders with the pictures of a study,
            or folders of these; of films and priors each film alone. See `medvlp.data.picture_files`.
        root: folder of a manifest's files; None: as it says.

    Raises:
        DataError: if a folder or manifest names nothing that the model looks at.
    """
    studies = model.model.kinds != ("image",) and not reads_priors(model.model)
    return picture_files(paths, fields=model.fields, studies=studies, root=root)


@dataclass(frozen=True)
class _Wanted:
    """What is asked of files, and where what is drawn of the answers goes; as for `predict_files`."""

    recipe: str | None
    question: str
    decoding: Decoding | None
    maps: Path | None
    out: Path | None
    table: Path | None


@dataclass(frozen=True)
class _Answered:
    """What a model says of files of one kind, and why others cannot be read; by their number."""

    recipe: str
    results: dict[int, dict[str, Any]]
    failed: dict[int, DataError]


@dataclass(frozen=True)
class _Read:
    """A file that was read: what reading announced, and what is known beside the answers."""

    number: int
    row: PictureFile | Prepared
    warnings: tuple[str, ...]
    facts: dict[str, Any]


def _of_kinds(
    model: VisionLanguageModel, kinds: Sequence[str], wanted: _Wanted
) -> list[tuple[VisionLanguageModel, list[int]]]:
    """Return the model as one of each kind that occurs; refuse what no answer of theirs would read or write."""
    found, answers = list(model.by_kind(kinds)), dict[str, Answer]()
    for single, _ in found:
        chosen = _chosen(single, wanted.recipe, wanted.question)
        if wanted.maps is not None:
            refuse_maps(single, chosen, wanted.maps)
        answers |= chosen
    if wanted.question and not any(each.asks == "question" for each in answers.values()):
        raise UserError(f"Nothing that is asked here takes a question ({', '.join(answers)}): leave --question out.")
    if wanted.decoding is not None and not any("text" in each.gives for each in answers.values()):
        raise UserError(f"Nothing that is asked here writes words ({', '.join(answers)}): leave --decoding out.")
    if wanted.out is not None and not any("masks" in each.gives for each in answers.values()):
        idle = f"{', '.join(answers)} draws no masks, so nothing would be written to {wanted.out}"
        raise UserError(f"{idle}: leave --out out, or end it in .csv for a table of the scores.")
    table = wanted.table
    if table is not None and not any("scores" in each.gives for each in answers.values()):
        raise UserError(f"{', '.join(answers)} gives no scores, so {table} would be empty: leave --out {table} out.")
    return found


def _unreadable(row: PictureFile | Prepared, error: DataError) -> dict[str, str]:
    assert isinstance(row, PictureFile), "what is prepared has been read"
    entry = quarantined(row.id, error)
    return {"path": str(row.files[0]), "reason": entry.reason, "hint": entry.hint}


def _asked(
    model: VisionLanguageModel,
    rows: Mapping[int, PictureFile | Prepared],
    wanted: _Wanted,
    workers: int,
    tick: Callable[[], None],
) -> _Answered:
    answers, maps, out = _chosen(model, wanted.recipe, wanted.question), wanted.maps, wanted.out
    ask = Ask(questions=(wanted.question,) if wanted.question else (), decoding=wanted.decoding)
    files: list[_Read] = []
    failed: dict[int, DataError] = {}
    said = _said(
        model, answers, dict.fromkeys(answers, ask), _samples(model, rows, files, failed, workers, tick), files
    )
    scoring = [key for key, each in said.items() if each.scores is not None]
    asked = [key for key, answer in answers.items() if answer.asks == "question"]
    order = dict.fromkeys([*asked, *said])  # what was asked stands first
    decisions = {each.name: read_decisions(each.operating_points, each.calibration) for each in model.bundle.answers}
    notes = list(dict.fromkeys(note for each in said.values() for note in each.notes))
    trained = of_training(model, [read.row.files if isinstance(read.row, PictureFile) else () for read in files])
    results = {}
    for i, read in enumerate(files):
        file = read.row if isinstance(read.row, PictureFile) else None
        own = {key: _scores(said[key], i, decisions.get(key)) for key in scoring}
        first = own.pop(scoring[0], {}) if scoring else {}
        whole, names, facts = dict[str, Any](), set[str](), dict(read.facts)
        for key in order:
            parts = _parts(said[key], i)
            source = None if file is None else file.files[0]
            parts |= written_places(said[key], i, source, out, number=read.number + 1, names=names)
            (own.setdefault(key, {}) if whole.keys() & parts.keys() else whole).update(parts)
        if maps is not None:
            facts |= {"maps": _drawn(model, answers, said, decisions, i, read, maps, names if maps == out else set())}
        results[read.number] = {
            **({} if file is None else {"path": str(file.files[0])}),
            **({} if file is None or file.id == str(file.files[0]) else {"id": file.id}),
            **({"scores": {}} if not scoring else {}),
            "calibrated": False,
            **first,
            **whole,
            **({"answers": own} if own else {}),
            **facts,
            "warnings": [*read.warnings, *trained[i], *notes],
        }
    return _Answered(scoring[0] if scoring else next(iter(answers)), results, failed)


def of_training(model: VisionLanguageModel, rows: Sequence[Sequence[Path]]) -> list[list[str]]:
    """Return of each row's files a warning if the model was trained or selected on one, where the bundle knows."""
    known = iter(seen.has_files([path for files in rows for path in files]) if (seen := model.bundle.seen) else ())
    words = "the model was trained or chosen on this very file: what it says of it is no test of the model"
    return [[words] if any(list(islice(known, len(files)))) else [] for files in rows]


def _chosen(model: VisionLanguageModel, recipe: str | None, question: str | None) -> dict[str, Answer]:
    if recipe is None:
        takes = ("nothing", "question") if question else ("nothing",)
        chosen = {name: answer for name, answer in model.answers.items() if answer.asks in takes}
        if not chosen:
            names = ", ".join(model.answers) or "it has no answers"
            ways = "it reads no texts; medvlp embed gives its features, and medvlp adapt teaches it labels of yours"
            if model.model.reads_text:
                ways = "give a question, name a zero-shot recipe with --recipe, or score it against texts with .score()"
            raise UserError(f"This bundle answers nothing unasked ({names}): {ways}.")
        return chosen
    if recipe in model.answers:
        return {recipe: model.answers[recipe]}
    if not recipe.endswith((".yaml", ".yml")) and recipe not in recipe_names():
        known = {*model.answers, *recipe_names()}
        raise ConfigError(f"There is no recipe {recipe!r}: {did_you_mean(recipe, known)}.")
    made = RecipeScores(load_recipe(recipe, own=prompt_sets(model.answers)))
    made = model.recipes.setdefault(f"{made.name} {made.recipe.hash}", made)  # whose prompts may be embedded already
    assert isinstance(made, RecipeScores)
    made.check(model.model)
    if "embedding" in made.recipe.recipe.image_parts:
        model.require_embedding()
    return {made.recipe.name: made}


def _samples(
    model: VisionLanguageModel,
    rows: Mapping[int, PictureFile | Prepared],
    files: list[_Read],
    failed: dict[int, DataError],
    workers: int,
    tick: Callable[[], None],
) -> Iterator[Sample]:
    """Yield the samples of files that can be read; what is known of each is added to `files`."""
    read = read_ahead(model, [row for row in rows.values() if isinstance(row, PictureFile)], workers=workers)
    for number, row in rows.items():
        prepared = row if isinstance(row, Prepared) else next(read)
        tick()
        if isinstance(prepared, DataError):
            failed[number] = prepared
            continue
        verdict, facts = model.verdict(prepared), {}
        if verdict is not None:
            ood = {"flagged": verdict.flagged, "score": round(verdict.score, 4), "reasons": list(verdict.reasons)}
            facts = {"abstained": verdict.flagged, "ood": ood}
        files.append(_Read(number, row, prepared.warnings, facts))
        yield prepared.sample


def _said(
    model: VisionLanguageModel,
    answers: Mapping[str, Answer],
    asks: Mapping[str, Ask],
    samples: Iterator[Sample],
    files: Sequence[_Read],
) -> dict[str, Predictions]:
    """Return what each answer says of all files, of many volumes only one at a time in memory."""
    weights = model.model.slice_weights if needs_of(answers.values(), model.model, streams=True) else None

    def watch(group: Sequence[Sample], table: FeatureTable) -> None:
        for row, (sample, read) in enumerate(zip(group, files[-len(group) :], strict=True)):
            stack = stack_of(sample.fields.get("stack"))
            if weights is not None and stack is not None:
                read.facts["slices"] = _heaviest(stack, table[f"stack/{weights}"][row])

    return ask_samples(
        answers,
        model.model,
        samples,
        asks=asks,
        batch=1 if model.model.vision_kind == "stack" else 64,
        more=frozenset() if weights is None else frozenset({parse_key(f"stack/{weights}")}),
        watch=watch,
        begin=model.begun,
    )


def _drawn(
    model: VisionLanguageModel,
    answers: Mapping[str, Answer],
    said: Mapping[str, Predictions],
    decisions: Mapping[str, Decisions],
    row: int,
    read: _Read,
    folder: Path,
    names: set[str],
) -> list[dict[str, Any]]:
    if isinstance(read.row, Prepared):
        raise UserError("A map is drawn on a file, and this picture was prepared: give its path.")
    if read.facts.get("abstained"):
        return []
    path = read.row.files[0]
    sample, number = model.sample(path, name=str(row)), read.number + 1
    stated = {name: stated_of(said[name].rows([row]), decisions.get(name)) for name in answers}
    drawn: list[DrawnMap] = []
    for name, answer in answers.items():
        drawn += draw_maps(model, name, answer, stated[name], sample, path, folder, number=number, names=names)
    return [each.plain() for each in drawn]


def _scores(said: Predictions, row: int, decisions: Decisions | None) -> dict[str, Any]:
    """Return scores, as probabilities where they are calibrated, and what each finding is said to be."""
    scores = {name: float(values[row]) for name, values in (said.scores or {}).items()}  # tails have many digits
    if decisions is None or not (decisions.calibrators or decisions.sets):
        return {"scores": scores, "calibrated": False}
    found = {name: decisions.probability(name, score) for name, score in scores.items()}
    missing = [name for name, value in found.items() if value is None]
    categories = {name: decisions.category(name, score) for name, score in scores.items()}
    limits = {name: decisions.limits(name) for name in scores}
    return {
        "scores": {name: scores[name] if value is None else value for name, value in found.items()},
        "calibrated": not missing,
        **({"uncalibrated": missing} if missing else {}),
        "raw_scores": dict(scores),
        "category": {name: value for name, value in categories.items() if value is not None},
        "limits": {name: value for name, value in limits.items() if value is not None},
    }


def _parts(said: Predictions, row: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if said.pairs is not None:
        stated = said.pairs.stated(row, most=_MOST_PAIRS)
        found["pairs"] = [{"observation": f, "anatomy": p, "score": round(score, 6)} for f, p, score in stated]
    if said.text is not None:
        found["text"] = said.text[row]
    if said.boxes is not None:
        boxes = said.boxes[row]
        found["boxes"] = [
            {"finding": label, "score": round(float(score), 6), "box": [round(float(v), 2) for v in box]}
            for box, score, label in zip(boxes.boxes, boxes.scores, boxes.labels, strict=True)
        ]
    if said.relations is not None:
        named = zip(said.relations[row].triplets, said.relations[row].scores, said.relations[row].boxes, strict=True)
        found["relations"] = [
            {"triplet": list(words), "score": round(float(score), 6), "boxes": [round(float(v), 2) for v in box]}
            for words, score, box in list(named)[:_MOST_PAIRS]
        ]
    return found


def _heaviest(stack: Stack, weights: np.ndarray) -> dict[str, Any]:
    place = stack.position
    number = int(weights[: len(place)].argmax())
    return {
        "count": len(place),
        "heaviest": number + 1,
        "weight": round(float(weights[number]), 6),
        "place_mm": [round(float(value), 3) for value in place[number]],
    }
