"""A layer of any style, called one way: functions, classes with state, autograd Functions, custom VJPs, any layout."""

import ast
import contextlib
import copy
import inspect
import io
import itertools
import linecache
import sys
import textwrap
import traceback
import warnings
from dataclasses import dataclass

import numpy as np

LAYOUTS = ("NC", "CN", "NHWC", "NCHW")
EPS = 1e-5  # that a layer is given whose eps is an argument without a default
WIDTHS = (4, 3, 5, 2, *range(6, 17), 32, 64)  # nodes, tried in turn: a layer may have its number built in

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


class Raised(Exception):
    """What the author's code raised: the text says what, and in which line."""


class Refused(ValueError):
    """The functions are of the wrong kind; the text says what was given and what is allowed."""


@dataclass(frozen=True)
class Trial:
    """A batch in rows and nodes, whatever the layer's layout: x, dout (M,D), gamma, beta (D,), eps, and M = N H W."""

    x: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    eps: float
    dout: np.ndarray | None = None
    sizes: tuple[int, int, int] = (0, 1, 1)

    @property
    def pixels(self) -> int:
        """H W; 1 where there are none."""
        return self.sizes[1] * self.sizes[2]


@dataclass(frozen=True)
class Manner:
    """How the layer wants its arrays: of which library and dtype, gamma of which shape, and how many nodes."""

    library: str
    dtype: str
    shape: tuple[int, ...]
    width: int


class Layer:
    """A layer in whatever style, called on rows and nodes.

    Attributes:
        remarks: what is worth saying and no mistake, in the order met.
        takes: of x, gamma, beta, eps, mean, var, what its forward is given.
        single: whether it computes in float32.
        default_eps: of its eps argument, or None.
    """

    def __init__(self, forward, backward=None, layout="NC"):
        if layout not in LAYOUTS:
            raise ValueError(f"layout is {layout!r}; allowed are {', '.join(LAYOUTS)}")
        self.layout, self.remarks, self.single, self.takes, self.default_eps = layout, {}, False, set(), None
        self.forward, self.backward, self.make = _as_pair(forward, backward)
        self.files = _files(forward, backward)
        self._beta_first = _beta_before_gamma(self.backward)
        self.manner = None
        self._sort_arguments()

    # --- what it is given

    def _sort_arguments(self):
        owner = self.make
        if owner is not None:
            self._constructor = _required(owner) if isinstance(owner, type) else []
            optional = _optional(owner) if isinstance(owner, type) else {}
            names = {_meaning(name): name for name in optional}
            self._eps_of_constructor = names.get("eps")
            for name in self._constructor:
                if _meaning(name) == "eps":
                    self._eps_of_constructor = name
            if self._eps_of_constructor:
                self.takes.add("eps")
                self.default_eps = _number(optional.get(self._eps_of_constructor))
        wanted, optional = _parameters(self.forward)
        if wanted is None:
            wanted = ["x", "gamma", "beta"]
        self._wanted = _meanings(wanted, ("x", "gamma", "beta", "eps"))
        unknown = [name for name, meaning in zip(wanted, self._wanted, strict=True) if meaning is None]
        if unknown or self._wanted[:1] != ["x"]:
            raise Refused(
                f"forward takes ({', '.join(wanted)}); allowed is forward(x, gamma, beta) or (x, gamma, beta, eps). "
                "A whole step, (X, y, G1, gamma, beta, G2), is judged by bnbench.diagnose, or audit --formula"
            )
        self._optional = {}
        for name, default in optional.items():
            meaning = _meaning(name)
            if meaning in ("gamma", "beta", "eps", "training") and meaning not in self._wanted:
                self._optional[name] = meaning
            if meaning == "eps":
                self.default_eps = _number(default)
        self.takes |= {*self._wanted, *self._optional.values()}
        if "settings" in self.takes:
            self.takes.add("eps")

    def _given(self, meaning, trial, arrays):
        if meaning in arrays:
            return arrays[meaning]
        if meaning == "settings":
            settings = {"mode": "train", "eps": trial.eps, "epsilon": trial.eps, "momentum": 0.9, "training": True}
            return settings | {name: arrays[name] for name in ("gamma", "beta")}
        return {"eps": trial.eps, "training": True, "mode": "train", "momentum": 0.9, "rate": 0.0}[meaning]

    def statistics(self, width):
        """The mean and variance that a forward that takes them is given."""
        j = np.arange(width)
        return 0.3 + 0.2 * j, 0.7 + 0.4 * j

    # --- the calls

    def out(self, trial) -> np.ndarray:
        """The layer's output (M,D)."""
        return self._forward(trial, self._arrays(trial), self._instance(trial))[0]

    def gradients(self, trial) -> tuple[np.ndarray, dict[str, object]]:
        """The output (M,D), and what the backward answers to the trial's dout: "dx" (M,D), "dgamma", "dbeta"."""
        arrays, owner = self._arrays(trial), self._instance(trial)
        before = {name: np.array(_numbers(array)) for name, array in arrays.items()}
        out, raw, cache = self._forward(trial, arrays, owner)
        dout = self._from_rows(trial.dout, trial)
        given = self._library(dout, like=raw)
        arrays |= {"dout": given, "cache": cache, "out": raw}
        answer = self._call(self._bound(self.backward, owner), self._backward_arguments(arrays, trial, cache))
        for name in ("x", "gamma", "beta"):
            if name in before and not np.array_equal(before[name], _numbers(arrays[name])):
                self.remark(f"it overwrites {name}, an array that it is given")
        if not np.array_equal(_numbers(given), _numbers(self._library(dout, like=raw))):
            self.remark("backward overwrites dout, an array that it is given")
        return out, self._answers(answer, trial, owner)

    def remark(self, text):
        """Keep something that is worth saying and no mistake."""
        self.remarks[text] = None

    def _forward(self, trial, arrays, owner):
        args = [self._given(meaning, trial, arrays) for meaning in self._wanted]
        named = {name: self._given(meaning, trial, arrays) for name, meaning in self._optional.items()}
        value = self._call(self._bound(self.forward, owner), (args, named))
        expected = self._shape(trial)
        several = isinstance(value, tuple | list) and len(value) > 0 and _shape_of(value) != expected
        raw, *rest = value if several else (value,)
        shapes = [_shape_of(one) for one in rest]
        if _shape_of(raw) != expected and shapes.count(expected) == 1:
            place = shapes.index(expected)
            raw, rest[place] = rest[place], raw
            self.remark(f"forward gives its output in place {place + 2}; (out, cache) is the usual order")
        cache = None if not rest else rest[0] if len(rest) == 1 else tuple(rest)
        self._rest = rest
        numbers = self._read(raw, "forward")
        if numbers.shape != expected:
            raise Raised(f"forward gives an output of shape {numbers.shape} for x of shape {expected}")
        return self._to_rows(numbers), raw, cache

    def _backward_arguments(self, arrays, trial, cache):
        names, optional = _parameters(self.backward)
        rest = list(self._rest)
        if names is None:
            return ([arrays["dout"], cache][: 1 + bool(rest)]), {}
        meanings = [_meaning(name) for name in names]
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
            meaning = _meaning(name)
            if meaning == "eps" and "eps" in self.takes:
                named[name] = trial.eps
            elif meaning in ("gamma", "beta", "x") and meaning in arrays and optional[name] is None:
                named[name] = arrays[meaning]
        return args, named

    def _answers(self, answer, trial, owner):
        if isinstance(answer, dict):
            keys = {_plain(key).replace("_", ""): value for key, value in answer.items()}
            found = [next((keys[name] for name in names if name in keys), None) for names in _ANSWER_KEYS]
        elif isinstance(answer, tuple | list) and len(answer) > 0 and _shape_of(answer) != self._shape(trial):
            found = list(answer[:3])
        else:
            found = [answer]
        shape = self._shape(trial)
        shapes = [_shape_of(value) for value in found]
        if shapes[0] != shape and shapes.count(shape) == 1:
            place = shapes.index(shape)
            found.insert(0, found.pop(place))
            self.remark(f"backward gives dx in place {place + 1}; (dx, dgamma, dbeta) is the usual order")
        answers = dict(zip(("dx", "dgamma", "dbeta"), found, strict=False))
        if self._beta_first and len(found) == 3:
            answers["dgamma"], answers["dbeta"] = answers["dbeta"], answers["dgamma"]
            self.remark("backward gives dbeta before dgamma; (dx, dgamma, dbeta) is the usual order")
        if owner is not None:
            for key, names in (("dgamma", GRADIENTS["gamma"]), ("dbeta", GRADIENTS["beta"])):
                if answers.get(key) is None:
                    answers[key] = _attribute(owner, names.split())
                slot = _slot(owner, NAMES[key[1:]].split())
                if answers[key] is None and slot is not None:  # a parameter's own
                    answers[key] = getattr(_kept(*slot), "grad", None)
        if answers.get("dx") is None:
            raise Raised("backward gives None for dx")
        answers = {name: self._read(value, "backward") for name, value in answers.items() if value is not None}
        if answers["dx"].shape != shape:
            raise Raised(f"backward gives dx of shape {answers['dx'].shape}; x has {shape}")
        answers["dx"] = self._to_rows(answers["dx"])
        return answers

    def _call(self, function, arguments):
        positional, named = arguments
        try:
            with _quiet(), self._precision():
                return function(*positional, **named)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise Raised(self._where(error)) from error

    def _where(self, error):
        text = " ".join(f"{type(error).__name__}: {error}".split())
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename in self.files] or [
            frame for frame in frames if frame.filename != __file__
        ]
        if not own:
            return text
        last = own[-1]
        line = last.line or linecache.getline(last.filename, last.lineno).strip()
        name = last.filename.replace("\\", "/").rsplit("/", 1)[-1]
        return f"{text}, in {name} line {last.lineno} ({last.name}){': ' + line if line else ''}"

    # --- arrays

    def settle(self, trial_of):
        """Find how it wants its arrays: `trial_of(width)` gives a trial. Raises Raised where forward takes none.

        The first way in which neither forward nor backward raises; else the first in which forward does not.
        """
        first = forward_alone = None
        for library, dtype in self._libraries():
            for width in WIDTHS:
                for shape in self._parameter_shapes(width):
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
        self.manner, self.remarks, self.single = forward_alone, {}, False
        if forward_alone is None:
            raise first

    def _libraries(self):
        known = [name for name in ("torch", "jax") if name in sys.modules]
        own = {name for name in known if self._uses(name)}
        order = sorted(known, key=lambda name: name not in own)
        tensors = [(name, dtype) for name in order for dtype in ("float64", "float32")]
        arrays = [("numpy", "float64"), ("numpy", "float32")]
        return tensors + arrays if own and not self._uses("numpy") else arrays[:1] + tensors + arrays[1:]

    def _uses(self, library):
        """Whether the code of its functions names a module of the library: a file may import more than one."""
        for function in (self.forward, self.backward):
            function = inspect.unwrap(getattr(function, "__func__", function))
            space, code = getattr(function, "__globals__", {}), getattr(function, "__code__", None)
            for name in _names(code):
                value = space.get(name)
                if inspect.ismodule(value) and value.__name__.split(".")[0] == library:
                    return True
        return False

    def _parameter_shapes(self, width):
        shapes = {
            "NC": ((width,), (1, width)),
            "CN": ((width, 1), (width,)),
            "NHWC": ((width,), (1, 1, 1, width)),
            "NCHW": ((width,), (1, width, 1, 1), (width, 1, 1)),
        }[self.layout]
        return shapes if {"gamma", "beta"} & self.takes else shapes[:1]

    def _arrays(self, trial):
        shape, arrays = self.manner.shape, {"x": self._from_rows(trial.x, trial)}
        arrays["gamma"], arrays["beta"] = trial.gamma.reshape(shape), trial.beta.reshape(shape)
        if {"mean", "var"} & self.takes:
            mean, var = self.statistics(self.manner.width)
            arrays["mean"], arrays["var"] = mean.reshape(shape), var.reshape(shape)
        return {name: self._library(array) for name, array in arrays.items()}

    def _library(self, array, like=None):
        """The array in the layer's library, or in that of what its forward gave."""
        array, library = np.array(array, self.manner.dtype, order="C"), self.manner.library
        if library == "numpy":
            library = {"torch": "torch", "jax": "jax", "jaxlib": "jax"}.get(type(like).__module__.partition(".")[0])
        if library == "torch":
            array = sys.modules["torch"].from_numpy(array)
            return array.to(like.dtype) if isinstance(like, sys.modules["torch"].Tensor) else array
        if library == "jax":
            with self._precision():
                return sys.modules["jax"].numpy.asarray(array)
        return array

    def _precision(self):
        jax = sys.modules.get("jax")
        if jax is None or self.manner is None or self.manner.dtype != "float64" or self.manner.library != "jax":
            return contextlib.nullcontext()
        return (jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64)(True)

    def _read(self, value, who):
        if not isinstance(value, np.ndarray | np.generic | list | float):
            library = type(value).__module__.partition(".")[0]
            self.remark(f"{who} gives {library}.{type(value).__name__}, read here as NumPy arrays")
        try:
            array = np.asarray(_numbers(value))
            if array.dtype == np.float32 or array.dtype == np.float16:
                self.single = True
            return array.astype(float)
        except (TypeError, ValueError):
            raise Raised(f"{who} gives a {type(value).__name__}, which NumPy cannot read as numbers") from None

    def _shape(self, trial):
        (n, h, w), d = trial.sizes, trial.x.shape[1]
        return {"NC": (n, d), "CN": (d, n), "NHWC": (n, h, w, d), "NCHW": (n, d, h, w)}[self.layout]

    def _from_rows(self, array, trial):
        if self.layout == "NC":
            return array
        if self.layout == "CN":
            return array.T
        array = array.reshape(*trial.sizes, -1)
        return array if self.layout == "NHWC" else array.transpose(0, 3, 1, 2)

    def _to_rows(self, array):
        if self.layout == "CN":
            return array.T
        if self.layout == "NCHW":
            array = array.transpose(0, 2, 3, 1)
        return array.reshape(-1, array.shape[-1])

    # --- classes

    def _instance(self, trial):
        if self.make is None:
            return None
        owner = self._construct(trial) if isinstance(self.make, type) else _copied(self.make)
        self._set_parameters(owner, trial)
        return owner

    def _construct(self, trial):
        shape = self.manner.shape
        args = []
        for name in self._constructor:
            meaning = _meaning(name)
            if meaning == "gamma" or meaning == "beta":
                args.append(self._library(getattr(trial, meaning).reshape(shape)))
            elif meaning in ("eps", "momentum", "rate"):
                args.append({"eps": trial.eps, "momentum": 0.9, "rate": 0.0}[meaning])
            else:
                args.append(self._shape(trial) if name == "input_shape" else self.manner.width)
        named = {}
        if self._eps_of_constructor and self._eps_of_constructor not in self._constructor:
            named[self._eps_of_constructor] = trial.eps
        return self._call(self.make, (args, named))

    def _set_parameters(self, owner, trial):
        if {"gamma", "beta"} <= set(self._wanted):
            return
        slots = {m: _slot(owner, NAMES[m].split()) for m in ("gamma", "beta")}
        if None in slots.values():  # perhaps they are made at the first call
            with contextlib.suppress(Raised):
                self._forward(trial, self._arrays(trial), owner)
            slots = {m: slots[m] or _slot(owner, NAMES[m].split()) for m in slots}
        for meaning, slot in slots.items():
            if slot is None or meaning in self._wanted:
                continue
            value, array = _kept(*slot), getattr(trial, meaning)
            shape = np.shape(_numbers(value)) if value is not None else self.manner.shape
            if np.prod(shape) != array.size:
                shape = self.manner.shape
            array = self._library(array.reshape(shape))
            self.takes.add(meaning)
            if "torch" in sys.modules and isinstance(value, sys.modules["torch"].nn.Parameter):
                value.data = sys.modules["torch"].as_tensor(array)
            elif isinstance(slot[0], dict):
                slot[0][slot[1]] = array
            else:
                setattr(*slot, array)

    def _bound(self, function, owner):
        if owner is None:
            return function
        return getattr(owner, function.__name__)


_ANSWER_KEYS = (("dx", "x", "dinput", "din"), ("dgamma", "gamma", "dweight", "dw"), ("dbeta", "beta", "dbias", "db"))


class _Context:
    """What an autograd Function's forward and backward take for ctx."""

    def __init__(self):
        self.saved_tensors, self.needs_input_grad = (), (True,) * 8

    def save_for_backward(self, *tensors):
        self.saved_tensors = tensors

    def __getattr__(self, name):
        if name.startswith(("mark_", "set_")):
            return lambda *_: None
        raise AttributeError(f"ctx has no {name}")


def _as_pair(forward, backward):
    """Forward, backward and the class or object whose methods they are, or None."""
    if backward is None:
        forward, backward = _of_one(forward)
    for name, function in (("forward", forward), ("backward", backward)):
        if not callable(function):
            raise Refused(f"{name} is {function!r}; allowed is a function")
    owner, other = getattr(forward, "__self__", None), getattr(backward, "__self__", None)
    if owner is not None and owner is other and not inspect.ismodule(owner):
        return forward, backward, owner
    names = _parameters(forward)[0]
    if names and names[0] == "self":
        owner = _class_of(forward)
        if owner is None:
            raise Refused(
                "forward is a method without its object; allowed are layer.forward and layer.backward, or the class"
            )
        return _Method(owner, forward.__name__), _Method(owner, backward.__name__), owner
    if names and names[0] == "ctx":
        return *_with_context(forward, backward), None
    return forward, backward, None


def _of_one(layer):
    """Forward and backward of a class, an object, an autograd Function or a custom VJP."""
    if hasattr(layer, "defvjp"):
        return _of_custom_vjp(layer)
    forward, backward = method_names(layer)
    if isinstance(layer, type):
        torch = sys.modules.get("torch")
        if torch is not None and issubclass(layer, torch.autograd.Function):
            return _with_context(layer.forward, layer.backward, getattr(layer, "setup_context", None))
        if all(isinstance(inspect.getattr_static(layer, name), staticmethod) for name in (forward, backward)):
            return getattr(layer, forward), getattr(layer, backward)
        return _Method(layer, forward), _Method(layer, backward)
    return getattr(layer, forward), getattr(layer, backward)


def method_names(layer) -> tuple[str, str]:
    """Of a class or an object: what its forward and its backward are called.

    Raises:
        Refused: it has not both.
    """
    spaces = {name for cls in (layer if isinstance(layer, type) else type(layer)).__mro__ for name in vars(cls)}
    for names in METHODS:
        if spaces.issuperset(names) or all(name in getattr(layer, "__dict__", {}) for name in names):
            return names
    raise Refused(
        f"backward is missing, and {getattr(layer, '__name__', layer)!r} has none; allowed is check_layer(forward, "
        f"backward), a class with both methods ({' or '.join(' and '.join(names) for names in METHODS)}), a "
        "torch.autograd.Function or a jax.custom_vjp"
    )


class _Method:
    """A method of a class that has to be made first: as a bound method of it would look."""

    def __init__(self, owner, name):
        self.__self__, self.__name__, self.__func__ = owner, name, getattr(owner, name)
        parameters = list(inspect.signature(self.__func__).parameters.values())
        self.__signature__ = inspect.Signature(parameters[1:])
        self.__globals__ = getattr(self.__func__, "__globals__", {})

    def __call__(self, *args, **named):
        raise TypeError(f"{self.__name__} needs an object")

    def __eq__(self, other):
        return self is other

    __hash__ = object.__hash__


def _with_context(forward, backward, setup=None):
    """An autograd Function's static methods as forward(x, …) -> (out, ctx) and backward(dout, ctx)."""
    names, optional = _parameters(forward)
    whole = names[:1] == ["ctx"]
    names = names[whole:]

    def as_forward(*arguments, **named):
        ctx = _Context()
        out = forward(ctx, *arguments, **named) if whole else forward(*arguments, **named)
        if not whole and setup is not None:
            setup(ctx, (*arguments, *named.values()), out)
        return (out[0] if isinstance(out, tuple) else out), ctx

    def as_backward(dout, cache):
        return backward(cache, dout)

    kinds = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    kinds += [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=d) for n, d in optional.items()]
    as_forward.__signature__ = inspect.Signature(kinds)
    as_forward.__wrapped__ = forward
    as_backward.__wrapped__ = backward
    as_backward.__signature__ = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("dout", "cache")]
    )
    return as_forward, as_backward


def _of_custom_vjp(function):
    """A jax.custom_vjp as forward and backward: what JAX itself would call."""
    import jax

    def forward(*arguments):
        differentiated = arguments[:3]
        return jax.vjp(lambda *first: function(*first, *arguments[3:]), *differentiated)

    def backward(dout, cache):
        return cache(dout)

    forward.__signature__, forward.__wrapped__ = inspect.signature(function), getattr(function, "fun", function)
    return forward, backward


def _beta_before_gamma(backward):
    """Whether a backward's last return statement has three names, of which one of β stands before one of γ."""
    function = inspect.unwrap(getattr(backward, "__func__", backward))
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return False
    returned = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)]
    if not returned or not isinstance(returned[-1], ast.Tuple):
        return False
    names = [_plain(node.id) if isinstance(node, ast.Name) else "" for node in returned[-1].elts]
    places = [{i for i, name in enumerate(names) if name in GRADIENTS[m].split()} for m in ("beta", "gamma")]
    return len(names) == 3 and all(len(place) == 1 for place in places) and min(places[0]) < min(places[1])


def _names(code):
    """The global names and attributes that a function's code has, those of functions within it too."""
    if code is None:
        return
    yield from code.co_names
    for constant in code.co_consts:
        if inspect.iscode(constant):
            yield from _names(constant)


def _class_of(function):
    """The class that a plain function is a method of, looked up by its qualified name."""
    value = None
    for part in function.__qualname__.split(".")[:-1]:
        value = function.__globals__.get(part) if value is None else getattr(value, part, None)
    return value


def _files(*functions):
    """The files that the author's code is in."""
    files = set()
    for function in functions:
        function = getattr(function, "__func__", function)
        with contextlib.suppress(TypeError, OSError):
            files.add(inspect.getsourcefile(inspect.unwrap(function)))
    return files - {None}


def _parameters(function):
    """The names of its required parameters, and its optional ones with their defaults; (None, {}) where unknown."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None, {}
    usual = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    required = [p.name for p in usual if p.default is p.empty and p.kind is not p.KEYWORD_ONLY]
    if not required and any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None, {}
    return required, {p.name: p.default for p in usual if p.default is not p.empty or p.kind is p.KEYWORD_ONLY}


def _required(cls):
    return _parameters(cls)[0] or []


def _optional(cls):
    return _parameters(cls)[1]


def _plain(name):
    return name.strip("_").lower()


def _meaning(name):
    """What a parameter of such a name is, or None."""
    plain = _plain(name)
    return MEANING.get(plain) or ("settings" if plain.endswith(SETTINGS) else None)


def _meanings(names, by_place):
    """What each required parameter is: by its name, or by its place among x, gamma, beta, eps."""
    meanings = [_meaning(name) for name in names]
    if meanings and meanings[0] in (None, "width", "cache", "dout", "out"):
        meanings[0] = "x"
    free = iter([meaning for meaning in by_place if meaning not in meanings])
    forward = {"x", "gamma", "beta", "eps", "mean", "var", "training", "mode", "momentum", "settings"}
    return [meaning if meaning in forward else next(free, None) for meaning in meanings]


def _number(value):
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _numbers(value):
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def _shape_of(value):
    """The shape of what NumPy reads as one array; None of anything else."""
    try:
        shape = value.shape if hasattr(value, "shape") else None if value is None else np.shape(value)
        return shape if shape is None else tuple(shape)
    except (TypeError, ValueError, RuntimeError):
        return None


def _slot(owner, names):
    """Where an object keeps what has such a name: itself or a dictionary of its, and the name there; or None."""
    name = _attribute_name(owner, names)
    if name is not None:
        return owner, name
    for space in ("params", "parameters", "param", "weights"):
        kept = getattr(owner, space, None)
        if isinstance(kept, dict):
            keys = {_plain(key): key for key in kept if isinstance(key, str)}
            found = next((keys[name.lower()] for name in names if name.lower() in keys), None)
            if found is not None:
                return kept, found
    return None


def _kept(space, name):
    return space[name] if isinstance(space, dict) else getattr(space, name)


def _attribute_name(owner, names):
    spaces = {_plain(name): name for name in dir(owner) if not name.startswith("__")}
    for name in names:
        if name.lower() in spaces and not callable(getattr(owner, spaces[name.lower()])):
            return spaces[name.lower()]
    return None


def _attribute(owner, names):
    """A gradient that an object keeps: in an attribute of such a name, a dictionary, or a parameter's .grad."""
    for space in ("grads", "gradients", "grad"):
        kept = getattr(owner, space, None)
        if isinstance(kept, dict):
            keys = {_plain(str(key)): value for key, value in kept.items()}
            for name in itertools.chain(names, (name.removeprefix("d").strip("_") for name in names)):
                if name in keys:
                    return keys[name]
    name = _attribute_name(owner, names)
    return None if name is None else getattr(owner, name)


def _copied(owner):
    """A copy of an object, as deep as can be had: each call begins with the state that it was given in."""
    for make in (copy.deepcopy, copy.copy):
        with contextlib.suppress(Exception):
            return make(owner)
    return owner


def _fixed_width(error):
    return error is not None and ("shape" in str(error) or "broadcast" in str(error) or "index" in str(error).lower())


@contextlib.contextmanager
def _quiet():
    """Nothing that the author's code prints or warns of is shown: it is called hundreds of times."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("ignore")
        yield


def with_layout(layer, layout):
    """The same layer taken for another layout's."""
    other = copy.copy(layer)
    other.layout, other.manner, other.remarks = layout, None, {}
    return other
