"""Whether two runs say the same: every number of their results and tables, every weight of their bundles.

A change that only moves or renames code must leave the quick start's numbers as they were::

    same_numbers.py BEFORE/run AFTER/run

Names of files, hashes, times and rates are not compared; text is, but for those. Exit 1 lists what differs.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

_APART = re.compile(
    r"(hash|sha256|recipe|data|split|seconds|time|created|version|path|run|out|root|cache|commit|code)$"
)


def numbers(node: object, at: str = "") -> Iterator[tuple[str, object]]:
    """Yield each number, truth value and null of a document with its place."""
    if isinstance(node, dict):
        for key, value in node.items():
            if not (_APART.search(str(key)) and isinstance(value, str)):
                yield from numbers(value, f"{at}.{key}")
    elif isinstance(node, list):
        for place, value in enumerate(node):
            yield from numbers(value, f"{at}[{place}]")
    elif not (isinstance(node, str) or re.search(r"seconds|time|per_second", at)):
        yield at, node


def facts(run: Path) -> dict[str, Any]:
    """Return what a run folder holds: results by place, tables by column, weights by name."""
    found: dict[str, Any] = {}
    for path in sorted(run.glob("results/**/*.json")):
        found |= {f"{path.relative_to(run)}{at}": value for at, value in numbers(json.loads(path.read_text()))}
    for path in sorted(run.glob("results/**/*.parquet")):
        table = pd.read_parquet(path)
        found |= {f"{path.relative_to(run)}:{name}": table[name].to_numpy() for name in table.columns}
    for path in sorted(run.glob("bundle/*.safetensors")):
        if path.name != "seen.safetensors":  # keyed hashes, of another key each time
            found |= {f"{path.name}:{name}": tensor for name, tensor in load_file(path).items()}
    for row in (json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()):
        if row.get("kind") == "validate":
            found |= {f"log.jsonl:{row['samples_seen']}{at}": value for at, value in numbers(row)}
    return found


def same(a: object, b: object) -> bool:
    """Whether two values are equal, NaN to NaN."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        floats = a.dtype.kind == b.dtype.kind == "f"
        return bool(np.array_equal(a, b, equal_nan=True)) if floats else a.tolist() == b.tolist()
    return a == b or (a != a and b != b)


def main() -> int:
    """Compare two runs."""
    before, after = (facts(Path(name)) for name in sys.argv[1:3])
    lost, new = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
    other = sorted(key for key in before.keys() & after.keys() if not same(before[key], after[key]))
    print(f"{len(before.keys() & after.keys()):,} compared: {len(other)} differ, {len(lost)} lost, {len(new)} new")
    for what, keys in (("differs", other), ("lost", lost), ("new", new)):
        for key in keys[:20]:
            print(f"  {what}: {key}")
    return int(bool(other or lost))


if __name__ == "__main__":
    sys.exit(main())
