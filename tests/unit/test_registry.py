"""The registry: what a plug-in leaves behind where it fails, and which names may be given twice."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import bnbench
from bnbench.variants import PluginError, load_plugin, registry, variants

STEP = """
import bnbench

@bnbench.variant({name!r}, family="matrix")
def {function}(*batch, **conventions):
    return {answer!r}
"""


@pytest.fixture(autouse=True)
def clean_registry():
    """What a test registers is gone after it."""
    before, modules = dict(variants()), set(sys.modules)
    yield
    registry._registry.clear()
    registry._registry.update(before)
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(folder, *, name="mine", function="step", answer="", more="", file="plugin.py"):
    """A plug-in file of one variant."""
    folder.mkdir(exist_ok=True)
    path = folder / file
    path.write_text(STEP.format(name=name, function=function, answer=answer) + more)
    return path


@pytest.mark.parametrize("more", ["1 / 0", "raise SystemExit(0)", "raise GeneratorExit"])
def test_a_plugin_that_fails_half_way_leaves_nothing(tmp_path, more):
    """Catches variants of a broken file in the registry, its module, and a second load that passes for a good one."""
    path, names, modules = write(tmp_path, more=more), list(variants()), set(sys.modules)
    for _ in range(2):
        with pytest.raises(PluginError, match="could not be loaded"):
            load_plugin(path)
        assert list(variants()) == names
        assert set(sys.modules) == modules
    write(tmp_path)
    assert load_plugin(path) == load_plugin(path) == ["mine"]


def test_a_plugin_without_a_variant_is_refused_every_time(tmp_path):
    """Catches a second load that finds nothing and says nothing."""
    path = tmp_path / "empty.py"
    path.write_text("")
    for _ in range(2):
        with pytest.raises(PluginError, match="registers no variant"):
            load_plugin(path)


def test_files_of_one_name_do_not_collide(tmp_path):
    """Catches one module for two files: each keeps its own functions, and neither may take the other's names."""
    one = write(tmp_path / "one", answer="one")
    other = write(tmp_path / "other", name="yours", answer="other")
    assert load_plugin(one) + load_plugin(other) == ["mine", "yours"]
    modules = [sys.modules[variants()[name].__module__] for name in ("mine", "yours")]
    assert [module.step() for module in modules] == ["one", "other"]
    with pytest.raises(PluginError, match="'mine' is taken"):
        load_plugin(write(tmp_path / "third"))


def test_a_name_twice_in_one_file_is_a_mistake(tmp_path):
    """Catches a copied definition that silently takes the first one's place."""
    path = write(tmp_path, more=STEP.format(name="mine", function="step", answer="again"))
    with pytest.raises(PluginError, match="'mine' is taken"):
        load_plugin(path)


def test_a_definition_run_again_replaces_itself():
    """Catches a notebook in which a cell can be run but once; others' names and built-in ones are still refused."""
    for answer in ("first", "second"):
        namespace = {"__name__": "__main__"}
        exec(STEP.format(name="cell", function="step", answer=answer), namespace)
        assert variants()["cell"].function() == answer
    with pytest.raises(ValueError, match="'cell' is taken"):
        exec(STEP.format(name="cell", function="other", answer=""), {"__name__": "__main__"})
    with pytest.raises(ValueError, match="'matrix-numpy' is taken"):
        bnbench.variant("matrix-numpy", family="matrix")(lambda: None)


TAKEN = """
import sys
import bnbench
try:
    bnbench.variant("matrix-numpy", family="matrix")(print)
except ValueError as error:
    sys.exit("'matrix-numpy' is taken" not in str(error) or "bnbench.variants.matrix_numpy" in sys.modules)
sys.exit("it was let in")
"""


def test_a_built_in_name_is_taken_before_its_module_is_imported():
    # catches: a plug-in that runs first, gets the name, and makes every later call fail
    subprocess.run([sys.executable, "-c", TAKEN], check=True)


def test_the_built_in_names_are_those_of_their_modules():
    # catches: a variant that is added to a module and not to the list of names, which then stands at the end
    known = variants()
    assert list(known)[: len(registry.HOMES)] == list(registry.HOMES)
    assert {
        name: cls.__module__ for name, cls in known.items() if cls.__module__.startswith("bnbench.")
    } == registry.HOMES


HALF = """
import time
import bnbench

class Slow(bnbench.Variant):
    name, family = "slow", "matrix"

time.sleep(0.1)  # in which another thread may ask for it
whole = True
"""


def test_a_class_is_handed_out_when_its_module_is_whole(tmp_path, monkeypatch):
    # catches: a class that a second thread uses before what follows it in its module exists
    (tmp_path / "slow_home.py").write_text(HALF)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry.HOMES, "slow", "slow_home")

    def ask(second):
        while second and "slow" not in registry._registry:
            time.sleep(0.001)
        return hasattr(sys.modules[registry.find("slow").__module__], "whole")

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, range(2))) == [True, True]


def test_any_callable_can_be_a_variant():
    """Catches a decorator that needs a function's attributes."""

    class Step:
        def __call__(self, *batch, **conventions):
            return "called"

    step = bnbench.variant("object", family="matrix")(Step())
    assert variants()["object"].function is step
