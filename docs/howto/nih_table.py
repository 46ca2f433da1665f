"""Make the table that `medvlp adapt` takes of NIH ChestX-ray14: path, patient_id, view_position, a column a finding.

.venv/bin/python docs/howto/nih_table.py FOLDER labels.csv
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
tables = [*folder.glob("Data_Entry_2017*.csv")]
if not tables:
    sys.exit(f"{folder} holds no Data_Entry_2017*.csv: give the folder of NIH ChestX-ray14 as it was downloaded.")
entries = pandas.read_csv(tables[0], index_col=False)
files = {path.name: path.relative_to(folder).as_posix() for path in folder.glob("images*/**/*.png")}
table = pandas.DataFrame(
    {
        "path": entries["Image Index"].map(files),
        "patient_id": entries["Patient ID"],
        "view_position": entries["View Position"],
    }
).join(entries["Finding Labels"].str.get_dummies("|"))
table = table.dropna(subset=["path"])
out.parent.mkdir(parents=True, exist_ok=True)
table.to_csv(out, index=False)
print(f"{out}: {len(table)} films of {table['patient_id'].nunique()} patients")
