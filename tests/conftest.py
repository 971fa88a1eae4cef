"""Fixtures, and the rule that a peer that is missing is a failure and not a skip."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import BIN, FakeNode


@pytest.fixture(autouse=True)
def given_back(monkeypatch: pytest.MonkeyPatch):
    """Closes the descriptors of shared memory that a test has made and left: there are 1,024 for all tests."""
    made = []
    make = os.memfd_create

    def noted(*arguments: object) -> int:
        fd = make(*arguments)
        made.append((fd, os.fstat(fd)))
        return fd

    monkeypatch.setattr(os, "memfd_create", noted)
    yield
    for fd, about in made:
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(fd), about):
                os.close(fd)


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{BIN}:/usr/local/bin:/usr/bin:/usr/sbin:/bin")
    assert found, f"{name} is not installed; scripts/test installs all that the tests need"
    return found


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.getuid():
        pytest.fail("this test needs root; scripts/test runs it by sudo", pytrace=False)


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


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A directory in which every user can read and write: not below pytest's own, which it closes to others."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o777)
        yield Path(directory)
