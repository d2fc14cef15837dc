import pytest

from openklear.rollout.refusals import is_about_the_prompt, is_retried, retry_after, server_words

NOW = 1_795_600_000.0


def test_statuses_that_may_pass():
    retried = [status for status in range(300, 600) if is_retried(status)]
    assert retried == [408, 409, 425, 429, *range(500, 600)]


@pytest.mark.parametrize(
    ("status", "words", "about"),
    [
        # vLLM, SGLang, OpenAI, Anthropic's gateway, Azure
        (400, "This model's maximum context length is 16384 tokens. However, you requested 122946 tokens", True),
        (400, "max_tokens must be at least 1, got -186.", True),
        (400, "The input (5000 tokens) is longer than the model's context length (4096 tokens).", True),
        (400, "prompt is too long: 210000 tokens > 200000 maximum", True),
        (400, "The response was filtered due to the prompt triggering the content management policy", True),
        (422, "Input validation error: inputs tokens + max_new_tokens exceed the limit", True),
        (413, "Request Entity Too Large", True),
        (400, "temperature must be 1 for this model", False),
        (422, "Unexpected fields in the request: {'bogus'}", False),
        (404, "The model does not exist; see context length", False),
        (401, "content filter", False),
    ],
)
def test_refusals_of_one_prompt(status, words, about):
    assert is_about_the_prompt(status, words) is about


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        ("0.25", 0.25),
        ("-3", 0.0),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("Wed, 25 Nov 2026 09:46:50 GMT", 10.0),
        ("Wed, 25 Nov 2020 09:46:50 GMT", 0.0),
    ],
)
def test_retry_after(value, seconds):
    assert retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "no\\u001b[2J", "code": 3}}', "no [2J"),
        (b'{"error": "busy"}', "busy"),
        (b'{"object": "error", "message": "too long"}', "too long"),
        (b'{"detail": [{"loc": ["x"]}]}', '[{"loc": ["x"]}]'),
        (b'{"error": {"code": 3}}', '{"code": 3}'),
        (b"<html>\n  bad   gateway</html>", "<html> bad gateway</html>"),
        (b"\xff", "\ufffd"),
        (b"", ""),
        (b"{}", "{}"),
    ],
)
def test_the_servers_words(body, words):
    assert server_words(body) == words


def test_long_words_are_cut():
    assert server_words(b"x" * 1000) == "x" * 400 + "..."
