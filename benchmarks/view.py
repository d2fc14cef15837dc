"""`openklear view` in a browser: an evaluation of 30 problems x 64 completions of 32,768 tokens, opened and read.

    python benchmarks/view.py                     # makes it in a temporary directory (0.4 GB), measures, removes it
    python benchmarks/view.py --data DIR          # makes it in DIR once, and keeps it
    python benchmarks/view.py --pictures DIR      # writes what it looked like, wide and narrow, light and dark

Chromium runs without a window and without a network. Times are the page's own clock, from the start of the navigation
or the key to the frame after what was asked for stands there. Ends with 1 where the grid is usable after 2 seconds or
later, or where the page said anything on its console or asked for anything elsewhere.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from chromium import Browser, found, until
from openklear.durable.files import json_line, write_json
from openklear.evaluation.stored import (
    COMPLETIONS,
    PROMPTS,
    SAMPLES,
    SETTINGS,
    Asked,
    Sample,
    packed,
    write_asked,
    write_samples,
)
from openklear.types import Message, Outcome, StopReason

PROBLEMS, SAMPLED, TOKENS = 30, 64, 32_768
LIMIT = 2.0
"""Seconds from the navigation to a usable grid."""
TALK = """so we have the sum of all the terms and then let me check this again because it must be even but wait
the square of the side is not what I thought hence by symmetry there are exactly two cases to look at modulo seven and
the remainder of each factor divides the product therefore I should try another way to count them Hmm Actually no"""
FRAME = "await new Promise(done => requestAnimationFrame(() => setTimeout(done)));"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="where the evaluation is made, or lies already")
    parser.add_argument("--pictures", type=Path, help="where screenshots go")
    arguments = parser.parse_args()
    browser = found()
    if browser is None:
        print("no Chromium on this machine: install one", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        place = arguments.data or Path(scratch, "evaluation")
        if not (place / SAMPLES).is_file():
            make(place)
        size = (place / COMPLETIONS).stat().st_size
        print(f"{PROBLEMS} problems x {SAMPLED} completions of {TOKENS:,} tokens: {size / 1e6:,.0f} MB")
        with served(place) as address, Browser(browser) as page:
            faults = measured(page, address)
            if arguments.pictures:
                pictures(page, address, arguments.pictures)
    for fault in faults:
        print(fault, file=sys.stderr)
    return bool(faults)


def make(place: Path) -> None:
    """The evaluation; one of its completions has a megabyte, without a line end in its second half."""
    draw = random.Random(1)
    place.mkdir(parents=True, exist_ok=True)
    sampling = {"temperature": 0.6, "top_p": 0.95, "max_completion_tokens": TOKENS}
    write_json(place / SETTINGS, {"format": 1, "model": {"name": "made-up-8b"}, "sampling": sampling})
    asked = [_asked(number) for number in range(PROBLEMS)]
    write_asked(place / PROMPTS, asked)
    samples: list[Sample] = []
    at = 0
    with (place / COMPLETIONS).open("wb") as file:
        for number, one in enumerate(asked):
            for sample in range(SAMPLED):
                fate = "correct" if draw.random() < 1 - number / PROBLEMS else draw.choice(("wrong", "cut", "lost"))
                length = 1_000_000 if (number, sample) == (0, 1) else 4 * TOKENS
                line = json_line(_completion(draw, one, sample, fate, length))
                file.write(line)
                samples.append(_verdict(one, sample, fate, at, len(line)))
                at += len(line)
    write_samples(place / SAMPLES, samples)


def _asked(number: int) -> Asked:
    prompt = (Message(role="user", content=f"Find the remainder when {number}^2024 is divided by 1000."),)
    return Asked("aime24", f"2024-I-{number}", "math", prompt, reference=str(number), prompt_tokens=40)


def _completion(draw: random.Random, asked: Asked, sample: int, fate: str, length: int) -> dict[str, Any]:
    lines, held = [], 0
    while held < length:
        joined = "" if held > 500_000 else "\n" * draw.choice((0, 1, 1, 2))
        lines.append(" ".join(draw.choices(TALK.split(), k=draw.randint(6, 30))) + ". " + joined)
        held += len(lines[-1])
    end = "" if fate == "cut" else f"\n</think>\n\nThe answer is $\\boxed{{{asked.reference}}}$."
    ids = np.random.default_rng(len(lines)).zipf(1.3, TOKENS).clip(max=150_000)
    return {
        "key": f"{asked.problem}/{sample}",
        "benchmark": asked.benchmark,
        "problem": asked.problem,
        "sample": sample,
        "stop_reason": "length" if fate == "cut" else "stop",
        "tokens": TOKENS,
        "ids": packed(ids.astype(np.int32)),
        "text": "<think>\n" + "".join(lines)[:length] + end,
    }


def _verdict(asked: Asked, sample: int, fate: str, start: int, length: int) -> Sample:
    return Sample(
        asked.benchmark,
        asked.problem,
        asked.domain,
        sample,
        Outcome.CORRECT if fate == "correct" else Outcome.INCORRECT,
        reason={"wrong": "wrong answer", "cut": "stopped by length", "lost": "no answer found"}.get(fate, ""),
        extracted={"correct": asked.reference, "wrong": "17"}.get(fate),
        total=1,
        stop_reason=StopReason.LENGTH if fate == "cut" else StopReason.STOP,
        tokens=TOKENS,
        start=start,
        length=length,
    )


@contextmanager
def served(place: Path) -> Iterator[str]:
    """The address of `openklear view` over the directory."""
    code = "import sys; from pathlib import Path; from openklear.cli.view import view; "
    code += "view([Path(sys.argv[1])], port=0, export=None, no_browser=True)"
    begun = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", code, str(place)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            until(lambda: _answers(address), "the server answers", 30)
            print(f"{time.monotonic() - begun:5.2f} s  from the command to the server's first answer")
            yield address
        finally:
            process.kill()


def _answers(address: str) -> bool:
    with urllib.request.urlopen(address) as answer:
        return bool(answer.status == 200)


def measured(page: Browser, address: str) -> list[str]:
    """Prints each figure; what does not hold."""
    faults = []
    for which in ("first", "second", "third"):
        page.open("about:blank")
        page.open(address)
        ready = page.wait("Number(document.documentElement.dataset.ready)", 30) / 1000
        print(f"{ready:5.2f} s  from the navigation to a usable grid, {which} time")
        if ready >= LIMIT:
            faults.append(f"the grid is usable after {ready:.2f} s, not under {LIMIT:g} s")
    sizes = page.run("performance.getEntriesByType('resource').reduce((sum, one) => sum + one.encodedBodySize, 0)")
    print(f"{sizes / 1000:5.0f} kB were loaded for it, {page.run('document.querySelectorAll(`*`).length')} elements")
    page.run("document.querySelector('.grid').focus()")
    for key, what in (("ArrowRight", "a step in the grid"), ("n", "to the next failing one")):
        _told(timed(page, key, "true") for _ in range(20)).show(what)
    opened = []
    for _ in range(10):
        opened.append(timed(page, "Enter", "document.querySelector('#reader .verdict')"))
        page.key("Escape")
        page.key("ArrowRight")
    _told(opened).show("a completion opened, its thinking folded")
    for name, sample in (("128 KB", 0), ("1 MB", 1)):
        reading(page, name, sample)
    if page.messages:
        faults.append(f"the page said: {page.messages}")
    if outside := [one for one in page.requests if not one.startswith((address, "about:"))]:
        faults.append(f"it asked for {outside}")
    return faults


def reading(page: Browser, name: str, sample: int) -> None:
    """Opens a completion of the first problem, unfolds its thinking, and scrolls through it."""
    page.run("document.querySelector('.grid').focus()")
    for _ in range(40):
        page.key("ArrowUp")
    page.key("Home")
    for _ in range(sample):
        page.key("ArrowRight")
    page.key("Enter")
    page.wait("document.querySelector('#reader .verdict')")
    took = timed(page, "t", "document.querySelector('#reader details.thought .text')")
    print(f"{took:5.0f} ms  thinking of {name} unfolded")
    frames = page.run(f"(async () => {{ {SCROLL} }})()")
    worst, mean = max(frames), statistics.mean(frames)
    high = page.run("document.getElementById('reader').scrollHeight")
    print(f"{mean:5.0f} ms  a frame while it is scrolled through ({high:,} pixels; worst {worst:.0f})")
    page.key("t")
    page.key("Escape")


SCROLL = """
const reader = document.getElementById("reader"), took = [];
let before = performance.now();
for (let step = 0; step < 120; step += 1) {
  reader.scrollTop = step < 60 ? reader.scrollTop + 700 : (reader.scrollHeight * (step - 60)) / 60;
  await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  const now = performance.now();
  took.push(now - before);
  before = now;
}
return took;
"""


class _told:
    """Times of one thing, in milliseconds."""

    def __init__(self, times: Any) -> None:
        self.times = list(times)

    def show(self, what: str) -> None:
        """On the terminal."""
        middle, worst = statistics.median(self.times), max(self.times)
        print(f"{middle:5.0f} ms  {what} (median of {len(self.times)}, worst {worst:.0f})")


def timed(page: Browser, key: str, there: str) -> float:
    """Milliseconds from a key to the frame after which something is there."""
    page.run(
        f"""(() => {{
          window.took = null;
          addEventListener("keydown", async () => {{
            const begun = performance.now();
            do {{ {FRAME} }} while (!({there}));
            {FRAME}
            window.took = performance.now() - begun;
          }}, {{ once: true, capture: true }});
        }})()"""
    )
    page.key(key)
    return float(page.wait("window.took"))


def pictures(page: Browser, address: str, out: Path) -> None:
    """The overview of an evaluation, and a completion, in four forms."""
    out.mkdir(parents=True, exist_ok=True)
    for form, (width, height) in {"wide": (1280, 900), "narrow": (390, 844)}.items():
        for colours in ("light", "dark"):
            page.shape(width, height, dark=colours == "dark")
            page.open("about:blank")
            page.open(address)
            page.wait("document.documentElement.dataset.ready")
            page.picture(out / f"{form}-{colours}-grid.png")
            page.run("document.querySelector('.grid').focus()")
            page.key("n")
            page.key("Enter")
            page.wait("document.querySelector('#reader .verdict')")
            page.key("t")
            time.sleep(0.3)
            page.picture(out / f"{form}-{colours}-completion.png")
    print(json.dumps(sorted(path.name for path in out.glob("*.png"))))


if __name__ == "__main__":
    sys.exit(main())
