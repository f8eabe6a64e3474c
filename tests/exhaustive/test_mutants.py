"""Layers with one edit in their source, as a slip of the pen makes it, judged against differences of their own forward.

Sixty by default; MUTANTS=2000 in the environment for more.
"""

import ast
import copy
import inspect
import os
import random
import textwrap

import layer_zoo
import numpy as np

import bnbench

COUNT = int(os.environ.get("MUTANTS", "60"))
LAYERS = [
    "staged_as_in_the_course",
    "textbook_with_eps_built_in",
    "closed_form",
    "bessel_alone",
    "eps_added_to_the_sd",
    "scale_as_in_r",
    "parameters_gradients_with_kept_dimensions",
    "a_zero_term_added_twice",
    "variance_as_a_difference",
    "divided_by_the_variance_and_rightly_derived",
]
UNTOUCHED = 0.1  # of the layers
OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div)
SURE, FAR = 1e-7, 1e-5  # relative: differences say right, and wrong; between them nothing


def edits(tree):
    """(number of the node, kind, what) of all single edits."""
    names = sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - {"np"})
    for i, node in enumerate(ast.walk(tree)):
        if isinstance(node, ast.BinOp) and isinstance(node.op, OPERATORS):
            yield from ((i, "operator", kind) for kind in OPERATORS if not isinstance(node.op, kind))
            yield from ((i, side, None) for side in ("left", "right"))
        elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            yield from ((i, "value", value) for value in (0, 1, 2, -1, 0.5, -node.value) if value != node.value)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id != "np":
            yield from ((i, "name", name) for name in names if name != node.id)
        elif isinstance(node, ast.UnaryOp):
            yield i, "operand", None
        elif isinstance(node, ast.Call):
            yield i, "no axis", None


def edited(tree, edit):
    """The tree with one edit."""
    tree, (number, kind, what) = copy.deepcopy(tree), edit
    node = list(ast.walk(tree))[number]
    if kind == "operator":
        node.op = what()
    elif kind == "value":
        node.value = what
    elif kind == "name":
        node.id = what
    elif kind == "no axis":
        node.args, node.keywords = [a for a in node.args if not isinstance(a, ast.Constant)], []
    else:

        class Replace(ast.NodeTransformer):
            def visit(self, other):
                return getattr(node, kind) if other is node else super().visit(other)

        tree = Replace().visit(tree)
    return ast.fix_missing_locations(tree)


def truth(forward, backward, extra):
    """True, False or None (unsure): whether the backward is the gradient, by differences on data of its own."""
    worst, D, signs = 0.0, 3, np.array([2.0, -2.0, 3.0])
    for seed, N, spread in ((1, 6, [0.7, 1.6, 3.0]), (2, 11, [2.0, 0.4, 1.0])):
        rng = np.random.default_rng(seed + 100)
        point = [
            rng.normal(size=(N, D)) * spread + rng.normal(size=D),
            rng.normal(size=D) + signs,
            rng.normal(size=D),
        ]
        dout = rng.normal(size=(N, D)) + 0.5
        try:
            out, cache = forward(*(v.copy() for v in point), *extra)
            if np.shape(out) != (N, D) or not np.isfinite(out).all():
                return None
            answer = backward(dout.copy(), cache)
            answer = [np.asarray(part).reshape(v.shape) for part, v in zip(answer, point, strict=True)]
        except Exception:
            return False
        for k, (mine, value) in enumerate(zip(answer, point, strict=True)):
            slope = np.empty_like(value)
            for index in np.ndindex(value.shape):
                step = np.zeros_like(value)
                step[index] = 1e-3
                at = [
                    (dout * forward(*(v + (m * step if q == k else 0) for q, v in enumerate(point)), *extra)[0]).sum()
                    for m in (1, -1, 2, -2, 3, -3)
                ]
                slope[index] = (45 * (at[0] - at[1]) - 9 * (at[2] - at[3]) + (at[4] - at[5])) / 60e-3
            off = np.abs(mine - slope).max() / max(np.abs(slope).max(), 1e-3)
            worst = max(worst, off if np.isfinite(off) else np.inf)
    return True if worst < SURE else False if worst > FAR else None


def mutants(count, seed=0):
    """(source of what was edited, forward, backward, further arguments)."""
    draw = random.Random(seed)
    while count:
        layer, which = getattr(layer_zoo, draw.choice(LAYERS)), draw.choice(("forward", *["backward"] * 4))
        scopes = {}
        for name in ("forward", "backward"):
            source = textwrap.dedent(inspect.getsource(getattr(layer, name))).replace("@staticmethod", "")
            tree = ast.parse(source)
            if name == which:
                if draw.random() > UNTOUCHED:
                    tree = edited(tree, draw.choice(list(edits(tree))))
                text = ast.unparse(tree)
            scopes[name] = {"np": np}
            exec(compile(tree, f"<{name}>", "exec"), scopes[name])
        forward = scopes["forward"]["forward"]
        takes_eps = {"eps", "epsilon"} & set(inspect.signature(forward).parameters)
        yield text, forward, scopes["backward"]["backward"], ([1e-5], [0.3]) if takes_eps else ([],)
        count -= 1


# catches: a slip that no list of mistakes has, and that is called right; a slip that changes nothing, called wrong
def test_layers_with_a_slip_of_the_pen_are_judged_as_differences_judge_them():
    counts, misjudged = {True: 0, False: 0, None: 0}, []
    with np.errstate(all="ignore"):
        for text, forward, backward, extras in mutants(COUNT):
            found = bnbench.check_layer(forward, backward)
            try:
                each = [truth(forward, backward, extra) for extra in extras]
            except Exception:  # a forward that does not return beside the point
                each = [None]
            right = None if None in each else all(each)
            counts[right] += 1
            if right is not None and found.correct != right:
                misjudged.append(f"{text}\nis {'right' if right else 'wrong'}, and is called\n{found}")
    print(
        f"{COUNT} mutants: {counts[True]} right, {counts[False]} wrong, {counts[None]} unsure, "
        f"{len(misjudged)} misjudged"
    )
    assert counts[True]
    assert counts[False] > COUNT // 2
    assert not misjudged, "\n\n".join(misjudged[:3])
