"""The half of a model that turns messages into tokens and ends completions: its tokenizer, without its weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast

from openklear.errors import ModelError
from openklear.models.chat import turn_end_id
from openklear.models.chat.arguments import Value, with_arguments
from openklear.models.chat.check import check_template
from openklear.models.gguf import restore_split
from openklear.models.limits import ANY_LENGTH, Longest, longest


class Speaker(Protocol):
    """What encoding needs of a model; a `LoadedModel` is one."""

    @property
    def tokenizer(self) -> Any:
        """A transformers tokenizer with a chat template."""
        ...

    @property
    def end_ids(self) -> frozenset[int]:
        """Every token that ends a completion."""
        ...

    @property
    def longest(self) -> Longest:
        """How many tokens a row may have."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LoadedTokenizer:
    """A tokenizer with every token that ends a completion: a model without its weights."""

    tokenizer: Any
    end_ids: frozenset[int]
    longest: Longest = ANY_LENGTH


def load_speaker(
    directory: Path,
    *,
    gguf_file: str | None = None,
    chat_template: Path | None = None,
    template_args: Mapping[str, Value] | None = None,
) -> LoadedTokenizer:
    """The tokenizer of a model directory and its end tokens, as `load_model` finds them, but in a moment.

    Raises ModelError where tokenizer, configuration, chat template or an end token is missing or damaged.
    """
    tokenizer = load_tokenizer(directory, gguf_file, chat_template, template_args or {})
    extra = {} if gguf_file is None else {"gguf_file": gguf_file}
    try:
        config = _read(AutoConfig, directory, **extra)
        said = [getattr(config.get_text_config(), "eos_token_id", None)]
        if (directory / "generation_config.json").is_file():
            load: Any = GenerationConfig.from_pretrained
            said.append(load(directory, local_files_only=True).eos_token_id)
    except Exception as error:  # trust boundary: the library's readers raise anything
        raise ModelError(
            f"{directory}: the model's configuration cannot be read ({first_line(error)}). Copy the directory again."
        ) from error
    return LoadedTokenizer(tokenizer, end_ids(tokenizer, said, directory), longest(config))


def load_tokenizer(
    directory: Path, gguf_file: str | None, chat_template: Path | None, template_args: Mapping[str, Value]
) -> Any:
    """The tokenizer with the chat template that is asked for, its arguments set in it.

    ModelError where there is none, it is damaged, or the template cannot be trained with (`models.chat.check`).
    """
    extra = {} if gguf_file is None else {"gguf_file": gguf_file}
    try:
        tokenizer = _read(AutoTokenizer, directory, **extra)
        if gguf_file is not None:
            restore_split(tokenizer, directory / gguf_file)
        elif not _is_as_written(tokenizer, directory / "tokenizer.json"):
            tokenizer = _read(PreTrainedTokenizerFast, directory)
    except Exception as error:  # trust boundary: the library's readers raise anything, pyo3's bare Exception included
        raise ModelError(
            f"{directory}: the tokenizer cannot be read ({first_line(error)}). Copy its files again."
        ) from error
    for trace in ("is_local", "local_files_only"):  # of this very call; they would be saved
        tokenizer.init_kwargs.pop(trace, None)
    if chat_template is not None:
        tokenizer.chat_template = _read_template(chat_template)
    if not tokenizer.chat_template:
        raise ModelError(
            f"{directory}: the tokenizer has no chat template, so messages cannot become a prompt. "
            "Name a Jinja file with one: model.chat_template."
        )
    try:
        if template_args:
            tokenizer.chat_template = with_arguments(tokenizer.get_chat_template(), template_args)
        check_template(tokenizer)
    except ModelError as error:
        raise ModelError(f"{chat_template or directory}: {error}") from error
    return tokenizer


def _read(reader: Any, directory: Path, **extra: Any) -> Any:
    return reader.from_pretrained(directory, local_files_only=True, trust_remote_code=False, **extra)


def _is_as_written(tokenizer: Any, file: Path) -> bool:
    """Whether the tokenizer is the one in tokenizer.json, where there is such a file.

    Some classes of the library build it anew from its vocabulary, and then digits, spaces or whole scripts may be split
    in another way than when the model was trained. The file is right: other readers take it as it stands.
    """
    if not file.is_file() or not hasattr(tokenizer, "backend_tokenizer"):
        return True
    return bool(tokenizer.backend_tokenizer.to_str() == Tokenizer.from_file(str(file)).to_str())


def end_ids(tokenizer: Any, configured: Iterable[int | list[int] | None], directory: Path) -> frozenset[int]:
    """Every token that ends a completion: what tokenizer, configurations and the chat template say."""
    ends: set[int] = set()
    for value in (tokenizer.eos_token_id, *configured, turn_end_id(tokenizer)):
        if value is not None:
            ends.update(map(int, value if isinstance(value, list) else [value]))
    if not ends:
        raise ModelError(
            f"{directory}: neither the tokenizer nor the configuration nor the chat template names an end-of-sequence "
            "token, so no completion would end. Set eos_token in tokenizer_config.json."
        )
    return frozenset(ends)


def _read_template(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{path}: the chat template cannot be read ({first_line(error)}). Correct model.chat_template."
        ) from error


def first_line(error: BaseException) -> str:
    """The first line of an error, for a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
