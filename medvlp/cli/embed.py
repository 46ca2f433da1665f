"""``medvlp embed``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_SHOWN = 5  # ids of records that were left out


def embed(
    model: Annotated[Path, typer.Argument(help="A bundle.")],
    manifest: Annotated[Path, typer.Argument(help="A manifest (Parquet, or CSV with its column names).")],
    out: Annotated[Path | None, typer.Option(help="Parquet file for one row of features a record.")] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            help="Folder for an index of the pictures that the reading room searches: no id, no path; reports "
            "only where the manifest says that they are de-identified."
        ),
    ] = None,
    slices: Annotated[
        Path | None, typer.Option(help="Folder for the features of every slice of every volume, and their manifest.")
    ] = None,
    window: Annotated[
        list[str] | None, typer.Option(help="With --slices and a model of pictures: a preset for each of its channels.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the images; default: as the manifest says.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that read.")] = 2,
    parts: Annotated[
        int | None,
        typer.Option(
            min=1, help="Records a part of --out: a run that ended goes on, and torchrun's processes share the parts."
        ),
    ] = None,
    ray: Annotated[bool, typer.Option("--ray", help="With --parts: over the machines of a Ray cluster.")] = False,
    backend: Annotated[
        str, typer.Option(help="What computes a table: torch, openvino, onnxruntime or int8, see `medvlp predict`.")
    ] = "torch",
    device: Annotated[str, typer.Option(help="Where the model runs: cpu, auto, cuda, cuda:1, mps.")] = "cpu",
) -> None:
    """Embed the images, volumes and reports of a manifest. They go into a table or an index, slices into stacks."""
    from medvlp.core.errors import UserError
    from medvlp.core.files import check_outputs, check_place

    if (out is None and index is None) == (slices is None):
        raise UserError(
            "Say where the features go: --out FILE for a table of records, --index FOLDER for cases to be searched, or "
            "--slices FOLDER for slices."
        )
    if (ray and parts is None) or (parts is not None and (out is None or slices is not None)):
        raise UserError("--ray needs --parts N, and --parts a table of records: --out FILE.")
    if out is not None and out.suffix != ".parquet":
        raise UserError(f"The features {out} are written as Parquet: give --out a file name that ends in .parquet.")
    _check_options(slices is not None, window, backend, parts=parts)
    check_outputs([] if out is None else [out], inputs=[manifest])
    if index is not None:
        check_place(index)
    how = {"root": root, "workers": workers, "device": device}
    if slices is None:
        from medvlp.runs.embed import embed_manifest
        from medvlp.runs.embed_parts import embed_in_parts

        if out is not None and parts is not None:
            table = embed_in_parts(model, manifest, out, size=parts, ray=ray, backend=backend, **how)
        else:
            table = embed_manifest(model, manifest, backend=backend, **how)
        if table is None:  # a process of torchrun whose parts the first one puts together
            return
        rest = "their ids are in the table's metadata" if out is not None else "with --out the table lists their ids"
        left = _left_out("cannot be read", table.meta["left_out"], rest=rest)
        left += _left_out("have nothing that the model looks at or reads", table.meta["empty"], rest=rest)
        if out is not None:
            if parts is None:
                table.save(out)
            typer.echo(f"{out}: {len(table)} rows, columns {', '.join(table.columns)}.{left}")
        if index is not None:
            from medvlp.runs.case_index import make_case_index

            cases = make_case_index(manifest, table, root=root)
            cases.save(index)
            typer.echo(f"{index}: {len(cases)} cases, {cases.meta['reports']} with a report. {cases.how()}{left}")
    if slices is not None:
        check_place(slices)
        from medvlp.runs.slices import embed_slices

        done = embed_slices(model, manifest, folder=slices, windows=window or [], **how)
        rest = "those without a row in that manifest"
        left = _left_out("cannot be read", [f"{entry.id} ({entry.reason})" for entry in done.left_out], rest=rest)
        typer.echo(f"{slices}: {len(done.manifest)} stack files, {done.made} of them new, and manifest.parquet.{left}")


def _left_out(why: str, ids: object, *, rest: str) -> str:
    """Say which records were left out, of many the first ones and where all are."""
    names = ids if isinstance(ids, list) else []
    listed = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more ({rest})" if names[_SHOWN:] else "")
    return f" Left out, because they {why}, {len(names)}: {listed}." if names else ""


def _check_options(slices: bool, window: list[str] | None, backend: str, *, parts: int | None) -> None:
    from medvlp.core.errors import UserError
    from medvlp.core.processes import one_process

    if parts is None:
        one_process("medvlp embed without --parts")
    if window and not slices:
        raise UserError("--window says in what slices are shown, and none are embedded: add --slices, or leave it out.")
    if backend != "torch" and slices:
        raise UserError(f"Slices are embedded by torch: leave --backend {backend} out.")
