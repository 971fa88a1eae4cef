"""The installation: what is compiled, and what the packages have."""

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from harness import MASTER, ROOT


def run(*words, **extra):
    return subprocess.run(words, capture_output=True, text=True, check=False, **extra)


def meant_to_be_compiled():
    """HOT of setup.py, as names of modules."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    (hot,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "HOT"
    )
    found = []
    for one in hot.elts:
        if isinstance(one, ast.Starred):  # sorted(glob(PATTERN))
            found += sorted(ROOT.glob(one.value.args[0].args[0].value))
        else:
            found.append(ROOT / one.value)
    return [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in found]


LOOK = """
import json, sys
from importlib import import_module, metadata
direct = json.loads(metadata.distribution("fastrouter").read_text("direct_url.json"))
print(direct.get("dir_info", {}).get("editable", False))
for name in sys.argv[1:]: print(import_module(name).__file__)
"""


def test_what_is_meant_to_be_compiled_is_and_the_version_says_so(tmp_path):
    names = meant_to_be_compiled()
    assert len(names) > 20
    editable, *files = run(sys.executable, "-P", "-c", LOOK, *names, cwd=tmp_path).stdout.splitlines()
    kind = run(MASTER, "--version").stdout.partition("(")[2].rstrip(")\n")
    if editable == "False":
        assert kind == ("pure Python" if os.environ.get("FASTROUTER_PURE") else "compiled")
    assert len(files) == len(names)
    assert [file for file in files if file.endswith(".so") != (kind == "compiled")] == []


@pytest.fixture
def tree(tmp_path):
    """A copy of what packages are made from."""
    ignored = shutil.ignore_patterns(".*", "build", "*.so", "*.egg-info", "__pycache__")
    return Path(shutil.copytree(ROOT, tmp_path / "tree", ignore=ignored))


def test_a_build_without_a_compiler_says_so_and_leaves_no_part(tree):
    """The compiler fails at the second file of several, when a part has been made."""
    compiler = tree / "cc"
    compiler.write_text(
        """#!/bin/sh
case "$*" in *__native*) ;; *) exit 1 ;; esac
while [ "$1" != -o ]; do shift; done
echo made > "$2"
"""
    )
    compiler.chmod(0o755)
    build = run(sys.executable, "setup.py", "build", cwd=tree, env=os.environ | {"CC": str(compiler)})
    assert build.returncode == 0, build.stderr
    assert "fastrouter is NOT compiled: " in build.stdout
    assert "python3-dev" in build.stdout
    assert list(tree.glob("build/lib*/fastrouter/routing/pool.py"))
    assert not list(tree.glob("build/lib*/**/*.so"))


def test_the_packages_have_what_they_should(tree):
    """The sdist is all of the repository that is there to be used; the wheel brings manual pages and completion."""
    pure = os.environ | {"FASTROUTER_PURE": "1"}
    for what in ("sdist", "bdist_wheel"):
        made = run(sys.executable, "setup.py", "-q", what, cwd=tree, env=pure)
        assert made.returncode == 0, made.stderr
        assert "project.license" not in made.stderr
    with tarfile.open(*tree.glob("dist/*.tar.gz")) as sdist:
        there = {name.partition("/")[2] for name in sdist.getnames()}
    kept = {str(file.relative_to(tree)) for file in tree.glob("**/*") if file.is_file()}
    made = {name for name in kept if name.startswith(("build/", "dist/", "fastrouter.egg-info/"))}
    assert kept - made - there == set()
    with zipfile.ZipFile(*tree.glob("dist/*.whl")) as wheel:
        there = {name.partition(".data/data/")[2] or name for name in wheel.namelist()}
        (info,) = (name for name in there if name.endswith("/METADATA"))
        said = wheel.read(info).decode()
    assert {f"share/man/man{page.suffix[1:]}/{page.name}" for page in tree.glob("docs/man/*")} <= there
    assert "share/bash-completion/completions/fastrouter.bash" in there
    assert "fastrouter/py.typed" in there
    assert not [name for name in there if name.startswith(("tests", "scripts", "conf"))]
    assert "\nLicense-Expression: MIT\n" in said and "\nLicense-File: LICENSE\n" in said
    assert "License ::" not in said


@pytest.fixture
def scripts(tree):
    """Runs a script of the tree, in whose .venv pip only notes what it was to install."""
    place = tree / ".venv" / "bin"
    place.mkdir(parents=True)
    for name, text in (
        ("python", f'exec "{sys.executable}" "$@"'),
        ("pip", f'echo "$@" >> "{tree}/installed"'),
        ("fastrouter-master", f'exec "{MASTER}" "$@"'),
    ):
        (place / name).write_text(f"#!/bin/sh\n{text}\n")
        (place / name).chmod(0o755)

    def start(name, *words):
        done = run(tree / "scripts" / name, *words, cwd="/", env=os.environ | {"PYTHON": sys.executable})
        noted = tree / "installed"
        installed = noted.read_text().splitlines() if noted.exists() else []
        noted.unlink(missing_ok=True)
        return done, installed

    return start


def test_scripts_install_when_something_has_changed_and_say_so(tree, scripts):
    first, installed = scripts("run", "--version")
    assert (
        first.stdout.startswith("fastrouter 0.1.0 (") and "Installing fastrouter into .venv" in first.stderr
    )
    assert installed == [f"install --quiet {tree}"]
    again, installed = scripts("run", "--version")
    assert again.stdout == first.stdout and again.stderr == "" and installed == []
    (tree / "master" / "new.py").touch()
    assert scripts("run", "--version")[1] == [f"install --quiet {tree}"]
    assert scripts("run", "--version")[1] == []
    assert scripts("fuzz", "--help")[1] == [f"install --quiet {tree}[fuzz]"]
    assert scripts("run", "--version")[1] == scripts("fuzz", "--help")[1] == []


@pytest.mark.parametrize("name", ["bench", "soak", "fuzz"])
def test_scripts_that_measure_use_the_same_environment(scripts, name):
    done, installed = scripts(name, "--help")
    assert f"scripts/{name}" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr and len(installed) == 1
    assert scripts(name, "--help")[1] == []
