import json

import pytest

from openklear.rollout.answers import BadAnswer, one_form, read_answer
from openklear.think import split_thought


@pytest.mark.parametrize(
    ("content", "reasoning", "form"),
    [
        ("<think>a</think>b", None, "<think>\na\n</think>\n\nb"),
        (" \n<think>\n\na\n\n</think>\n\n\nb\n", None, "<think>\na\n</think>\n\nb"),
        ("a</think>b", None, "<think>\na\n</think>\n\nb"),  # the template opened the thought
        ("b", "a", "<think>\na\n</think>\n\nb"),
        ("b", "<think>\na\n</think>", "<think>\na\n</think>\n\nb"),
        ("<think>a</think>b", "a", "<think>\na\n</think>\n\nb"),  # a server that sends both
        ("b", "", "b"),
        ("b", " \n", "b"),
        ("b", None, "b"),
        ("", None, ""),
        ("<think>a", None, "<think>\na"),
        ("", "a", "<think>\na\n</think>\n\n"),
        ("so <think>a</think>b", None, "so <think>a</think>b"),  # a fault of form that nobody hides
        ("<think>a</think>b</think>c", None, "<think>\na\n</think>\n\nb</think>c"),
    ],
)
def test_one_form(content, reasoning, form):
    assert one_form(content, reasoning) == form
    assert one_form(form, None) == form


def test_a_thought_that_was_cut_stays_open():
    assert one_form("", "a", cut=True) == "<think>\na"
    assert one_form("b", "a", cut=True) == "<think>\na\n</think>\n\nb"
    assert one_form("a", None, cut=True, opened=True) == "<think>\na"
    assert one_form("a</think>b", None, cut=True, opened=True) == "<think>\na\n</think>\n\nb"


def test_the_form_is_what_the_verifiers_call_well_formed():
    assert split_thought(one_form("b", "a")) == ("", "\na\n", "\n\nb")


def body(**message):
    return {
        "model": "m-1",
        "choices": [{"finish_reason": "stop", "message": {"role": "assistant", **message}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5},
    }


def test_fields_are_read():
    answer = read_answer(body(content="b", reasoning_content="a"))
    assert (answer.content, answer.reasoning, answer.finish_reason, answer.model) == ("b", "a", "stop", "m-1")
    assert (answer.prompt_tokens, answer.completion_tokens) == (3, 5)
    assert answer.response == "<think>\na\n</think>\n\nb"
    assert read_answer(body(content="b", reasoning="a")).reasoning == "a"
    assert read_answer(body(content=None, reasoning_content="a")).content == ""
    assert read_answer(body(content="b", reasoning_content=None)).reasoning is None


def test_typed_parts_are_read():
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}, {"type": "text", "text": "b"}]
    answer = read_answer(body(content=parts))
    assert (answer.content, answer.reasoning) == ("b", "a")


def test_what_the_server_did_not_count_is_not_invented():
    whole = body(content="b")
    for usage in (None, {}, {"prompt_tokens": "3", "completion_tokens": True}, [1]):
        answer = read_answer({**whole, "usage": usage})
        assert (answer.prompt_tokens, answer.completion_tokens) == (None, None)


def test_half_a_surrogate_pair_can_be_stored():
    answer = read_answer(json.loads(r'{"choices": [{"message": {"content": "x\ud800y \ud83d\ude00"}}]}'))
    assert answer.content == "x\ufffdy \U0001f600"


@pytest.mark.parametrize(
    "document",
    [None, [], "x", {}, {"choices": None}, {"choices": []}, {"choices": [None]}, {"choices": [{"message": "x"}]},
     {"choices": [{"message": {"content": 3}}]}],
)  # fmt: skip
def test_what_is_no_answer_says_so(document):
    with pytest.raises(BadAnswer):
        read_answer(document)
