"""``medvlp predict``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from medvlp.answers.asking.model import VisionLanguageModel


def predict(
    model: Annotated[Path, typer.Argument(help="A bundle.")],
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Images, folders of images, or manifests; for a model of stacks volumes, or folders with the pictures "
            "of a study."
        ),
    ],
    recipe: Annotated[
        str | None,
        typer.Option(
            help="One of the model's answers, or a zero-shot recipe: a file of configs/zero_shot/recipes, a component, "
            "a path; default: all that the model answers unasked."
        ),
    ] = None,
    question: Annotated[str | None, typer.Option(help="For a model that answers questions.")] = None,
    decoding: Annotated[str, typer.Option(help="How words are chosen: beams=4, or temperature=0.7,top_p=0.9.")] = "",
    maps: Annotated[Path | None, typer.Option(help="Folder for pictures of where it saw what it states.")] = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            help="A .csv file for the scores, in the columns of `medvlp score`; or a folder for masks: PNG of the "
            "files' size, NIfTI in a volume's grid. May be given twice, for both."
        ),
    ] = None,
    patches: Annotated[
        Path | None, typer.Option(help="Folder of what a run added to this bundle with its towers held: RUN/patches.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of a manifest's images; default: as it says.")] = None,
    backend: Annotated[
        str,
        typer.Option(
            help="What computes the towers: torch; openvino or onnxruntime, which take seconds to begin and then a "
            "fraction of the time; or int8, where `medvlp quantise` made the bundle."
        ),
    ] = "torch",
    device: Annotated[str, typer.Option(help="Where the model runs: cpu, auto, cuda, cuda:1, mps.")] = "cpu",
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that read; default: one a core.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Ask a model about images. Gives scores (calibrated where the bundle can), pairs, relations, boxes, masks, text.

    What cannot be read is listed with its reason, and the rest goes on; then the exit code is 3.
    """
    from medvlp.answers.asking.files import files_of, predict_files
    from medvlp.answers.asking.model import load
    from medvlp.answers.asking.score_table import write_score_table
    from medvlp.core.decoding import Decoding
    from medvlp.core.progress import progress
    from medvlp.data.parallel import usual_workers

    tables, folders = _outputs(out or [], paths, maps)
    loaded = load(model, patches=patches, backend=backend, device=device)
    rows = files_of(loaded, paths, root=root)
    with progress("Asking", unit="files") as tell:
        found = predict_files(
            loaded,
            rows,
            recipe=recipe,
            question=question,
            decoding=Decoding.of(decoding),
            name=str(model),
            maps=maps,
            out=folders[0] if folders else None,
            table=tables[0] if tables else None,
            workers=usual_workers(workers),
            progress=tell,
        )
    written = write_score_table(tables[0], found, rows) if tables else 0
    if loaded.compiled:
        typer.echo(_computed_by(backend, loaded), err=True)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    else:
        if tables:
            typer.echo(f"{tables[0]}: {written} row{'s' if written != 1 else ''}{_held_back(found['results'])}.")
        _show_all(found, loaded, rows=not tables)
    if found.get("unreadable"):
        raise typer.Exit(3)


def _outputs(out: list[Path], inputs: list[Path], maps: Path | None) -> tuple[list[Path], list[Path]]:
    """Return the file for scores and the folder for masks, lists of one or none; refuse what cannot be written."""
    from medvlp.core.errors import UserError
    from medvlp.core.files import check_outputs, check_place

    tables = [path for path in out if path.suffix.lower() == ".csv"]
    folders = [path for path in out if path not in tables]
    if max(len(tables), len(folders)) > 1:
        raise UserError("--out is one .csv file for scores and one folder for masks at most: leave the others out.")
    check_outputs(tables, inputs=inputs)
    for folder in [*folders, *([] if maps is None else [maps])]:
        check_place(folder)
    return tables, folders


def _computed_by(backend: str, model: VisionLanguageModel) -> str:
    if not any(tower.used for tower in model.compiled):
        return f"Computed by torch: a graph of {backend} does not give what this answer reads of a tower."
    if backend == "int8" and model.bundle.int8 is not None:
        return f"Computed by {backend}. {model.bundle.int8.summary()}"
    cosine = min(tower.cosine for tower in model.compiled)
    return f"Computed by {backend}: its towers agree with torch's to a cosine of {cosine:.6f}."


def _held_back(results: Sequence[Mapping[str, Any]]) -> str:
    held = sum(bool(result.get("abstained")) for result in results)
    return f", {held} of them held back by the gate (group:gate): unlike those of training" if held else ""


def _show_all(found: Mapping[str, Any], model: VisionLanguageModel, *, rows: bool) -> None:
    from medvlp.models.card import SYNTHETIC
    from medvlp.models.gate import NO_GATE

    for result in found["results"] if rows else ():
        _show(result)
    for each in found.get("unreadable", ()):
        typer.echo(f"{each['path']} cannot be read ({each['reason']}): {each['hint']}.", err=True)
    if model.bundle.provenance.get("synthetic"):
        typer.echo(SYNTHETIC)
    if model.bundle.gate is None and model.model.vision_kind == "image":
        typer.echo(NO_GATE)
    if notice := _notice(found["results"]):
        typer.echo(notice)


def _show(result: Mapping[str, Any]) -> None:
    from medvlp.models.gate import REASONS

    typer.echo(f"{result['path']}")
    if result.get("abstained"):
        why = "; ".join(REASONS[word] for word in result["ood"]["reasons"])
        typer.echo(f"  not scored: unlike the pictures that this model was trained on ({why})")
    else:
        _show_scores(result)
        if result.get("maps") == []:
            typer.echo("  no map: nothing is said to be present")
    for warning in result["warnings"]:
        typer.echo(f"  note: {warning}")


def _show_scores(result: Mapping[str, Any]) -> None:
    width = max([20, *(len(label) + 2 for label in result.get("scores", {}))])
    for label, score in sorted(result.get("scores", {}).items(), key=lambda item: -item[1]):
        typer.echo(f"  {label:{width}}{score:.3f}{_category(result, label)}")
    for pair in result.get("pairs", ())[:10]:
        where, what = pair["anatomy"].replace("_", " "), pair["observation"].replace("_", " ")
        typer.echo(f"  {what} at {where}: {pair['score']:.2f}")
    for found in result.get("relations", ())[:10]:
        typer.echo(f"  {' '.join(found['triplet']).replace('_', ' ')}: {found['score']:.2f}")
    for box in result.get("boxes", ()):
        typer.echo(f"  {box['finding']} at {', '.join(f'{v:.0f}' for v in box['box'])}: {box['score']:.2f}")
    for label, mask in result.get("masks", {}).items():
        typer.echo(f"  {label}: {mask['pixels']:,} {'pixels' if len(mask['shape']) == 2 else 'voxels'}{_at(mask)}")
    for drawn in result.get("maps", ()):
        typer.echo(f"  {drawn['finding']}{_at({'path': drawn['map']})}")
    if "text" in result:
        typer.echo(f"  {result['text']}")
    for name, more in result.get("answers", {}).items():
        typer.echo(f"  {name}:")
        _show_scores(more)
    if "slices" in result:
        slices = result["slices"]
        typer.echo(f"  slice {slices['heaviest']} of {slices['count']} counts most: {slices['weight']:.2f}")


def _at(mask: Mapping[str, Any]) -> str:
    return f"  ({mask['path']})" if "path" in mask else ""


def _category(result: Mapping[str, Any], label: str) -> str:
    category = result.get("category", {}).get(label)
    words = [f"{category}{_limits(result, label)}"] if category else []
    if label in result.get("uncalibrated", ()):
        words.append("not calibrated")
    return f"  {', '.join(words)}" if words else ""


def _limits(result: Mapping[str, Any], label: str) -> str:
    known = result.get("limits", {}).get(label, {})
    ends = (("absent to", known.get("absent_to")), ("present from", known.get("present_from")))
    words = ", ".join(f"{end} {value:.3f}" for end, value in ends if value is not None)
    return f" ({words})" if words else ""


def _notice(results: list[dict[str, Any]]) -> str:
    parts = [part for result in results for part in (result, *result.get("answers", {}).values()) if part.get("scores")]
    bare = any("raw_scores" not in part for part in parts)
    if not any("raw_scores" in part for part in parts):
        return "Scores are not calibrated." if bare else ""
    left = dict.fromkeys(name for part in parts for name in part.get("uncalibrated", ()))
    more = f" Not calibrated: {', '.join(left)}." if left else ""  # a table of scores has no mark beside them
    more += " Scores of an answer without categories are not calibrated." if bare else ""
    return (
        "Probabilities and categories rest on the validation patients of the model: "
        f"they hold for patients like those, at their prevalence.{more}"
    )
