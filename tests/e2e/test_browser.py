"""The report in a real browser without a network: no console error, no request, every figure drawn."""

import json
import re
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.browser

PROBE = """
<script>
const errors = [];
window.addEventListener("error", e => errors.push(String(e.message)));
const box = e => e.getBoundingClientRect();
const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
const straight = e => !(e.getAttribute("transform") || "").includes("rotate");
window.addEventListener("load", () => {
  const figures = [...document.querySelectorAll("figure")].map(f => {
    const svg = f.querySelector("svg"), size = svg ? box(svg) : {width: 0, height: 0};
    const marks = svg ? [...svg.querySelectorAll(".role-mark path, .role-mark text, .role-mark line")] : [];
    const drawn = marks.filter(m => { const b = m.getBBox(); return b.width + b.height > 0; });
    const texts = svg ? [...svg.querySelectorAll("text")].filter(t => t.textContent && straight(t)) : [];
    const room = f.classList.contains("wide") ? 0.5 : 12;  // a figure that scrolls clips what juts out
    const cut = texts.filter(t => box(t).left < box(svg).left - room || box(t).right > box(svg).right + room);
    const ticks = svg ? [...svg.querySelectorAll(".role-axis-label text")].filter(straight) : [];
    const seen = ticks.filter(t => t.getAttribute("opacity") !== "0");
    const over = seen.filter((t, i) => seen.slice(i + 1).some(u => meet(box(t), box(u))));
    const say = texts => texts.map(t => t.textContent);
    return {width: size.width, height: size.height, marks: drawn.length, cut: say(cut), over: say(over)};
  });
  const cards = [...document.querySelectorAll(".card .gain, .card .score, .card div.label > b")].map(e =>
    (e.parentElement.tagName === "TD" ? e.nextElementSibling : e.parentElement).textContent);
  const requests = performance.getEntriesByType("resource").map(r => r.name).filter(n => !n.startsWith("data:"));
  const wide = document.documentElement.scrollWidth > window.innerWidth + 1;
  const inner = window.innerWidth;
  parent.postMessage(JSON.stringify({figures, cards, requests, errors, wide, inner}), "*");
});
</script>
"""
FRAME = """
<!doctype html><iframe style="width:{width}px;height:900px;border:0" src="report.html"></iframe>
<script>
window.addEventListener("message", e => {{
  document.body.innerHTML = "<pre id=probe></pre>";
  document.getElementById("probe").textContent = e.data;
}});
</script>
"""
"""Chromium's own window is never as narrow as a phone."""


def chromium():
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return shutil.which(name)
    pytest.skip("no Chromium on this machine: the report is not looked at")


@pytest.mark.parametrize("width", [1280, 390])
def test_report_in_chromium(finished, tmp_path, width):
    page = (finished / "report.html").read_text()
    (tmp_path / "report.html").write_text(page.replace("</head>", PROBE + "</head>"))
    frame = tmp_path / "frame.html"
    frame.write_text(FRAME.format(width=width))
    done = subprocess.run(
        [
            chromium(),
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
            *("--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND"),
            *("--enable-logging=stderr", "--window-size=1400,1000", f"--user-data-dir={tmp_path / 'profile'}"),
            *("--virtual-time-budget=5000", "--dump-dom", frame.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.search(r'<pre id="probe">(.+?)</pre>', done.stdout, re.S)
    assert found, done.stderr[-2000:]
    result = json.loads(found.group(1).replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))
    assert result["inner"] == width
    assert result["errors"] == []
    assert result["requests"] == []
    assert "CONSOLE" not in done.stderr, done.stderr
    assert not result["wide"], "the page scrolls sideways"
    assert len(result["figures"]) > 20
    for index, figure in enumerate(result["figures"]):
        assert figure["width"] > 100, (index, figure)
        assert figure["height"] > 50, (index, figure)
        assert figure["marks"] > 0, (index, figure)
        assert figure["cut"] == [], (index, figure)
        assert figure["over"] == [], (index, figure)
    assert len(result["cards"]) == 2 * (4 + 3 + 1), "scores, gains and the whole of each benchmark"
    assert all(re.search(r"\[[-+]?\d+\.\d to [-+]?\d+\.\d\]", text) for text in result["cards"]), result["cards"]
