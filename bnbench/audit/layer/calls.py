"""A layer of any style, called one way: on rows and nodes, whatever its layout, library, dtype and arguments."""

import contextlib
import copy
import io
import linecache
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from bnbench.audit.layer import kept
from bnbench.audit.layer.layouts import LAYOUTS, Trial, from_rows, parameter_shapes, shape_in, to_rows
from bnbench.audit.layer.libraries import Manner, manners, numbers, shape_of
from bnbench.audit.layer.names import ANSWER_KEYS, GRADIENTS, NAMES, bare, meaning_of, meanings_of, parameters
from bnbench.audit.layer.styles import Refused, as_pair, beta_before_gamma, files_of
from bnbench.problem import Problem

HERE = os.path.dirname(__file__) + os.sep
EPS = Problem.eps  # that a layer is given whose eps is an argument without a default
WIDTHS = (4, 3, 5, 2, *range(6, 17), 32, 64)  # nodes, tried in turn: a layer may have its number built in
UNSETTLED = Manner("numpy", "float64", (), 0)  # before `Layer.settle`


class Raised(Exception):
    """What the author's code raised: the text says what, and in which line."""


class Layer:
    """A layer in whatever style, called on rows and nodes.

    Attributes:
        remarks: what is worth knowing and no mistake, in the order met.
        takes: of x, gamma, beta, eps, mean, var, what its forward is given.
        single: whether it computes in float32.
        default_eps: of its eps argument, or None.
    """

    def __init__(self, forward: Any, backward: Callable | None = None, layout: str = "NC") -> None:
        if layout not in LAYOUTS:
            raise ValueError(f"layout is {layout!r}; allowed are {', '.join(LAYOUTS)}")
        self.layout, self.single = layout, False
        self.remarks: dict[str, None] = {}
        self.takes: set[str | None] = set()
        self.default_eps: float | None = None
        self.forward, self.backward, self.make = as_pair(forward, backward)
        self.files = files_of(forward, backward)
        self._beta_first = beta_before_gamma(self.backward)
        self.manner = UNSETTLED
        self._rest: list = []  # what the last forward gave beside its output
        self._sort_arguments()

    # --- what it is given

    def _sort_arguments(self) -> None:
        owner = self.make
        if owner is not None:
            required, optional = parameters(owner) if isinstance(owner, type) else (None, {})
            self._constructor = required or []
            names = {meaning_of(name): name for name in optional}
            self._eps_of_constructor = names.get("eps")
            for name in self._constructor:
                if meaning_of(name) == "eps":
                    self._eps_of_constructor = name
            if self._eps_of_constructor:
                self.takes.add("eps")
                self.default_eps = _number(optional.get(self._eps_of_constructor))
        wanted, optional = parameters(self.forward)
        if wanted is None:
            wanted = ["x", "gamma", "beta"]
        self._wanted = meanings_of(wanted, ("x", "gamma", "beta", "eps"))
        unknown = [name for name, meaning in zip(wanted, self._wanted, strict=True) if meaning is None]
        if unknown or self._wanted[:1] != ["x"]:
            raise Refused(
                f"forward takes ({', '.join(wanted)}); allowed is forward(x, gamma, beta) or (x, gamma, beta, eps). "
                "A whole step, (X, y, G1, gamma, beta, G2), is judged by bnbench.diagnose, or audit --formula"
            )
        self._optional: dict[str, str] = {}
        for name, default in optional.items():
            meaning = meaning_of(name)
            if meaning in ("gamma", "beta", "eps", "training") and meaning not in self._wanted:
                self._optional[name] = meaning
            if meaning == "eps":
                self.default_eps = _number(default)
        self.takes |= {*self._wanted, *self._optional.values()}
        if "settings" in self.takes:
            self.takes.add("eps")

    def _given(self, meaning: Any, trial: Trial, arrays: dict[str, Any]) -> Any:
        if meaning in arrays:
            return arrays[meaning]
        if meaning == "settings":
            settings = {"mode": "train", "eps": trial.eps, "epsilon": trial.eps, "momentum": 0.9, "training": True}
            return settings | {name: arrays[name] for name in ("gamma", "beta")}
        return {"eps": trial.eps, "training": True, "mode": "train", "momentum": 0.9, "rate": 0.0}[meaning]

    def statistics(self, width: int) -> tuple[np.ndarray, np.ndarray]:
        """The mean and variance that a forward that takes them is given."""
        j = np.arange(width)
        return 0.3 + 0.2 * j, 0.7 + 0.4 * j

    # --- the calls

    def out(self, trial: Trial) -> np.ndarray:
        """The layer's output (M,D)."""
        return self._forward(trial, self._arrays(trial), self._instance(trial))[0]

    def gradients(self, trial: Trial) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The output (M,D), and what the backward answers to the trial's dout: "dx" (M,D), "dgamma", "dbeta"."""
        arrays, owner = self._arrays(trial), self._instance(trial)
        before = {name: np.array(numbers(array)) for name, array in arrays.items()}
        out, raw, cache = self._forward(trial, arrays, owner)
        dout = from_rows(self.layout, np.asarray(trial.dout), trial)
        given = self.manner.array(dout, like=raw)
        arrays |= {"dout": given, "cache": cache, "out": raw}
        answer = self._call(self._bound(self.backward, owner), self._backward_arguments(arrays, trial, cache))
        for name in ("x", "gamma", "beta"):
            if name in before and not np.array_equal(before[name], numbers(arrays[name])):
                self.remark(f"it overwrites its argument {name}")
        if not np.array_equal(numbers(given), numbers(self.manner.array(dout, like=raw))):
            self.remark("backward overwrites its argument dout")
        return out, self._answers(answer, trial, owner)

    def remark(self, text: str) -> None:
        """Keep something that is worth knowing and no mistake."""
        self.remarks[text] = None

    def _forward(self, trial: Trial, arrays: dict[str, Any], owner: Any) -> tuple[np.ndarray, Any, Any]:
        """The output in rows, as it came, and what forward keeps for backward."""
        args = [self._given(meaning, trial, arrays) for meaning in self._wanted]
        named = {name: self._given(meaning, trial, arrays) for name, meaning in self._optional.items()}
        value = self._call(self._bound(self.forward, owner), (args, named))
        expected = shape_in(self.layout, trial)
        several = isinstance(value, tuple | list) and len(value) > 0 and shape_of(value) != expected
        raw, *rest = value if several else (value,)
        shapes = [shape_of(one) for one in rest]
        if shape_of(raw) != expected and shapes.count(expected) == 1:
            place = shapes.index(expected)
            raw, rest[place] = rest[place], raw
            self.remark(f"forward gives its output in place {place + 2}; (out, cache) is the usual order")
        cache = None if not rest else rest[0] if len(rest) == 1 else tuple(rest)
        self._rest = rest
        out = self._read(raw, "forward")
        if out.shape != expected:
            raise Raised(f"forward gives an output of shape {out.shape} for x of shape {expected}")
        return to_rows(self.layout, out), raw, cache

    def _backward_arguments(self, arrays: dict[str, Any], trial: Trial, cache: Any) -> tuple[list, dict[str, Any]]:
        names, optional = parameters(self.backward)
        rest = list(self._rest)
        if names is None:
            return ([arrays["dout"], cache][: 1 + bool(rest)]), {}
        meanings = [meaning_of(name) for name in names]
        if "dout" not in meanings:  # the first whose name says nothing else
            known = ("cache", "x", "gamma", "beta", "eps", "mean", "var", "settings")
            first = next((i for i, meaning in enumerate(meanings) if meaning not in known), 0)
            meanings[first] = "dout"
        if len(meanings) == 2 and len(rest):  # (dout, cache), whatever it is called
            meanings[1 - meanings.index("dout")] = "cache"
        free = iter(rest)
        args = []
        for name, meaning in zip(names, meanings, strict=True):
            if meaning == "cache":
                if not rest:
                    raise Raised(
                        f"backward takes {name}, and forward gives the output alone; allowed is to return (out, cache)"
                    )
                args.append(cache)
            elif meaning in arrays and not (meaning in ("mean", "var", "out") and rest):
                args.append(arrays[meaning])
            elif meaning in ("eps", "settings", "rate", "training", "mode", "momentum"):
                args.append(self._given(meaning, trial, arrays))
            else:
                try:
                    args.append(next(free))
                except StopIteration:
                    raise Raised(
                        f"backward takes ({', '.join(names)}), and nothing is known to give for {name}; allowed is "
                        "backward(dout, cache)"
                    ) from None
        named = {}
        for name in optional:
            meaning = meaning_of(name)
            if meaning == "eps" and "eps" in self.takes:
                named[name] = trial.eps
            elif meaning in ("gamma", "beta", "x") and meaning in arrays and optional[name] is None:
                named[name] = arrays[meaning]
        return args, named

    def _answers(self, answer: Any, trial: Trial, owner: Any) -> dict[str, np.ndarray]:
        """What backward gave, by name, in whatever order or place it gave it."""
        if isinstance(answer, dict):
            keys = {bare(key).replace("_", ""): value for key, value in answer.items()}
            given = [next((keys[name] for name in names if name in keys), None) for names in ANSWER_KEYS]
        elif isinstance(answer, tuple | list) and len(answer) > 0 and shape_of(answer) != shape_in(self.layout, trial):
            given = list(answer[:3])
        else:
            given = [answer]
        shape = shape_in(self.layout, trial)
        shapes = [shape_of(value) for value in given]
        if shapes[0] != shape and shapes.count(shape) == 1:
            place = shapes.index(shape)
            given.insert(0, given.pop(place))
            self.remark(f"backward gives dx in place {place + 1}; (dx, dgamma, dbeta) is the usual order")
        answers: dict[str, Any] = dict(zip(("dx", "dgamma", "dbeta"), given, strict=False))
        if self._beta_first and len(given) == 3:
            answers["dgamma"], answers["dbeta"] = answers["dbeta"], answers["dgamma"]
            self.remark("backward gives dbeta before dgamma; (dx, dgamma, dbeta) is the usual order")
        if owner is not None:
            for key, names in (("dgamma", GRADIENTS["gamma"]), ("dbeta", GRADIENTS["beta"])):
                if answers.get(key) is None:
                    answers[key] = kept.attribute(owner, names.split())
                slot = kept.slot(owner, NAMES[key[1:]].split())
                if answers[key] is None and slot is not None:  # a parameter's own
                    answers[key] = getattr(kept.held(*slot), "grad", None)
        if answers.get("dx") is None:
            raise Raised("backward gives None for dx")
        answers = {name: self._read(value, "backward") for name, value in answers.items() if value is not None}
        if answers["dx"].shape != shape:
            raise Raised(f"backward gives dx of shape {answers['dx'].shape}; x has {shape}")
        answers["dx"] = to_rows(self.layout, answers["dx"])
        return answers

    def _call(self, function: Callable, arguments: tuple[Sequence, dict[str, Any]]) -> Any:
        positional, named = arguments
        try:
            with quiet(), self.manner.precision():
                return function(*positional, **named)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise Raised(self._where(error)) from error

    def _where(self, error: BaseException) -> str:
        """What was raised, and in which line of the author's."""
        text = " ".join(f"{type(error).__name__}: {error}".split())
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename in self.files] or [
            frame for frame in frames if not frame.filename.startswith(HERE)
        ]
        if not own:
            return text
        last = own[-1]
        line = last.line or linecache.getline(last.filename, last.lineno or 0).strip()
        name = last.filename.replace("\\", "/").rsplit("/", 1)[-1]
        return f"{text}, in {name} line {last.lineno} ({last.name}){': ' + line if line else ''}"

    # --- arrays

    def settle(self, trial_of: Callable[[int], Trial]) -> None:
        """Find how it wants its arrays: `trial_of(width)` gives a trial. Raises Raised where forward takes none.

        The first way in which neither forward nor backward raises; else the first in which forward does not.
        """
        first: Raised | None = None
        forward_alone: Manner | None = None
        for library, dtype in manners((self.forward, self.backward)):
            for width in WIDTHS:
                shapes = parameter_shapes(self.layout, width)
                for shape in shapes if {"gamma", "beta"} & self.takes else shapes[:1]:
                    self.manner, self.remarks = Manner(library, dtype, shape, width), {}
                    try:
                        trial = trial_of(width)
                        out = self.out(trial)
                    except Raised as error:
                        first = first or error
                        continue
                    if not np.isfinite(out).all():
                        first = first or Raised("forward gives numbers that are not finite on ordinary data")
                        continue
                    try:
                        self.gradients(trial)
                    except Raised:
                        forward_alone = forward_alone or self.manner
                        continue
                    self.remarks = {}
                    return
                if not _fixed_width(first):
                    break
        self.remarks, self.single = {}, False
        if forward_alone is None:
            raise first or Raised("forward cannot be called")
        self.manner = forward_alone

    def _arrays(self, trial: Trial) -> dict[str, Any]:
        """What forward may be given, by meaning, as the layer wants its arrays."""
        shape, arrays = self.manner.shape, {"x": from_rows(self.layout, trial.x, trial)}
        arrays["gamma"], arrays["beta"] = trial.gamma.reshape(shape), trial.beta.reshape(shape)
        if {"mean", "var"} & self.takes:
            mean, var = self.statistics(self.manner.width)
            arrays["mean"], arrays["var"] = mean.reshape(shape), var.reshape(shape)
        return {name: self.manner.array(array) for name, array in arrays.items()}

    def _read(self, value: Any, who: str) -> np.ndarray:
        """What forward or backward gave, in float64."""
        if not isinstance(value, np.ndarray | np.generic | list | float):
            library = type(value).__module__.partition(".")[0]
            self.remark(f"{who} gives {library}.{type(value).__name__}, read here as NumPy arrays")
        try:
            array = np.asarray(numbers(value))
            if array.dtype == np.float32 or array.dtype == np.float16:
                self.single = True
            return array.astype(float)
        except (TypeError, ValueError):
            raise Raised(f"{who} gives a {type(value).__name__}, which NumPy cannot read as numbers") from None

    # --- classes

    def _instance(self, trial: Trial) -> Any:
        """The object of a layer that is a class, with the trial's parameters; None for functions."""
        if self.make is None:
            return None
        owner = self._construct(trial) if isinstance(self.make, type) else kept.copied(self.make)
        self._set_parameters(owner, trial)
        return owner

    def _construct(self, trial: Trial) -> Any:
        shape = self.manner.shape
        args = []
        for name in self._constructor:
            meaning = meaning_of(name)
            if meaning == "gamma" or meaning == "beta":
                args.append(self.manner.array(getattr(trial, meaning).reshape(shape)))
            elif meaning in ("eps", "momentum", "rate"):
                args.append({"eps": trial.eps, "momentum": 0.9, "rate": 0.0}[meaning])
            else:
                args.append(shape_in(self.layout, trial) if name == "input_shape" else self.manner.width)
        named = {}
        if self._eps_of_constructor and self._eps_of_constructor not in self._constructor:
            named[self._eps_of_constructor] = trial.eps
        return self._call(self.make, (args, named))

    def _set_parameters(self, owner: Any, trial: Trial) -> None:
        if {"gamma", "beta"} <= set(self._wanted):
            return
        slots = {m: kept.slot(owner, NAMES[m].split()) for m in ("gamma", "beta")}
        if None in slots.values():  # perhaps they are made at the first call
            with contextlib.suppress(Raised):
                self._forward(trial, self._arrays(trial), owner)
            slots = {m: slots[m] or kept.slot(owner, NAMES[m].split()) for m in slots}
        for meaning, slot in slots.items():
            if slot is None or meaning in self._wanted:
                continue
            value, array = kept.held(*slot), getattr(trial, meaning)
            shape = np.shape(numbers(value)) if value is not None else self.manner.shape
            if np.prod(shape) != array.size:
                shape = self.manner.shape
            array = self.manner.array(array.reshape(shape))
            self.takes.add(meaning)
            if "torch" in sys.modules and isinstance(value, sys.modules["torch"].nn.Parameter):
                value.data = sys.modules["torch"].as_tensor(array)
            elif isinstance(slot[0], dict):
                slot[0][slot[1]] = array
            else:
                setattr(*slot, array)

    def _bound(self, function: Callable, owner: Any) -> Callable:
        if owner is None:
            return function
        return getattr(owner, function.__name__)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _fixed_width(error: Raised | None) -> bool:
    """Whether it was raised because the layer has a number of nodes built in."""
    return error is not None and ("shape" in str(error) or "broadcast" in str(error) or "index" in str(error).lower())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide what the author's code prints and warns about: it is called hundreds of times."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("ignore")
        yield


def with_layout(layer: Layer, layout: str) -> Layer:
    """The same layer, assumed to have another layout."""
    other = copy.copy(layer)
    other.layout, other.manner, other.remarks = layout, UNSETTLED, {}
    return other
