"""What people call the arguments, methods and gradients of a layer, and what such a name means."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

# What people call things; of a name that is in none of them its place decides.
NAMES = {
    "x": "x xs inp input inputs data z bottom x_in in_data batch features",
    "gamma": "gamma g gam weight w scale γ gammas",
    "beta": "beta b bias shift offset β betas",
    "eps": "eps epsilon ε bn_eps",
    "mean": "mean mu running_mean moving_mean mean_running global_mean pop_mean mu_running μ",
    "var": "var variance running_var moving_var moving_variance running_variance global_var pop_var sigma2 sigma_sq",
    "training": "training train is_training trainmode train_mode is_train",
    "mode": "mode phase",
    "momentum": "momentum decay",
    "rate": "lr learning_rate eta alpha",
    "settings": "opts settings",
    "out": "out y output",
    "dout": "dout dy grad grad_output grad_out dl_dy upstream delta g_out dldy gout",
    "cache": "cache ctx saved residuals res context state tape",
    "width": "num_features n_features features dim dims d size channels num_channels n c in_features input_size "
    "n_hidden hidden n_out units shape input_dim",
}
SETTINGS = ("param", "params", "config", "cfg")  # what the name of a dictionary of settings ends with
MEANING = {name: meaning for meaning, names in NAMES.items() for name in names.split()}
METHODS = (  # what forward and backward are called in a class
    ("forward", "backward"),
    ("__call__", "backward"),
    ("fprop", "bprop"),
    ("forward_pass", "backward_pass"),
    ("forward_propagation", "backward_propagation"),
)
GRADIENTS = {
    "gamma": "dgamma d_gamma grad_gamma gamma_grad dg dweight grad_weight weight_grad dw dscale",
    "beta": "dbeta d_beta grad_beta beta_grad db dbias grad_bias bias_grad dshift",
}
ANSWER_KEYS = (("dx", "x", "dinput", "din"), ("dgamma", "gamma", "dweight", "dw"), ("dbeta", "beta", "dbias", "db"))


def parameters(function: Callable) -> tuple[list[str] | None, dict[str, Any]]:
    """The names of its required parameters, and its optional ones with their defaults; (None, {}) where unknown."""
    try:
        every = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None, {}
    usual = [p for p in every if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    required = [p.name for p in usual if p.default is p.empty and p.kind is not p.KEYWORD_ONLY]
    if not required and any(p.kind is p.VAR_POSITIONAL for p in every):
        return None, {}
    return required, {p.name: p.default for p in usual if p.default is not p.empty or p.kind is p.KEYWORD_ONLY}


def bare(name: str) -> str:
    """A name without underscores around it and in small letters."""
    return name.strip("_").lower()


def meaning_of(name: str) -> str | None:
    """What a parameter of such a name is, or None."""
    name = bare(name)
    return MEANING.get(name) or ("settings" if name.endswith(SETTINGS) else None)


def meanings_of(names: Sequence[str], by_place: Sequence[str]) -> list[str | None]:
    """What each required parameter is: by its name, or by its place among x, gamma, beta, eps."""
    meanings = [meaning_of(name) for name in names]
    if meanings and meanings[0] in (None, "width", "cache", "dout", "out"):
        meanings[0] = "x"
    free = iter([meaning for meaning in by_place if meaning not in meanings])
    forward = {"x", "gamma", "beta", "eps", "mean", "var", "training", "mode", "momentum", "settings"}
    return [meaning if meaning in forward else next(free, None) for meaning in meanings]
