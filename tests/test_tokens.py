"""Token sets: which positions are pooled, of plain texts and of conversations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import Tokens, UsageError
from harness.features.token_sets import TokenSet


def tokens(content: list[int], prompt: list[int] | None = None) -> Tokens:
    return Tokens(
        ids=np.arange(len(content)),
        content=np.array(content, dtype=np.bool_),
        prompt=None if prompt is None else np.array(prompt, dtype=np.bool_),
    )


CHAT = tokens([0, 1, 1, 0, 1, 1, 1, 0], prompt=[0, 1, 1, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        ("content", [0, 1, 1, 0, 1, 1, 1, 0]),
        ("prompt", [0, 1, 1, 0, 0, 0, 0, 0]),
        ("last(k=1)", [0, 0, 0, 0, 0, 0, 1, 0]),
        ("last[k=4]", [0, 0, 1, 0, 1, 1, 1, 0]),
        ({"name": "last", "k": 9}, [0, 1, 1, 0, 1, 1, 1, 0]),
        ("all", [1] * 8),
    ],
)
def test_a_set_takes_these_positions(reference: Any, wanted: list[int]) -> None:
    assert TokenSet.parse(reference).select(CHAT).content.astype(int).tolist() == wanted


def test_all_content_of_a_plain_text_is_prompt() -> None:
    assert TokenSet.parse("prompt").select(tokens([0, 1, 1])).content.tolist() == [False, True, True]


@given(
    st.lists(st.booleans()),
    st.sampled_from(["content", "prompt", "all"])
    | st.integers(1, 20).map(lambda k: {"name": "last", "k": k}),
)
def test_a_set_changes_content_and_nothing_else(content: list[bool], reference: Any) -> None:
    before = tokens([int(one) for one in content])
    after = TokenSet.parse(reference).select(before)
    assert after.ids is before.ids and after.truncated == before.truncated and after.prompt is before.prompt
    assert before.content.tolist() == content
    assert after.content.dtype == np.bool_ and len(after.content) == len(content)
    if reference != "all":
        assert not (after.content & ~before.content).any()
    if isinstance(reference, dict):
        assert after.content.sum() == min(reference["k"], sum(content))


def test_a_set_is_written_one_way() -> None:
    references = ["content", "last(k=5)", {"name": "last", "k": 5}]
    assert [TokenSet.parse(one).label for one in references] == ["content", "last(k=5)", "last(k=5)"]


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("promt", "there is no token set 'promt'; did you mean 'prompt'?"),
        ("all(k=2)", "token set 'all' has no parameter 'k'; it takes none"),
        ("last(n=2)", "token set 'last' has no parameter 'n'; it takes: k"),
        ("last", "token set 'last' needs k, a whole number of at least 1, not None"),
        ("last(k=0)", "of at least 1, not 0"),
        ("last(k=true)", "of at least 1, not True"),
        ("last(k=1.5)", "of at least 1, not 1.5"),
    ],
)
def test_what_is_no_token_set_is_refused_in_one_sentence(reference: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        TokenSet.parse(reference)
    assert said in str(error.value)


def test_the_former_name_of_truncated_is_read_and_taken_with_a_warning() -> None:
    given = {"ids": np.arange(2), "content": np.array([False, True])}
    with pytest.warns(DeprecationWarning, match=r"Tokens\(cut=…\) is now Tokens\(truncated=…\)"):
        former = Tokens(**given, cut=True)
    assert former.truncated and not Tokens(**given).truncated
    with pytest.warns(DeprecationWarning, match=r"Tokens\.cut is now Tokens\.truncated"):
        assert former.cut is True


def test_tokens_can_be_replaced_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    changed = replace(tokens([0, 1]), truncated=True)
    assert changed.truncated and replace(changed, content=changed.content).truncated
    assert not recwarn.list
