"""The comparison in a real browser, with names that want to break out."""

import numpy as np
import pytest
from tests.browser.test_page import NASTY

from deepclust.data.readers import Loaded
from deepclust.data.rows import as_rows
from deepclust.report.compare import Compared, render_comparison, summarize_comparison
from deepclust.runs import measure


class _Result:
    def __init__(self, labels, k, rng):
        self.labels = labels
        self.proba = rng.dirichlet(np.ones(k), len(labels)).astype(np.float32)
        self.embedding = rng.normal(size=(len(labels), 3)).astype(np.float32)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    rng = np.random.default_rng(0)
    X = rng.random((200, 8, 8))
    truth = np.repeat(np.arange(4), 50)
    compared = []
    for seed, share in enumerate((0.0, 0.1, 0.3)):
        labels = np.where(rng.random(200) < share, rng.integers(0, 5, 200), truth)
        result = _Result(labels, 5, rng)
        names = [f"{NASTY}{c}" for c in range(5)]
        metrics = measure(type("R", (), {**vars(result), "start_labels": None}), truth)
        confidence = result.proba.max(1)
        compared.append(Compared(f"run {seed} {NASTY}", "VaDE", seed, 3.0, labels, confidence, names, metrics))
    loaded = Loaded(name="x", X=X, id_name="id", ids=np.array([f"{NASTY} row {i}" for i in range(200)]))
    path = tmp_path_factory.mktemp("compare") / "compare.html"
    path.write_text(render_comparison(summarize_comparison(compared, as_rows(X), loaded)), encoding="utf-8")
    return path


@pytest.fixture
def page(browser, file):
    opened = browser.new_page(viewport={"width": 390, "height": 800})
    opened.heard = []
    opened.on("console", lambda m: opened.heard.append(m.text) if m.type in ("error", "warning") else None)
    opened.on("request", lambda r: opened.heard.append(r.url) if not r.url.startswith(("data:", "file:")) else None)
    opened.goto(file.as_uri())
    yield opened
    opened.close()


def test_it_loads_fits_a_phone_and_asks_for_nothing(page):
    assert page.heard == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("h1").inner_text() == "3 runs compared"
    assert page.locator("img").count() == 24, "the rows that move most, with their pictures"


def test_language_switches_and_names_show_as_text(page):
    page.locator("#language").click()
    assert page.locator("h1").inner_text() == "3 次运行的比较"
    assert NASTY in page.locator("main").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0


def test_nobody_is_left_out(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")] == []
