"""Contexts that know their text say what `json.dumps` says."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from stagedml.store.contexts import WrittenContext, context_json

NAMES = st.sampled_from(["a", "a-b", "ab", "B", "0", "a_"])
DREFS = st.builds(lambda digit, name: f"dref:{digit * 32}-{name}", st.sampled_from("0aF"), NAMES)
RREFS = st.lists(st.builds(lambda digit: f"rref:{digit * 32}", st.sampled_from("0123")), unique=True, max_size=3)


def as_json(context: dict[str, list[str]]) -> str:
    return json.dumps({dref: sorted(rrefs) for dref, rrefs in context.items()}, indent=4, sort_keys=True)


@given(st.dictionaries(DREFS, RREFS))
def test_the_text_of_a_context_is_that_of_json(context: dict[str, list[str]]) -> None:
    assert context_json(context) == as_json(context)


@given(st.dictionaries(DREFS, RREFS), st.lists(st.tuples(DREFS, RREFS)))
def test_a_context_that_grew_has_the_text_of_one_that_did_not(
    context: dict[str, list[str]], added: list[tuple[str, list[str]]]
) -> None:
    first = WrittenContext(context)
    grown = WrittenContext(first)
    expected = dict(context)
    for dref, rrefs in added:
        grown.put(dref, rrefs)
        expected[dref] = rrefs
    assert context_json(grown) == as_json(expected)
    assert context_json(first) == as_json(context)
