"""The gradient, proven: theorems of real numbers in `*.v`, checked by Coq, and what runs it and reads its answer.

The theorems speak of all data, of any N, p1, p2, ddof, eps and activation, and of real numbers: rounding and compilers
are not their subject. `Sums` has finite sums and the rules of calculus; `Layer` a normalised column; `Dense` a layer
with weights; `OneLayer`, `Deep` and `Head` the networks; `Matrix`, `Forms` and `Kronecker` the other forms of the
gradient; `Activations`, `Identities` and `Claims` what their names say.
"""

from bnbench.proof.check import Checked, Proof, ProofError, check, installed
from bnbench.proof.source import ALLOWED, claims, sources, theorems

__all__ = ["ALLOWED", "Checked", "Proof", "ProofError", "check", "claims", "installed", "sources", "theorems"]
