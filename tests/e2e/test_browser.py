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
window.addEventListener("load", () => {
  const figures = [...document.querySelectorAll("figure")].map(f => {
    const svg = f.querySelector("svg"), box = svg ? svg.getBoundingClientRect() : {width: 0, height: 0};
    const marks = svg ? [...svg.querySelectorAll(".role-mark path, .role-mark text, .role-mark line")] : [];
    const drawn = marks.filter(m => { const b = m.getBBox(); return b.width + b.height > 0; });
    return {width: box.width, height: box.height, marks: drawn.length};
  });
  const requests = performance.getEntriesByType("resource").map(r => r.name).filter(n => !n.startsWith("data:"));
  const wide = document.documentElement.scrollWidth > window.innerWidth + 1;
  document.body.innerHTML = "<pre id=probe></pre>";
  document.getElementById("probe").textContent = JSON.stringify({figures, requests, errors, wide});
});
</script>
"""


def chromium():
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return shutil.which(name)
    pytest.skip("no Chromium on this machine: the report is not looked at")


def test_report_in_chromium(finished, tmp_path):
    page = (finished / "report.html").read_text()
    probed = tmp_path / "report.html"
    probed.write_text(page.replace("</head>", PROBE + "</head>"))
    done = subprocess.run(
        [
            chromium(),
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
            *("--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND"),
            *("--enable-logging=stderr", "--window-size=1280,900", f"--user-data-dir={tmp_path / 'profile'}"),
            *("--virtual-time-budget=5000", "--dump-dom", probed.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = re.search(r'<pre id="probe">(.+?)</pre>', done.stdout, re.S)
    assert found, done.stderr[-2000:]
    result = json.loads(found.group(1).replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&"))
    assert result["errors"] == []
    assert result["requests"] == []
    assert "CONSOLE" not in done.stderr, done.stderr
    assert not result["wide"], "the page scrolls sideways"
    assert len(result["figures"]) > 20
    for index, figure in enumerate(result["figures"]):
        assert figure["width"] > 100, (index, figure)
        assert figure["height"] > 50, (index, figure)
        assert figure["marks"] > 0, (index, figure)
