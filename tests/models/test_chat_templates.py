"""Templates that people meet: right, or refused by the name of the fault. Each is written here, after its kind."""

from datetime import date

import pytest
from tests.models.test_chat import MARKS, QWEN3_LIKE, R1_LIKE, SMOLLM2_LIKE, USER, answer, parts, tokenizer

from openklear.errors import DataError, ModelError, RowRefused, TemplateRefused
from openklear.models.chat import encode_demonstration, encode_prompt, prompt_tail
from openklear.models.chat.arguments import with_arguments
from openklear.models.chat.check import check_template
from openklear.models.loading import load_model, save_model
from openklear.models.tiny import make_tiny, make_tokenizer

SYSTEM = {"role": "system", "content": "Be kind."}
TURN = "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
HEADER = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"


def chatml(turn=TURN, header=HEADER, before=""):
    return tokenizer(
        f"{before}{{% for m in messages %}}{turn}{{% endfor %}}{header}", eos="<|im_end|>", pad="<|im_end|>"
    )


TRIMMING = TURN.replace("m.content", "(m.content | trim)")
NO_SYSTEM = "{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TURN
GOOD = {
    "qwen3": QWEN3_LIKE,
    "r1": R1_LIKE,
    "smollm2": SMOLLM2_LIKE,
    "gemma": NO_SYSTEM.join(("{% for m in messages %}", "{% endfor %}" + HEADER)).replace(TURN, TRIMMING),
    "mistral": (
        "{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
        "{% else %}{{ ' ' + m.content + '<|end|>' }}{% endif %}{% endfor %}"
    ),
    "thinking opened": "{% for m in messages %}" + TURN + "{% endfor %}" + HEADER.replace("nt\n'", "nt\n<think>\n'"),
    "thinking closed": (
        "{% for m in messages %}" + TURN + "{% endfor %}" + HEADER.replace("nt\n'", "nt\n<think>\n\n</think>\n\n'")
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_templates_that_are_right_are_taken(name):
    tok = tokenizer(GOOD[name], eos="<|im_end|>", pad="<|end|>")
    check_template(tok)
    closed = name == "thinking closed"
    prompt, trained = parts(tok, [USER, answer("2" if closed else "<think>\nab\n</think>\n\n2")])
    assert prompt.count("<think>") + trained.count("<think>") == 1
    assert trained.strip().startswith(("<think>\nab", "ab\n</think>", "2"))


BAD = {
    "ignores add_generation_prompt": (chatml(header=""), r"ignores add_generation_prompt.*<\|im_start\|>assistant"),
    "drops the header": (
        chatml(header="{% if add_generation_prompt %}{{ 'assistant\n' }}{% endif %}"),
        r"is not how it begins an assistant's turn",
    ),
    "says more than a turn": (chatml(header=HEADER + "{{ 'Answer now:' }}"), r"is not how it begins"),
    "harmony": (
        chatml(
            "{% if m.role == 'assistant' %}{{ '<|im_start|>assistant<|channel|>final<|message|>' + m.content }}"
            "{% else %}" + TURN + "{% endif %}",
            HEADER.replace("nt\n'", "nt'"),
        ),
        r"Harmony-like.*channels",
    ),
    "date": (chatml(before="{{ strftime_now('%d %b %Y') }}"), r'today\'s date.*strftime_now = "2025-06-30"'),
    "chance": (chatml(before="{{ ['a', 'b'] | random }}"), r"draws at random \(random\)"),
    "joins white space": (chatml(TURN.replace("m.content", "m.content.split() | join(' ')")), r"leaves out or changes"),
    "leaves the user out": (chatml(TURN.replace(" + m.content", "")), r"leaves out or changes message 1 of 1 \(user\)"),
    "leaves the answer out": (
        chatml("{% if m.role != 'assistant' %}" + TURN + "{% endif %}"),
        r"what the assistant says",
    ),
    "refuses everything": (chatml("{{ raise_exception('not today') }}"), r"even in the simplest.*not today"),
    "a type error": (chatml("{{ m.content + 1 }}"), r"simplest conversation.*TypeError"),
    "an undefined name": (chatml("{{ nothing.of.this }}"), r"simplest conversation.*undefined"),
    "a key error": (chatml("{{ {'a': 1}.pop('b') }}"), r"simplest conversation"),
    "malformed": (chatml("{% for %}"), r"malformed|simplest"),
}


@pytest.mark.parametrize("name", BAD)
def test_templates_that_cannot_be_right_are_refused_by_name(name):
    tok, message = BAD[name]
    with pytest.raises(ModelError, match=message):
        check_template(tok)


def test_a_model_with_such_a_template_is_refused_when_it_is_loaded(tmp_path):
    save_model(make_tiny(16, 1, 2, 64, 0), tmp_path / "m")
    for name, text in (("header", chatml(header="")), ("type", chatml("{{ m.content + 1 }}"))):
        path = tmp_path / f"{name}.jinja"
        path.write_text(text.chat_template)
        with pytest.raises(ModelError, match=rf"{name}\.jinja: "):
            load_model(tmp_path / "m", chat_template=path)


# ---- one row


@pytest.mark.parametrize(
    ("template", "messages"),
    [
        (NO_SYSTEM, [SYSTEM, USER, answer("2")]),
        ("{% if m.role == 'critic' %}{{ m.content + 1 }}{% endif %}" + TURN, [{**USER, "role": "critic"}, answer("2")]),
        ("{% if m.role == 'critic' %}{{ no.thing }}{% endif %}" + TURN, [{**USER, "role": "critic"}, answer("2")]),
        ("{% if m.role != 'system' %}" + TURN + "{% endif %}", [SYSTEM, USER, answer("2")]),
        ("{% if m.role == 'system' %}{{ strftime_now('%Y') }}{% endif %}" + TURN, [SYSTEM, USER, answer("2")]),
    ],
)
def test_a_row_that_the_template_does_not_take_is_a_fault_of_the_row(template, messages):
    tok = chatml(template)
    check_template(tok)
    with pytest.raises(TemplateRefused, match=r"^demo\.jsonl:7: ") as caught:
        encode_demonstration(tok, messages, end_ids={tok.eos_token_id}, where="demo.jsonl:7")
    assert isinstance(caught.value, DataError)
    with pytest.raises(RowRefused):
        encode_prompt(tok, messages[:-1])


def test_a_plain_answer_is_no_unclosed_thought():
    tok = tokenizer(R1_LIKE, eos="<|end|>", pad="<|end|>")
    with pytest.raises(RowRefused, match=r"opens a thought before the response, which never closes it"):
        parts(tok, [USER, answer("It is 7.")])
    with pytest.raises(RowRefused, match=r"never closes it"):
        parts(tok, [USER, answer("<think>It is 7.")])


def test_a_thought_does_not_follow_a_closed_one():
    tok = tokenizer(GOOD["thinking closed"], eos="<|im_end|>", pad="<|end|>")
    with pytest.raises(RowRefused, match=r"closes the thought before the response"):
        parts(tok, [USER, answer("<think>a</think>2")])


def test_a_response_keeps_its_white_space_where_the_template_joins_it():
    """What is trained is what the sampler will meet: the response itself, with the template's end of turn."""
    joining = (
        "{% if m.role == 'assistant' %}{{ '<|im_start|>assistant\n' + m.content.split() | join(' ') + '<|im_end|>' }}"
    )
    tok = chatml(joining + "{% else %}" + TURN + "{% endif %}")
    check_template(tok)
    program = "<think>\na\n</think>\n\nfor i in x:\n    print(i)"
    assert parts(tok, [USER, answer(program)])[1] == program + "<|im_end|>"
    trimmed = chatml(TRIMMING)
    assert parts(trimmed, [USER, answer(" \n" + program + "\n ")])[1] == program + "<|im_end|>"


def test_past_turns_without_their_thoughts_are_not_trained():
    marked = (
        "{% if m.role == 'assistant' %}{{ '<|im_start|>assistant\n' }}{% generation %}"
        "{{ m.content.split('</think>')[-1] if not loop.last else m.content }}{{ '<|im_end|>' }}{% endgeneration %}"
        "{% else %}" + TURN + "{% endif %}"
    )
    tok = chatml(marked)
    thought, plain = "<think>a</think>2", "2"
    for first, trained in ((thought, "<think>b</think>3<|im_end|>"), (plain, "2<|im_end|><think>b</think>3<|im_end|>")):
        messages = [USER, answer(first), USER, answer("<think>b</think>3")]
        encoded = encode_demonstration(tok, messages, end_ids={tok.eos_token_id}, where="")
        assert tok.decode(encoded.ids[encoded.loss_mask]) == trained


# ---- arguments


def test_an_argument_is_part_of_the_template_and_a_caller_may_still_give_another():
    switch = (
        "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    )
    tok = chatml(header=HEADER.replace("{% endif %}", switch + "{% endif %}"))
    assert prompt_tail(tok, [USER]).endswith("assistant\n")
    tok.chat_template = with_arguments(tok.chat_template, {"enable_thinking": False})
    assert prompt_tail(tok, [USER]).endswith("assistant\n<think>\n\n</think>\n\n")
    ours = tok.apply_chat_template([USER], tokenize=False, add_generation_prompt=True)
    assert ours.endswith("</think>\n\n")  # plain transformers, with nothing said
    other = tok.apply_chat_template([USER], tokenize=False, add_generation_prompt=True, enable_thinking=True)
    assert other.endswith("assistant\n")


@pytest.mark.parametrize("value", [True, False, 3, 0.5, "plain", 'it\'s "so" \\ {% x %} }} \n ü 😀'])
@pytest.mark.parametrize("start", ["", "\n", "  "])
def test_an_argument_keeps_its_value_and_the_text_around_it(value, start):
    template = (
        start
        + "{{ argument }}|{% for m in messages %}{{ m.content }}{% if argument is defined %}+{% endif %}{% endfor %}"
    )
    tok = tokenizer(with_arguments(template, {"argument": value}), eos="<|end|>", pad="<|end|>")
    rendered = tok.apply_chat_template([USER], tokenize=False)
    given = tokenizer(template, eos="<|end|>", pad="<|end|>").apply_chat_template(
        [USER], tokenize=False, argument=value
    )
    assert rendered == given


@pytest.mark.parametrize(
    "place", ["{{ strftime_now('%d %b %Y') }}", "{% set today = strftime_now('%Y-%m-%d') %}{{ today }}"]
)
def test_a_date_stands_still(place):
    inner = "{% macro head() %}" + place + "{% endmacro %}{{ head() }}"
    for before in (place, inner):
        tok = chatml(before=before)
        with pytest.raises(ModelError, match="today's date"):
            check_template(tok)
        tok.chat_template = with_arguments(tok.chat_template, {"strftime_now": "2024-02-29"})
        check_template(tok)
        text = tok.decode(encode_prompt(tok, [USER]))
        day = date(2024, 2, 29)
        assert text.startswith((day.strftime("%d %b %Y"), day.isoformat()))
        assert tok.apply_chat_template([USER], tokenize=False, add_generation_prompt=True) == text  # and for others


def test_a_template_that_takes_its_date_takes_it():
    tok = chatml(
        before="{% if date_string is not defined %}{% set date_string = strftime_now('%d') %}{% endif %}{{ date_string }}"
    )
    tok.chat_template = with_arguments(tok.chat_template, {"date_string": "26 Jul 2024"})
    check_template(tok)
    assert tok.decode(encode_prompt(tok, [USER])).startswith("26 Jul 2024<|im_start|>")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"enable_thinkin": False}, r"template_args\.enable_thinkin: .*does not read it; it reads enable_thinking"),
        ({"messages": "x"}, r"does not read it"),
        ({"strftime_now": "2025-06-30"}, r"does not read it"),
    ],
)
def test_an_argument_that_changes_nothing_is_refused(arguments, message):
    template = chatml(before="{{ enable_thinking }}").chat_template
    with pytest.raises(ModelError, match=message):
        with_arguments(template, arguments)


def test_a_date_that_is_none_is_refused():
    with pytest.raises(ModelError, match=r"'tomorrow' is no date"):
        with_arguments("{{ strftime_now('%d') }}", {"strftime_now": "tomorrow"})
    with pytest.raises(ModelError, match=r"computes the form"):
        with_arguments("{{ strftime_now(form) }}", {"strftime_now": "2025-06-30"})


def test_arguments_are_saved_with_the_model(tmp_path):
    save_model(make_tiny(16, 1, 2, 64, 0), tmp_path / "m")
    path = tmp_path / "t.jinja"
    path.write_text(chatml(before="{{ mood }}").chat_template)
    loaded = load_model(tmp_path / "m", chat_template=path, template_args={"mood": "kind"})
    save_model(loaded, tmp_path / "out")
    again = load_model(tmp_path / "out").tokenizer
    assert again.apply_chat_template([USER], tokenize=False).startswith("kind<|im_start|>")


def test_the_demo_template_is_right():
    check_template(make_tokenizer())
    assert len(MARKS) == 6
