"""Arguments of a chat template (enable_thinking) become part of it, so that whoever renders with it has the same.

A value is a default: a caller of plain transformers or vLLM may still pass another one. `strftime_now` is a date
(2025-06-30) that stands for today's wherever the template asks for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date

from jinja2 import Environment, TemplateError, nodes
from jinja2.meta import find_undeclared_variables

from openklear.errors import ModelError

Value = bool | int | float | str

DATE = "strftime_now"
OURS = frozenset(("messages", "add_generation_prompt", "tools", "documents", "raise_exception", "namespace", "dict"))
"""What a caller of the template gives it, which no recipe may."""


def with_arguments(template: str, arguments: Mapping[str, Value]) -> str:
    """The template with its arguments set. ModelError for an argument that it does not read, or a date that is none."""
    if not arguments:
        return template
    tree = parsed(template)
    read = find_undeclared_variables(tree) - OURS
    read |= {node.name for node in tree.find_all(nodes.Name) if node.name == DATE}  # the library gives it
    lines = []
    for name, value in arguments.items():
        if name not in read:
            listed = ", ".join(sorted(read)) or "nothing"
            raise ModelError(f"model.template_args.{name}: the chat template does not read it; it reads {listed}.")
        if name == DATE:
            lines.append(_dated(tree, value))
        else:
            literal = json.dumps(value, ensure_ascii=False)
            lines.append(f"{{% set {name} = {name} if {name} is defined else {literal} %}}\n")
    return "".join(lines) + template


def parsed(template: str) -> nodes.Template:
    """The template's syntax tree. ModelError where it is malformed."""
    from transformers.utils.chat_template_utils import _compile_jinja_template  # its own tags, such as generation

    try:
        environment: Environment = _compile_jinja_template(template).environment
        return environment.parse(template)
    except TemplateError as error:
        raise ModelError(
            f"the chat template is malformed: {error}. Give another one as model.chat_template."
        ) from error


def _dated(tree: nodes.Template, value: Value) -> str:
    """A macro in place of the function that knows today's date: it knows the one date, in the forms asked for."""
    try:
        day = date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ModelError(f'model.template_args.{DATE}: {value!r} is no date; write one as "2025-06-30".') from error
    forms = {form: day.strftime(form) for form in _forms(tree)}
    return f"{{% macro {DATE}(format) %}}{{{{ {json.dumps(forms, ensure_ascii=False)}[format] }}}}{{% endmacro %}}\n"


def _forms(tree: nodes.Template) -> Iterator[str]:
    """Every form in which the template asks for the date."""
    for call in tree.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name == DATE:
            form = call.args[0] if call.args else None
            if not isinstance(form, nodes.Const):
                raise ModelError(
                    f"model.template_args.{DATE}: the chat template computes the form of its date, so no date can be "
                    "set for it. Give a template that holds its date (model.chat_template)."
                )
            yield str(form.value)
