"""Running statistics and batches from a file that `numpy.savez` wrote."""

import re
import zipfile
from typing import Any

import numpy as np

ALLOWED = (
    "allowed are mean, var and the batches: as batches (K, m, p), as batches (N, p) with sizes (K,), or an array each "
    "with a number at its name's end; and momentum, start_mean, start_var"
)
OTHERS = ("mean", "var", "momentum", "start_mean", "start_var", "batches", "sizes")


def read(file: str) -> dict[str, Any]:
    """The arguments of `identify`, by name.

    Raises:
        ValueError: there is no such file, it is none of savez's, or it lacks an array; one line.
    """
    try:
        with np.load(file, allow_pickle=False) as held:
            if not isinstance(held, np.lib.npyio.NpzFile):
                raise ValueError(f"{file} holds one array; {ALLOWED}")
            arrays = {name: held[name] for name in held.files}
    except FileNotFoundError:
        raise ValueError(f"there is no such file: {file}") from None
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"{file} cannot be read: {error}; allowed is a file that numpy.savez wrote") from None
    except ValueError as error:
        if "pickle" not in str(error):
            raise
        raise ValueError(f"{file} holds Python objects, or is no file of numpy.savez; {ALLOWED}") from None
    for name in ("mean", "var"):
        if name not in arrays:
            raise ValueError(f"{file} has {', '.join(arrays) or 'nothing'} and no {name}; {ALLOWED}")
    found = {"batches": _batches(file, arrays), "mean": arrays["mean"], "var": arrays["var"]}
    if "momentum" in arrays:
        if arrays["momentum"].size != 1:
            raise ValueError(f"momentum has shape {arrays['momentum'].shape}; allowed is a number")
        found["momentum"] = arrays["momentum"].item()
    if ("start_mean" in arrays) != ("start_var" in arrays):
        raise ValueError(f"{file} has one of start_mean and start_var; allowed are both, or none")
    if "start_mean" in arrays:
        found["start"] = (arrays["start_mean"], arrays["start_var"])
    return found


def _batches(file: str, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The batches in their order."""
    numbered = {name: re.search(r"\d+$", name) for name in arrays if name not in OTHERS}
    if unknown := [name for name, number in numbered.items() if number is None]:
        raise ValueError(f"{file} has {unknown[0]}; {ALLOWED}")
    if "batches" not in arrays:
        if not numbered or "sizes" in arrays:
            raise ValueError(f"{file} has {', '.join(arrays)} and no batches; {ALLOWED}")
        return [arrays[name] for name in sorted(numbered, key=lambda name: int(re.findall(r"\d+$", name)[0]))]
    if numbered:
        raise ValueError(f"{file} has batches and {next(iter(numbered))}; allowed is one of them")
    stacked, sizes = arrays["batches"], arrays.get("sizes")
    if stacked.ndim == 3 and sizes is None:
        return list(stacked)
    told = "allowed is (K, m, p), or (N, p) with sizes (K,), or (K, m, p) with sizes (K,) of at most m"
    if stacked.ndim not in (2, 3) or sizes is None:
        raise ValueError(f"batches has shape {stacked.shape}{' without sizes' * (sizes is None)}; {told}")
    if sizes.ndim != 1 or sizes.dtype.kind not in "iu" or not (sizes > 0).all():
        raise ValueError(f"sizes has shape {sizes.shape} and dtype {sizes.dtype}; allowed are row counts of at least 1")
    if stacked.ndim == 2 and sizes.sum() == len(stacked):
        return np.split(stacked, np.cumsum(sizes)[:-1])
    if stacked.ndim == 3 and len(sizes) == len(stacked) and sizes.max(initial=0) <= stacked.shape[1]:
        return [one[:size] for one, size in zip(stacked, sizes, strict=True)]
    raise ValueError(f"batches has shape {stacked.shape}, and {len(sizes)} sizes add up to {sizes.sum()}; {told}")
