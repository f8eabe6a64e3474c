"""Definitions of a .v file, read and computed: what the theorems speak of, in numbers.

Only what formulas are made of is read: sums, fun, if on a comparison, products, powers, applications.
"""

import functools
import math
import re
from collections.abc import Callable

from bnbench.proof.source import statement

TOKEN = re.compile(r"\s*(=>|[\w'ΣΓγβμδε.]+|[()+\-*/^<,:])")
WORDS = ("if", "then", "else", "fun")
INFIX = {"+": 50, "-": 50, "*": 40, "/": 40, "^": 30}  # Coq's levels: the lower, the tighter


def definitions(text: str, section: str = "") -> dict[str, tuple[list[str], str]]:
    """Names to the arguments and the text of each definition of a number, of a section, a module or the whole file."""
    text = re.sub(r"\(\*.*?\*\)", " ", text, flags=re.DOTALL)
    if section:
        text = re.split(rf"(?:Section|Module|End) {section}\.", text)[1]
    found = re.findall(r"Definition ([\w'Γγβμδ]+)((?: \([^)]*\))*) : R :=(.*?)\.(?=\s)", text, re.DOTALL)
    return {name: (arguments(given), body) for name, given, body in found}


def sides(text: str, theorem: str) -> tuple[Callable, Callable]:
    """Both sides of the equation that a theorem ends with, each a function of the names' values."""
    said = " ".join(statement(text, theorem).removesuffix(".").split())
    left, right = re.split(r"->|,| : ", said)[-1].split(" = ")
    return Reader(left).whole(), Reader(right).whole()


def arguments(given: str) -> list[str]:
    """The names of the arguments of `(i j : nat) (v : R)`, in order."""
    return [name for group in re.findall(r"\(([^:)]*):", given) for name in group.split()]


class Reader:
    """An expression's tokens, read from the left; each method gives a function of the names' values."""

    def __init__(self, text):
        self.tokens, self.place = [*TOKEN.findall(text), ""], 0
        assert "".join(self.tokens) == re.sub(r"\s", "", text), f"not read whole: {text}"

    def peek(self):
        return self.tokens[self.place]

    def take(self, expected=None):
        token = self.peek()
        assert expected in (None, token), f"{expected} expected, {token} found"
        self.place += 1
        return token

    def whole(self) -> Callable:
        found = self.sum()
        self.take("")
        return found

    def sum(self):
        if self.peek() == "if":
            return self.choice()
        return self.infix(50, self.product)

    def product(self):
        return self.infix(40, self.signed)

    def infix(self, level, tighter):
        left = tighter()
        while INFIX.get(self.peek()) == level:
            left = combined(OPERATIONS[self.take()], left, tighter())
        return left

    def signed(self):
        if self.peek() == "-":
            self.take()
            inner = self.signed()
            return lambda names: -inner(names)
        if self.peek() == "Σ":
            return self.sigma()
        base = self.application()
        if self.peek() == "^":
            self.take()
            power = int(self.take())
            return lambda names: math.prod([base(names)] * power)  # Arb's ** has NaN of a ball around 0
        return base

    def sigma(self):
        self.take("Σ"), self.take("(")
        index = self.take()
        self.take("<")
        size = self.sum()
        self.take(")")
        body = self.product()
        return lambda names: sum((body(names | {index: i}) for i in range(size(names))), start=0)

    def choice(self):
        self.take("if")
        asked = self.sum()
        self.take("then")
        first = self.sum()
        self.take("else")
        second = self.sum()
        return lambda names: first(names) if asked(names) else second(names)

    def application(self):
        function, given = self.atom(), []
        while self.peek() == "(" or (re.match(r"[^\W]", self.peek()) and self.peek() not in WORDS):
            given.append(self.atom())
        if not given:
            return function
        return lambda names: function(names)(*(one(names) for one in given))

    def atom(self):
        token = self.take()
        if token == "(":
            found = self.abstraction() if self.peek() == "fun" else self.sum()
            self.take(")")
            return found
        if token.isdigit():
            return lambda names: int(token)
        return lambda names: names[token]

    def abstraction(self):
        self.take("fun")
        given = []
        while self.peek() != "=>":
            given.append(self.take())
        self.take("=>")
        body = self.sum()
        return lambda names: lambda *values: body(names | dict(zip(given, values, strict=True)))


OPERATIONS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}


def combined(operation, left, right):
    """The function of names that an operation makes of two."""
    return lambda names: operation(left(names), right(names))


def remembered(function: Callable) -> Callable:
    """The function, whose values at indices are computed once; others may be of balls, which cannot be hashed."""
    known = functools.cache(function)
    return lambda *values: (known if all(isinstance(one, int) for one in values) else function)(*values)


def compute(found: dict[str, tuple[list[str], str]], given: dict[str, object]) -> dict[str, object]:
    """The definitions as numbers, or as functions of their arguments, where `given` has what they are made of."""
    names = dict(given)
    for name, (taken, text) in found.items():
        body = Reader(text).whole()
        if taken:
            names[name] = remembered(
                lambda *values, body=body, taken=taken: body(names | dict(zip(taken, values, strict=True)))
            )
        else:
            names[name] = body(names)
    return names
