"""How often each map of a bundle hits what was planted in test films, beside a guess at the middle; one JSON line.

    python tests/benchmarks/map_hits.py BUNDLE --hospital FOLDER --out FOLDER [--cases 60]

`configs/evaluate/phantom.yaml` with the measures `classification` and `grounding` alone, on a copy of the bundle, into
which the result is written: the method that hits best on validation patients is the bundle's for each finding, its rate
is of test patients, and a map is offered where the interval of the gain over the middle excludes 0.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from _report import print_report

from medvlp.answers.asking.maps import offered
from medvlp.core.registry import available
from medvlp.models.bundle import load_bundle
from medvlp.runs.evaluate import evaluate, load_evaluation


def main() -> None:
    """Judge and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bundle", type=Path)
    arguments.add_argument("--hospital", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--cases", type=int, default=60, help="positives of a finding that are looked at, at most")
    asked = arguments.parse_args()
    bundle = asked.out / "bundle"
    shutil.copytree(asked.bundle, bundle)
    words = [f"model={bundle}", f"out={asked.out / 'evaluation'}", f"data.root={asked.hospital}"]
    words += [
        "evaluation.into_bundle=true",
        "evaluation.gallery=0",
        f"evaluation.measures.grounding.cases={asked.cases}",
    ]
    others = set(available("measures")) - {"classification", "grounding"}
    words += [f"evaluation.measures.{name}=null" for name in sorted(others)]
    evaluate(load_evaluation("evaluate/phantom.yaml", words))
    maps = next(each.maps for each in load_bundle(bundle).answers if each.maps is not None)
    rows = {finding: {**methods[maps["default"]]} for finding, methods in maps["hits"].items()}
    print_report(
        "map_hits",
        n={"findings": len(maps["hits"]), "cases at most": asked.cases},
        packages=("torch", "timm"),
        synthetic=True,
        method=maps["default"],
        offered=sorted(finding for finding, row in rows.items() if offered(row)),
        hits=rows,
    )


if __name__ == "__main__":
    main()
