"""False copies of some reports, taught by an average and by the model as it was."""

from __future__ import annotations

from tests.objectives.cases import method
from tests.objectives.cases.hard_negatives import copies

AVERAGE = {"states": {"ema": {"name": "ema", "horizon": 20.0}}}
CASES = {
    "average": method({"name": "degla", "exclude": "same_patient"}, columns=copies, **AVERAGE),
    "frozen": method(
        {"name": "degla", "teacher": "before", "text_grounded": 1.0, "positives": "own", "exclude": "same_report"},
        columns=copies,
        states={"before": {"name": "frozen"}},
    ),
}
