"""A model's configuration as its files tell it, and a counter of tokens: without torch, and without loading weights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

from openklear.data.hub import PREFIX as HUB
from openklear.errors import ModelError
from openklear.planner.published import published_shape
from openklear.planner.shape import QUERY_NORMS, ModelShape, shape_of
from openklear.recipe.lengths import longest_row, max_positions
from openklear.recipe.schema import PretrainedModel, Recipe, TinyModel
from openklear.recipe.show import count

CHARACTERS = 3.5
"""Of a token, where no tokenizer can be asked: English, LaTeX and programs under vocabularies of today."""
TINY_VOCABULARY = 278
"""The tiny model's characters, bytes, marks and words (`models.tiny`, which needs torch)."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What its files say of a model. Its parameters are those in the files; the tiny model's follow from its keys."""

    name: str
    architecture: str
    shape: ModelShape
    template: str | None
    """Where its chat template comes from; None: there is none."""
    longest: int
    """Tokens of the longest row that the recipe allows."""
    fetched: bool = True
    """Whether its files were looked at; else its sizes are those that were published."""

    def line(self) -> str:
        """For the terminal."""
        shape = self.shape
        parts = [
            f"{self.name}: {self.architecture}, {shape.parameters / 1e6:,.1f} million parameters",
            f"{count(shape.layers, 'layer')} of width {shape.hidden:,}",
            f"vocabulary {shape.vocabulary:,}",
        ]
        if shape.positions is not None:
            over = "" if self.longest <= shape.positions else "; longer ones are cut or left out"
            parts.append(f"{shape.positions:,} positions (the recipe's longest row has {self.longest:,}{over})")
        if self.fetched:
            parts.append(f"chat template from {self.template}" if self.template else "NO chat template")
        else:
            parts.append("sizes as published; not fetched")
        return "; ".join(parts)

    def document(self) -> dict[str, Any]:
        """For --json."""
        whole = asdict(self)
        return {**whole.pop("shape"), **whole}


def model_directory(model: PretrainedModel) -> Path | None:
    """Where its files are; None for a model of the hub that is not fetched yet."""
    if not model.path.startswith(HUB):
        return Path(model.path)
    name, _, revision = model.path.removeprefix(HUB).partition("@")
    from huggingface_hub import snapshot_download

    try:
        place = Path(snapshot_download(name, revision=revision or None, local_files_only=True))
    except Exception:  # the client's own, of several kinds: nothing is there
        return None
    weights = ("*.safetensors", "*.bin") if model.gguf_file is None else (model.gguf_file,)
    return place if any(next(place.glob(one), None) for one in weights) else None


def model_facts(recipe: Recipe) -> ModelFacts | None:
    """None for a model of the hub that is not fetched yet, and whose sizes are not known (`planner.published`).

    ModelError where there is no model at the path, or its configuration cannot be read.
    """
    model = recipe.model
    assert model is not None, "asked where there is a model"
    if isinstance(model, TinyModel):
        return _tiny(model, recipe)
    place = model_directory(model)
    if place is None:
        return _published(model, recipe)
    if not place.is_dir():
        raise ModelError(f"model.path: {place} is no directory; name the one that holds config.json and the weights")
    own = Path(model.chat_template) if model.chat_template is not None else None
    if own is not None and not own.is_file():
        raise ModelError(f"model.chat_template: {own}: no such file; correct the path")
    facts = _gguf(place, model, recipe) if model.gguf_file is not None else _pretrained(place, recipe)
    if own is None and facts.template is None:
        raise ModelError(f"{place}: there is no chat template; give one as model.chat_template")
    return facts


def facts_or_fetch(recipe: Recipe) -> ModelFacts:
    """The same; of a model that is not fetched yet what the hub says of it. ModelError where the hub says nothing."""
    known = model_facts(recipe)
    if known is not None:
        return known
    model = recipe.model
    assert isinstance(model, PretrainedModel), "only models of the hub are fetched"
    name, _, revision = model.path.removeprefix(HUB).partition("@")
    from huggingface_hub import HfApi, hf_hub_download

    try:
        config = _object(Path(hf_hub_download(name, "config.json", revision=revision or None)), ModelError)
        counted = HfApi().model_info(name, revision=revision or None, expand=["safetensors"]).safetensors
    except Exception as error:  # the client's own, of several kinds: no network, no such model, no right to it
        text = f"{model.path}: is not fetched yet, and the hub did not say how large it is ({type(error).__name__})"
        raise ModelError(f"{text}; name a directory as model.path, or plan where there is a network") from error
    if counted is None:
        raise ModelError(f"{model.path}: the hub does not say how many parameters it has; fetch it first")
    shape = shape_of(config, counted.total)
    architecture = str((config.get("architectures") or ["unknown"])[0])
    return ModelFacts(name, architecture, shape, "the hub's model", longest_row(recipe))


def _published(model: PretrainedModel, recipe: Recipe) -> ModelFacts | None:
    name = model.path.removeprefix(HUB)
    shape = published_shape(name) if model.gguf_file is None else None
    if shape is None:
        return None
    return ModelFacts(name, "Qwen3ForCausalLM", shape, None, longest_row(recipe), fetched=False)


def _tiny(model: TinyModel, recipe: Recipe) -> ModelFacts:
    width, size = model.hidden_size, model.hidden_size // model.heads
    kv = model.heads // 2 if model.heads % 2 == 0 else model.heads
    block = 2 * width * width + 2 * width * kv * size + 9 * width * width
    norms = model.layers * (2 * width + 2 * size) + width
    parameters = model.layers * block + TINY_VOCABULARY * width + norms
    shape = ModelShape(
        *(parameters, TINY_VOCABULARY, model.layers, width, model.heads, kv, size, 3 * width),
        *(max_positions(recipe), True),
        query_norms=True,
    )
    return ModelFacts("tiny", "Qwen3", shape, "the tiny model", longest_row(recipe))


def _pretrained(place: Path, recipe: Recipe) -> ModelFacts:
    whole = _object(place / "config.json", ModelError)
    try:
        shape = shape_of(whole, sum(_sizes(place)))
    except KeyError as error:
        raise ModelError(f"{place / 'config.json'}: has no {error}; it is no configuration of a decoder") from error
    architecture = str((whole.get("architectures") or [whole.get("model_type", "unknown")])[0])
    return ModelFacts(place.name, architecture, shape, _template(place, recipe), longest_row(recipe))


def _sizes(place: Path) -> Iterator[int]:
    """Elements of every tensor, from the heads of the files; of other files about what their bytes hold."""
    files = sorted(place.glob("*.safetensors"))
    if not files:
        weights = sorted(place.glob("*.bin"))
        if not weights:
            raise ModelError(f"{place}: holds no weights (*.safetensors); copy the directory again")
        yield sum(file.stat().st_size for file in weights) // 2
    for file in files:
        try:
            with file.open("rb") as stream:
                size = int.from_bytes(stream.read(8), "little")
                head = json.loads(stream.read(size)) if size < file.stat().st_size else None
            assert isinstance(head, dict)
        except (OSError, ValueError, AssertionError) as error:
            raise ModelError(f"{file}: its head cannot be read; copy the directory again") from error
        yield sum(prod(one["shape"]) for name, one in head.items() if name != "__metadata__")


def _template(place: Path, recipe: Recipe) -> str | None:
    if isinstance(recipe.model, PretrainedModel) and recipe.model.chat_template is not None:
        return recipe.model.chat_template
    if (place / "chat_template.jinja").is_file():
        return "chat_template.jinja"
    known = _object(place / "tokenizer_config.json").get("chat_template")
    return "tokenizer_config.json" if known else None


def _gguf(place: Path, model: PretrainedModel, recipe: Recipe) -> ModelFacts:
    file = place / str(model.gguf_file)
    if not file.is_file():
        raise ModelError(f"model.gguf_file: {file}: no such file; correct the name")
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise ModelError(f"{file}: cannot be looked at without the package gguf") from error
    try:
        reader = GGUFReader(str(file))
    except (ValueError, OSError, IndexError, KeyError) as error:
        raise ModelError(f"{file}: cannot be read as GGUF ({error}); download it again") from error

    def value(name: str, default: Any = None) -> Any:
        field = reader.get_field(name)
        return default if field is None else field.contents()

    kind = str(value("general.architecture", "unknown"))
    heads, hidden = value(f"{kind}.attention.head_count", 1), value(f"{kind}.embedding_length", 0)
    own = "the GGUF file" if value("tokenizer.chat_template") else None
    shape = ModelShape(
        sum(int(one.n_elements) for one in reader.tensors),
        len(value("tokenizer.ggml.tokens", ())),
        *(value(f"{kind}.block_count", 0), hidden, heads, value(f"{kind}.attention.head_count_kv", heads)),
        *(value(f"{kind}.attention.key_length", hidden // heads), value(f"{kind}.feed_forward_length", 4 * hidden)),
        value(f"{kind}.context_length"),
        not any(one.name == "output.weight" for one in reader.tensors),
        query_norms=kind in QUERY_NORMS,
    )
    return ModelFacts(file.name, kind, shape, _template(place, recipe) or own, longest_row(recipe))


def _object(path: Path, needed: type[ModelError] | None = None) -> dict[str, Any]:
    """A JSON object; empty where there is none, or the error where it is needed."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        if needed is not None:
            raise needed(f"{path}: cannot be read ({error}); name a directory with a whole model") from error
        return {}
    return found if isinstance(found, dict) else {}


def _tiny_tokens() -> Callable[[str], float]:
    """A counter of `models.tiny`'s tokens, which needs torch."""
    from openklear.demo.world import WORDS
    from openklear.think import CLOSE, OPEN

    tokens = re.compile("|".join(map(re.escape, sorted((OPEN, CLOSE, *WORDS), key=len, reverse=True))))

    def count_tokens(text: str) -> float:
        found = tokens.findall(text)
        return len(found) + len(text.encode()) - len("".join(found).encode())

    return count_tokens


@dataclass(frozen=True, slots=True)
class TokenCounter:
    """How many tokens texts have: counted with the model's tokenizer where its file can be read, else estimated."""

    count: Callable[[str], float]
    how: str

    @classmethod
    def of(cls, recipe: Recipe) -> TokenCounter:
        """The recipe's."""
        model = recipe.model
        if isinstance(model, TinyModel):
            return cls(_tiny_tokens(), "as the tiny model's, which are characters and frequent words")
        place = model_directory(model) if model is not None else None
        file = place / "tokenizer.json" if place is not None else Path()
        if place is not None and file.is_file():
            from tokenizers import Tokenizer

            try:
                tokenizer = Tokenizer.from_file(str(file))
            except Exception:  # the library raises its own; the run says what is wrong with the file
                pass
            else:
                how = "with the model's tokenizer, on the first rows of each source"
                return cls(lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids), how)
        return cls(lambda text: len(text) / CHARACTERS, f"as {CHARACTERS} characters each, on the first rows")
