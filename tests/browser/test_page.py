"""The page in a real browser: it works, it is reachable for everyone, and data cannot break out of it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from deepclust import MLP, Schedule, Trainer, VaDE
from deepclust.data.readers import Loaded
from deepclust.report import write_report
from deepclust.runs import measure

NASTY = '<img src=x onerror="window.hacked=1"></script><script>window.hacked=1</script>"\'&{{ 7 * 7 }}'


def fit(X, k):
    quick = Schedule(epochs=3, batch_size=64)
    network = MLP(hidden=(32,), latent=4)
    method = VaDE(k, network=network, start="kmeans", pretrain=quick, schedule=quick, trainer=Trainer(precision="fp32"))
    return method.set_params(random_state=0).fit(X)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Handwritten digits, with their labels."""
    data = load_digits()
    X, y = data.images[:300], data.target[:300]
    model = fit(X, 10)
    file = tmp_path_factory.mktemp("images") / "report.html"
    write_report(file, model, Loaded(name="digits", X=X, y=y), measure(model.result_, y))
    return file


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Thirty columns and as many clusters as close their cards; every name wants to break out."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(200, 30)), columns=[f"{NASTY}{i}" for i in range(30)])
    model = fit(X.to_numpy(dtype=np.float32), 14)
    ids = np.array([f"{NASTY} row {i}" for i in range(200)])
    loaded = Loaded(name=NASTY, X=X.to_numpy(), id_name="id", ids=ids, feature_names=list(X.columns), notes=[NASTY])
    loaded = Loaded(**{**vars(loaded), "y": np.array([f"{NASTY}{i % 3}" for i in range(200)])})
    file = tmp_path_factory.mktemp("table") / "report.html"
    write_report(file, model, loaded, measure(model.result_, loaded.y), language="zh")
    return file


class Visit:
    """A page with what it complained of and what it asked the network for."""

    def __init__(self, browser, file, **options):
        self.page = browser.new_page(**options)
        self.errors, self.requests = [], []
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.goto(file.as_uri())
        self.page.wait_for_function("document.getElementById('map').width > 0")


@pytest.fixture
def visit(browser):
    pages = []

    def open_page(file, **options):
        pages.append(Visit(browser, file, **options))
        return pages[-1]

    yield open_page
    for opened in pages:
        opened.page.close()


@pytest.mark.parametrize("which", ["images", "table"])
def test_page_loads_without_complaint_and_asks_the_network_for_nothing(which, visit, request):
    file = request.getfixturevalue(which)
    seen = visit(file)
    assert seen.errors == []
    assert [url for url in seen.requests if not url.startswith("data:")] == [file.as_uri()]


def test_pointing_at_a_row_shows_it_with_its_picture(images, visit):
    page = visit(images).page
    assert page.locator("#tip").is_hidden()
    page.locator("#map").focus()
    page.keyboard.press("Enter")
    assert page.locator("#tip").is_visible()
    box = page.locator("#map").bounding_box()
    place = page.locator("#tip").evaluate("e => [parseFloat(e.style.left) - 14, parseFloat(e.style.top) - 14]")
    page.keyboard.press("Escape")
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    assert page.locator("#tip").is_hidden()
    page.mouse.move(box["x"] + place[0], box["y"] + place[1])
    assert page.locator("#tip").is_visible()
    assert page.locator("#tip strong").inner_text().isdigit()
    assert "cluster " in page.locator("#tip").inner_text()
    assert page.locator("#tip .thumb").evaluate("e => getComputedStyle(e).backgroundImage").startswith('url("data:')


def test_lasso_selects_rows_and_lists_them(images, visit):
    page = visit(images).page
    page.locator("#select").click()
    assert page.locator("#select").get_attribute("aria-pressed") == "true"
    page.locator("#map").scroll_into_view_if_needed()
    box = page.locator("#map").bounding_box()
    inset = 3
    corners = [(0, 0), (1, 0), (1, 1), (0, 1)]
    at = [(box["x"] + inset + a * (box["width"] - 6), box["y"] + inset + b * (box["height"] - 6)) for a, b in corners]
    page.mouse.move(*at[0])
    page.mouse.down()
    for x, y in at[1:]:
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    assert page.locator("#chosen").is_visible()
    rows = page.locator("#chosen textarea").input_value().splitlines()
    assert len(rows) == 300
    assert set(rows) == {str(i) for i in range(300)}
    assert page.locator("#chosen .count").inner_text().startswith("300 rows (cluster ")
    assert page.locator("#chosen .thumb").count() == 48
    page.locator("#zoom-reset").click()
    assert page.locator("#chosen").is_hidden()


def test_clusters_after_the_tenth_have_a_shape_besides_a_colour(table, visit):
    page = visit(table).page
    cut = lambda cluster: page.locator(f"[data-show='{cluster}'] .dot").evaluate("e => getComputedStyle(e).clipPath")  # noqa: E731
    assert [cut(cluster) for cluster in (0, 9)] == ["none", "none"]
    assert [cut(cluster) for cluster in (10, 13)] == ["circle(50%)"] * 2


def test_the_map_moves_and_zooms_by_mouse_and_keys(images, visit):
    page = visit(images).page
    picture = lambda: page.locator("#map").evaluate("e => e.toDataURL()")  # noqa: E731
    settle = lambda: page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")  # noqa: E731
    settle()
    first = picture()
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.wheel(0, -300)
    settle()
    zoomed = picture()
    assert zoomed != first
    page.locator("#map").focus()
    page.keyboard.press("ArrowLeft")
    settle()
    assert picture() != zoomed
    page.locator("[data-show='0']").click()
    assert page.locator("[data-show='0']").get_attribute("aria-pressed") == "false"
    page.locator("[data-show='0']").click()
    page.mouse.move(1, 1)
    page.locator("#zoom-reset").click()
    settle()
    page.mouse.move(1, 1)
    settle()
    assert picture() == first


def test_a_card_opens_and_a_link_to_it_opens_it(table, visit):
    page = visit(table).page
    card = page.locator("#c0")
    assert card.get_attribute("open") is None
    card.locator("summary").click()
    assert card.get_attribute("open") is not None
    assert page.locator("#c1").get_attribute("open") is None
    page.locator('a[href="#c1"]').click()
    assert page.locator("#c1").get_attribute("open") is not None


def test_language_switches(images, visit):
    page = visit(images).page
    assert page.locator("h1").inner_text() == "digits: 10 clusters"
    page.locator("#language").click()
    assert page.locator("html").get_attribute("lang") == "zh"
    assert page.locator("h1").inner_text() == "digits\uff1a10 个簇"
    page.locator("#language").click()
    assert page.locator("h1").inner_text() == "digits: 10 clusters"


def test_page_prints_with_every_card_open(table, visit):
    page = visit(table).page
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.pdf()[:5] == b"%PDF-"


@pytest.mark.parametrize("which", ["images", "table"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_left_out(which, scheme, visit, request):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visit(request.getfixturevalue(which), color_scheme=scheme).page
    found = axe.run(page).response["violations"]
    serious = [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] in ("serious", "critical")]
    assert serious == []


@pytest.mark.parametrize("which", ["images", "table"])
def test_a_phone_shows_it_without_scrolling_sideways(which, visit, request):
    page = visit(request.getfixturevalue(which), viewport={"width": 390, "height": 800}).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_names_with_markup_show_as_text(table, visit):
    page = visit(table).page
    page.locator("#map").focus()
    page.keyboard.press("Enter")
    assert NASTY in page.locator("#tip strong").inner_text()
    assert NASTY in page.locator("h1").inner_text()
    assert NASTY in page.locator(".words").inner_text()
    page.locator("#c0 summary").click()
    assert NASTY in page.locator("#c0").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x]").count() == 0
