"""Statements of relations: both sides, denials, RadGraph's edges, and what a matrix keeps of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medvlp.core.errors import ConfigError, DataError
from medvlp.core.sample import Sample, Stack
from medvlp.data.views.every_slice import EverySlice
from medvlp.data.views.relations import Relations
from medvlp.text.mention_triplets import of_report
from medvlp.text.radgraph import read_radgraph
from medvlp.text.relations import relation_matrix, stated_by_edges, stated_by_triplets
from medvlp.text.triplet_files import of_radgraph, write_triplets

RADGRAPH = Path(__file__).parent / "radgraph_small.json"


def test_a_finding_on_both_sides_is_at_two_places_and_a_denied_one_at_none() -> None:
    report = of_report(
        "Bilateral pleural effusions. Possible nodule in the left upper lobe. No pneumothorax.", study_id="1"
    )
    stated = {(s, o): value for s, _, o, value in stated_by_triplets(report)}
    assert stated["effusion", "left_pleural_space"] == stated["effusion", "right_pleural_space"] == 1
    assert stated["nodule", "left_upper_lobe"] == 0.5
    assert {value for (subject, _), value in stated.items() if subject == "pneumothorax"} == {0.0}


def test_edges_of_radgraph_keep_their_kind_and_the_words_of_a_place() -> None:
    report = read_radgraph(RADGRAPH)[0]
    edges = set(stated_by_edges(report))
    assert ("effusion", "located_at", "left_pleural", 1.0) in edges
    assert ("opacity", "located_at", "left_lower_lobe", 1.0) in edges
    assert ("opacity", "suggestive_of", "pneumonia", 1.0) in edges
    assert ("small", "modify", "effusion", 1.0) in edges
    # The triplets of the same report name the place the same way.
    places = {o for s, _, o, _ in stated_by_triplets(of_radgraph(report)) if s == "opacity"}
    assert "left_lower_lobe" in places


def test_the_strongest_statement_of_a_triplet_stays_and_strange_words_do_not() -> None:
    stated = [("a", "at", "b", 0.0), ("a", "at", "b", 1.0), ("a", "at", "b", 0.5), ("a", "near", "b", 1.0)]
    matrix = relation_matrix(stated, ["a", "b"], ["at"])
    assert matrix.shape == (2, 1, 2)
    assert matrix[0, 0].tolist() == [-1.0, 1.0]
    assert (matrix[1] == -1).all()


def test_the_view_reads_the_whole_report_or_a_file_and_knows_nothing_without(tmp_path: Path) -> None:
    words = {"labels": ("effusion", "left_pleural_space", "left_pleural"), "predicates": ("located_at",)}
    draw = torch.Generator()
    shortened = Sample("a", {"text": "Clear.", "text.report": "Left pleural effusion."})
    found = Relations(**words)(shortened, draw).fields["vector.relations"]
    assert isinstance(found, torch.Tensor)
    assert found.view(3, 3)[0].tolist() == [-1.0, 1.0, -1.0]
    assert "vector.relations" not in Relations(**words)(Sample("a", {}), draw).fields
    # What a report in a language says that is not read here is unknown: it does not state that nothing is there.
    assert Relations(**words).matrix(Sample("a", {"text": "Derrame pleural izquierdo. No hay neumotorax."})) is None
    impression = Sample("a", {**shortened.fields, "text.impression": "No effusion in the left pleural space."})
    own = Relations(**words, field="text.impression").matrix(impression)
    assert own is not None
    assert own[0].tolist() == [[-1.0, 0.0, -1.0]]  # text.report is the whole of `text`, not of another field
    study = read_radgraph(RADGRAPH)[0]
    lines = tmp_path / "triplets.jsonl"
    write_triplets([of_radgraph(study)], lines)
    for file in (RADGRAPH, lines):
        view = Relations(**words, file=str(file))
        matrix = view.matrix(Sample("a", {"id.study": study.study_id}))
        assert matrix is not None
        assert matrix[0, 0, 2] == 1
        assert view.matrix(Sample("a", {"id.study": "another"})) is None
        with pytest.raises(DataError, match=r"has no id\.study"):
            view.matrix(Sample("a", {}))
    write_triplets([of_report("Clear lungs.", study_id=study.study_id)], lines)  # written anew, it is read anew
    assert float(view.matrix(Sample("a", {"id.study": study.study_id}))[0, 0, 2]) != 1


def test_every_slice_is_an_image_in_the_order_of_the_stack() -> None:
    stack = Stack(torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 2, 2), torch.zeros(3, 3))
    made = EverySlice()(Sample("a", {"stack": stack}), torch.Generator()).fields["image.slices"]
    assert isinstance(made, tuple)
    assert [float(each.mean()) for each in made] == [0, 1, 2]
    with pytest.raises(ConfigError, match="every_slice makes images of a stack"):
        EverySlice(to="stack.slices")
