"""Make the pictures of the documentation: four runs by the command line, their pages on a desktop and on a phone.

    python docs/pictures.py [FOLDER OF RUNS]

Needs playwright and Chromium. Runs that are finished are not made again.
"""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from sklearn.datasets import load_breast_cancer, load_sample_images

HERE = Path(__file__).parent / "images"
SIDE, STEP = 32, 40  # of patches of photographs, in pixels


def table(path: Path) -> Path:
    """Thirty measurements of cell nuclei, with the diagnosis for evaluation."""
    data = load_breast_cancer()
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow([*data.feature_names, "diagnosis"])
        for row, label in zip(data.data, data.target, strict=True):
            lines.writerow([*row, data.target_names[label]])
    return path


def patches(folder: Path) -> Path:
    """Small pieces of two photographs, a temple and a flower, in colours."""
    for name, photograph in zip(("temple", "flower"), load_sample_images().images, strict=True):
        (folder / name).mkdir(parents=True, exist_ok=True)
        height, width = photograph.shape[:2]
        for y in range(0, height - SIDE, STEP):
            for x in range(0, width - SIDE, STEP):
                Image.fromarray(photograph[y : y + SIDE, x : x + SIDE]).save(folder / name / f"{y:03}-{x:03}.png")
    return folder


def fit(out: Path, *arguments: object) -> Path:
    """Fit by the command line, unless it has been done."""
    command = [sys.executable, "-m", "deepclust", "fit"]
    if not (out / "report.html").exists():
        subprocess.run([*command, *map(str, arguments), "--out", str(out), "--overwrite"], check=True)
    return out / "report.html"


def shoot(pages: dict[str, Path]) -> None:
    """Photograph pages on a desktop and on a phone."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, file in pages.items():
            for kind, width, height in (("desktop", 1280, 1500), ("phone", 390, 1300)):
                page = browser.new_page(viewport={"width": width, "height": height})
                page.goto(file.resolve().as_uri())
                page.wait_for_timeout(500)
                path = HERE / f"{name}-{kind}.png"
                page.screenshot(path=path)
                Image.open(path).convert("RGB").save(path, optimize=True)  # fewer colours would merge those of clusters
                page.close()
        browser.close()


def main() -> None:
    """Make runs and pictures."""
    runs = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    runs.mkdir(parents=True, exist_ok=True)
    HERE.mkdir(exist_ok=True)
    cells, photographs = table(runs / "cells.csv"), patches(runs / "photographs")
    shoot(
        {
            "digits": fit(runs / "digits", "digits", "-k", 10),
            "table": fit(runs / "cells", cells, "-k", 2, "--labels", "diagnosis"),
            "photographs": fit(runs / "patches", photographs, "-k", 6, "--labels", "folder"),
            "mnist-test": fit(runs / "mnist-test", "mnist-test", "-k", 10),
        }
    )


if __name__ == "__main__":
    main()
