"""`list`: the variants, and why one cannot run here."""

import argparse
from typing import Any

from bnbench.commands.common import OK, load_variants, print_json


def add(commands: Any) -> None:
    """Add the command's parser."""
    listing = commands.add_parser("list", help="list the variants, and say how to add those that are not installed")
    listing.add_argument("--plugin", action="append", metavar="FILE.py", help="a plug-in file; may be repeated")
    listing.add_argument("--json", action="store_true", help="print as JSON")
    listing.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """`list`."""
    from concurrent.futures import ThreadPoolExecutor

    known = load_variants(options.plugin)
    with ThreadPoolExecutor(1) as pool:  # to ask R takes longer than all else, which meanwhile goes on here
        reasons = pool.map(lambda cls: cls.unavailable(), known.values())
        from bnbench.commands.tables import variant_table

    rows = []
    for (name, cls), reason in zip(known.items(), reasons, strict=True):
        words = " ".join((cls.__doc__ or "").split("\n\n")[0].split())
        rows.append(
            {
                "name": name,
                "family": cls.family,
                "device": cls.device,
                "available": not reason,
                "reason": reason,
            }
            | {"description": words, "algorithms": dict(cls.algorithms)}
        )
    if options.json:
        print_json(rows)
    else:
        variant_table(rows)
    return OK
