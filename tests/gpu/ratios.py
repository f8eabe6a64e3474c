"""Our fastest variant on the GPU against the fastest framework there, beside the ratios asked: ratios.py SUMMARY.csv"""

import sys

import pandas

from bnbench.report import units

ASKED = {  # (N, p1, p2), regime: how many times as fast as the fastest framework
    ((1000, 64, 64), "fresh"): 3.0,
    ((100_000, 32, 64), "fixed"): 3.0,
    ((1_000_000, 32, 64), "fixed"): 3.0,
    ((100_000, 256, 256), "fresh"): 1.5,
    ((65_536, 1024, 1024), "fresh"): 1.1,
}


def fastest(rows, column="median_s"):
    """The row of the least time; None of none."""
    rows = rows[rows[column].notna()]
    return None if rows.empty else rows.loc[rows[column].idxmin()]


def ratios(table: pandas.DataFrame) -> list[dict]:
    """One row a size and regime, float32: ours, theirs, the ratio of their times, the share of the limit.

    The ratio is None where either is missing. Frameworks are what runs on the GPU in the family `autodiff`. A regime
    that no ratio is asked of is listed too.
    """
    here = table[(table["device"] == "cuda") & (table["dtype"] == "float32") & (table["status"] == "ok")]
    found = []
    for size in dict.fromkeys(size for size, _ in ASKED):
        for regime in ("fresh", "fixed"):
            same = (here["N"] == size[0]) & (here["p1"] == size[1]) & (here["p2"] == size[2])
            rows = here[same & (here["regime"] == regime)]
            framework = rows["family"] == "autodiff"
            ours, theirs = fastest(rows[~framework]), fastest(rows[framework])
            ratio = None if ours is None or theirs is None else float(theirs["median_s"] / ours["median_s"])
            asked = ASKED.get((size, regime))
            found.append(
                {
                    "N × p1 × p2": " × ".join(map(str, size)),
                    "regime": regime,
                    "ours": said(ours),
                    "fastest framework": said(theirs),
                    "ratio": ratio,
                    "asked": asked,
                    "met": None if asked is None else ratio is not None and ratio >= asked,
                    "share of the limit": None if ours is None else float(ours["limit_fraction"]),
                }
            )
    return found


def said(row):
    """A variant's name and its time."""
    if row is None:
        return "not measured"
    return f"{row['variant']} {units.seconds(row['median_s'], row['ci_low_s'], row['ci_high_s'])}"


def table_of(found: list[dict]) -> str:
    """The rows as Markdown."""
    words = {True: "yes", False: "no"}
    shown = [
        row
        | {name: "" if row[name] is None else f"{row[name]:.2f}" for name in ("ratio", "share of the limit")}
        | {"asked": "" if row["asked"] is None else f"≥ {row['asked']:g}", "met": words.get(row["met"], "")}
        for row in found
    ]
    return pandas.DataFrame(shown).replace("nan", "").to_markdown(index=False, disable_numparse=True)


if __name__ == "__main__":
    print(table_of(ratios(pandas.read_csv(sys.argv[1]))))
