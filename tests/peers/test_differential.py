"""Real uWSGI's fastrouter and this one, side by side: the same options, the same questions, the same answers.

Where they differ on purpose, the scenario names the row of docs/differences.md that says why, and is to see
that they do differ. The tables there are to have no other rows.
"""

import re
from pathlib import Path

import pytest
from differential import announcements, failures, federation, forwarders, keys, program, raw, sessions, signed
from differential.stage import Stage
from harness import ROOT

from fastrouter.options import FastrouterOptions
from fastrouter.options.declaration import declared

GROUPS = [
    group
    for room in (keys, forwarders, failures, sessions, announcements, signed, federation, program, raw)
    for group in room.GROUPS
]


def play(group, uwsgi, directory: Path) -> list[object]:
    seen = []
    with Stage(uwsgi, directory, group.options, group.files, group.nodes, group.prefix) as stage:
        if group.starts:
            stage.wait_started()
        if group.setup:
            group.setup(stage)
        for scenario in group.scenarios:
            seen.append(scenario.act(stage))
    return seen


def needs_root(group):
    return any("uid=" in option for option in group.options)


@pytest.mark.parametrize(
    "group",
    [pytest.param(group, marks=pytest.mark.root if needs_root(group) else ()) for group in GROUPS],
    ids=lambda group: group.name,
)
def test_same(group, uwsgi, tmp_path):
    theirs = play(group, uwsgi, tmp_path / "uwsgi")
    ours = play(group, None, tmp_path / "ours")
    for scenario, their, our in zip(group.scenarios, theirs, ours, strict=True):
        if scenario.differs:
            assert our == scenario.ours, scenario.name
            assert their != our, f"{scenario.name}: there is no difference any more"
        else:
            assert our == their, f"{scenario.name}: uWSGI {their!r}, this {our!r}"


def test_there_are_enough_and_every_option_of_uwsgi_is_among_them():
    assert sum(len(group.scenarios) for group in GROUPS) >= 60
    assert len({group.name for group in GROUPS}) == len(GROUPS)
    text = " ".join(
        option + " " + " ".join(group.files.values()) for group in GROUPS for option in group.options
    )
    used = set(re.findall(r"fastrouter[a-z-]*", text))
    of_this_program = {
        "fastrouter-connect-timeout",
        "fastrouter-header-timeout",
        "fastrouter-queue-timeout",
        "fastrouter-max-sessions",
        "fastrouter-resubscribe-sign",
        "fastrouter-stats",  # compared key by key in test_stats.py
        "fastrouter-prometheus",
        "fastrouter-zerg",  # alone it makes no router of a real one: test_zerg.py
        "fastrouter-log",
        "fastrouter-log-format",
        "fastrouter-fd-passing",
        "fastrouter-keepalive",
    }
    missing = {option.name for option in declared(FastrouterOptions)} - used - of_this_program
    assert not missing


def test_the_document_lists_exactly_these_differences():
    text = (ROOT / "docs" / "differences.md").read_text()
    checked = text[text.index("## Routing") : text.index("## The local application")]
    rows = {
        row.split(" | ")[0].removeprefix("| ").strip()
        for row in checked.splitlines()
        if row.startswith("| ") and not row.startswith("| uWSGI 2.0.31")
    }
    named = {scenario.differs for group in GROUPS for scenario in group.scenarios if scenario.differs}
    assert rows == named
