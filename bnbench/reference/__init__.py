"""The oracle: gradients in double-double arithmetic with an error bound and kink accounting."""

from bnbench.reference.oracle import Reference, reference

__all__ = ["Reference", "reference"]
