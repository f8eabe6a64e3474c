"""`audit`: the rulings on the claims, or a diagnosis of a formula."""

import argparse
import subprocess
import sys
from pathlib import Path

from bnbench.commands.common import FAULT, INTERRUPTED, OK, RESULTS, USAGE, UsageError, default_folder, print_json
from bnbench.problem import ACTIVATIONS, LOSSES, NORMALIZATIONS

PLAIN_SIZES = {"N": (50,), "p1": (7,), "p2": (4,)}  # of ordinary problems, but for those that are given
JUDGED = 200  # added to the exit code of the process that judges a formula: it did not end in any other way

WHAT_PEOPLE_HAVE = """\
What do you have?
  a layer     batchnorm_forward and batchnorm_backward, or a class with both, in a
              file as they are. --layer FILE.py reads the layer's conventions off its
              forward, and says whether the backward is its gradient, and if not, why.
  a formula   step(X, y, G1, gamma, beta, G2) in a file, decorated with
              @bnbench.variant("mine", family="matrix"). --formula FILE.py says whether
              its gradients are right, in its own conventions, and if not, why.
  statistics  running mean and variance of a layer, and the batches that it saw, in a
              file of numpy.savez: mean, var, batches. --running FILE.npz says which
              framework's convention they follow, with which momentum and start.
  a claim     about this gradient, published once: without a flag, thirteen of them
              are ruled on, each with its evidence, and DIR/audit.md, audit.html,
              audit.json and a figure are written. --proof has Coq check the theorems
              behind the rulings.
"""
AUDIT_FLAGS = (
    ("N", "N", "rows of ordinary problems (default where another size is given: 50)"),
    ("p1", "P", "inputs (likewise: 7)"),
    ("p2", "P", "hidden nodes (likewise: 4)"),
    ("activation", None, f"{', '.join(ACTIVATIONS)} (default: all that it supports)"),
    ("normalization", None, f"{', '.join(NORMALIZATIONS)} (default: all that it supports)"),
    ("loss", None, f"{', '.join(LOSSES)} (default: squared)"),
    ("depth", "L", "hidden layers; of several, G1, gamma and beta are lists (default: 1)"),
    ("linear", "Q", "linear terms W of the head (default: 0)"),
    ("units", "U", "units of a panel, each with an effect (default: 0)"),
    ("ddof", None, "the variance divides by N - ddof (default: its own, or several)"),
    ("eps", None, "added to the variance under the root (default: its own, or several)"),
    ("dtype", None, "float64, float32, for ordinary problems (default: float64)"),
)


def add(commands: "argparse._SubParsersAction") -> None:
    """Add the command's parser."""
    audit = commands.add_parser(
        "audit",
        help="say whether a layer or a formula of yours is right, and if not, why not; or rule on published claims",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=WHAT_PEOPLE_HAVE,
    )
    audit.add_argument("--formula", metavar="FILE.py", help="judge the formulas (plug-in functions) of a file")
    audit.add_argument(
        "--layer",
        metavar="FILE.py",
        help="judge the layers of a file: functions with forward and backward in their names, or classes with both",
    )
    audit.add_argument(
        "--running",
        metavar="FILE.npz",
        help="say whose convention running statistics follow: arrays mean, var and batches (bnbench docs statistics); "
        "exit code 1 where no convention that is known reproduces them",
    )
    audit.add_argument(
        "--proof",
        action="store_true",
        help="have Coq check the theorems about this gradient, and list which ruling each supports (about two minutes)",
    )
    audit.add_argument(
        "--layout",
        choices=("NC", "CN", "NHWC", "NCHW"),
        help="with --layer: the axes of its x (default: NC, rows are samples)",
    )
    audit.add_argument(
        "--out", metavar="DIR", help=f"folder for the pages (default: {RESULTS}/<date>-<host>-<short id>)"
    )
    audit.add_argument("--json", action="store_true", help="print the verdicts or rulings as JSON")
    audit.add_argument("--judge-here", action="store_true", help=argparse.SUPPRESS)
    tried = audit.add_argument_group(
        "what a formula is tested on",
        "By default a formula is judged in its own conventions, which are found by trial and\nreported, on small "
        "problems in which no mistake can hide. A convention that is given here\nbinds it; a size or a dtype that is "
        "given here replaces the small problems by ordinary ones.",
    )
    for name, metavar, words in AUDIT_FLAGS:
        tried.add_argument(f"--{name}", metavar=metavar, help=words + "; several with commas")
    audit.set_defaults(command=run_audit)


def run_audit(options: argparse.Namespace) -> int:
    """`audit`."""
    if options.proof:
        only_json(options, "proof", "running")
        from bnbench.commands.proof import prove

        return prove(options)
    if options.running:
        only_json(options, "running")
        from bnbench.commands.running import identify_file

        return identify_file(options)
    if options.layer:
        refused = [n for n, *_ in AUDIT_FLAGS if n != "eps" and getattr(options, n) is not None]
        for name in [n for n in ("formula", "out") if getattr(options, n)] + refused:
            raise UsageError(f"--{name} cannot be used with --layer; --layout, --eps and --json can")
        if options.judge_here:
            from bnbench.commands.layer import judge_layers

            return JUDGED + judge_layers(options)
        return apart(options, options.layer, "layer", "layout", "eps")
    if options.layout:
        raise UsageError("--layout needs --layer FILE.py")
    if options.formula:
        if options.out:
            raise UsageError("--out cannot be used with --formula, whose diagnosis is printed and not written")
        return (
            JUDGED + diagnose_formula(options)
            if options.judge_here
            else apart(options, options.formula, "formula", *(name for name, *_ in AUDIT_FLAGS))
        )
    for name, *_ in AUDIT_FLAGS:
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} needs --formula FILE.py; the problem of the claims is fixed")
    from bnbench.audit import claims, page, question
    from bnbench.commands.tables import ruling_table
    from bnbench.commands.terminal import working
    from bnbench.folder import Folder

    folder = Path(options.out) if options.out else default_folder({})
    Folder(folder).claim()
    with working("ruling on the claims"):
        reproduction, rulings = question.reproduce(), claims.rule_all()
        page.write(rulings, reproduction, folder, f"python -m bnbench audit --out {folder.name}")
    if options.json:
        print_json([ruling.plain() for ruling in rulings])
    else:
        ruling_table(rulings, reproduction, page.summary(rulings), folder)
    return OK if all(row["reproduced"] for row in reproduction) else FAULT


def only_json(options: argparse.Namespace, flag: str, *others: str) -> None:
    """Refuse every other flag beside one."""
    for name in (*others, "formula", "layer", "layout", "out", *(name for name, *_ in AUDIT_FLAGS)):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} cannot be used with --{flag}; only --json can")


def apart(options: argparse.Namespace, file: str, *flags: str) -> int:
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
    from bnbench.commands.terminal import erase_line

    erase_line()
    how = f"exit status {code}" if code >= 0 else f"signal {-code}"
    print(f"bnbench: {file} ended the process ({how}) before it was judged", file=sys.stderr)
    return FAULT


def diagnose_formula(options: argparse.Namespace) -> int:
    """The diagnosis of every function of a file, printed."""
    from itertools import product

    from bnbench.audit.diagnosis import diagnose
    from bnbench.commands.terminal import working
    from bnbench.measure.plan import coerce
    from bnbench.problem import Problem
    from bnbench.variants import PluginError, load_plugin

    try:
        names = load_plugin(options.formula)
        given = {name: getattr(options, name) for name, *_ in AUDIT_FLAGS if getattr(options, name) is not None}
        axes = {name: coerce(f"--{name}", name, value.split(",")) for name, value in given.items()}
        held = {f"{name}s": axes.pop(name, None) for name in ("activation", "normalization")}
        held |= {name: axes.pop(name, None) for name in ("ddof", "eps")}
        held |= {name: axes.pop(name) for name in ("loss", "depth") if name in axes}
        for name in ("linear", "units"):
            if name in axes:
                held[name], *more = axes.pop(name)
                if more:
                    raise ValueError(f"--{name} is {given[name]}; allowed with --formula is one number")
        if axes:
            held["dtypes"] = axes.pop("dtype", ("float64",))
            held["sizes"] = list(product(*(axes.get(name, default) for name, default in PLAIN_SIZES.items())))
            for (N, p1, p2), ddof, dtype in product(held["sizes"], held["ddof"] or (0,), held["dtypes"]):
                Problem(N, p1, p2, ddof=ddof, dtype=dtype)
        with working(f"judging {options.formula}"):
            diagnoses = {name: diagnose(name, **held) for name in names}
    except (PluginError, ValueError) as error:
        raise UsageError(error) from error
    if options.json:
        print_json([{"id": name} | diagnosis.plain() for name, diagnosis in diagnoses.items()])
    else:
        print("\n\n".join(f"{name}: {diagnosis}" for name, diagnosis in diagnoses.items()))
    return OK if all(diagnosis.correct for diagnosis in diagnoses.values()) else FAULT
