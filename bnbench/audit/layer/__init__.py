"""Anybody's normalised layer, judged in its own conventions; and checks of such a layer, judged by planted mistakes.

`calls` has a layer of any style be called one way; `conventions` reads off its forward what it computes; `terms` fits
dx = (γ/s)(a S - b mean(S) - c X̂ mean(S ⊙ X̂)) to its backward and names the factors; `places` says where what they do
not explain lies; `verdict` and `words` say it; `files` finds the layers of a file; `planted` judges checks.
"""

from bnbench.audit.layer.planted import CanFail, can_fail
from bnbench.audit.layer.verdict import LayerVerdict, check_layer

__all__ = ["CanFail", "LayerVerdict", "can_fail", "check_layer"]
