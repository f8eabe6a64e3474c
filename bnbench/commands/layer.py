"""`audit --layer`: the verdict on every layer of a file."""

from bnbench.commands.common import FAULT, OK, UsageError, print_json


def judged(pair, layout, eps):
    """The verdict on a layer; where no layout is given and it does not take rows, by one that it takes."""
    from bnbench.audit.layer import check_layer
    from bnbench.audit.layer.layouts import LAYOUTS

    verdicts = []
    for one in (layout,) if layout else LAYOUTS:
        verdict = check_layer(*pair, layout=one, eps=eps)
        if verdict.findings and not (verdicts and verdict.conventions.unread):
            return verdict if not verdicts else verdict.with_remark(f"judged with --layout {one}")
        verdicts.append(verdict)
    return verdicts[0]


def judge_layers(options) -> int:
    """Print the verdicts; the exit code."""
    from bnbench.audit.layer import files

    try:
        eps = None if options.eps is None else float(options.eps)
        found = {name: judged(pair, options.layout, eps) for name, pair in files.layers(options.layer).items()}
    except (files.FileError, ValueError) as error:
        raise UsageError(error) from error
    if options.json:
        plain = [{"name": name} | verdict.plain() for name, verdict in found.items()]
        print_json(plain if len(plain) > 1 else plain[0])
    else:
        print("\n\n".join(f"{name}: {verdict}" for name, verdict in found.items()))
    return OK if all(verdict.correct for verdict in found.values()) else FAULT
