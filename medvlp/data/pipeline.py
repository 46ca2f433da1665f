"""From a row of the manifest to a sample: the row's fields, the deterministic prefix of views, the random suffix.

The random suffix at position p of the run is made with one number, `suffix_seed`, which the image's record keeps:
with it and the views a sample can be made again bit for bit, alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass, replace

import numpy as np
import pyarrow as pa
import torch

from medvlp.core.errors import ConfigError
from medvlp.core.provenance import hash_of
from medvlp.core.randomness import seed_of, torch_generator
from medvlp.core.registry import name_of
from medvlp.core.sample import Sample
from medvlp.core.views import View
from medvlp.data._columns import pc
from medvlp.data.manifest import Manifest
from medvlp.data.marks import Drawn


def suffix_seed(seed: int, position: int) -> int:
    """Return the number that all random views of a sample are a function of."""
    return seed_of(seed, position, "suffix")


def replay_tag(prefix: Sequence[View], suffix: Sequence[View]) -> str:
    """Return a hash of what an augmentation is made by: the prefix, and random views in their places.

    Example:
        >>> from medvlp.data.views.intensity import Intensity
        >>> replay_tag([], [Intensity()]) == replay_tag([], [Intensity(noise=0.1)])
        False
    """
    random = [(place, view_spec(view)) for place, view in enumerate(suffix) if view.random]
    return hash_of([[view_spec(view) for view in prefix], random])[:12]


def view_name(view: View) -> str:
    """Return a view's component name; of a class that is no component, where it is defined."""
    return name_of("data/views", type(view))


def view_spec(view: View) -> dict[str, object]:
    """Return a view as ``{name: ..., option: ...}``, as it stands in a configuration.

    Example:
        >>> from medvlp.data.views.other_side import OtherSide
        >>> view_spec(OtherSide(most=1))
        {'name': 'other_side', 'field': 'text', 'to': 'text.negative', 'stated': None, 'most': 1, 'unsided': 0}
    """
    if not is_dataclass(view):
        raise ConfigError(
            f"The view {view_name(view)!r} must be a dataclass, so that its options are part of its cache key."
        )
    return {"name": view_name(view), **{f.name: getattr(view, f.name) for f in dataclass_fields(view)}}


def added_fields(views: Sequence[View]) -> tuple[str, ...]:
    """Return the fields that samples have after some views and that no manifest needs to hold."""
    added = []
    for view in views:
        to = getattr(view, "to", None)
        added += getattr(view, "adds", () if to is None else (to,))
    return tuple(added)


def read_numbers(views: Sequence[View]) -> tuple[str, ...]:
    """Return the number fields that some views read: what they make depends on them as it does on the files."""
    return tuple(field for view in views for field in getattr(view, "numbers", ()))


def apply_views(sample: Sample, views: Sequence[View], *, draw: int = 0) -> Sample:
    r"""Apply views in order; the k-th one draws from its own generator, a function of (draw, k, its name).

    Args:
        sample: a row's fields, or what the prefix made of them.
        views: prefix or suffix.
        draw: `suffix_seed` of the position; deterministic views do not use it.

    Example:
        >>> from medvlp.data.views.sections import Sections
        >>> apply_views(Sample("a", {"text": "FINDINGS: Clear.\nTECHNIQUE: PA."}), [Sections()]).fields
        {'text': 'Clear.'}
    """
    for place, view in enumerate(views):
        sample = view(sample, torch_generator(draw, place, view_name(view)))
        if not isinstance(sample, Sample):
            raise ConfigError(f"The view {view_name(view)!r} gave {type(sample).__name__}: let it return a Sample.")
    return sample


class Records:
    """A manifest's rows as samples: image fields hold resolved paths, labels, ids and numbers their values.

    Boxes and masks are there unread (`medvlp.data.marks.Drawn`): empty where the label of the same role says 0 or the
    list of boxes is empty; missing, because unknown, where nobody drew anything, or where a label says 1 and the column
    that nothing is there.

    Example:
        >>> from pathlib import Path
        >>> m = Manifest.of({"id": ["a"], "text": ["x"], "label.f": [1]}, root=Path("."))
        >>> Records(m).sample(0).fields
        {'text': 'x', 'label.f': 1.0}
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._paths = manifest.file_columns
        self._words = [name for kind in ("text", "id") for name in manifest.names_of(kind)]
        self._vectors = [(name, manifest.arrow(name)) for name in manifest.names_of("vector")]
        marks = [name for kind in ("boxes", "mask") for name in manifest.names_of(kind)]
        self._marks = [
            (name, manifest.arrow(name), _drawn(manifest, name), Drawn(name.partition(".")[0], root=manifest.root))
            for name in marks
        ]
        self._real_names = (*manifest.names_of("label"), *manifest.names_of("number"))
        columns = [manifest.column(name).astype(np.float32) for name in self._real_names]
        self._real = np.stack(columns, axis=1) if columns else np.zeros((len(manifest), 0), np.float32)

    @property
    def stacked(self) -> tuple[str, ...]:
        """Fields that every batch has, missing values included."""
        return (*self._real_names, *(name for name in self._words if name.startswith("id.")))

    def sample(self, index: int, *, paths: bool = True) -> Sample:
        """One row; without `paths` image fields are left out, for when their pixels are known."""
        fields: dict[str, object] = {}
        if paths:
            for name in self._paths:
                found = self.manifest.paths(index, name)
                if found:
                    fields[name] = str(found[0]) if len(found) == 1 else tuple(str(path) for path in found)
        for name in self._words:
            value = self.manifest.value(name, index)
            if value is not None:
                fields[name] = value
        for name, array in self._vectors:
            if array[index].is_valid:
                fields[name] = torch.tensor(array[index].as_py(), dtype=torch.float32)
        for name, array, drawn, nowhere in self._marks:
            if drawn[index] >= 0:
                fields[name] = replace(nowhere, value=array[index]) if drawn[index] else nowhere
        for name, value in zip(self._real_names, self._real[index].tolist(), strict=True):
            if value == value:
                fields[name] = value
        return Sample(str(self.manifest.value("id", index)), fields)


def _drawn(manifest: Manifest, name: str) -> np.ndarray:
    """What each row says of boxes or a mask, (N,) int8: 1 drawn, 0 known to be nowhere, -1 unknown."""
    array = manifest.arrow(name)
    drawn = np.where(array.is_valid().to_numpy(zero_copy_only=False), 1, -1)
    label = f"label.{name.partition('.')[2]}"
    labels = manifest.column(label) if label in manifest else np.full(len(array), np.nan)
    if pa.types.is_list(array.type):
        nothing = 0 if name.startswith("boxes") else 3  # a mask without a run of ones is its height, width and a run
        empty = pc.less_equal(pc.list_value_length(array), nothing).fill_null(False).to_numpy(zero_copy_only=False)
        drawn[empty] = np.where(labels[empty] == 1, -1, 0)
        drawn[(labels == 0) & (drawn < 0)] = 0
    else:
        drawn[labels == 0] = 0  # the file would be black: the label spares opening it
    return drawn.astype(np.int8)
