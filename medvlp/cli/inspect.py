"""``medvlp inspect``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medvlp.io.image import Image
    from medvlp.io.inspection import Look, Seen


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            help="A DICOM, PNG, JPEG, TIFF or NIfTI file, a folder of DICOM slices, or a zip or tar archive."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    member: Annotated[str | None, typer.Option(help="File in an archive that holds several.")] = None,
    preset: Annotated[
        str | None, typer.Option(help="Recipe to display values, as dicom_voi_v1 (images) or ct_lung_v1.")
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="Which of a DICOM image's windows: its number from 0, or its explanation.")
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="Which series of a folder, as its refusal lists them: 2, or 2:1.")
    ] = None,
    png: Annotated[
        Path | None,
        typer.Option(
            help="Write the picture as a PNG file; of a volume the axial slice in its middle, in the preset's window "
            "(without one, CT in ct_mediastinum_v1, MR and other modalities of DICOM by percentiles)."
        ),
    ] = None,
) -> None:
    """Show what is in a file, and what reading it did."""
    from medvlp.core.errors import UserError
    from medvlp.core.files import check_outputs
    from medvlp.io.inspection import Look, look
    from medvlp.io.png import write_png

    if png is not None:
        check_outputs([png], inputs=[path, *(path.iterdir() if path.is_dir() else ())])
        if png.suffix.lower() != ".png":
            raise UserError(f"The picture {png} is written as PNG: give --png a file name that ends in .png.")
    wanted = Look(str(path), member, preset, _number_or_name(window), _number_or_name(series))
    seen = look(wanted)
    found = seen.document
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
    elif "unreadable" in found:
        print(f"medvlp: {path} cannot be read ({found['unreadable']}): {found['hint']}", file=sys.stderr)
    else:
        for key in ("kind", "shape", "spacing", "steps", "warnings", "meta"):
            typer.echo(f"{key:9}{_plain(found.get(key))}")
    if "unreadable" in found:
        raise typer.Exit(2)
    if png is not None:
        write_png(_picture(wanted, seen), png)


def _number_or_name(value: str | None) -> int | str | None:
    return int(value) if value is not None and value.isascii() and value.isdecimal() else value


def _picture(wanted: Look, seen: Seen) -> Image:
    """Return the picture of what was read, of a volume its middle slice."""
    from medvlp.core.errors import UserError
    from medvlp.io.image import Image
    from medvlp.io.middle_slice import middle_axial, usual_axial
    from medvlp.io.presets import volume_preset_names

    assert seen.content is not None  # what cannot be read has ended the command
    if isinstance(seen.content, Image):
        return seen.content
    if wanted.preset is not None:
        return middle_axial(seen.content, wanted.preset)
    if "Modality" in seen.content.meta:
        return usual_axial(seen.content)
    fitting = ", ".join(volume_preset_names())
    raise UserError(f"The volume does not say that it is CT or MR: choose a preset, one of {fitting}.")


def _plain(value: object, indent: int = 2) -> str:
    """Return a value as text: parts of parts on lines of their own, further in."""
    line = "\n" + " " * indent
    if isinstance(value, dict):
        return "".join(f"{line}{name}: {_plain(item, indent + 2)}" for name, item in value.items()) or "none"
    if isinstance(value, list | tuple) and value and isinstance(value[0], str | list | tuple | dict):
        return "".join(line + _one_line(item) for item in value)
    return str(value) if not isinstance(value, list | tuple) or value else "none"


def _one_line(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return ", ".join(f"{item:g}" for item in value) if isinstance(value, list | tuple) else str(value)
