"""Configurations in YAML, JSON and XML, and files in encodings that cannot be read."""

import sys

import pytest

from fastrouter.config.dialect.pairs import ConfigError
from fastrouter.config.resolve import load

YAML = """# %% of a comment
other: 1
uwsgi:
  socket: [":0", '127.0.0.1:0']
  master: true
  name: %n
  procname: "%(name) %s"
  env:
    - A=1
    - B=2
  vacuum:
  touch-reload: %d/x
second:
  socket: ":1"
"""

JSON = """{
  "other": {"socket": ":9"},
  "uwsgi": {
\t"socket": [":0",
       "127.0.0.1:0"], "master": true,
    "name": "%n",
    "procname": "%(name) %s",
    "env": ["A=1", "B=2"],
    "vacuum": 1, "listen": 5,
    "touch-reload": "%d/x"
  },
  "second": {"socket": ":1"}
}
"""

XML = """<?xml version="1.0"?>
<all>
<pluto>x</pluto>
<uwsgi>
  <socket>:0</socket>
  <socket> 127.0.0.1:0
  </socket>
  <master/>
  <name>%n</name><procname>%(name) %s</procname>
  <env>A=1</env>
  <env>B=2</env>
  <vacuum></vacuum>
  <touch-reload>%d/x</touch-reload>
</uwsgi>
<uwsgi id="second"><socket>:1</socket></uwsgi>
</all>
"""

FORMATS = [
    ("yaml", YAML, (4, 4), 5),
    ("yml", YAML, (4, 4), 5),
    ("json", JSON, (4, 4), 5),
    ("js", JSON, (4, 4), 5),
    ("xml", XML, (5, 6), 8),
]


@pytest.mark.parametrize(("extension", "text", "sockets", "master"), FORMATS)
@pytest.mark.parametrize("how", ["{}", "--{extension}={}", "--include={}", "-{letter}{}"])
def test_a_configuration(tmp_path, extension, text, sockets, master, how):
    file = tmp_path / f"app.{extension}"
    file.write_text(text)
    found = load([how.format(file, extension=extension, letter=extension[0])], {})
    options = found.options
    assert options.app.sockets == [":0", "127.0.0.1:0"]
    assert options.master.procname == f"app app.{extension}"
    assert options.master.env == ["A=1", "B=2"]
    assert options.sockets.vacuum
    assert options.master.touch_reload == [f"{tmp_path}//x"]
    assert [origin.line for origin in found.origins["socket"]] == list(sockets)
    assert [(origin.source, origin.line) for origin in found.origins["master"]] == [(str(file), master)]
    assert load([f"{file}:second"], {}).options.app.sockets == [":1"]
    with pytest.raises(
        ConfigError, match=f"app.{extension}: expected a section third, found .*uwsgi, second"
    ):
        load([f"{file}:third"], {})


def test_an_ini_file_takes_in_another_kind(tmp_path):
    (tmp_path / "more.yaml").write_text("uwsgi:\n  socket: ':0'\n")
    (tmp_path / "a.ini").write_text(f"[uwsgi]\nyaml = {tmp_path}/more.yaml\nprocname = x\n")
    found = load(["--ini", f"{tmp_path}/a.ini"], {}).options
    assert (found.app.sockets, found.master.procname) == ([":0"], "x")


def test_yaml_is_loaded_only_where_it_is_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "a.ini").write_text("[uwsgi]\nsocket = :0\n")
    assert load([f"{tmp_path}/a.ini"], {}).options.app.sockets == [":0"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.yaml", b"uwsgi:\n  socket: %(x\n  master", "a.yaml:2: no YAML: found character '%'"),
        ("a.yaml", b"uwsgi:\n  routes:\n    a: 1\n", "a.yaml:3: routes: expected a value, or several"),
        ("a.yaml", b"uwsgi: 5\n", "a.yaml:1: uwsgi: expected NAME: VALUE below"),
        ("a.yaml", b"", "a.yaml: expected a section uwsgi, found none"),
        ("a.yaml", b"uwsgi:\n  listen: x\n", "a.yaml:2: listen = x: expected a whole number"),
        ("a.json", b'{"uwsgi":\n {"socket": }}', "a.json:2: no JSON: Expecting value"),
        ("a.json", b'{"uwsgi": {\n "routes": {"a": 1}}}', "a.json:2: routes: expected a value, or several"),
        ("a.json", b'{"uwsgi": 5}', 'a.json: "uwsgi": expected an object'),
        (
            "a.json",
            b'{"uwsgi": {\n "master": true,\n "listen": "x"}}',
            "a.json:3: listen = x: expected a whole",
        ),
        ("a.xml", b"<uwsgi>\n<socket>:0</sock>\n</uwsgi>", "a.xml:2: no XML: mismatched tag"),
        ("a.xml", b"<uwsgi>\n<app><script>a</script></app></uwsgi>", "a.xml:2: app: expected a value"),
        ("a.xml", b"<uwsgi>\n<listen>x</listen></uwsgi>", "a.xml:2: listen = x: expected a whole number"),
        (
            "a.xml",
            b'<!DOCTYPE u [\n<!ENTITY a SYSTEM "file:///etc/passwd">]><uwsgi><socket>&a;</socket></uwsgi>',
            "a.xml:1: a document type (DOCTYPE) is not read here",
        ),
        (
            "a.ini",
            b"\xef\xbb\xbf[uwsgi]\nsocket = :0\n",
            "a.ini: line 1: the file begins with a byte order mark (BOM)",
        ),
        ("a.ini", "[uwsgi]\nsocket = :0\n".encode("utf-16"), "a.ini: line 1: the file is in UTF-16"),
        ("a.ini", "[uwsgi]\nsocket = :0\n".encode("utf-16-be"), "a.ini: line 1: the file is in UTF-16"),
    ],
)
def test_mistakes(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load([f"{tmp_path}/{name}"], {})
    assert expected in caught.value.problems[0]


def test_yaml_as_a_uwsgi_without_libyaml_reads_it(tmp_path):
    """What formats of logs have is no YAML; a file with anything but plain lines is told what is wrong with it."""
    file = tmp_path / "a.yaml"
    file.write_text(
        "# an app\nother:\n    socket: :1\nuwsgi:\n    socket: 127.0.0.1:0\n\n"
        "    logformat : APP: %%(method) -> {%%(uri)}\n    log-date: %%Y-%%m\n"
    )
    found = load(["--yaml", str(file)], {})
    assert found.options.app.logformat == "APP: %(method) -> {%(uri)}"
    assert str(found.origins["logformat"][0]).endswith("a.yaml:7")
    file.write_text("uwsgi:\n    logformat : APP: x\n    env:\n      - A=1\n")
    with pytest.raises(ConfigError, match=r"a\.yaml:2: no YAML"):
        load(["--yaml", str(file)], {})
