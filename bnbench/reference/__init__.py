"""The reference: gradients in double-double arithmetic, and how much a correct answer may differ."""

from bnbench.reference.network import Reference, reference

__all__ = ["Reference", "reference"]
