"""`audit`: the rulings on the claims, or a diagnosis of a formula."""

import argparse
import subprocess
import sys
from pathlib import Path

from bnbench.commands.common import FAULT, INTERRUPTED, OK, RESULTS, USAGE, UsageError, default_folder, print_json

PLAIN_SIZES = {"N": (50,), "p1": (7,), "p2": (4,)}  # of ordinary problems, but for those that are given
JUDGED = 200  # added to the exit code of the process that judges a formula: it did not end in any other way

WHAT_PEOPLE_HAVE = """\
What do you have?
  a layer     batchnorm_forward and batchnorm_backward, or a class with both, in a file as they are: --layer FILE.py
              reads its conventions off the forward, and says whether the backward is its gradient, and if not, why not.
  a formula   step(X, y, G1, gamma, beta, G2) in a file, decorated with @bnbench.variant("mine", family="matrix"):
              --formula FILE.py says whether its gradients are right, in conventions of its own, and if not, why not.
  a claim     about this gradient, published once: without a flag thirteen are ruled on, each with its evidence, and
              DIR/audit.md, audit.html, audit.json and a figure are written. --proof has Coq check the theorems
              behind them.
"""
AUDIT_FLAGS = (
    ("N", "N", "rows, of ordinary problems (default with another size: 50)"),
    ("p1", "P", "inputs (likewise: 7)"),
    ("p2", "P", "hidden nodes (likewise: 4)"),
    ("activation", None, "relu, sigmoid, tanh, gaussian, identity (default: all that it takes)"),
    ("normalization", None, "batch, none (default: all that it takes)"),
    ("ddof", None, "the variance divides by N - ddof (default: what it has built in, or several)"),
    ("eps", None, "added to the variance under the root (default: what it has built in, or several)"),
    ("dtype", None, "float64, float32, of ordinary problems (default: float64)"),
)


def add(commands):
    """Add the command's parser."""
    audit = commands.add_parser(
        "audit",
        help="say what is wrong with a formula of your own, or rule on the claims about this gradient",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=WHAT_PEOPLE_HAVE,
    )
    audit.add_argument("--formula", metavar="FILE.py", help="a plug-in file whose functions are to be diagnosed")
    audit.add_argument(
        "--layer",
        metavar="FILE.py",
        help="judge the layers of a file in their own conventions: functions with forward and backward in their "
        "names, or classes with both",
    )
    audit.add_argument(
        "--proof",
        action="store_true",
        help="have Coq check the theorems about this gradient, and say which back which ruling (about two minutes)",
    )
    audit.add_argument(
        "--layout",
        choices=("NC", "CN", "NHWC", "NCHW"),
        help="of a layer's x (default: NC, rows are samples); with --layer",
    )
    audit.add_argument(
        "--out", metavar="DIR", help=f"folder of the pages (default: {RESULTS}/<date>-<host>-<short id>)"
    )
    audit.add_argument("--json", action="store_true", help="print the rulings, or the diagnoses, as JSON")
    audit.add_argument("--judge-here", action="store_true", help=argparse.SUPPRESS)
    tried = audit.add_argument_group(
        "what a formula is held to",
        "By default it is judged in its own conventions, which are found out and said, on small problems on\nwhich no "
        "mistake can hide. A convention that is given binds it; where a size or a dtype is, ordinary\nproblems of that "
        "kind take the small ones' place.",
    )
    for name, metavar, words in AUDIT_FLAGS:
        tried.add_argument(f"--{name}", metavar=metavar, help=words + "; several with commas")
    audit.set_defaults(command=run_audit)


def run_audit(options) -> int:
    """`audit`."""
    if options.proof:
        for name in ("formula", "layer", "layout", "out", *(name for name, *_ in AUDIT_FLAGS)):
            if getattr(options, name) is not None:
                raise UsageError(f"--{name} is given with --proof; allowed beside it is --json")
        from bnbench.commands.proof import prove

        return prove(options)
    if options.layer:
        refused = [n for n, *_ in AUDIT_FLAGS if n != "eps" and getattr(options, n) is not None]
        for name in [n for n in ("formula", "out") if getattr(options, n)] + refused:
            raise UsageError(f"--{name} is given with --layer; allowed beside it are --layout, --eps and --json")
        if options.judge_here:
            from bnbench.commands.layer import judge_layers

            return JUDGED + judge_layers(options)
        return apart(options, options.layer, "layer", "layout", "eps")
    if options.layout:
        raise UsageError("--layout is given without --layer FILE.py")
    if options.formula:
        if options.out:
            raise UsageError("--out is given with --formula; allowed is one: a diagnosis is printed, not written")
        return (
            JUDGED + diagnose_formula(options)
            if options.judge_here
            else apart(options, options.formula, "formula", *(name for name, *_ in AUDIT_FLAGS))
        )
    for name, *_ in AUDIT_FLAGS:
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} is given without --formula FILE.py; the claims' problem is fixed")
    from bnbench.audit import claims, page, question
    from bnbench.folder import Folder
    from bnbench.progress import ruling_table

    folder = Path(options.out) if options.out else default_folder({})
    Folder(folder).claim()
    reproduction, rulings = question.reproduce(), claims.rule_all()
    page.write(rulings, reproduction, folder, f"python -m bnbench audit --out {folder.name}")
    if options.json:
        print_json([ruling.plain() for ruling in rulings])
    else:
        ruling_table(rulings, reproduction, page.summary(rulings), folder)
    return OK if all(row["reproduced"] for row in reproduction) else FAULT


def apart(options, file, *flags) -> int:
    """Judge a file in a process of its own: code that ends its process must not end the audit with 0."""
    words = ["audit", "--judge-here", *["--json"] * options.json]
    words += [f"--{name}={getattr(options, name)}" for name in flags if getattr(options, name) is not None]
    process = subprocess.Popen([sys.executable, "-m", "bnbench", *words])
    try:
        code = process.wait()
    except KeyboardInterrupt:
        code = process.wait()  # Ctrl-C has reached it as well
    if code >= JUDGED:
        return code - JUDGED
    if code in (USAGE, INTERRUPTED):
        return code
    how = f"exit status {code}" if code >= 0 else f"signal {-code}"
    print(f"bnbench: {file} ended the process ({how}) before it was judged", file=sys.stderr)
    return FAULT


def diagnose_formula(options) -> int:
    """The diagnosis of every function of a file, printed."""
    from itertools import product

    from bnbench.audit.diagnosis import diagnose
    from bnbench.measure.plan import coerce
    from bnbench.problem import Problem
    from bnbench.variants import PluginError, load_plugin

    try:
        names = load_plugin(options.formula)
        given = {name: getattr(options, name) for name, *_ in AUDIT_FLAGS if getattr(options, name) is not None}
        axes = {name: coerce(f"--{name}", name, value.split(",")) for name, value in given.items()}
        held = {f"{name}s": axes.pop(name, None) for name in ("activation", "normalization")}
        held |= {name: axes.pop(name, None) for name in ("ddof", "eps")}
        if axes:
            held["dtypes"] = axes.pop("dtype", ("float64",))
            held["sizes"] = list(product(*(axes.get(name, default) for name, default in PLAIN_SIZES.items())))
            for size, ddof, dtype in product(held["sizes"], held["ddof"] or (0,), held["dtypes"]):
                Problem(*size, ddof=ddof, dtype=dtype)
        found = {name: diagnose(name, **held) for name in names}
    except (PluginError, ValueError) as error:
        raise UsageError(error) from error
    if options.json:
        print_json([{"id": name} | diagnosis.plain() for name, diagnosis in found.items()])
    else:
        print("\n\n".join(f"{name}: {diagnosis}" for name, diagnosis in found.items()))
    return OK if all(diagnosis.correct for diagnosis in found.values()) else FAULT
