"""A map as plain data, for a client that colours it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from medvlp.answers.asking.model import Prepared
from medvlp.core.map import Map
from medvlp.core.places import turned_record
from medvlp.io.frame_values import Frame


def plain_map(made: Map, measured: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a map as plain data: its positive part in 255 steps of its largest value, over a box of the source.

    Example:
        >>> plain = plain_map(Map(np.array([[0.0, 2.0]]), (0, 0, 8, 4), "occlusion"), None)
        >>> plain["rows"], plain["columns"], list(base64.b64decode(plain["values"])), plain["box"]
        (1, 2, [0, 255], [0.0, 0.0, 8.0, 4.0])
    """
    there = np.maximum(made.values, 0)
    top = float(there.max())
    steps = np.rint(255 * there / top if top > 0 else there).astype(np.uint8)
    rows, columns = steps.shape
    return {
        "method": made.method,
        "rows": rows,
        "columns": columns,
        "values": base64.b64encode(np.ascontiguousarray(steps).tobytes()).decode(),
        "box": [float(each) for each in made.box or (0, 0, columns, rows)],
        "hit_rate": None if measured is None else dict(measured),
    }


def over_hung(prepared: Prepared, frame: Frame) -> Prepared:
    """Return a picture that a model was shown as it is stored, its maps placed over the frame as it hangs."""
    if frame.hanging.identity or prepared.record is None or not isinstance(prepared.pixels, Tensor):
        return prepared
    to_hung = np.linalg.inv(frame.hanging.to_stored(*frame.values.shape))
    record = turned_record(prepared.record, to_hung, prepared.pixels.shape[-2:])
    records = {**prepared.sample.records, prepared.kind: record}
    return replace(prepared, record=record, sample=replace(prepared.sample, records=records))
