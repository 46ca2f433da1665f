"""The data of a run: the cohort read, joined, selected and split, and a split read for its model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from medvlp.config.tree import DataConfig
from medvlp.core import collectives
from medvlp.core.errors import ConfigError, DataError
from medvlp.core.progress import progress
from medvlp.core.registry import build
from medvlp.core.views import FittedView, View
from medvlp.data.grouping import keep_one, pair_images, stack_images, with_patients
from medvlp.data.joined import in_part, join_sets
from medvlp.data.layouts import index_cohort
from medvlp.data.leakage import Leak, check_split, counts_of, leak_caveats, near_is_quick, refuse_leaks
from medvlp.data.manifest import Manifest
from medvlp.data.parallel import usual_workers
from medvlp.data.prepare import Prepared, prepare
from medvlp.data.priors import stack_priors
from medvlp.data.readable import left_out_words
from medvlp.data.splits import make_split, split_caveats, subset
from medvlp.io.member import url_of

logger = logging.getLogger(__name__)


def open_manifest(data: DataConfig) -> Manifest:
    """Index or load the cohort, or join several, keep what `where` asks for, split it, refuse a leaking split.

    What whoever uses the split has to know is logged: a known flaw, records that stand in no part.

    Args:
        data: where it is and how it is split.

    Raises:
        ConfigError: if it is not said how the cohort is indexed.
        DataError: if a manifest's folder is not there, or a patient, study or image in two splits and not allowed.
    """
    for each in data.sets.values() or [data]:
        _refuse_idle(each)
    if data.sets:
        opened = {name: _opened(each, name=f"{name}: ") for name, each in data.sets.items()}
        manifest = _selected(join_sets(opened), data)
    else:
        manifest = _opened(data)
    if data.subset is not None:
        chosen = data.subset
        manifest = subset(
            manifest, share=chosen.share, per_class=chosen.per_class, labels=chosen.labels, seed=chosen.seed
        )
    near = near_is_quick(manifest) if data.near_images is None else data.near_images
    with progress("Comparing") as tell:  # first images, then pairs of them
        workers = usual_workers() // collectives.world_size()
        leaks = check_split(manifest, near=near, workers=workers, progress=tell)
    if not data.allow_leaks:
        allow = "set data.allow_leaks=true (medvlp adapt: --allow-leaks) and results will be marked"
        refuse_leaks(leaks, allow=f"{allow}{_numbering(manifest, leaks)}")
    manifest.meta["leaks"] = {"found": counts_of(leaks), "near_images": near}
    for sentence in leak_caveats(manifest):
        logger.info(sentence)
    return manifest


def _refuse_idle(data: DataConfig) -> None:
    """Refuse, before anything is read, options that nothing would read beside the others."""
    group = data.group
    if data.columns is not None and data.layout is not None:
        raise ConfigError("data.columns is short for the layout csv, and there is a layout: give one of the two.")
    if data.table is not None and data.columns is None:
        raise ConfigError("data.table goes with data.columns, which say what is in it: give both, or a layout.")
    if group is not None and group.keep != "one" and (group.prefer or group.column != "kernel"):
        raise ConfigError(
            f"data.group: prefer and column choose one of several rows, and keep is {group.keep}: leave them out."
        )
    if group is not None and group.keep == "prior" and group.by not in ("id.study", "id.patient"):
        raise ConfigError("data.group: an earlier picture is one of the same patient whatever by says: leave by out.")
    if data.part is not None and data.split != DataConfig(root=".").split:
        raise ConfigError("data.part says in which part all records stand: leave data.split out (data.split=null).")


def _opened(data: DataConfig, name: str = "") -> Manifest:
    """Read one cohort, select, and split it; `name` begins what is logged."""
    root = Path(data.root).expanduser()
    if data.manifest is not None:
        manifest = Manifest.load(Path(data.manifest), root=root if data.root else None)
        if manifest.file_columns and url_of(manifest.root) is None and not manifest.root.is_dir():
            raise DataError(f"Images of {data.manifest} lie in {manifest.root}, which is no folder: give data.root.")
    else:
        spec = data.layout
        if data.columns is not None and spec is None:
            spec = {"name": "csv", "table": data.table, "columns": data.columns}
        if spec is None:
            raise ConfigError(
                "data says neither layout, columns nor manifest: name one, so that the cohort can be read."
            )
        with progress("Indexing", unit="files") as tell:
            manifest = index_cohort(str(spec["name"]), root, spec, progress=tell)
        if words := left_out_words(manifest):
            logger.info(f"{name}{words}; `medvlp data index` names each.")
    if data.patient is not None:
        manifest = with_patients(manifest, data.patient)
    if data.namespace is not None:
        manifest.meta["namespace"] = data.namespace
    # A published split is one of the whole release: drawn from a selection it would be another.
    early = data.split["name"] == "published" and data.part is None
    if early:
        manifest = _split(manifest, data, name)
    if data.group is not None and data.group.keep == "pair":
        manifest = pair_images(manifest, by=data.group.by)
    manifest = _selected(manifest, data)
    if data.group is not None and data.group.keep not in ("pair", "prior"):
        if data.group.keep == "stack":
            manifest = stack_images(manifest, by=data.group.by)
        else:
            manifest = keep_one(manifest, by=data.group.by, prefer=data.group.prefer, column=data.group.column)
    if data.part is not None:
        manifest = in_part(manifest, data.part)
    elif not early:
        manifest = _split(manifest, data, name)
    # A prior is looked for within its part, so parts come first.
    return stack_priors(manifest) if data.group is not None and data.group.keep == "prior" else manifest


def _selected(manifest: Manifest, data: DataConfig) -> Manifest:
    manifest = manifest.where(data.where) if data.where else manifest
    return manifest.having(*data.having) if data.having else manifest


def _numbering(manifest: Manifest, leaks: Sequence[Leak]) -> str:
    """Return how data sets are told apart whose patients are only numbered alike; empty where it is not that."""
    if "sets" not in manifest.meta or any(leak.kind not in ("patient", "study") for leak in leaks):
        return ""
    return ", or give each of data.sets a namespace where their patient numbers have nothing to do with each other"


def _split(manifest: Manifest, data: DataConfig, name: str) -> Manifest:
    if data.split["name"] == "own" and "split" in manifest:
        blank = manifest.arrow("split").null_count
        for sentence in (*split_caveats(manifest), *([f"Records in no part: {blank}."] if blank else [])):
            logger.info(f"{name}{sentence}")
        return manifest
    split = make_split(manifest, data.split)
    for sentence in split.caveats(manifest):
        logger.info(f"{name}{sentence}")
    return split.apply(manifest)


def build_views(specs: Sequence[Mapping[str, object]], *, where: str) -> list[View]:
    """Build views in order."""
    views = [build("data/views", spec, where=f"{where}[{i}]") for i, spec in enumerate(specs)]
    if silent := [type(view).__name__ for view in views if not isinstance(view, View)]:
        raise ConfigError(f"{where}: {silent[0]} does not say whether it draws: give its class random = True or False.")
    return views


def fitted_views(views: Sequence[View], train: Prepared) -> list[View]:
    """Return random views, those fitted that count something in the training samples first."""
    return [
        view.fitted(map(train.sample, range(len(train)))) if isinstance(view, FittedView) else view for view in views
    ]


def open_split(
    manifest: Manifest, split: str, *, prefix: Sequence[Mapping[str, object]], data: DataConfig, workers: int
) -> Prepared:
    """Take one split and run its deterministic prefix, from the cache where it is there."""
    with progress(f"Reading {split}", unit="records") as tell:
        return prepare(
            manifest.split_of(split),
            build_views(prefix, where="data.prefix"),
            cache=None if data.cache is None else Path(data.cache),
            workers=workers,
            cap=data.quarantine,
            progress=tell,
        )


def repeats(batch: int, records: int) -> str:
    """Return a sentence where a batch has more samples than there are records to train on, else "".

    Example:
        >>> repeats(8, 8)
        ''
    """
    if batch <= records:
        return ""
    return (
        f"training.batch {batch} is more than the {records} records to train on: a batch holds some of them twice or "
        f"more, and a contrastive loss holds these against themselves; {records} or less would not."
    )
