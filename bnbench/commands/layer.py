"""`audit --layer`: the verdict on every layer of a file."""

from bnbench.commands.common import FAULT, OK, UsageError, print_json


def judge_layers(options) -> int:
    """Print the verdicts; the exit code."""
    from bnbench.audit.layer import check_layer, files

    try:
        eps = None if options.eps is None else float(options.eps)
        found = {
            name: check_layer(*pair, layout=options.layout or "NC", eps=eps)
            for name, pair in files.layers(options.layer).items()
        }
    except (files.FileError, ValueError) as error:
        raise UsageError(error) from error
    if options.json:
        plain = [{"name": name} | verdict.plain() for name, verdict in found.items()]
        print_json(plain if len(plain) > 1 else plain[0])
    else:
        print("\n\n".join(f"{name}: {verdict}" for name, verdict in found.items()))
    return OK if all(verdict.correct for verdict in found.values()) else FAULT
