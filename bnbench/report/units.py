"""Numbers as people read them: seconds, bytes, counts and ratios with units and honest digits."""

from __future__ import annotations

import math

import pandas as pd

GAP = "\u202f"  # narrow no-break space: thousands, and between a number and its unit
TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
BYTES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))
WORDS = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))


def seconds(value: float, low: float = math.nan, high: float = math.nan) -> str:
    """Time in s, ms, µs or ns; with an interval [low, high], to the digit where its half-width begins.

    Two to four significant digits (one where the interval is as wide as the value); three without an
    interval, two where it has no width, since a lone sample justifies no more.
    """
    if not math.isfinite(value):
        return "–"
    if value <= 0:
        return f"0{GAP}s"
    digits = 3
    if high > low:
        place = math.floor(math.log10((high - low) / 2))
        rounded = max(round(value / 10.0**place), 1)  # may have a digit more than `value`: 9.96 is 10.0
        digits = min(4, max(1, math.floor(math.log10(rounded)) + 1))
    elif high == low:
        digits = 2
    value = significant(value, digits)
    scale, unit = next((pair for pair in TIMES if value >= pair[0] * (1 - 1e-12)), TIMES[-1])
    decimals = max(0, digits - 1 - math.floor(math.log10(value / scale) + 1e-12))
    return f"{grouped(value / scale, decimals)}{GAP}{unit}"


def bytes_(value: float) -> str:
    """Bytes in binary units, three significant digits."""
    if not math.isfinite(value):
        return "–"
    scale, unit = next((pair for pair in BYTES if abs(value) >= pair[0]), BYTES[-1])
    return f"{significant(value / scale, 3):g}{GAP}{unit}"


def count(value: float) -> str:
    """Count with its thousands set apart, in words from a million: 10 000, 2.5 million."""
    if pd.isna(value):
        return "–"
    for scale, word in WORDS:
        if abs(value) >= scale:
            return f"{significant(value / scale, 3):g} {word}"
    return f"{grouped(value, 0)}"


def factor(value: float) -> str:
    """Ratio to two significant digits below 10, whole above, and never in exponents above 0.0001."""
    if not math.isfinite(value):
        return "–"
    if value >= 9.95:
        return grouped(value, 0)
    return f"{value:.1f}" if value >= 0.995 else f"{value:#.2g}"


def at_least(value: float) -> str:
    """Ratio as `factor` says it, but never rounded up."""
    digits = 0 if value >= 10 else 1
    return grouped(math.floor(value * 10**digits) / 10**digits, digits)


def percent(value: float) -> str:
    """Share as a percentage to two significant digits: 0.65 %, 31 %."""
    if not math.isfinite(value):
        return "–"
    return f"{significant(100 * value, 2):g}{GAP}%"


def scientific(value: float) -> str:
    """Two significant digits, with an exponent: 3.1e-16."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞"
    return "0" if value == 0 else f"{value:.1e}"


def plural(number: int, noun: str) -> str:
    """`1 cell`, `2 cells`."""
    return f"{count(number)} {noun}" + ("" if number == 1 else "s")


def significant(value: float, digits: int) -> float:
    """`value` rounded to so many significant digits."""
    return float(f"{value:.{digits - 1}e}")


def grouped(value: float, decimals: int) -> str:
    """Fixed-point with narrow spaces between thousands (a four-figure number included)."""
    return f"{value:,.{decimals}f}".replace(",", GAP)
