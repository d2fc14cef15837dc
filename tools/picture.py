"""Makes README's picture: the top of a run's report, as a browser of a laptop's width shows it.

python tools/picture.py runs/quickstart/report.html docs/report.png
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH, HEIGHT = 1280, 1022
LARGEST = 250_000
"""Bytes that a picture in the repository may have."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def picture(page: Path, out: Path, width: int = WIDTH, height: int = HEIGHT) -> None:
    """Write the first `width` x `height` pixels of the page. SystemExit without a browser, or with too large a file."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"no browser here: install one of {', '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as profile:
        command = [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
            *("--disable-background-networking", "--force-device-scale-factor=1", f"--user-data-dir={profile}"),
            *(f"--window-size={width},{height}", f"--screenshot={out.resolve()}", page.resolve().as_uri()),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    size = out.stat().st_size
    print(f"{out}: {width} x {height} pixels, {size / 1000:.0f} kB")
    if size > LARGEST:
        raise SystemExit(f"that is more than {LARGEST / 1000:.0f} kB; show less of the page")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    picture(Path(sys.argv[1]), Path(sys.argv[2]))
