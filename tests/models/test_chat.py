"""Templates of the three common kinds, written here, on a character tokenizer that shows every token."""

import pytest
from tokenizers import AddedToken, Tokenizer, decoders
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from openklear.errors import DataError, ModelError
from openklear.models.chat import decode_completion, encode_demonstration, encode_prompt, prompt_tail, turn_end_id
from openklear.models.tiny import make_tokenizer

QWEN3_LIKE = """
{%- for m in messages %}
    {%- if m.role == 'assistant' %}
        {%- set answer = m.content %}{%- set thought = '' %}
        {%- if '</think>' in m.content %}
            {%- set thought = m.content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}
            {%- set answer = m.content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.last %}
            {{- '<|im_start|>assistant\\n<think>\\n' + thought + '\\n</think>\\n\\n' + answer + '<|im_end|>\\n' }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + answer + '<|im_end|>\\n' }}
        {%- endif %}
    {%- else %}
        {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

R1_LIKE = """
{{- '<|begin|>' }}
{%- for m in messages %}
    {%- if m.role == 'user' %}{{- '<|User|>' + m.content }}{%- endif %}
    {%- if m.role == 'assistant' %}{{- '<|Assistant|>' + m.content.split('</think>')[-1] + '<|end|>' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|Assistant|><think>\\n' }}{%- endif %}
"""

SMOLLM2_LIKE = """
{%- for m in messages %}
    {%- if loop.first and m.role != 'system' %}{{- '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}{%- endif %}
    {{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""

MARKS = ["<|begin|>", "<|end|>", "<|im_start|>", "<|im_end|>", "<|User|>", "<|Assistant|>"]
USER = {"role": "user", "content": "1+1?"}


def tokenizer(template, *, eos, pad, merges=()):
    characters = ["\n", *map(chr, range(32, 127)), *("".join(pair) for pair in merges)]
    backend = Tokenizer(BPE(vocab={c: i for i, c in enumerate(characters)}, merges=list(merges)))
    backend.add_special_tokens([AddedToken(mark, special=True) for mark in MARKS])
    backend.add_tokens(["<think>", "</think>"])
    backend.decoder = decoders.Fuse()
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=eos, pad_token=pad)
    made.chat_template = template
    return made


@pytest.fixture
def qwen():
    return tokenizer(QWEN3_LIKE, eos="<|im_end|>", pad="<|end|>")


@pytest.fixture
def r1():
    return tokenizer(R1_LIKE, eos="<|end|>", pad="<|end|>")


@pytest.fixture
def smollm():
    return tokenizer(SMOLLM2_LIKE, eos="<|im_end|>", pad="<|im_end|>")


def parts(tok, messages, end_ids=None):
    """(text that is not trained, text that is) of a demonstration whose mask is one block at its end."""
    end_ids = {tok.eos_token_id} if end_ids is None else end_ids
    encoded = encode_demonstration(tok, messages, end_ids=end_ids, where="demo.jsonl:7")
    assert encoded.ids.dtype == "int32"
    assert encoded.loss_mask.dtype == bool
    start = int(encoded.loss_mask.argmax())
    assert not encoded.loss_mask[:start].any()
    assert encoded.loss_mask[start:].all()
    # What the sampler is given is exactly what precedes the trained tokens.
    assert tuple(encoded.ids[:start].tolist()) == encode_prompt(tok, messages[:-1])
    return tok.decode(encoded.ids[:start]), tok.decode(encoded.ids[start:])


def answer(content):
    return {"role": "assistant", "content": content}


def test_qwen_keeps_a_response_in_its_own_format(qwen):
    prompt, trained = parts(qwen, [USER, answer("<think>\nab\n</think>\n\n2")])
    assert prompt == "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n"
    assert trained == "<think>\nab\n</think>\n\n2<|im_end|>"  # the template's newline after it is cut off


def test_qwen_may_change_whitespace_only(qwen):
    assert parts(qwen, [USER, answer("<think>ab</think>2")])[1] == "<think>\nab\n</think>\n\n2<|im_end|>"


def test_qwen_does_not_invent_an_empty_thought(qwen):
    assert parts(qwen, [USER, answer("just 2")])[1] == "just 2<|im_end|>"


def test_earlier_turns_are_context(qwen):
    prompt, trained = parts(
        qwen, [USER, answer("<think>x</think>2"), {"role": "user", "content": "sure?"}, answer("yes")]
    )
    assert prompt.endswith("assistant\n2<|im_end|>\n<|im_start|>user\nsure?<|im_end|>\n<|im_start|>assistant\n")
    assert trained == "yes<|im_end|>"


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("<think>\nab\n</think>2", "ab\n</think>2<|end|>"),  # the prompt opened <think> and wrote the newline
        ("<think>ab</think>2", "ab</think>2<|end|>"),
        ("\n<think>\n\nab</think>2", "\nab</think>2<|end|>"),
        ("ab</think>2", "ab</think>2<|end|>"),  # already without
    ],
)
def test_r1_keeps_the_reasoning_and_opens_it_once(r1, response, expected):
    prompt, trained = parts(r1, [USER, answer(response)])
    assert prompt == "<|begin|><|User|>1+1?<|Assistant|><think>\n"
    assert trained == expected


def test_pad_that_equals_eos_is_still_trained_once(r1, smollm):
    for tok in (r1, smollm):
        assert tok.pad_token_id == tok.eos_token_id
        encoded = encode_demonstration(tok, [USER, answer("<think>a</think>2")], end_ids={tok.eos_token_id}, where="")
        assert encoded.ids[-1] == tok.eos_token_id
        assert encoded.loss_mask[-1]
        # End tokens of the prompt are not trained.
        assert not encoded.loss_mask[: len(encode_prompt(tok, [USER]))].any()


def test_smollm_puts_its_system_prompt(smollm):
    prompt, trained = parts(smollm, [USER, answer("<think>ab</think> 2 \n")])
    assert prompt.startswith("<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n")
    assert trained == "<think>ab</think> 2 \n<|im_end|>"
    own_system = [{"role": "system", "content": "Be short."}, USER, answer("2")]
    assert parts(smollm, own_system)[0].startswith("<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user")


def test_a_template_that_doubles_think(smollm):
    """Generation prompt and history both write <think>: the response's own must not become a second one."""
    smollm.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{{ '<think>\n' if m.role == 'assistant' else '' }}{{ m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
    )
    prompt, trained = parts(smollm, [USER, answer("<think>\nab</think>2")])
    assert prompt.endswith("<think>\n")
    assert trained == "ab</think>2<|im_end|>"


def test_a_template_without_end_token_gets_one(smollm):
    smollm.chat_template = (
        "{% for m in messages %}{{ '[' + m.role + ']' + m.content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
    )
    assert parts(smollm, [USER, answer("2")])[1] == "2<|im_end|>"
    assert turn_end_id(smollm) is None


def test_a_history_without_the_newline_of_the_generation_prompt(smollm):
    """The tokens trained follow the prompt that the sampler sees, not the one the template writes into the past."""
    smollm.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role }}{{ '<think>' if m.role == 'assistant' else '' }}"
        "{{ m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant<think>\n' }}{% endif %}"
    )
    assert parts(smollm, [USER, answer("ab</think>2")])[1] == "ab</think>2<|im_end|>"


def test_an_ordinary_token_does_not_end_a_turn(smollm):
    smollm.chat_template = "{% for m in messages %}{{ m.content + '</think>' }}{% endfor %}"
    assert turn_end_id(smollm) is None


def test_the_turn_end_of_the_template(qwen, r1):
    assert turn_end_id(qwen) == qwen.convert_tokens_to_ids("<|im_end|>")
    assert turn_end_id(r1) == r1.convert_tokens_to_ids("<|end|>")


def test_the_demo_tokenizer():
    tok = make_tokenizer()
    response = "<think>1+1=2</think>\\boxed{2}"
    prompt, trained = parts(tok, [USER, answer(response)])
    assert prompt == "<|user|>1+1?<|assistant|>"
    assert trained == response + "<|im_end|>"
    assert parts(tok, [USER, answer("é ü")])[1] == "é ü<|im_end|>"
    assert prompt_tail(tok, [USER]) == "<|assistant|>"


def test_generation_block_marks_earlier_turns_too():
    tok = make_tokenizer()
    messages = [USER, answer("2"), {"role": "user", "content": "?"}, answer("yes")]
    encoded = encode_demonstration(tok, messages, end_ids={tok.eos_token_id}, where="")
    assert tok.decode(encoded.ids) == "<|user|>1+1?<|assistant|>2<|im_end|><|user|>?<|assistant|>yes<|im_end|>"
    assert tok.decode(encoded.ids[encoded.loss_mask]) == "2<|im_end|>yes<|im_end|>"


@pytest.mark.parametrize(
    ("inside", "trained"),
    [
        ("{% generation %}{{ m.content }}{% endgeneration %}{{ '<|im_end|>\n' }}", "<think>a</think>2<|im_end|>"),
        (
            "{{ m.content.split('</think>')[0] + '</think>' }}{% generation %}{{ m.content.split('</think>')[1] }}"
            "{% endgeneration %}{{ '<|im_end|>' }}",
            "2<|im_end|>",
        ),
    ],
)
def test_generation_block_decides_and_the_end_token_is_always_trained(smollm, inside, trained):
    smollm.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.role == 'assistant' %}"
        + inside
        + "{% else %}{{ m.content + '<|im_end|>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    encoded = encode_demonstration(smollm, [USER, answer("<think>a</think>2")], end_ids={smollm.eos_token_id}, where="")
    assert smollm.decode(encoded.ids[encoded.loss_mask]) == trained
    assert smollm.decode(encoded.ids).endswith("assistant\n<think>a</think>2<|im_end|>")


def test_prompt_tail(qwen, r1):
    assert prompt_tail(qwen, [USER]) == "<|im_end|>\n<|im_start|>assistant\n"
    assert prompt_tail(r1, [USER]) == "<|Assistant|><think>\n"
    # Content that also occurs in the template's own text is not mistaken for it.
    assert prompt_tail(qwen, [{"role": "user", "content": "assistant"}]) == "<|im_end|>\n<|im_start|>assistant\n"


def test_decode_completion(qwen):
    def ids(text):
        return qwen(text, add_special_tokens=False)["input_ids"]

    end = {qwen.eos_token_id}
    assert decode_completion(qwen, ids(" <think>a</think> b \n<|im_end|>"), end) == " <think>a</think> b \n"
    assert decode_completion(qwen, ids("a<|User|>b"), end) == "a<|User|>b"
    assert decode_completion(qwen, ids("a<|im_end|>b"), end) == "a"
    assert decode_completion(qwen, [], end) == ""


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([USER], "must end with an assistant message"),
        ([answer("2")], "must end with an assistant message"),
        ([USER, answer(" \n")], "is empty"),
        ([USER, answer("2<|im_end|>3")], "contains an end-of-sequence token"),
    ],
)
def test_impossible_rows_are_named(qwen, messages, message):
    with pytest.raises(DataError, match=message) as caught:
        encode_demonstration(qwen, messages, end_ids={qwen.eos_token_id}, where="demo.jsonl:7")
    assert str(caught.value).startswith("demo.jsonl:7: ")


def test_a_merge_over_the_boundary_is_named():
    tok = tokenizer(
        "{% for m in messages %}{{ m.role + ':' + m.content + '<|end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}",
        eos="<|end|>",
        pad="<|end|>",
        merges=[(":", "2")],
    )
    assert parts(tok, [USER, answer("3")])[1] == "3<|end|>"
    with pytest.raises(DataError, match=r"demo.jsonl:7: the tokenizer merges"):
        parts(tok, [USER, answer("2")])


def test_a_prompt_that_changes_with_the_answer_is_named(smollm):
    smollm.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Answer now:' }}{% endif %}"
    )
    with pytest.raises(DataError, match=r"demo.jsonl:7: the chat template renders the prompt differently"):
        parts(smollm, [USER, answer("2")])


def test_no_template(qwen):
    qwen.chat_template = None
    with pytest.raises(ModelError, match=r"model\.chat_template"):
        encode_prompt(qwen, [USER])


def test_a_template_that_refuses():
    with pytest.raises(ModelError, match="knows the roles"):
        encode_prompt(make_tokenizer(), [{"role": "tool", "content": "x"}])
