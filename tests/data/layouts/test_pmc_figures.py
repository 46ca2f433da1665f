"""Figures of articles: a hand-made package gives exactly these records."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medvlp.core.errors import DataError
from medvlp.data.layouts.pmc_figures import index, read_article

HEAD = (
    '<?xml version="1.0"?>\n<!DOCTYPE article PUBLIC "-//NLM//DTD JATS v1.2//EN" "JATS-archivearticle1.dtd">\n'
    '<article xmlns:xlink="http://www.w3.org/1999/xlink"><front><article-meta>'
)
BODY = """<article-id pub-id-type="pmid">31</article-id><article-id pub-id-type="pmc">900</article-id>
</article-meta></front><body>
<fig id="F1"><label>Figure 1.</label><caption><title>Chest radiograph.</title>
<p>A <italic>small</italic> left\n effusion (arrow).</p></caption><graphic xlink:href="a-g001"/></fig>
<fig-group><fig id="F2"><caption><p>Two views.</p></caption>
<graphic xlink:href="a-g002"/><graphic xlink:href="a-g003"/></fig></fig-group>
<fig id="F3"><label>Figure 3.</label><graphic xlink:href="a-g004"/></fig>
<fig id="F4"><caption><p>No picture.</p></caption></fig>
<fig id="F5"><caption><p>Its file is lost.</p></caption><graphic xlink:href="a-g009"/></fig>
</body></article>"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    package = tmp_path / "aa" / "PMC900"
    package.mkdir(parents=True)
    (package / "a.nxml").write_text(HEAD + BODY, encoding="utf-8")
    for name in ("a-g001.jpg", "a-g001.gif", "a-g002.jpg", "a-g003.jpg", "a-g004.jpg"):
        (package / name).write_bytes(b"x")
    return tmp_path


def test_every_graphic_with_a_caption_is_a_record(root: Path) -> None:
    manifest = index(root)
    folder = "aa/PMC900"
    rows = [manifest.record(i) for i in range(len(manifest))]
    assert [(r["id"], r["image"], r["text"]) for r in rows] == [
        ("31_F1", f"{folder}/a-g001.jpg", "Chest radiograph. A small left effusion (arrow)."),
        ("31_F2", f"{folder}/a-g002.jpg", "Two views."),
        ("31_F2_2", f"{folder}/a-g003.jpg", "Two views."),
    ]
    assert {r["id.article"] for r in rows} == {"PMC900"}
    skipped = manifest.meta["skipped"]
    assert {reason: len(which) for reason, which in skipped.items()} == {  # type: ignore[attr-defined]
        "no_caption": 1,
        "no_graphic": 1,
        "missing_file": 1,
    }


def test_a_graphic_lies_beside_its_article_whatever_that_says(root: Path) -> None:
    """Its name could lead out of the folder, to any file of the machine."""
    article = root / "aa" / "PMC900" / "a.nxml"
    for name in ("../../../a-g001", "/etc/a-g001"):
        article.write_text((HEAD + BODY).replace("a-g001", name), encoding="utf-8")
        found = index(root, require_files=False).column("image").tolist()
        assert found[0] == "aa/PMC900/a-g001.jpg"
        assert not any(".." in path or path.startswith("/") for path in found)


def test_entities_are_refused_before_they_are_parsed() -> None:
    bomb = b'<!DOCTYPE article [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><article><body>&b;</body></article>'
    with pytest.raises(DataError, match="declares entities"):
        read_article(bomb, source="a.nxml")
    with pytest.raises(DataError, match="is no XML"):
        read_article(b"<article>", source="a.nxml")


def test_an_article_that_cannot_be_read_is_listed_and_the_others_are_read(tmp_path: Path) -> None:
    for name, text in {"a": HEAD + BODY, "b": "<article>", "c": '<!DOCTYPE a [<!ENTITY b "b">]><article/>'}.items():
        (tmp_path / f"{name}.nxml").write_text(text, encoding="utf-8")
    (tmp_path / "d.nxml").write_bytes(b"<article>\xff</article>")
    manifest = index(tmp_path, require_files=False)
    assert len(manifest) > 0
    assert manifest.meta["skipped"]["unreadable_article"] == ["b.nxml", "c.nxml", "d.nxml"]


def test_a_folder_without_articles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \.nxml"):
        index(tmp_path)


def test_figures_of_one_id_or_none_and_things_in_several_forms(tmp_path: Path) -> None:
    """A graphical abstract without an id is fig1, as the first figure is; a translation repeats a figure's id."""
    (tmp_path / "a.nxml").write_text(
        HEAD + '<article-id pub-id-type="pmid">31</article-id></article-meta></front><body>'
        "<fig><caption><p>Abstract.</p></caption><graphic xlink:href='g0'/></fig>"
        "<fig id='fig1'><caption><p>Lesion of <inline-formula><alternatives><tex-math>\\documentclass{minimal}"
        "</tex-math><math><mi>5</mi></math></alternatives></inline-formula> mm.</p></caption><alternatives>"
        "<graphic xlink:href='g1.tif'/><graphic xlink:href='g1.jpg'/></alternatives></fig></body><sub-article><body>"
        "<fig id='fig1'><caption><p>Lesão.</p></caption><graphic xlink:href='g1'/></fig></body></sub-article>"
        "</article>",
        encoding="utf-8",
    )
    for name in ("g0.jpg", "g1.jpg", "g1.tif"):
        (tmp_path / name).write_bytes(b"x")
    manifest = index(tmp_path)
    assert [(r["id"], r["image"], r["text"]) for r in map(manifest.record, range(len(manifest)))] == [
        ("31_fig1", "g0.jpg", "Abstract."),
        ("31_fig1_2", "g1.tif", "Lesion of 5 mm."),
        ("31_fig1_3", "g1.jpg", "Lesão."),
    ]


def test_words_of_lines_and_list_items_are_not_joined() -> None:
    items = "<list><list-item><p>a</p></list-item><list-item><p>b</p></list-item></list>"
    caption = f"<title>Chest<break/>film</title><p>Of:{items} H<sub>2</sub>O</p>"
    text = f"<article><body><fig><caption>{caption}</caption></fig></body></article>"
    assert read_article(text.encode(), source="a.nxml").figures[0].caption == "Chest film Of: a b H2O"


def test_parts_of_a_figure_have_its_caption_and_a_formula_in_it_is_no_picture() -> None:
    """JATS: a fig-group is a collection of figures that may have its own caption."""
    parts = "<fig id='a'><label>A</label><graphic xlink:href='g1'/></fig>"
    parts += "<fig id='b'><caption><p>Lateral.</p></caption><graphic xlink:href='g2'/></fig>"
    formula = "<disp-formula><graphic xlink:href='e1'/></disp-formula>"
    text = f"{HEAD}</article-meta></front><body><fig-group><caption><p>Two films.</p></caption>{parts}</fig-group>"
    text += f"<fig id='c'><caption><p>Where {formula}.</p></caption><graphic xlink:href='g3'/></fig></body></article>"
    found = {each.id: (each.caption, each.graphics) for each in read_article(text.encode(), source="a.nxml").figures}
    assert found == {"a": ("Two films.", ("g1",)), "b": ("Lateral.", ("g2",)), "c": ("Where .", ("g3",))}


def test_two_versions_of_an_article_are_both_indexed(root: Path) -> None:
    shutil.copytree(root / "aa", root / "bb")
    rows = [index(root).record(row) for row in range(6)]
    assert [row["id"] for row in rows] == ["31_F1", "31_F2", "31_F2_2", "31_F1_2", "31_F2_3", "31_F2_4"]
    assert {row["id.article"] for row in rows} == {"PMC900"}
