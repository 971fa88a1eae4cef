"""Local users who can write to a folder that root writes to as well."""

import functools
import os
import signal
import stat
import time

import pytest
from harness import MASTER, Program, wait_until

from fastrouter.files import open_entry, open_to_write

pytestmark = pytest.mark.root
NOBODY = 65534


@pytest.fixture
def folder(public_path):
    """The application's user's, as a site's folder often is."""
    place = public_path / "site"
    place.mkdir(mode=0o755)
    os.chown(place, NOBODY, NOBODY)
    return place


@pytest.fixture
def secret(tmp_path):
    """A file of root's."""
    file = tmp_path / "secret"
    file.write_text("secret")
    file.chmod(0o600)
    return file


def is_untouched(secret):
    about = secret.stat()
    return secret.read_text() == "secret" and (about.st_uid, stat.S_IMODE(about.st_mode)) == (0, 0o600)


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_log_that_is_moved_away_leaves_no_way_to_other_files(folder, secret, node, link):
    """The root master begins a new one, and finds a link in its place."""
    arguments = (
        "--fastrouter=127.0.0.1:0",
        f"--fastrouter-to={node.address}",
        "--master-as-root",
        "--uid=nobody",
    )
    logs = (f"--logto={folder}/log", f"--fastrouter-log={folder}/requests")
    with Program(MASTER, *arguments, *logs) as router:
        wait_until(lambda: (folder / "log").exists() and "\nready\n" in (folder / "log").read_text(), "ready")
        for name in ("log", "requests"):
            os.rename(folder / name, folder / f"{name}.1")
            link(secret, folder / name)

        def statistics():
            return (folder / "log.1").read_text().count("statistics: fastrouter worker")

        for count in (1, 2):  # a look at whether the file is still there comes once a second, before a line
            wait_until(lambda: router.process.send_signal(signal.SIGUSR1) or statistics() > count,  # noqa: B023
                       "statistics")  # fmt: skip
            wait_until(functools.partial(later, time.monotonic() + 1.5), "another second")
        assert is_untouched(secret)


def later(moment):
    return time.monotonic() > moment


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize("option", ["logto", "pidfile", "fastrouter-log", "cache2"])
def test_a_start_with_a_link_in_place_of_a_file_fails(folder, secret, node, option, link):
    link(secret, folder / "file")
    value = f"name=x,items=10,store_delete=1,store={folder}/file" if option == "cache2" else f"{folder}/file"
    arguments = (
        "--fastrouter=127.0.0.1:0",
        f"--fastrouter-to={node.address}",
        f"--{option}={value}",
        "--uid=nobody",
    )
    with Program(MASTER, *arguments) as program:
        program.wait_for("others can write to its folder")
        assert program.wait() == 1
    assert is_untouched(secret)


def test_a_link_in_a_folder_of_ours_is_followed(tmp_path):
    """As of /dev/stdout, or of a log that the operator keeps elsewhere."""
    (tmp_path / "link").symlink_to(tmp_path / "file")
    fd, is_new = open_to_write(str(tmp_path / "link"))
    os.write(fd, b"x")
    os.close(fd)
    assert (tmp_path / "file").read_text() == "x" and not is_new


def test_what_is_given_away_is_what_was_made(tmp_path):
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(OSError):
        open_entry(str(tmp_path / "link"), stat.S_IFIFO)
    with pytest.raises(FileExistsError, match="something else"):
        open_entry("/etc/passwd", stat.S_IFIFO)
