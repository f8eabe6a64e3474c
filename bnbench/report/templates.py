"""Jinja as every page uses it: data escaped, blocks without lines of their own, the report's templates for all."""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path

import jinja2
from markupsafe import Markup, escape


def environment(package: str = "bnbench.report", *, escaped: bool = True) -> jinja2.Environment:
    """The templates of a package, and of this one beside them; `escaped` is for HTML."""
    loaders = [jinja2.PackageLoader(name, ".") for name in dict.fromkeys((package, "bnbench.report"))]
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders), autoescape=escaped, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {"code": code, "formula": formula}
    return made


def svg_uri(path: Path) -> Markup:
    """A drawing as an address that holds all of it, to stand between double quotes: no reader's escapes are needed."""
    svg = " ".join(path.read_text(encoding="utf-8").split()).replace('"', "'")
    return Markup("data:image/svg+xml," + urllib.parse.quote(svg, safe=" '()*,-./:;=?@[]_~+!$"))


def code(text: str) -> Markup:
    """The text escaped, with what stands between backticks as code."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(part) if k % 2 else part for k, part in enumerate(parts))


def formula(line: str) -> Markup:
    """A line of mathematics escaped, its indices (x_ij) set low."""
    return Markup(re.sub(r"_([A-Za-z]+)", r"<sub>\1</sub>", str(escape(line))))
