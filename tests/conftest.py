"""Fixtures, and the rule that a peer that is missing is a failure and not a skip."""

import shutil
from pathlib import Path

import pytest
from harness import BIN, FakeNode


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{BIN}:/usr/local/bin:/usr/bin:/usr/sbin:/bin")
    assert found, f"{name} is not installed; scripts/test installs all that the tests need"
    return found


@pytest.fixture(scope="session")
def uwsgi() -> str:
    return _program("uwsgi")


@pytest.fixture(scope="session")
def uwsgitop() -> str:
    return _program("uwsgitop")


@pytest.fixture(scope="session")
def nginx() -> str:
    return _program("nginx")


@pytest.fixture
def node():
    with FakeNode() as node:
        yield node


@pytest.fixture
def nodes():
    with FakeNode() as first, FakeNode() as second, FakeNode() as third:
        yield first, second, third


@pytest.fixture
def app_file(tmp_path: Path) -> Path:
    """An application that names itself, its process, and what it was asked."""
    file = tmp_path / "app.py"
    file.write_text(
        "import os\n"
        "def application(environ, start_response):\n"
        "    body = environ['wsgi.input'].read()\n"
        "    start_response('200 OK', [('Content-Type', 'text/plain')])\n"
        "    return [f'pid={os.getpid()} host={environ.get(\"HTTP_HOST\")} '\n"
        "            f'path={environ[\"PATH_INFO\"]} body={len(body)}'.encode()]\n"
    )
    return file
