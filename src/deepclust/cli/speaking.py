"""What every command shares: common options, answers as words or JSON, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.")]


def say(facts: dict[str, Any], words: str, quiet: bool, as_json: bool) -> None:
    """Print facts as JSON, or words, or nothing."""
    if as_json:
        typer.echo(json.dumps(facts))
    elif not quiet:
        typer.echo(words)


def one_of(option: str, value: str, legal: tuple[str, ...]) -> str:
    """Refuse what is not among the legal values."""
    if value not in legal:
        fail(f"{option} must be one of {', '.join(legal)}. Got {value!r} instead.", 2)
    return value


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuse to write over a file unasked."""
    if path.exists() and not overwrite:
        fail(f"{path} exists. Choose another --out, or pass --overwrite.", 4)


def fail(message: str, code: int) -> NoReturn:
    """End with a sentence and an exit code."""
    typer.echo(f"deepclust: {message}", err=True)
    raise SystemExit(code)
