from __future__ import annotations

from pathlib import Path

import pytest
import torch

from medvlp.core.errors import DataError
from medvlp.models.bank import Bank, read_bank


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
