from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medvlp.core.errors import ConfigError
from medvlp.core.fields import ENCODABLE, KINDS, parse_field
from medvlp.core.keys import Key, Plan, keys, parse_key

name = st.text("abcdefghij_", min_size=1, max_size=8)
views = st.one_of(
    st.sampled_from(sorted(ENCODABLE)),
    st.tuples(st.sampled_from(sorted(ENCODABLE)), name).map(".".join),
    name.map("bank.{}".format),
)


@given(who=st.one_of(st.just(""), name.filter(lambda n: n != "state")), view=views, part=name)
def test_a_key_is_read_back_from_its_text(who, view, part):
    key = Key(view, part, who)
    assert parse_key(str(key)) == key
    assert (key.is_bank, key.is_field, key.is_state) == (view.startswith("bank."), False, False)


@given(kind=st.sampled_from(sorted(KINDS)), role=st.one_of(st.just(""), name))
def test_a_name_without_slash_is_a_batch_field(kind, role):
    text = f"{kind}.{role}" if role else kind
    assert parse_key(text).is_field
    assert str(parse_key(text)) == text
    assert (parse_field(text).kind, parse_field(text).role) == (kind, role)


def test_states():
    assert parse_key("state:clusters") == Key("clusters", "", "state")
    assert str(parse_key("state:clusters")) == "state:clusters"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("imgae/tokens", r"Field 'imgae' has the unknown kind 'imgae': did you mean 'image'\?"),
        ("label.effusion/tokens", "asks to encode 'label.effusion': only image, stack, text, volume and banks can be"),
        ("image/", "needs exactly one part"),
        ("image/a/b", "needs exactly one part"),
        (":image/tokens", "has nothing before ':'"),
        ("ema:label.effusion", "asks a teacher for a batch field: write ema:view/part"),
    ],
)
def test_what_is_no_key_is_refused(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        parse_key(text)


def test_a_plan_is_the_union_of_needs_whatever_their_order():
    needs = keys("text/embedding", "image/tokens", "image/embedding", "ema:image/pooled", "id.patient", "state:queue")
    plan = Plan.of(sorted(needs, reverse=True))
    assert plan == Plan.of(needs)
    assert plan.views == {"image": {"tokens", "embedding"}, "text": {"embedding"}}
    assert list(plan.views) == ["image", "text"]
    assert plan.fields == ("id.patient",)
    assert set(plan.teachers) == {"ema"}
    assert plan.teachers["ema"].views == {"image": {"pooled"}}
