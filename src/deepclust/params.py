"""Annotated parameter types, frozen parameter objects, and the one sentence that rejects a bad value.

A signature says what is legal, next to the default: ``n_init: Count = 1``. `check_parameters` reads the
annotations; nothing else validates parameters.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
from collections.abc import Callable, Mapping
from functools import cache
from numbers import Integral, Real
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

from sklearn.base import BaseEstimator

from deepclust.errors import InvalidParameterError, shown


@dataclasses.dataclass(frozen=True)
class Interval:
    """Legal range of a number; ``open_low`` and ``open_high`` exclude the ends."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return above and below

    def __str__(self) -> str:
        parts = []
        if self.low > -math.inf:
            parts.append(f"{'>' if self.open_low else '>='} {self.low:g}")
        if self.high < math.inf:
            parts.append(f"{'<' if self.open_high else '<='} {self.high:g}")
        return " and ".join(parts)


ClusterCount = Annotated[int, Interval(1)]  # one is legal, as in scikit-learn: the model without clusters
Count = Annotated[int, Interval(1)]
NonNegativeInt = Annotated[int, Interval(0)]
PositiveFloat = Annotated[float, Interval(0, open_low=True)]
NonNegativeFloat = Annotated[float, Interval(0)]
Share = Annotated[float, Interval(0, 1)]
PositiveShare = Annotated[float, Interval(0, 1, open_low=True)]
ShareBelowOne = Annotated[float, Interval(0, 1, open_high=True)]
RandomState = Any  # None, an int, or a numpy generator; sklearn's own check names what is wrong
Auto = Literal["auto"]


def _accepts(hint: Any, value: Any) -> bool:
    """Tell whether a value is legal under an annotation."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Annotated:
        return _accepts(arguments[0], value) and value in arguments[1]
    if origin in (Union, types.UnionType):
        return any(_accepts(option, value) for option in arguments)
    if origin is Literal:
        return any(type(value) is type(option) and value == option for option in arguments)
    if origin is tuple:
        return _accepts_tuple(arguments, value)
    if origin is Callable or hint is Callable:
        return callable(value)
    if hint is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(float(value))
    if hint is None:
        return value is None
    return isinstance(value, origin or hint)


def _accepts_tuple(arguments: tuple[Any, ...], value: Any) -> bool:
    if not isinstance(value, (tuple, list)):
        return False
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return all(_accepts(arguments[0], item) for item in value)
    return len(value) == len(arguments) and all(map(_accepts, arguments, value))


def _describe(hint: Any) -> str:
    """Say in words what an annotation allows."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return f"{_describe(arguments[0])} {arguments[1]}"
    if origin in (Union, types.UnionType):
        options = [_describe(option) for option in arguments]
        return ", ".join(options[:-1]) + f" or {options[-1]}"
    if origin is Literal:
        return " or ".join(repr(option) for option in arguments)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"a tuple of ({_describe(arguments[0])})"
        return f"a tuple ({', '.join(map(_describe, arguments))})"
    if origin is Callable or hint is Callable:
        return "a callable"
    if hint in (None, type(None)):
        return "None"
    name = getattr(origin or hint, "__name__", str(hint))
    article = "an" if name[0] in "aeiouAEIOU" else "a"
    return f"{article} {name}"


@cache
def _hints(cls: Any) -> Mapping[str, Any]:
    owner = cls if dataclasses.is_dataclass(cls) else cls.__init__
    hints = get_type_hints(owner, include_extras=True)
    hints.pop("return", None)
    return hints


def check_parameters(owner: object) -> None:
    """Check every parameter of an estimator or parameter object against its annotation.

    Parameters
    ----------
    owner
        Anything whose parameters are annotated attributes of the same names.

    Raises
    ------
    InvalidParameterError
        Naming the parameter, what it must be, and what came instead.
    """
    kind: Any = type(owner)
    for name, hint in _hints(kind).items():
        value = getattr(owner, name)
        if not _accepts(hint, value):
            got = f"Got {shown(value)} instead."
            raise InvalidParameterError(
                f"The {name!r} parameter of {type(owner).__name__} must be {_describe(hint)}. {got}"
            )


class AbstractParameters(BaseEstimator):
    """A frozen group of parameters, such as `Schedule` or `Trainer`.

    Subclasses are frozen dataclasses. They check themselves on construction, nest in scikit-learn's
    ``set_params`` (which puts a changed copy in place, so that a default shared by estimators never leaks), and
    calling one gives a copy with some fields changed: ``schedule(lr=1e-4)``.
    """

    def __post_init__(self) -> None:
        check_parameters(self)
        self._check()

    def _check(self) -> None:
        """Check what a single field's annotation cannot say."""

    def __call__(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return replaced(self, changes)

    def set_params(self, **params: Any) -> Self:
        """Return a copy with some fields changed; the object itself is frozen."""
        return replaced(self, params)


# Metadata of a field that a parameter object did not have when it was first in use: descriptions leave it out while it
# has its default, so that files and records from before keep their meaning.
ADDED: dict[str, bool] = {"added": True}


def described(parameters: AbstractParameters) -> dict[str, Any]:
    """Return the fields that a description names."""
    values = parameters.get_params(deep=False)
    fields = {field.name: field for field in dataclasses.fields(parameters)}
    return {
        name: value
        for name, value in values.items()
        if not (fields[name].metadata.get("added") and value == fields[name].default)
    }


def nested(params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Group ``{"trainer__device": v}`` into ``{"trainer": {"device": v}}``; a plain name groups under ``""``."""
    groups: dict[str, dict[str, Any]] = {}
    for key, value in params.items():
        name, _, rest = key.partition("__")
        groups.setdefault(name, {})[rest] = value
    return groups


_P = TypeVar("_P", bound="AbstractParameters")


def replaced(parameters: _P, params: Mapping[str, Any]) -> _P:
    """Return a copy of a parameter object with fields changed, nested names (``decay__floor``) included."""
    legal = parameters.get_params(deep=False)
    changes: dict[str, Any] = {}
    for name, group in nested(params).items():
        if name not in legal:
            raise InvalidParameterError(
                f"{type(parameters).__name__} has no parameter {name!r}; it has {', '.join(sorted(legal))}."
            )
        value = group.pop("", legal[name])
        changes[name] = _with_nested(type(parameters).__name__, name, value, group)
    return dataclasses.replace(parameters, **changes)


def _with_nested(owner: str, name: str, value: Any, group: Mapping[str, Any]) -> Any:
    if not group:
        return value
    if not isinstance(value, AbstractParameters):
        raise InvalidParameterError(
            f"The {name!r} parameter of {owner} is {shown(value)}, which has no field {next(iter(group))!r} to set."
        )
    return replaced(value, group)


def apply_params(estimator: BaseEstimator, params: Mapping[str, Any]) -> None:
    """Set parameters on an estimator, replacing its frozen parameter objects by changed copies."""
    legal = estimator.get_params(deep=False)
    owner = type(estimator).__name__
    for name, group in nested(params).items():
        if name not in legal:
            raise InvalidParameterError(
                f"Invalid parameter {name!r} for estimator {owner}; it has {', '.join(sorted(legal))}."
            )
        value = group.pop("", legal[name])
        setattr(estimator, name, _with_nested(owner, name, value, group))


def defaults(cls: type) -> dict[str, Any]:
    """Return the default value of every parameter of a class."""
    signature = inspect.signature(cls)
    return {name: parameter.default for name, parameter in signature.parameters.items()}
