from __future__ import annotations

import pytest

from medvlp.core import resources
from medvlp.core.errors import UserError


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A package as a wheel lays it out: the groups inside, under _share."""
    package = tmp_path / "site" / "medvlp"
    (package / "_share" / "configs" / "pretrain").mkdir(parents=True)
    (package / "_share" / "configs" / "pretrain" / "a.yaml").write_text("x: 1")
    monkeypatch.setattr(resources, "_PACKAGE", package)
    return package


def test_a_wheel_carries_its_files_inside(wheel):
    assert resources.resource("configs", "pretrain/a.yaml").read_text() == "x: 1"


def test_a_checkout_has_them_beside_and_the_inside_comes_first(wheel):
    beside = wheel.parent / "configs"
    beside.mkdir()
    assert resources.resource_folder("configs") == wheel / "_share" / "configs"
    (wheel.parent / "apps").mkdir()
    assert resources.resource_folder("apps") == wheel.parent / "apps"


def test_unknown_files_are_refused_with_the_nearest(wheel):
    with pytest.raises(UserError, match=r"no configs file 'pretrain/b.yaml': did you mean 'pretrain/a.yaml'\?"):
        resources.resource("configs", "pretrain/b.yaml")
    with pytest.raises(UserError, match="folder 'data_cards' is neither in the installed package nor beside it"):
        resources.resource("data_cards", "x.md")


def test_nothing_outside_the_group_is_a_resource(wheel):
    (wheel / "secret.yaml").write_text("")
    with pytest.raises(UserError, match="There is no configs file"):
        resources.resource("configs", "../../secret.yaml")
