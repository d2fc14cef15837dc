"""`openklear evaluate import` and `evaluate export`. What they do is imported when they run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from openklear.cli.options import AsJson, tell
from openklear.evaluation.exchange.names import Format, Tool
from openklear.verifiers.printable import shown


def import_(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="All files of one evaluation, its sums too where it has them."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where to write; not there yet.")],
    tool: Annotated[
        Tool | None,
        typer.Option("--format", help="Whose files they are; else told from what is in them."),
    ] = None,
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", metavar="NAME", help="What was asked, where the files do not say.")
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option("--domain", metavar="NAME", help="Whose verifier would judge it again: math or code."),
    ] = None,
    score: Annotated[
        str | None, typer.Option("--score", metavar="NAME", help="Which of its scores is the verdict; else the first.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read an evaluation made by inspect_ai, lm-evaluation-harness, evalscope, NeMo-Skills or LiveCodeBench.

    The directory is then compared, viewed, exported and put on a leaderboard like one of ours. Verdicts are the tool's:
    a full mark is correct, and anything below it is not; what has no score is unscorable. The tool's own sums are held
    against what the rows give, and what does not agree is said.

    Example: openklear evaluate import output-rs*.jsonl metrics.json --benchmark aime25 --output runs/theirs
    """
    from openklear.durable.files import read_json
    from openklear.evaluation.exchange.recognising import read_files
    from openklear.evaluation.exchange.rows import ImportChoice
    from openklear.evaluation.exchange.writing import write_imported
    from openklear.evaluation.lines import score_lines
    from openklear.evaluation.outcome import SCORES

    found = read_files(files, tool, ImportChoice(benchmark, domain, score))
    settings = write_imported(found, files, output)
    scores = read_json(output / SCORES)
    document = {"directory": output, **settings, "scores": scores["scores"]}
    tell(document, [*_lines(output, settings), *map(shown, score_lines(scores))], as_json=as_json)


def _lines(output: Path, settings: Mapping[str, Any]) -> Iterator[str]:
    from openklear.evaluation.exchange.holding import disagreements

    said = settings["imported"]
    version = f" {said['version']}" if said["version"] else ""
    yield shown(
        f"{output}: {said['completions']:,} completions of {settings['model'].get('name') or 'a model without a name'}"
    )
    yield shown(f"from {said['tool']}{version}, verdicts: {said['score'] or 'none'}")
    for one in settings["benchmarks"]:
        few = "" if one["samples"] == one["fewest_samples"] else f"{one['fewest_samples']} to "
        yield f"  {shown(one['name'])}: {one['problems']:,} problems x {few}{one['samples']} samples"
    if said["unscorable"]:
        yield f"  {said['unscorable']:,} of them are unscorable, and in no score"
    if said["parts_of_a_mark"]:
        yield f"  {said['parts_of_a_mark']:,} have a part of the mark, and count as incorrect"
    agreeing = sum(row["agrees"] is True for row in said["scores"])
    if agreeing:
        yield f"  {agreeing} of its own scores agree with its rows"
    yield from (f"  differs: {shown(line)}" for line in disagreements(said["scores"]))
    yield from (f"  {shown(note)}" for note in said["notes"])


def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="An evaluation: a directory with evaluation.json.")],
    form: Annotated[Format, typer.Option("--format", help="What to write it as.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="A file or a directory that does not exist yet.")
    ],
    as_json: AsJson = False,
) -> None:
    """Write an evaluation for others: a log for `inspect view`, Every Eval Ever, lm-eval's results, LiveCodeBench's.

    A log and a LiveCodeBench file hold one benchmark each: of several, PATH becomes a directory. Every Eval Ever and
    lm-eval are directories always. What we do not know is left out, not made up.

    Example: openklear evaluate export runs/aime --format inspect --output aime25.eval
    """
    from openklear.evaluation.exchange.exporting import export as write

    found = write(directory, form, output)
    lines = [*map(str, found.files), *(shown(f"left out: {name} {why}") for name, why in found.left_out.items())]
    tell({"files": found.files, "left_out": found.left_out}, lines, as_json=as_json)
