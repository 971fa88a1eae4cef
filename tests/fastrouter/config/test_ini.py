"""The ini dialect."""

import pytest

from fastrouter.config.dialect.ini import read_ini
from fastrouter.config.dialect.pairs import ConfigError


def pairs(text, section="uwsgi"):
    return [(pair.name, pair.value, pair.origin.line) for pair in read_ini(text, "a.ini", section)]


def test_the_dialect():
    text = (
        "stray = ignored\n[uwsgi]\r\n  fastrouter = :1  \n; comment\n# comment\nfastrouter=:2 ; not a comment\n"
        'master\n\nquoted = "a", \'b\' # c\nequals = a=b=c\nempty =\nfoo: bar\nback = a\\\ntriple = """x\n'
        '[other]\nx = 1\n[uwsgi]\nlast = "\' """ '
    )
    assert pairs(text) == [
        ("fastrouter", ":1", 3),
        ("fastrouter", ":2 ; not a comment", 6),
        ("master", "", 7),
        ("quoted", "\"a\", 'b' # c", 9),
        ("equals", "a=b=c", 10),
        ("empty", "", 11),
        ("foo: bar", "", 12),
        ("back", "a\\", 13),
        ("triple", '"""x', 14),
        ("last", '"\' """', 18),
    ]


def test_another_section_and_a_missing_one():
    assert pairs("[a]\nx=1\n[b]\nx=2", "b") == [("x", "2", 4)]
    with pytest.raises(ConfigError, match=r"a\.ini: expected a section \[c\], found \[a\], \[b\]"):
        pairs("[a]\nx=1\n[b]\nx=2", "c")


def test_bytes_that_are_no_text_pass_through():
    text = b"[uwsgi]\nx = \xff\xfe".decode("utf-8", "surrogateescape")
    assert pairs(text)[0][1].encode("utf-8", "surrogateescape") == b"\xff\xfe"
