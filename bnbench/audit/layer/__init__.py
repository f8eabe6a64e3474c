"""Anybody's normalised layer, judged in its own conventions; and checks of such a layer, judged by planted mistakes.

A layer is made callable in one way: `names` knows what people call things, `styles` makes one pair of functions of any
style, `kept` finds what an object keeps, `layouts` and `libraries` turn arrays, `calls` puts it together.
It is examined: `conventions` reads off its forward what it computes, `trials` draws batches, `answers` has what it
gave beside what is right, or `differences` says what is right; `examination` leads through it.
It is put in words: `dx` by `terms`, the factors of dx = (γ/s)(a S - b mean(S) - c X̂ mean(S ⊙ X̂)), and by `places`,
where what these do not explain lies; `affine` for dgamma and dbeta; `words` and `verdict`.
`files` finds the layers of a file; `planted` judges checks.
"""

from bnbench.audit.layer.examination import check_layer
from bnbench.audit.layer.planted import CanFail, can_fail
from bnbench.audit.layer.verdict import LayerVerdict

__all__ = ["CanFail", "LayerVerdict", "can_fail", "check_layer"]
