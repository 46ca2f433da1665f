from __future__ import annotations

from pathlib import Path

from medvlp.data.layouts.csv import index


def test_rows_linked_by_any_chain_of_equal_values_are_one_patient(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "who,case,note\n7,a,one\n8,a,two\n8,b,three\n9,b,four\n10,c,five\n,c,six\n11,,seven\n,,eight\n"
    )
    manifest = index(tmp_path, columns={"text": "note", "patient_id": "who"}, same_patient=("case",))
    assert manifest.column("id.patient").tolist() == ["7", "7", "7", "7", "10", "10", "11", None]


def test_without_a_patient_column_the_linking_column_names_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("case,note\na,one\nb,two\na,three\n")
    manifest = index(tmp_path, columns={"text": "note"}, same_patient=("case",))
    assert manifest.column("id.patient").tolist() == ["a", "b", "a"]
