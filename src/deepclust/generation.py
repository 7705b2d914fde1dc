"""Generation as verbs: new members of clusters, the way between two rows, what one dimension of the code does."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deepclust.engine.seeds import integer_seed
from deepclust.errors import InvalidDataError, InvalidParameterError, NotSupportedError
from deepclust.model import AbstractDecodingModel, AbstractGenerativeModel
from deepclust.naming import Naming

Array = npt.NDArray[Any]

_CHUNK = 256  # codes decoded at a time
_DRAWS_A_MEMBER = 1_000  # at most, for each member that a filter lets through
_LEAST_DRAWS = 10_000


@dataclass(frozen=True)
class Drawn:
    """New rows; unpacks to ``X, clusters``.

    Attributes
    ----------
    X
        Rows in the shape and units of the data that were fitted.
    clusters : (n,) int64
        The cluster that each was drawn from.
    acceptance : (k,) float or None
        Share of the draws that the filter let through, by cluster; NaN where none was drawn, None without a filter.
    """

    X: Array
    clusters: npt.NDArray[np.int64]
    acceptance: npt.NDArray[np.float64] | None = None

    def __iter__(self) -> Iterator[Array]:
        return iter((self.X, self.clusters))


class GenerationMixin:
    """Verbs of estimators whose model decodes."""

    n_clusters: int
    layout_: Any
    naming_: Naming | None
    _map: Callable[..., Tensor]
    _model: Callable[[], Any]
    _to_user: Callable[[Tensor], Array]

    def reconstruct(self, X: Any) -> Array:
        """Encode and decode rows; the answer has the shape and units of the data that were fitted."""
        model = self._decoder("reconstruct")
        return self._to_user(self._map(X, lambda x: model.decode(model.embed(x))))

    def sample(
        self,
        n: int = 1,
        cluster: int | None = None,
        *,
        threshold: float | None = None,
        temperature: float = 1.0,
        random_state: Any = None,
    ) -> Drawn:
        """Draw new rows.

        Parameters
        ----------
        n
            How many.
        cluster
            From which cluster; None draws clusters by their weights.
        threshold
            Keep only codes that belong to their cluster with more than this probability. Draws are capped at a
            thousand a row, so that a dominated cluster cannot keep the loop from ending: what is missing then is
            missing in the answer, with a warning.
        temperature
            Factor on the spread of the codes; below 1 gives more typical members.
        random_state
            None, an int, or a NumPy generator.

        Returns
        -------
        Drawn
            ``X, clusters``, and the filter's acceptance rate.
        """
        model = self._generator("sample")
        self._check_sample(n, cluster, threshold, temperature)
        generator = torch.Generator().manual_seed(integer_seed(random_state))
        naming = self.naming_ or Naming.given({}, len(model.cluster_weights))
        parts = torch.arange(len(naming.names)) if cluster is None else naming.members(cluster)
        if len(parts) == 1:
            components = torch.full((n,), int(parts), dtype=torch.int64)
        else:
            drawn = torch.multinomial(model.cluster_weights[parts], n, replacement=True, generator=generator)
            components = parts[drawn]
        acceptance = None
        with torch.inference_mode():
            if threshold is None:
                codes = model.sample_codes(components, generator, temperature)
            else:
                codes, components, passed = _filtered(model, components, generator, temperature, threshold, naming)
                acceptance = _by_cluster(passed, naming)
        return Drawn(self._decode_codes(model, codes), torch.tensor(naming.into)[components].numpy(), acceptance)

    def interpolate(self, a: Any, b: Any, steps: int = 10) -> Array:
        """Return the rows on the straight way between the codes of two rows.

        Parameters
        ----------
        a, b
            One row each, or n rows each.
        steps
            Rows on the way, both ends counted.

        Returns
        -------
        X : (steps, ...) or (n, steps, ...)
        """
        model = self._decoder("interpolate")
        if steps < 2:
            raise InvalidParameterError(f"The 'steps' of {type(self).__name__}.interpolate must be >= 2. Got {steps}.")
        first, last = np.asarray(a), np.asarray(b)
        if first.shape != last.shape:
            raise InvalidDataError(f"interpolate needs two rows of one shape. Got {first.shape} and {last.shape}.")
        single = first.ndim == len(self.layout_.shape)
        ends = [self._map(x[None] if single else x, model.embed) for x in (first, last)]
        share = torch.linspace(0, 1, steps)[None, :, None]
        codes = (1 - share) * ends[0][:, None] + share * ends[1][:, None]
        rows = self._decode_codes(model, codes.flatten(0, 1))
        rows = rows.reshape(len(codes), steps, *rows.shape[1:])
        return rows[0] if single else rows

    def traverse(self, cluster: int, dim: int, steps: int = 9, span: float = 3.0) -> Array:
        """Return what one dimension of the code does to a cluster's mean member.

        Parameters
        ----------
        cluster
            Whose mean code is decoded.
        dim
            Dimension that varies.
        steps
            Number of rows.
        span
            From minus to plus this many of the cluster's standard deviations.

        Returns
        -------
        X : (steps, ...)
        """
        model = self._generator("traverse")
        means, deviations = model.code_moments
        for name, value, size in (("cluster", cluster, len(means)), ("dim", dim, means.shape[1])):
            if not 0 <= value < size:
                raise InvalidParameterError(
                    f"The {name!r} of {type(self).__name__}.traverse must be in 0..{size - 1}. Got {value!r}."
                )
        codes = means[cluster].repeat(steps, 1)
        codes[:, dim] += torch.linspace(-span, span, steps) * deviations[cluster, dim]
        return self._decode_codes(model, codes)

    def _decode_codes(self, model: AbstractDecodingModel, codes: Float[Tensor, "n d"]) -> Array:
        with torch.inference_mode():
            return self._to_user(torch.cat([model.decode(part) for part in torch.split(codes, _CHUNK)]))

    def _decoder(self, verb: str) -> AbstractDecodingModel:
        model = self._model()
        if not isinstance(model, AbstractDecodingModel):
            raise NotSupportedError(f"{type(self).__name__} has no decoder, so it cannot {verb}.")
        return model

    def _generator(self, verb: str) -> AbstractGenerativeModel:
        model = self._decoder(verb)
        if not isinstance(model, AbstractGenerativeModel):
            raise NotSupportedError(
                f"This {type(self).__name__} has no distribution of codes to {verb} from; "
                "TwoStage(partition='mixture'), VaDE, ClusterVAE, GMVAE, DCN and DualAutoencoderSpectral have one."
            )
        return model

    def _check_sample(self, n: int, cluster: int | None, threshold: float | None, temperature: float) -> None:
        checks = (
            ("n", n, n >= 1, "an int >= 1"),
            ("cluster", cluster, cluster is None or 0 <= cluster < self.n_clusters, f"in 0..{self.n_clusters - 1}"),
            ("threshold", threshold, threshold is None or 0 <= threshold < 1, "None or in [0, 1)"),
            ("temperature", temperature, temperature >= 0, ">= 0"),
        )
        for name, value, is_right, wanted in checks:
            if not is_right:
                raise InvalidParameterError(
                    f"The {name!r} of {type(self).__name__}.sample must be {wanted}. Got {value!r}."
                )
        if cluster is not None and self.naming_ is not None and self.naming_.into[cluster] != cluster:
            home = self.naming_.into[cluster]
            raise InvalidParameterError(f"Cluster {cluster} has been joined with cluster {home}; draw from that one.")


def _by_cluster(passed: npt.NDArray[np.float64], naming: Naming) -> npt.NDArray[np.float64]:
    """Return the mean rate of the components that were joined in each cluster and drawn from."""
    rates = np.full(len(passed), np.nan)
    for cluster in set(naming.into):
        drawn = passed[naming.members(cluster).numpy()]
        if not np.isnan(drawn).all():
            rates[cluster] = np.nanmean(drawn)
    return rates


def _filtered(
    model: AbstractGenerativeModel,
    clusters: Int64[Tensor, " n"],
    generator: torch.Generator,
    temperature: float,
    threshold: float,
    naming: Naming,
) -> tuple[Float[Tensor, "m d"], Int64[Tensor, " m"], npt.NDArray[np.float64]]:
    """Draw codes until enough of each cluster pass the filter, or the cap is reached."""
    acceptance = np.full(len(model.cluster_weights), np.nan)
    order, codes, short = [], [], []
    for cluster in torch.unique(clusters).tolist():
        places = torch.nonzero(clusters == cluster).flatten()
        found, drawn, accepted = [], 0, 0
        cap = _LEAST_DRAWS + _DRAWS_A_MEMBER * len(places)
        while accepted < len(places) and drawn < cap:
            size = min(4096, max(_CHUNK, 2 * len(places)))
            z = model.sample_codes(torch.full((size,), cluster), generator, temperature)
            proba = torch.cat([naming.joined(model.code_assignment(part)) for part in torch.split(z, _CHUNK)])
            kept = proba[:, naming.into[cluster]] > threshold
            found.append(z[kept])
            drawn, accepted = drawn + size, accepted + int(kept.sum())
        acceptance[cluster] = accepted / drawn
        codes.append(torch.cat(found)[: len(places)])
        order.append(places[: len(codes[-1])])
        if accepted < len(places):
            short.append(f"cluster {cluster}: {accepted} of {len(places)} in {drawn} draws")
    if short:
        warnings.warn(
            f"The filter threshold={threshold} let too few codes through ({'; '.join(short)}); fewer rows are "
            "returned. Lower the threshold or the temperature.",
            stacklevel=3,
        )
    back = torch.cat(order).argsort()
    return torch.cat(codes)[back], clusters[torch.cat(order).sort().values], acceptance
