"""The implementations: one a file, one interface (`base`), one registry (`registry`)."""

from bnbench.variants.base import Variant
from bnbench.variants.function import variant
from bnbench.variants.registry import PluginError, load_plugin, variants

__all__ = ["PluginError", "Variant", "load_plugin", "variant", "variants"]
