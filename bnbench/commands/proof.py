"""`audit --proof`: the theorems, checked by Coq, and the rulings that they back."""

import argparse
import sys

from bnbench.commands.common import FAULT, OK, print_json


def prove(options: argparse.Namespace) -> int:
    """Check the proof and print what it says; where Coq is missing, what there is to check and how. The exit code."""
    from bnbench.audit import claims
    from bnbench.commands.tables import proof_tables
    from bnbench.proof import ProofError, check

    say = (lambda text: None) if options.json else (lambda text: print(text, file=sys.stderr))
    try:
        proof = check(say=say)
    except ProofError as error:
        print(f"bnbench: the proof was not checked: {error}", file=sys.stderr)
        return FAULT
    rulings = {ruling.id: ruling for ruling in claims.rule_all()}
    if options.json:
        print_json(proof.plain() | {"rulings": {name: ruling.ruling for name, ruling in rulings.items()}})
    else:
        proof_tables(proof, rulings)
    return OK
