"""DSCDAN: rounds of joint training, each on the graph of the codes that the one before has left."""

import numpy as np
import pytest
import torch
from tests.common.small import small

from deepclust import Callback
from deepclust.data.batch import Batch, Progress
from deepclust.data.rows import as_rows
from deepclust.engine import Schedule
from deepclust.guidance import Guide
from deepclust.methods import dual_autoencoder
from deepclust.methods.dual_autoencoder import DualModel, SpectralHead


def rounds_of(X, rounds, monkeypatch, **params):
    """Fit; return the model and the points that graphs were made of."""
    points, walks = [], dual_autoencoder.graph_walks

    def spy(session, codes, rule, name):
        points.append(codes.clone())
        return walks(session, codes, rule, name)

    monkeypatch.setattr(dual_autoencoder, "graph_walks", spy)
    model = small("dual_autoencoder", n_clusters=3, epochs=6).set_params(
        **{"head__rounds": rounds, "head__renew": False, **params}
    )
    return model.fit(X), points


def phases_of(model):
    return list(dict.fromkeys(line["phase"] for line in model.result_.history))


def test_every_round_has_the_graph_of_the_codes_before_it(blobs, monkeypatch):
    X, _ = blobs
    once, first = rounds_of(X, 1, monkeypatch, guide__hold=0.0)
    assert phases_of(once) == ["pretrain", "settle", "cluster"]
    twice, both = rounds_of(X, 2, monkeypatch, guide__hold=0.0)
    assert phases_of(twice) == ["pretrain", "settle", "cluster-1", "cluster-2"]
    assert torch.equal(first[0], both[0])
    assert not torch.equal(both[0], both[1])
    assert not np.array_equal(once.result_.embedding, twice.result_.embedding)


def test_without_rounds_the_partition_of_the_pretrained_codes_is_the_result(blobs, monkeypatch):
    X, _ = blobs
    model, graphs = rounds_of(X, 0, monkeypatch, head__settle=Schedule(epochs=200, batch_size=32))
    assert phases_of(model) == ["pretrain", "settle"]
    assert graphs == []
    assert np.array_equal(model.labels_, model.result_.start_labels)
    trained, _ = rounds_of(X, 1, monkeypatch)
    assert np.array_equal(model.result_.start_labels, trained.result_.start_labels)
    assert not np.array_equal(model.result_.embedding, trained.result_.embedding)


@pytest.mark.parametrize(("hold", "guided"), [(0.0, (0, 0)), (1 / 3, (2, 2)), (0.5, (3, 3)), (1.0, (6, 6))])
def test_guide_holds_for_its_share_of_every_round(hold, guided, blobs, monkeypatch):
    model, _ = rounds_of(blobs[0], 2, monkeypatch, guide__hold=hold)
    lines = [line for line in model.result_.history if line["phase"].startswith("cluster")]
    for number, count in enumerate(guided, 1):
        held = [line["guide"] > 0 for line in lines if line["phase"] == f"cluster-{number}"]
        assert held == [True] * count + [False] * (6 - count)


@pytest.mark.parametrize("renew", [True, False])
def test_renewed_classes_guide_the_next_round(renew, monkeypatch):
    X = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32)  # without groups, where partitions move
    seen, left, cost = {}, {}, Guide.cost

    def spy(self, log_p, batch, labels):
        found = cost(self, log_p, batch, labels)
        seen.setdefault(len(left), []).append((labels.clone(), bool(found > 0)))
        return found

    class Ends(Callback):
        def on_phase_end(self, session, phase):
            if phase.name.startswith("cluster"):
                left[phase.name] = session.map(phase.model.assign, phase.model).argmax(1)

    monkeypatch.setattr(Guide, "cost", spy)
    model, _ = rounds_of(X, 2, monkeypatch, head__renew=renew, guide__hold=0.5, trainer__callbacks=(Ends(),))
    start = torch.from_numpy(model.result_.start_labels)
    assert all(torch.equal(labels, start) for labels, _ in seen[0])
    wanted = left["cluster-1"] if renew else start
    assert not torch.equal(left["cluster-1"], start), "nothing to tell apart"
    assert all(torch.equal(labels, wanted) for labels, _ in seen[1])
    assert [np.mean([guided for _, guided in seen[number]]) for number in (0, 1)] == [0.5, 0.5]


def test_surest_rows_of_every_class_are_led():
    p = torch.softmax(2 * torch.randn(1_000, 3, generator=torch.Generator().manual_seed(0)), 1)
    classes, led = p.argmax(1), SpectralHead(sure=0.75).renewed(p)
    for own in range(3):
        most = p[classes == own].amax(1)
        kept = led[classes == own] >= 0
        assert kept.sum() == len(most) - len(most) // 4
        assert most[kept].min() >= most[~kept].max()
    assert torch.equal(led[led >= 0], classes[led >= 0])
    assert torch.equal(SpectralHead().renewed(p), classes)

    at = Progress(0, 1, 0, 10)
    batch, guide = Batch(p, torch.arange(1_000), at), Guide(pull=2.0)
    costs = torch.where(led >= 0, -p.log().gather(1, classes.unsqueeze(1)).squeeze(1), 0.0)
    assert guide.cost(p.log(), batch, led).item() == pytest.approx(2 * costs.mean().item(), rel=1e-5)
    assert guide.cost(p.log(), batch, torch.full_like(led, -1)) == 0


def test_weights_by_variance_are_weights_by_values_times_the_variance(blobs):
    X, _ = blobs
    scaler = small("dual_autoencoder", n_clusters=3, epochs=1).fit(X).scaler_
    variance = scaler.variance(as_rows(X))
    assert variance == pytest.approx(scaler(torch.from_numpy(X)).double().var(0, correction=0).sum().item(), rel=1e-5)
    values = {"dual__clean": 2.0, "dual__relative": 3.0, "dual__noisy": 0.5, "dual__unit": "values"}
    shares = {key: value * variance for key, value in values.items() if key != "dual__unit"}
    one, other, third = (
        small("dual_autoencoder", n_clusters=3, epochs=2).set_params(**params).fit(X).result_.embedding
        for params in (values, {**shares, "dual__unit": "variance"}, {**values, "dual__unit": "variance"})
    )
    np.testing.assert_allclose(one, other, atol=1e-3)
    assert not np.allclose(one, third, atol=1e-3)


def test_a_pretrained_network_serves_what_differs_later_alone(blobs, tmp_path):
    X, _ = blobs

    def fit(folder=tmp_path, **params):
        where = {} if folder is None else {"trainer__cache_dir": str(folder)}
        model = small("dual_autoencoder", n_clusters=3, epochs=3).set_params(**where, **params).fit(X)
        return model.result_.embedding, any(event["kind"] == "taken over" for event in model.result_.events)

    first, taken = fit()
    assert not taken
    same, taken = fit()
    assert taken
    np.testing.assert_array_equal(first, same)
    other, taken = fit(head__weight=0.5)
    assert taken
    np.testing.assert_array_equal(other, fit(None, head__weight=0.5)[0])
    for different in ({"dual__clean": 1.0}, {"information__weight": 0.5}, {"head__joint": False}):
        assert not fit(**different)[1]


def test_what_has_no_weight_is_not_computed(blobs, monkeypatch):
    decoded, judged = [], []
    row, information = DualModel.row, DualModel.information
    monkeypatch.setattr(DualModel, "row", lambda self, z: decoded.extend([1] * z.requires_grad) or row(self, z))
    monkeypatch.setattr(DualModel, "information", lambda self, *seen: judged.append(1) or information(self, *seen))
    X, batches = blobs[0], 6 * 5  # of six epochs
    rounds_of(X, 0, monkeypatch)
    assert (len(decoded), len(judged)) == (2 * batches, batches)
    decoded.clear()
    judged.clear()
    model, _ = rounds_of(X, 0, monkeypatch, dual__relative=0.0, information__weight=0.0)
    assert (len(decoded), len(judged)) == (batches, 0)
    assert set(model.result_.history[0]) & {"clean", "relative", "noisy", "information"} == {"clean"}
