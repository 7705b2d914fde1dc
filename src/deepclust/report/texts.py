"""What the page says, in every language that it speaks."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from markupsafe import Markup, escape

LANGUAGES = ("en", "zh")


@cache
def texts() -> dict[str, dict[str, str]]:
    """Return every text by its key and language."""
    read: dict[str, dict[str, str]] = json.loads(
        files("deepclust.report").joinpath("templates", "texts.json").read_text(encoding="utf-8")
    )
    return read


def speak(key: str, **values: Any) -> Markup:
    """Return a text in every language, of which the page shows one. Values are data: they are escaped."""
    shown = {name: escape(value) for name, value in values.items()}
    said = texts()[key]
    return Markup("").join(
        Markup('<span lang="{}">{}</span>').format(language, Markup(escape(said[language])).format(**shown))
        for language in LANGUAGES
    )


def plain(key: str, language: str, **values: Any) -> str:
    """Return a text in one language, for attributes and titles."""
    return texts()[key][language].format(**values)
