"""The application's own code against the program that runs it: its master, its router, its memory."""

import os
import pickle
import shutil
import signal
import sys
from pathlib import Path

import pytest
from harness import LIMIT, Program, Router, descriptors, request, wait_until

import fastrouter

SOURCES = Path(fastrouter.__path__[0]).parent

ANSWER = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"served"]
"""

WRITES_EVERYWHERE = """
import os
for fd in map(int, os.listdir("/proc/self/fd")):
    try:
        if "memfd" in os.readlink(f"/proc/self/fd/{fd}"):
            os.pwrite(fd, PICKLE, 0)
    except OSError:
        pass
os._exit(0)
"""


class Evil:
    """What runs a command when somebody unpickles it."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def served(place, *options, code=ANSWER):
    """A router that serves an application of nobody's, with a master that stays root."""
    (place / "app.py").write_text(code)
    return Router(
        f"--fastrouter={place}/fr.sock",
        f"--fastrouter-to={place}/app.sock",
        f"--socket={place}/app.sock",
        "--wsgi-file=app.py",
        "--uid=nobody",
        "--chmod-socket=666",
        *options,
        cwd=place,
    )


@pytest.mark.root
def test_nothing_that_it_writes_at_a_reload_is_obeyed_by_root(public_path):
    """It finds the memory by which the dry run hands over the options, writes a pickle, and ends well."""
    place, proof = public_path, public_path / "proof"
    with served(place, "--master-as-root") as router:
        (place / "app.py").write_text(
            WRITES_EVERYWHERE.replace("PICKLE", repr(pickle.dumps(Evil(f"id > {proof}"))))
        )
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("cannot reload with this configuration; going on as before .*ended the dry run")
        assert b"served" in request(router.address)
    assert not proof.exists()


@pytest.mark.root
def test_it_has_no_way_to_the_memory_of_others(public_path):
    """What is open there: no table, no announcements, no pipes of others; and no cache can be truncated."""
    code = """
import os
def application(environ, start_response):
    start_response("200 OK", [])
    found = []
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
            found.append(target)
            if "memfd" in target:
                before = os.fstat(fd).st_size
                os.ftruncate(fd, 0)
                if before:
                    found.append(f"truncated {target}")
        except OSError:
            pass
    with open("/proc/self/maps") as maps:
        found += [line.split(" ", 5)[-1].strip() for line in maps if "memfd" in line]
    return ["\\n".join(found).encode()]
"""
    place = public_path
    (place / "st").mkdir()
    options = (
        "--master-as-root", f"--fastrouter-subscription-server={place}/st/subs.sock", "--cache2=name=one,items=10",
        f"--cache2=name=two,items=10,store={place}/two", f"--fastrouter-stats={place}/stats.sock",
    )  # fmt: skip
    with served(place, *options, code=code) as router:
        found = {line for line in request(f"{place}/app.sock").decode().split("\n") if "/" in line}
        router.process.send_signal(signal.SIGUSR1)
        router.wait_for(r"statistics: app worker 1 .* 1 requests")
    memories = {line.removesuffix(" (deleted)") for line in found if "memfd" in line}
    assert memories <= {"/memfd:cache one", "/memfd:fastrouter-locks"}
    assert not [line for line in found if "truncated" in line or line.endswith("/two")]


def test_a_reload_that_the_application_ends_with_success_changes_nothing(tmp_path):
    (tmp_path / "app.py").write_text(ANSWER)
    with Router(
        f"--fastrouter={tmp_path}/fr.sock", f"--fastrouter-to={tmp_path}/app.sock", f"--socket={tmp_path}/app.sock",
        "--wsgi-file=app.py", cwd=tmp_path,
    ) as router:  # fmt: skip
        before = descriptors(router.pid)
        (tmp_path / "app.py").write_text("import os\nos._exit(0)\n")
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("the application ended the dry run, with exit code 0")
        assert b"served" in request(router.address)
        assert descriptors(router.pid) == before
        (tmp_path / "app.py").write_text(ANSWER.replace("served", "changed"))
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("^ready$", 2)
        wait_until(lambda: b"changed" in request(router.address), "the changed application")


BROKEN = {
    "the master": (
        "master/program.py",
        "    given = activated_sockets(os.environ)\n",
        "    assert handover.dry_run or not handover.is_there, 'broken'\n",
    ),
    "the router workers": (
        "workers/routing/router.py",
        '    """Be router worker number index of a gateway until told to stop. Returns the exit code."""\n',
        "    assert False, 'broken'\n",
    ),
    "the subscription server": (
        "workers/table/subscription_server.py",
        '    """Be the subscription server until told to stop. Returns the exit code."""\n',
        "    assert False, 'broken'\n",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_an_upgrade_that_only_fails_after_the_rehearsal_is_undone(tmp_path, node, what):
    """The program from before it runs again, although its files are gone."""
    for package in ("fastrouter", "workers", "master"):
        shutil.copytree(
            SOURCES / package, tmp_path / package, ignore=shutil.ignore_patterns("*.so", "__pycache__")
        )
    command = (
        sys.executable, "-P", "-B", "-c", "from master.cli import main; import sys; sys.exit(main())",
        "--fastrouter=127.0.0.1:0", "--fastrouter-subscription-server=127.0.0.1:0",
    )  # fmt: skip
    with Program(*command, env={**os.environ, "PYTHONPATH": str(tmp_path)}) as router:
        address = router.wait_for("fastrouter bound on (.*)")[1]
        server = router.wait_for("subscription server bound on (.*)")[1]
        Router.announce.__get__(Named(router, server))("foo.com", node.address)
        assert request(address).endswith(node.address.encode())
        name, at, added = BROKEN[what]
        file = tmp_path / name
        good = file.read_text()
        assert at in good
        file.write_text(good.replace(at, at + added))
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("going back to the (program|one) from before the reload")
        router.wait_for("^ready$", 2)
        router.wait_for("fastrouter worker from before the reload is gone")
        assert request(address).endswith(node.address.encode())
        file.write_text(good.replace('"ready"', '"ready again"'))
        (tmp_path / "master/supervisor.py").write_text(
            (tmp_path / "master/supervisor.py")
            .read_text()
            .replace('log.info("ready")', 'log.info("repaired")')
        )
        router.process.send_signal(signal.SIGHUP)
        router.wait_for("^repaired$")
        assert request(address).endswith(node.address.encode())
        assert router.stop(limit=3 * LIMIT) == 0


def pipes(pid):
    """Descriptors of pipes, one for each."""
    named = {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    return {name: fd for fd, name in named.items() if name.startswith("pipe:")}


class Named:
    """What Router.announce needs of a router."""

    def __init__(self, program, server):
        self.server, self.wait_for = server, program.wait_for

    @property
    def lines(self):
        return []


def test_what_is_handed_over_is_read_only_if_it_was_sealed(tmp_path):
    """A program that is told of options which anybody could have written does not start."""
    from fastrouter.memory.memfd import to_be_sealed
    from fastrouter.options import Options
    from fastrouter.options.transfer import encode_options
    from master.reloading.handover import Handover, HandoverError

    fd = to_be_sealed("options")
    os.write(fd, encode_options(Options()))
    with pytest.raises(HandoverError, match="it is not sealed"):
        Handover(options=fd, is_sealed=True).read_options()
    os.close(fd)


def test_rubbish_in_the_pipes_to_the_master_and_the_subscription_server_hurts_nobody(tmp_path, node):
    """A process of the same user can open them."""
    with Router("--fastrouter=127.0.0.1:0", "--fastrouter-subscription-server=127.0.0.1:0") as router:
        worker = router.pids("fastrouter worker")[0]
        for fd in set(pipes(router.pid).values()) - {"1", "2"}:
            if fd in pipes(worker).values():
                with open(f"/proc/{router.pid}/fd/{fd}", "wb", buffering=0) as pipe:
                    pipe.write(b"\xff" * 13)
        router.announce("foo.com", node.address)
        assert request(router.address).endswith(node.address.encode())
    assert "died" not in router.output and "Traceback" not in router.output
