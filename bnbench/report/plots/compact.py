"""Matplotlib's SVG in a quarter of its bytes: the same drawing to a hundredth of a point."""

from __future__ import annotations

import re

DECIMALS = 2
NUMBER = re.compile(r"-?\d+\.\d+")
PLACED = re.compile(r' (?:d|x|y|transform)="[^"]*"')


def compact(svg: str) -> str:
    """Round coordinates, share styles as classes, and drop what no reader of the drawing sees."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # nothing refers to a group
    svg = PLACED.sub(lambda found: _rounded(found[0]), svg)
    svg = re.sub(r' d="[^"]*"', lambda found: _joined(found[0]), svg)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    svg = re.sub(r"> <", "><", svg)
    while svg != (bare := re.sub(r"<g>((?:<use [^>]*/>|<path [^>]*/>)*)</g>", r"\1", svg)):
        svg = bare
    svg = re.sub(r' transform="translate\((\S+) 0\)"/>', r' x="\1"/>', svg)  # a glyph's place on its line
    svg = svg.replace(' x="0"/>', "/>").replace("xlink:href=", "href=")
    short = {name: f"i{place}" for place, name in enumerate(dict.fromkeys(re.findall(r' id="([^"]+)"', svg)))}
    svg = re.sub(r'( id="|#)([\w-]+)', lambda found: found[1] + short.get(found[2], found[2]), svg)
    names: dict[str, str] = {}
    svg = re.sub(r' style="([^"]*)"', lambda found: f' class="{names.setdefault(found[1], f"s{len(names)}")}"', svg)
    rules = "".join(f".{name}{{{style.replace(': ', ':').replace('; ', ';')}}}" for style, name in names.items())
    return svg.replace("</style>", f"{rules}</style>", 1) + "\n"


def _rounded(attribute: str) -> str:
    if "scale" in attribute:  # a factor of a glyph's size keeps its digits, as does the place beside it
        return attribute
    return NUMBER.sub(lambda found: f"{float(found[0]):.{DECIMALS}f}".rstrip("0").rstrip("."), attribute)


def _joined(path: str) -> str:
    """A path's letters without the blanks around them."""
    return ' d="' + re.sub(r"\s*([A-Za-z])\s*", r"\1", path[4:-1]).strip() + '"'
