"""Gradients over rows that come in chunks: of more rows than memory holds, and on more than one machine.

What a chunk answers with is `Sums`; `Chunked` is a step over them, whoever calls the chunks; `on_dask` is Dask's way.
"""

from bnbench.chunked.network import Chunked
from bnbench.chunked.phases import Phase
from bnbench.chunked.rows import InTurn, gradients, prepare
from bnbench.chunked.sums import Sums, merge

__all__ = ["Chunked", "InTurn", "Phase", "Sums", "gradients", "merge", "prepare"]
