"""Where configs, data cards, apps and results are: in an installed wheel, or at the root of an editable checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from medvlp.core.errors import UserError, did_you_mean

Group = Literal["configs", "data_cards", "apps", "docs/results"]
_PACKAGE = Path(__file__).resolve().parent.parent


def resource_folder(group: Group) -> Path:
    """Return the folder of a group: ``medvlp/_share/GROUP`` in a wheel, else beside the package.

    Raises:
        UserError: if neither is there.
    """
    for folder in (_PACKAGE / "_share" / group, _PACKAGE.parent / group):
        if folder.is_dir():
            return folder
    raise UserError(f"The folder {group!r} is neither in the installed package nor beside it: install medvlp again.")


def resource(group: Group, name: str) -> Path:
    """Return a file of a group by its relative name.

    Raises:
        UserError: if there is no such file, with the nearest name.
    """
    folder = resource_folder(group)
    path = (folder / name).resolve()
    if not path.is_file() or not path.is_relative_to(folder.resolve()):
        names = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
        raise UserError(f"There is no {group} file {name!r}: {did_you_mean(name, names)}.")
    return path
