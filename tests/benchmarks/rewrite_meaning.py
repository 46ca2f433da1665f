"""Is the meaning of rewritten reports kept, and is exactly one fact of a hard negative changed? Prints JSON lines.

Phantom reports (both modalities, both halves of the sentence forms) are rewritten and read back; so are, where the
package torchxrayvision is installed or its archive of Open-i reports given, real ones. Numbers and words of side are
counted by means of their own; a hard negative must besides change no word that its kind does not allow.

Usage: python tests/benchmarks/rewrite_meaning.py [--reports 10000] [--parts phantom] [--open-i FILE.tgz] [--show 3]
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tarfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from _report import print_report

from medvlp.core.randomness import torch_generator
from medvlp.text.hard_negatives.copies import hard_negatives
from medvlp.text.rewriting import rewrite
from tests.text.reading import denied_by_truth, lost_in, more_than_the_fact, phantom_reports

PARTS = ("phantom", "hard_negatives", "open_i")


def rewritten(texts: list[str], name: str, show: int) -> None:
    """Rewrite each text once and print how many keep their meaning."""
    start = time.perf_counter()
    new = [rewrite(text, torch_generator(0, place, "rewrite")) for place, text in enumerate(texts)]
    spent = time.perf_counter() - start
    lost = [lost_in(text, other) for text, other in zip(texts, new, strict=True)]
    failures = [(reason, text, other) for reason, text, other in zip(lost, texts, new, strict=True) if reason]
    for reason, text, other in failures[:show]:
        print(f"--- {reason}\n{text}\n>>>\n{other}", file=sys.stderr)
    print_report(
        "rewrite_meaning",
        n=len(texts),
        packages=("torch",),
        reports=name,
        changed=sum(text != other for text, other in zip(texts, new, strict=True)),
        kept=len(texts) - len(failures),
        lost=dict(Counter(reason.split(":")[0] for reason in lost if reason)),
        ms_a_rewrite=round(1000 * spent / len(texts), 2),
    )


def falsified(count: int, show: int) -> None:
    """Draw at most two hard negatives of each phantom report and print how many changed exactly their fact."""
    made: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    untrue = 0
    for place, report in enumerate(phantom_reports(count)):
        for copy in hard_negatives(report.text, torch_generator(0, place, "hard_negative"), most=2):
            made[copy.kind] += 1
            reason = more_than_the_fact(report.text, copy)
            untrue += not denied_by_truth(report, copy)
            if reason:
                failed[copy.kind] += 1
                if failed.total() <= show:
                    print(f"--- {copy.kind} {reason}\n{copy.statement}\n>>>\n{copy.false_statement}", file=sys.stderr)
    print_report(
        "hard_negatives",
        n={"reports": count, "copies": made.total()},
        packages=("torch",),
        copies=dict(made),
        exact=made.total() - failed.total(),
        share=round(1 - failed.total() / max(1, made.total()), 5),
        more_than_the_fact=dict(failed),
        fact_not_in_the_planted_truth=untrue,
    )


def open_i(path: Path) -> list[str]:
    """Return the reports of the Open-i archive as texts with headers, those without words left out."""
    texts: dict[str, str] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".xml") else None
            if file is not None:
                tree = ElementTree.fromstring(file.read())
                parts = [(part.get("Label", ""), (part.text or "").strip()) for part in tree.iter("AbstractText")]
                texts[member.name] = "\n\n".join(f"{label}: {body}" for label, body in parts if body)
    return [texts[name] for name in sorted(texts) if texts[name]]


def main() -> None:
    """Run all that can be run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=10_000)
    parser.add_argument("--open-i", type=Path, default=None)
    parser.add_argument("--show", type=int, default=0, help="failures printed in full on standard error")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    if "phantom" in options.parts:
        rewritten([report.text for report in phantom_reports(options.reports)], "phantom", options.show)
    if "hard_negatives" in options.parts:
        falsified(options.reports, options.show)
    spec = importlib.util.find_spec("torchxrayvision")
    path = options.open_i or (Path(str(spec.origin)).parent / "data" / "NLMCXR_reports.tgz" if spec else None)
    if "open_i" in options.parts and path is not None and path.is_file():
        rewritten(open_i(path), "open-i", options.show)


if __name__ == "__main__":
    main()
