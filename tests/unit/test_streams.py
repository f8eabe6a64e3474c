"""The command line's surroundings: streams that are closed or full, locales without Greek, numbers without bounds."""

import argparse
import math
import signal
import sys
import threading
import unicodedata

import pytest

from bnbench import cli
from bnbench.cli import main
from bnbench.commands import streams
from bnbench.commands.progress import clock
from bnbench.measure.plan import coerce
from bnbench.problem import Problem


def only_command(monkeypatch, command):
    """Have the command line run this function."""
    parser = argparse.ArgumentParser()
    parser.set_defaults(command=command)
    monkeypatch.setattr(cli, "parser", lambda: parser)


def test_a_reader_that_has_gone_changes_no_exit_code(monkeypatch):
    # catches: `sweep | head` that ends with 0 whatever it found, or stops in the middle
    class Gone:
        encoding = "utf-8"

        def write(self, *text):
            raise BrokenPipeError

        flush = write

        def fileno(self):
            raise OSError

    def say(options):
        print("one")
        print("two", file=sys.stderr)
        sys.stdout.flush()
        return 1

    monkeypatch.setattr(sys, "stdout", Gone())
    monkeypatch.setattr(sys, "stderr", Gone())
    only_command(monkeypatch, say)
    assert main([]) == 1


def test_every_letter_of_the_formulas_has_a_form_in_ascii():
    from bnbench.variants.formulas import AUTODIFF, FUSED, KRONECKER, LOOPS, MATRIX, SYMBOLS

    for text in (AUTODIFF, FUSED, KRONECKER, LOOPS, MATRIX, SYMBOLS):
        said = streams.plain(text)
        assert said.isascii()
        assert "?" not in said
    assert streams.plain("é\udcff") == "e?"
    assert unicodedata.name("µ") == "MICRO SIGN"
    assert streams.plain("5 µs ± Γ₁") == "5 us +- Gamma1"


@pytest.mark.parametrize(
    "number", ["99999999999999999999999", "1" + "0" * 5000, "1e400", "-1", "nan", "1.5", "inf", "²"]
)
@pytest.mark.parametrize("flag", ["N", "p1", "p2", "ddof", "threads"])
def test_a_number_that_cannot_be_is_one_line_that_says_it(capsys, flag, number):
    # catches: an overflow deep in NumPy or pandas, a number that is rounded on its way in, a line of 5000 digits
    assert main(["sweep", "--variants", "matrix-numpy", f"--{flag}={number}"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1), said
    assert flag in said.err
    assert len(said.err) < 400
    if len(number) < 60 and number.isdecimal():
        assert number in said.err


@pytest.mark.parametrize("flag", ["--seed", "--eps", "--timeout", "--time-budget", "--sampling"])
@pytest.mark.parametrize("number", ["nan", "-1", "1e999", "x"])
def test_seconds_and_seeds_that_cannot_be_are_one_line(capsys, flag, number):
    assert main(["sweep", "--variants", "matrix-numpy", f"{flag}={number}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("flag", ["--out", "--data", "--config", "--plugin"])
def test_an_empty_value_is_not_taken_for_none(tmp_path, monkeypatch, capsys, flag):
    # catches: `--out "$UNSET"`, which wrote into a new folder here
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", f"{flag}="]) == 2
    assert f"{flag[2:]} is empty" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_config_that_nests_without_end_is_one_line(tmp_path, capsys):
    (tmp_path / "deep.toml").write_text("N = " + "[" * 100_000)
    assert main(["sweep", "--config", str(tmp_path / "deep.toml")]) == 2
    assert "deep.toml is nested too deeply" in capsys.readouterr().err


def test_whole_numbers_are_taken_to_the_last_digit():
    # catches: 2^53 + 1 read by way of a float
    assert coerce("--seed", "seed", "9007199254740993") == 9007199254740993
    assert coerce("--N", "N", ["1e5", "1_000", "7"]) == (100_000, 1000, 7)
    for eps in (10**400, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"^eps is "):
            Problem(5, 2, 2, eps=eps)


def test_no_time_left_is_not_less_than_none():
    assert [clock(seconds) for seconds in (-1.5, 0.2, 61)] == ["0:00", "0:00", "1:01"]


def test_the_command_line_runs_in_a_thread_and_leaves_handlers_as_they_were():
    # catches: signal.signal outside the main thread; a handler that stays after main
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["report", "none"])))
    thread.start()
    thread.join()
    assert codes == [2]
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert main(["report", "none"]) == 2
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_it_is_an_interrupt_unless_it_is_ignored(monkeypatch, capsys, number):
    # catches: SIGHUP that kills without cleaning up; nohup that does not help
    def hit(options):
        signal.raise_signal(number)
        return 0

    only_command(monkeypatch, hit)
    before = signal.signal(number, signal.SIG_DFL)  # whoever runs the tests may ignore it
    try:
        assert main([]) == 130
        assert capsys.readouterr().err == "bnbench: interrupted\n"
        signal.signal(number, signal.SIG_IGN)
        assert main([]) == 0
    finally:
        signal.signal(number, before)
