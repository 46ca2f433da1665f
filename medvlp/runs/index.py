"""Index a cohort by a layout named on the command line: folder -> rows -> files looked at -> manifest and page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

from medvlp.config.yaml import override
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.files import check_outputs, write_text
from medvlp.core.progress import progress
from medvlp.core.registry import schema
from medvlp.data import layouts
from medvlp.data.catalogue import card_of, layout_of
from medvlp.data.difference import Difference, difference
from medvlp.data.manifest import Manifest
from medvlp.data.oddities import oddities
from medvlp.data.quarantine import Quarantined, write_quarantine
from medvlp.data.readable import left_out, look_through, write_left_out
from medvlp.runs.cluster import over_ray


@dataclass(frozen=True)
class Indexed:
    """What an index wrote.

    Attributes:
        manifest: as it was saved.
        quarantined: records left out because a file of theirs cannot be read.
        quarantine: the table of them; None where there is none.
        page: the summary page; None where none was asked for.
        changed: against the manifest that was there before; None where there was none to compare with.
        left_out_table: files and lines that the layout made no record of, or could not join; None where there is none.
        oddities: what whoever uses it has to know, a sentence each.
    """

    manifest: Manifest
    quarantined: tuple[Quarantined, ...]
    quarantine: Path | None
    page: Path | None
    changed: Difference | None
    left_out_table: Path | None
    oddities: tuple[str, ...] = ()


def check_manifest_name(out: Path) -> None:
    """Refuse to write Parquet under another ending: whoever reads the file would take it for what its name says.

    Raises:
        ConfigError: if the name does not end in ``.parquet``, or is that of a folder.
    """
    if out.suffix != ".parquet" or out.is_dir():
        why = "is a folder" if out.is_dir() else "is written as Parquet"
        raise ConfigError(f"The manifest {out} {why}: give --out a file name that ends in .parquet.")


def index_cohort(name: str, root: Path, options: Sequence[str], *, workers: int = 0) -> Manifest:
    """Index a folder by a layout, or by that of a data set, with ``key.path=value`` options of it.

    Raises:
        ConfigError: for an unknown layout or option.
        DataError: if the folder is not of that layout.
    """
    layout = layout_of(name)
    spec = reduce(override, options, {"name": layout})
    if "workers" in schema("data/layouts", layout).model_fields:
        spec = {"workers": workers, **spec}
    if not root.is_dir():
        raise DataError(f"{root} is no folder: give the folder that holds the data as downloaded.")
    with progress("Indexing", unit="files") as tell:
        return layouts.index_cohort(str(spec["name"]), root, spec, where="options", progress=tell)


def index_to_files(
    name: str,
    root: Path,
    out: Path,
    options: Sequence[str] = (),
    *,
    page: Path | None,
    survey: bool = True,
    workers: int = 0,
    ray: bool = False,
) -> Indexed:
    """Index a folder, look at every file, and write manifest, quarantine table and page.

    The manifest is written last and whole. What was read before is remembered in the cache, so that a killed index goes
    on where it was, and an index made again reads only what changed.

    Args:
        name: layout, or data set that has one.
        root: folder.
        out: manifest; the quarantine table is ``OUT`` with the ending ``.quarantine.csv``, the table of what the layout
            left out ``OUT`` with ``.left_out.csv``.
        options: of the layout, ``key.path=value``.
        page: HTML file, or a folder for it; None for no page.
        survey: open every file; without it nothing is known of sizes, and nothing is quarantined.
        workers: processes; 0 works in this one.
        ray: files are opened by the machines of the Ray cluster that is found, which must see them under these paths.

    Raises:
        ConfigError: for an unknown layout or option, or another ending than ``.parquet``.
        DataError: if the folder is not of that layout, or no file can be read.
        UserError: if Ray is asked for and not installed.
    """
    check_manifest_name(out)
    page = None if page is None else page / f"{out.stem}.html" if page.suffix != ".html" else page
    table, left = out.with_suffix(".quarantine.csv"), out.with_suffix(".left_out.csv")
    check_outputs([out, table, left, *([] if page is None else [page])], inputs=[])
    manifest = index_cohort(name, root, options, workers=workers)
    surveyed = None
    if survey:
        with progress("Reading", unit="images") as tell:
            surveyed = look_through(manifest, workers=over_ray if ray else workers, progress=tell)
        manifest = surveyed.manifest
    quarantined = surveyed.quarantined if surveyed is not None else ()
    changed = _change(out, manifest)
    if page is not None:
        from medvlp.pages.cohort import cohort_page, render_cohort

        write_text(
            page, render_cohort(cohort_page(manifest, title=root.resolve().name, card=card_of(name), looked=surveyed))
        )
    write_quarantine(table, quarantined)
    gone = left_out(manifest)
    write_left_out(left, gone)
    manifest.save(out)
    return Indexed(
        manifest=manifest,
        quarantined=quarantined,
        quarantine=table if quarantined else None,
        page=page,
        changed=changed,
        left_out_table=left if gone else None,
        oddities=oddities(manifest),
    )


def _change(out: Path, manifest: Manifest) -> Difference | None:
    if not out.exists():
        return None
    try:
        return difference(Manifest.load(out), manifest)
    except DataError:
        return None  # not a manifest that can be compared; it is replaced, as asked
