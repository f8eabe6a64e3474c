"""The implementations: one a file, one interface (`base.Variant`), one registry."""

from bnbench.variants.base import PluginError, Variant, load_plugin, variant, variants

__all__ = ["PluginError", "Variant", "load_plugin", "variant", "variants"]
