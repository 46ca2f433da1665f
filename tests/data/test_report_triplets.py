from __future__ import annotations

import pytest

from medvlp.core.errors import ConfigError, DataError
from medvlp.data.report_triplets import studies_of_radgraph, studies_of_table
from tests.text.radgraph_graphs import SMALL


def write(path, text: str):
    path.write_text(text, encoding="utf-8")
    return path


def test_images_of_a_study_share_its_report_and_keep_their_split(tmp_path) -> None:
    table = write(
        tmp_path / "r.csv",
        "id,id.study,id.patient,image,split,text\n"
        "a,s1,p1,a.png,train,Left effusion.\n"
        "b,s1,p1,b.png,train,Left effusion.\n"
        "c,s2,p2,c.png,test,\n"
        "d,s3,p3,d.png,test,No pneumothorax.\n",
    )
    found = studies_of_table(table)
    assert [(study.study_id, study.subject_id, len(study.triplets)) for study in found.studies] == [
        ("s1", "p1", 1),
        ("s3", "p3", 1),
    ]
    assert found.images == {"train": {"a.png": "s1", "b.png": "s1"}, "test": {"d.png": "s3"}}
    assert found.skipped == {"no text": (4,)}


def test_only_the_wanted_sections_are_read(tmp_path) -> None:
    table = write(tmp_path / "r.csv", 'id,text\ns1,"FINDINGS: Left effusion.\nIMPRESSION: Pneumonia."\n')
    assert [each.triplet.observation for each in studies_of_table(table).studies[0].triplets] == [
        "effusion",
        "pneumonia",
    ]
    only = studies_of_table(table, sections=("impression",)).studies[0]
    assert [each.triplet.observation for each in only.triplets] == ["pneumonia"]
    with pytest.raises(ConfigError, match=r"There is no section 'impresion': did you mean 'impression'\?"):
        studies_of_table(table, sections=("impresion",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,text\ns1,Clear.\ns1,Effusion.\n", r"lines 2 and 3, give one study two texts: join them in one row"),
        ("id,text\n,Clear.\n", r"line 2, has no id: give every report the id of its study"),
        ("id,report\ns1,Clear.\n", r"has no column 'text'"),
        ("name,text\ns1,Clear.\n", r"has no column 'id'"),
    ],
)
def test_tables_that_cannot_be_read_are_refused_by_line(tmp_path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        studies_of_table(write(tmp_path / "r.csv", text))
    assert "s1" not in str(refused.value)


def test_a_radgraph_file_is_read_study_by_study(tmp_path) -> None:
    seen = []
    found = studies_of_radgraph(SMALL, progress=lambda done, total: seen.append((done, total)))
    assert [study.study_id for study in found.studies] == ["50414267", "53189527"]
    assert seen == [(1, 2), (2, 2)]
    twice = SMALL.read_text().replace("p10/p10000032/s53189527.txt", "p11/p10000032/s50414267.txt")
    with pytest.raises(DataError, match="report 2, is the second one of its study: keep one report a study"):
        studies_of_radgraph(write(tmp_path / "twice.json", twice))
