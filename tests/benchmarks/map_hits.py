"""How often the maps of a bundle hit what was planted, beside a guess at the middle and a training box; one JSON line.

    python tests/benchmarks/map_hits.py BUNDLE --hospital FOLDER --other FOLDER --out FOLDER [--cases 300]

`configs/evaluate/phantom.yaml` with the measures `classification` and `grounding` alone on a copy of the bundle, which
keeps of each finding the map that hits it best on validation patients of its hospital. Each finding's map is then drawn
of films of another hospital (`medvlp phantom`), none of whose patients the bundle has seen: the numbers are of
them, and nothing is chosen there.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _report import print_report

from medvlp.answers.asking.maps import default_method
from medvlp.answers.asking.model import prompt_sets
from medvlp.answers.prompting.class_vectors import directions
from medvlp.core.registry import available, build
from medvlp.evaluation.grounding.baselines import centre_prior, constant_box, fit_constant_box
from medvlp.evaluation.grounding.gain import paired_shares
from medvlp.evaluation.grounding.measures import pointing
from medvlp.evaluation.grounding.regions import Regions
from medvlp.measures._grounding_maps import by_method, maps_of, questions_of, training_boxes
from medvlp.models.bundle import load_bundle
from medvlp.runs.evaluate import evaluate, load_evaluation, open_evaluation
from medvlp.statistics.proportions import share_of

FIVE = ("effusion", "pneumothorax", "consolidation", "cardiomegaly", "edema")


def main() -> None:
    """Choose, judge and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("bundle", type=Path)
    arguments.add_argument("--hospital", type=Path, required=True, help="that the bundle was trained on")
    arguments.add_argument("--other", type=Path, required=True, help="of other patients, on whom it is judged")
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--cases", type=int, default=300, help="positives of a finding that are looked at, at most")
    asked = arguments.parse_args()
    bundle = asked.out / "bundle"
    if not bundle.exists():
        choose(asked.bundle, bundle, asked.hospital, asked.out / "evaluation")
    maps = next(each.maps for each in load_bundle(bundle).answers if each.maps is not None)
    table = hits(bundle, maps, asked.hospital, asked.other, asked.cases)
    rows = {finding: row_of(some, maps, finding) for finding, some in table.groupby("finding")}
    whole = {"all": table, "five": table[table["finding"].isin(FIVE)]}
    print_report(
        "map_hits",
        n={"findings": len(rows), "cases at most": asked.cases, "films with a finding": len(table)},
        packages=("torch", "timm"),
        synthetic=True,
        above=sorted(finding for finding, row in rows.items() if row["gain_low"] > 0),
        hits=rows,
        pooled={name: {**gain(some, "centre"), "box": gain(some, "box")} for name, some in whole.items()},
        mean_of_five=round(float(np.mean([rows[finding]["value"] for finding in FIVE])), 4),
    )


def choose(trained: Path, bundle: Path, hospital: Path, out: Path) -> None:
    """Write a copy of a bundle that keeps how its maps hit, and of each finding the best."""
    shutil.copytree(trained, bundle)
    words = [f"model={bundle}", f"out={out}", f"data.root={hospital}"]
    words += ["evaluation.into_bundle=true", "evaluation.gallery=0", "evaluation.measures.grounding.sanity=0"]
    others = set(available("measures")) - {"classification", "grounding"}
    evaluate(load_evaluation("evaluate/phantom.yaml", [*words, *(f"evaluation.measures.{n}=null" for n in others)]))


def hits(bundle: Path, maps: Mapping[str, Any], hospital: Path, other: Path, cases: int) -> pd.DataFrame:
    """Return a row a film with a finding: whether its map, the middle and the box of the trained hospital hit it."""
    words = [f"model={bundle}", "evaluation.fit=null", "evaluation.groups=[]"]

    def opened(root: Path, split: str) -> Any:
        own = [f"data.root={root}", "out=unused", f"evaluation.split={split}"]
        return open_evaluation(load_evaluation("evaluate/phantom.yaml", [*words, *own]))

    trained, judged = opened(hospital, "test"), opened(other, "train")
    regions = Regions(judged.manifest)
    prompts = [each for each in prompt_sets(judged.answers) if each.label in regions.findings]
    findings = [each.label for each in prompts]
    vectors = directions(prompts, judged.model.embed_text)
    known = training_boxes(trained.prepared("train"), Regions(trained.manifest), findings)
    boxes = {finding: fit_constant_box(some) for finding, some in known.items()}
    rows = []
    for finding in findings:
        spec = maps["methods"][default_method(maps, finding)]
        drawer = by_method("", build("features/maps", spec, where="maps"), vectors, spec)
        asked = [
            each for each in questions_of(judged.judged.prepared, regions, [finding], cases) if each.region.present
        ]
        for drawn in maps_of(drawer, judged.model.model, judged.judged.prepared, asked, 1 << 18):
            case = drawn.case()
            tried = {"map": case, "centre": centre_prior(case), "box": constant_box(case, boxes[finding])}
            hit = {name: pointing(each.evidence, each.region) for name, each in tried.items()}
            rows.append({"finding": finding, "patient": case.patient, **hit})
    return pd.DataFrame(rows)


def row_of(some: pd.DataFrame, maps: Mapping[str, Any], finding: Any) -> dict[str, Any]:
    """Return the row of a finding."""
    own = share_of(some["map"], pd.factorize(some["patient"])[0]).wilson()
    return {
        "method": default_method(maps, finding),
        "low": None if own.low is None else round(own.low, 4),
        "high": None if own.high is None else round(own.high, 4),
        **gain(some, "centre"),
        "box": gain(some, "box"),
    }


def gain(some: pd.DataFrame, control: str) -> dict[str, Any]:
    """Return the hit rate of maps, that of a control and their difference with its interval."""
    patients = pd.factorize(some["patient"])[0]
    found = paired_shares(some[control].to_numpy(float), some["map"].to_numpy(float), patients)
    values = {"value": some["map"].mean(), control: some[control].mean(), "gain": (some["map"] - some[control]).mean()}
    values |= {"gain_low": found.low, "gain_high": found.high}
    return {"n": len(some), **{name: round(float(value), 4) for name, value in values.items()}}


if __name__ == "__main__":
    main()
