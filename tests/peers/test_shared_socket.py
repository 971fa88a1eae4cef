"""The chapter on cheap mode and shared sockets, as conf/shared-socket has it."""

import shutil
import signal

from harness import ROOT, Program, Router, load, request, wait_until

APP = """
import os
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"local %d" % os.getpid()]
"""


def test_a_local_application_and_a_remote_node(tmp_path, uwsgi):
    shutil.copy(ROOT / "conf" / "shared-socket" / "router.ini", tmp_path)
    ini = tmp_path / "router.ini"
    ini.write_text(ini.read_text().replace("127.0.0.1:3031", "127.0.0.1:0").replace(":4040", ":0"))
    (tmp_path / "app.wsgi").write_text(APP)
    (tmp_path / "remote.py").write_text(APP.replace("local", "remote"))
    with Router("--ini", ini) as router:
        router.pids("app worker", 4)
        assert all(b"local" in request(router.address) for _ in range(20))
        command = [uwsgi, "--master", "--socket=127.0.0.1:0", "--wsgi-file", tmp_path / "remote.py"]
        with Program(*command, f"--subscribe-to={router.server}:foo.com") as remote:
            router.wait_for("leaving cheap mode")
            threads = 4
            with load(lambda: request(router.address), threads) as outcomes:
                wait_until(lambda: sum(b"remote" in one for one in outcomes) > 20, "remote answers")
                wait_until(lambda: sum(b"local" in one for one in outcomes) > 20, "local answers")
                remote.process.send_signal(signal.SIGINT)
                router.wait_for("Going cheap")
                enough = len(outcomes) + 50
                wait_until(lambda: len(outcomes) > enough, "more requests")
        # SIGINT ends a real uWSGI in the middle of what it serves, and there is no other node to turn to.
        assert len([one for one in outcomes if not (isinstance(one, bytes) and one)]) <= threads
        assert all(b"local" in request(router.address) for _ in range(20))
