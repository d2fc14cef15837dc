"""A hundred completions that no page may take for anything but text."""

from __future__ import annotations

import random

_SCRIPTS = (
    "<script>parent.hit = 1</script>",
    "</script><script>window.hit = 1</script>",
    "<!--<script>window.hit = 1</script>-->",
    "<img src=x onerror='window.hit = 1'>",
    "<svg onload=window.hit=1><circle r=9 /></svg>",
    "<iframe src='javascript:window.hit=1'></iframe>",
    "<a href='javascript:window.hit=1'>click</a>",
    "<style>* { display: none }</style>",
    "<base href='http://example.invalid/'>",
    "<meta http-equiv=refresh content='0;url=http://example.invalid/'>",
    "<form action=http://example.invalid/><input autofocus onfocus=window.hit=1></form>",
    "]]><![CDATA[<script>window.hit=1</script>",
    "<template><script>window.hit=1</script></template>",
    "\\u003cscript\\u003ewindow.hit=1\\u003c/script\\u003e",
    "&lt;script&gt;window.hit = 1&lt;/script&gt; &#60;script&#62; &amp;amp;",
    "${window.hit = 1} {{ 7 * 7 }} {% raw %} `window.hit = 1`",
    '{"text": "</pre></details></main>", "hit": 1}',
)
_OTHERS = (
    "",
    " ",
    "\n\n\n",
    "no box at all",
    "".join(f"\\boxed{{{n}}} " for n in range(10)),
    "<think>never closed " * 40,
    "</think></think><think>",
    "<think></think>",
    "שלום עולם \\boxed{שלוש}",
    "العربية ١٢٣ \\boxed{٤}",
    "日本語の答えは \\boxed{七}",
    "\u202eright to left override\u202c and \u2066isolates\u2069",
    "\u200b\u200b\ufeffzero width\U000e0041\U000e0042",
    "".join(map(chr, range(32))),
    "\x7f\x80\x9b31m\x1b[2J\x1b]0;title\x07",
    "Z" + "\u0300\u0301\u0302\u0488" * 200,
    "\ud800 half a character \udfff",
    "\u2028line\u2029paragraph",
    "👩‍👩‍👧‍👦🏳️‍🌈" * 50,
    "x" * 1_000_000,
    "a long line\n" * 80_000,
    "\\(" * 2000,
    "\x00" * 100,
)


def completions(seed: int = 7) -> list[str]:
    """A hundred, the same each time."""
    draw = random.Random(seed)
    found = [*_SCRIPTS, *_OTHERS]
    while len(found) < 100:
        one = draw.choice(_SCRIPTS) + draw.choice(_OTHERS[:19]) + draw.choice(_SCRIPTS)
        cut = draw.randrange(len(one) + 1)
        found.append(f"<think>{one[:cut]}</think>{one[cut:]}")
    return found
