from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medvlp.core.errors import DataError
from medvlp.core.resources import resource
from medvlp.models.bank import Bank, read_bank
from medvlp.text.medslip_vocabulary import load_medslip_vocabulary


def test_a_bank_is_read_in_its_order_without_blank_lines_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "findings.txt"
    file.write_text("# findings\npleural effusion\n\n nodule \n", encoding="utf-8")
    bank = read_bank(file, name="findings")
    assert bank.texts == ("pleural effusion", "nodule")
    assert bank.sha256 == Bank("other", ("pleural effusion", "nodule")).sha256
    assert bank.sha256 != Bank("findings", ("nodule", "pleural effusion")).sha256


def test_unusable_banks_are_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.txt of bank 'findings' cannot be read"):
        read_bank(tmp_path / "nowhere.txt", name="findings")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(DataError, match="Bank 'findings' has no text"):
        read_bank(tmp_path / "empty.txt", name="findings")
    with pytest.raises(DataError, match="has the entry 'nodule' twice"):
        Bank("findings", ("nodule", "mass", "nodule"))
    with pytest.raises(DataError, match=r"has 1 texts and vectors of shape \(2, 3\)"):
        Bank("findings", ("nodule",)).with_vectors(torch.zeros(2, 3), encoder="x")


def test_a_book_has_names_and_sentences_in_order(tmp_path: Path) -> None:
    path = tmp_path / "book.yaml"
    path.write_text("version: v1\ntexts:\n  effusion: Fluid.\n  air: Gas.\n")
    bank = read_bank(path, name="pathology")
    assert (bank.names, bank.texts) == (("effusion", "air"), ("Fluid.", "Gas."))
    path.write_text("texts: [a, b]\n")
    with pytest.raises(
        DataError, match=r"book\.yaml of bank 'pathology' has no texts: \{name: sentence\}: write them so"
    ):
        read_bank(path, name="pathology")
    path.write_text("texts: {a: b")
    with pytest.raises(DataError, match=r"book\.yaml of bank 'pathology' cannot be read .*: give a UTF-8 text file"):
        read_bank(path, name="pathology")
    with pytest.raises(DataError, match="has 2 texts and 1 different names: give each text a name of its own"):
        Bank("b", ("x", "y"), names=("a", "a"))


def test_the_shipped_books_describe_the_vocabulary_position_by_position() -> None:
    words = load_medslip_vocabulary()
    for name, names in (("pathology", words.observations), ("anatomy", words.anatomies)):
        bank = read_bank(resource("configs", f"banks/medslip_{name}_v1.yaml"), name=name)
        assert bank.names == names
        assert all(4 < len(text.split()) < 36 and text.endswith(".") for text in bank.texts)
