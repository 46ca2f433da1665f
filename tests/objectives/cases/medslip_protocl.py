"""The prototypes of MeDSLIP without its other terms."""

from __future__ import annotations

from tests.objectives.cases import method
from tests.objectives.cases.medslip import OPTIONS

CASES = {"learned temperature": method({"name": "medslip_protocl", "negatives": 1, "temperature": 0.5}, **OPTIONS)}
