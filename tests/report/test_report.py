"""The page holds what it should and loads nothing."""

import dataclasses
import re

import numpy as np
import pytest

from deepclust import MLP, Schedule, Trainer, VaDE
from deepclust.data.readers import Loaded
from deepclust.report import write_report
from deepclust.report.figures import captioned_sheet, contact_sheet, palette, shapes
from deepclust.report.render import render
from deepclust.report.summarize import summarize
from deepclust.runs import measure


def fitted(X, network="auto"):
    quick = Schedule(epochs=2)
    trainer = Trainer(batch_size=32, precision="fp32")
    return VaDE(3, network=network, pretrain=quick, schedule=quick, trainer=trainer, random_state=0).fit(X)


@pytest.mark.parametrize("shape", [(12,), (8, 7), (8, 7, 3)])
def test_page_tells_of_tables_and_of_images(shape, tmp_path):
    X = np.random.default_rng(0).random((60, *shape))
    model = fitted(X, MLP(hidden=(16,), latent=3))
    loaded = Loaded(name="<my> data", X=X, notes=["b.png was left out: truncated"])
    metrics = measure(model.result_, np.arange(60) % 3)
    write_report(tmp_path / "report.html", model, loaded, metrics)
    page = (tmp_path / "report.html").read_text()
    assert "&lt;my&gt; data: " in page
    assert "<my>" not in page
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)
    assert "b.png was left out" in page
    assert "accuracy" in page
    assert page.count('<details class="card"') == 3
    assert ("data:image/png;base64," in page) == (len(shape) > 1)


def test_summary_counts_every_row_and_keeps_the_map_small():
    X = np.random.default_rng(0).random((90, 5))
    model = fitted(X, MLP(hidden=(8,), latent=2))
    summary = summarize(model, Loaded(name="x", X=X, feature_names=list("abcde")), measure(model.result_, None))
    assert sum(card["size"] for card in summary["clusters"]) == 90
    assert summary["map"]["points"].shape == (90, 2)
    assert {row.name for card in summary["clusters"] if card["size"] for row in card["features"]} <= set("abcde")
    assert "external" not in summary["metrics"]


def test_labels_of_another_number_than_the_clusters_are_told_with_their_purity():
    X = np.random.default_rng(0).random((90, 5))
    model = fitted(X, MLP(hidden=(8,), latent=2))
    used = len(np.unique(model.labels_))

    def told(y):
        loaded = Loaded(name="x", X=X, y=y)
        return dict(summarize(model, loaded, measure(model.result_, y))["sentences"])

    assert told(np.arange(90) % used).keys() >= {"against_start"}
    assert "kinds_differ" not in told(np.arange(90) % used)
    differ = told(np.arange(90) % (used + 2))["kinds_differ"]
    assert (differ["kinds"], differ["used"]) == (str(used + 2), str(used))
    assert not {"against", "against_start", "kinds_differ"} & told(None).keys()
    model.result_ = dataclasses.replace(model.result_, start_labels=None)
    assert "against" in told(np.arange(90) % used)


def test_joining_clusters_is_not_told_as_training_that_moved_rows():
    X = np.random.default_rng(0).random((90, 5))
    model = fitted(X, MLP(hidden=(8,), latent=2))
    loaded = Loaded(name="x", X=X)
    told = dict(summarize(model, loaded, measure(model.result_, None))["sentences"])
    model.relabel({0: "one", 1: "one"})
    joined = dict(summarize(model, loaded, measure(model.named_result(), None))["sentences"])
    assert {"moved", "stayed"} & told.keys()
    assert joined.get("moved") == told.get("moved")
    assert joined["used"]["k"] == 2


def test_clusters_that_ran_together_are_not_called_too_many():
    X = np.random.default_rng(0).random((90, 5))
    model = fitted(X, MLP(hidden=(8,), latent=2))
    model.result_ = dataclasses.replace(model.result_, labels=np.zeros(90, dtype=np.int64))
    told = lambda: dict(summarize(model, Loaded(name="x", X=X), measure(model.result_, None))["sentences"])  # noqa: E731
    assert {"empty"} & told().keys()
    model.result_.events.append({"kind": "clusters run together", "before": 2.7, "after": 1.0})
    assert {"empty", "run_together"} & told().keys() == {"run_together"}


def test_the_page_tells_how_training_was_mended():
    X = np.random.default_rng(0).random((90, 5))
    model = fitted(X, MLP(hidden=(8,), latent=2))
    model.result_.events.extend(
        [
            {"kind": "diverged", "phase": "cluster", "epoch": 3, "what": "term 'kl' is nan", "back_to": 2, "rate": 0.5},
            {"kind": "empty cluster placed anew", "phase": "cluster", "epoch": 4, "cluster": 1, "beside": 0},
            {"kind": "one cluster dominates", "phase": "cluster", "epoch": 5, "what": "cluster 0 has 99 % of the rows"},
            {"kind": "one cluster dominates", "phase": "c", "epoch": 5, "what": "90 %", "back_to": 3, "rate": 0.5},
            {"kind": "nothing is reconstructed", "phase": "c", "epoch": 5, "what": "same", "back_to": 3, "rate": 0.5},
            {"kind": "nothing is reconstructed", "phase": "d", "epoch": 5, "what": "same"},
            {"kind": "drifted", "moved": 0.123, "refresh": 61},
            {"kind": "clusters run together", "before": 9.1, "after": 3.6},
            {"kind": "unhealthy", "phase": "cluster", "epoch": 5, "what": "A variance is at its bound."},
        ]
    )
    page = render(summarize(model, Loaded(name="x", X=X), measure(model.result_, None)), language="en")
    assert "(term &#39;kl&#39; is nan); it went back to epoch 2 and on at 0.5 of its rate" in page
    assert "Cluster 1 lost all its rows in phase cluster at epoch 4 and was placed anew." in page
    assert "swallowed the others (cluster 0 has 99 % of the rows), though" in page
    assert "about to swallow the others (90 %); it went back to epoch 3." in page
    assert "did not settle: 12.3 % of the rows had moved on" in page
    assert "by the rows they hold, 3.6 are left of the 9.1 that it started from" in page
    assert "In phase cluster: A variance is at its bound." in page


def test_colours_differ_and_sheets_hold_every_image():
    assert len(set(palette(68))) == 68
    hues = [palette(10)[i % 10] for i in range(68)]
    assert len(set(zip(hues, shapes(68), strict=True))) == 68, "hue and shape alone tell clusters apart"
    sheet = contact_sheet(np.zeros((7, 8, 8), dtype=np.uint8), columns=3, cell=16, gap=2)
    assert sheet.size == (3 * 16 + 2 * 2, 3 * 16 + 2 * 2)


def test_sheet_has_a_caption_for_every_line_and_room_for_it():
    lines = [("cluster 0", np.full((3, 8, 8), 255, dtype=np.uint8)), ("cluster 1: no rows", np.empty((0, 1, 1)))]
    sheet = captioned_sheet(lines)
    pixels = np.asarray(sheet.convert("L"))
    assert (pixels[:16] == 255).all(), "a margin above"
    assert (pixels[16:42] < 128).any(), "the first caption"
    assert (pixels[-30:] < 128).any(), "the caption of a line without images"
    wide = captioned_sheet([("a caption that is wider than its only image", np.zeros((1, 8, 8), dtype=np.uint8))])
    assert wide.width > 300
