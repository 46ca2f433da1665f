"""Make a table of films of the quick start's hospital, as a researcher has one: file, patient, report, view, labels.

.venv/bin/python docs/start/films.py runs/quickstart/hospital
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas

hospital = Path(sys.argv[1])
images = pandas.read_parquet(hospital / "truth" / "images.parquet")
studies = pandas.read_parquet(hospital / "truth" / "studies.parquet")
reports = pandas.read_csv(hospital / "reports.csv", dtype=str)
films = images[images["view"].isin(["PA", "AP"])].merge(studies, on="accession")
films = films.merge(reports, left_on="accession", right_on="AccessionNumber")
table = films[["path", "PatientID", "Report", "view", "label:effusion", "label:cardiomegaly"]]
table.columns = ["file", "patient", "report", "view", "effusion", "cardiomegaly"]
table.to_csv(hospital / "films.csv", index=False)
print(f"{hospital / 'films.csv'}: {len(table)} films")
