"""How a command fails: one clear message on stderr, the right exit code, no traceback on the terminal."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import typer

from openklear import __version__
from openklear.errors import OpenKlearError

INTERRUPTED = 130
ENVIRONMENT = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
"""Errors of the operating system that are nobody's bug."""

_crash_directory: Path | None = None


def write_crashes_to(directory: Path | None) -> None:
    """Name the directory (it need not exist yet) for tracebacks of our own bugs; None: the temporary one."""
    global _crash_directory
    _crash_directory = directory


def tell(command: Callable[[], object], *, as_json: bool) -> int:
    """Run the command and return its exit code; what went wrong is printed to stderr (with --json to stdout too)."""
    message, code = _outcome(command)
    if message is None and code == INTERRUPTED:
        message = "interrupted; give the same command again to continue"
    try:
        if message is not None:
            typer.secho(message, fg="red", err=True)
            if as_json:
                typer.echo(json.dumps({"error": message, "exit_code": code}, ensure_ascii=False))
        sys.stdout.flush()
    except BrokenPipeError:
        code = max(code, _broken_pipe())
    return code


def _outcome(command: Callable[[], object]) -> tuple[str | None, int]:
    """The message to print, if there is one, and the exit code."""
    try:
        result = command()
    except OpenKlearError as error:
        return str(error), error.exit_code
    except typer.TyperException as error:
        # Only usage errors of Typer arrive here: an unknown option, a missing argument.
        return _usage(error), 2
    except (KeyboardInterrupt, typer.Abort):
        return None, INTERRUPTED
    except BrokenPipeError:
        return None, _broken_pipe()
    except Exception as error:  # the last resort: what arrives here is a bug of ours, and must be reportable
        if isinstance(error, OSError) and error.errno in ENVIRONMENT:
            return _environment(error), 1
        if os.environ.get("OPENKLEAR_DEBUG") == "1":
            raise
        return _bug(error), 1
    # Typer hands back the code of typer.Exit, and 130 after Ctrl-C.
    return None, result if isinstance(result, int) else 0


def _usage(error: typer.TyperException) -> str | None:
    context = getattr(error, "ctx", None)
    text = error.format_message()
    if context is None:
        return text
    if not text.strip() or type(error).__name__ == "NoArgsIsHelpError":
        return None
    return f"{text} (see {context.command_path} --help)"


def _environment(error: OSError) -> str:
    place = f": {error.filename}" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full{place}; make room and give the same command again"
    return f"{(error.strerror or 'refused').lower()}{place}; fix that and give the same command again"


def _broken_pipe() -> int:
    """Whoever read our output is gone, so nothing is said. Python must not fail at its last flush, either."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _bug(error: Exception) -> str:
    said = "".join(traceback.format_exception(error))
    text = f"openklear {__version__}, python {sys.version}\n{' '.join(sys.argv)}\n\n{said}"
    wanted = _crash_directory if _crash_directory and _crash_directory.is_dir() else Path(tempfile.gettempdir())
    path = wanted / f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError:
        # A full or read-only disk: the terminal is the last place left.
        return f"{text}\nthis is a bug in openklear (above); please report it with these lines and the recipe"
    short = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return f"this is a bug in openklear ({short}); please report it with the recipe and the traceback in {path}"
