"""Marks: nothing is obeyed twice, however many nodes come and go, and nobody crowds out anybody else."""

import pytest

from fastrouter.cache.definition import Definition
from fastrouter.cache.store import Cache
from fastrouter.subscriptions.replays import MARK_SIZE, NAME_SIZE, Replays, Verdict, mark_of

ROOM = 50


@pytest.fixture
def store():
    return Cache(Definition("times", ROOM, blocksize=MARK_SIZE, keysize=NAME_SIZE, ignore_full=True), 0)


def hear(replays, signer, node, unix):
    verdict = replays.check(signer, node, mark_of(unix, 0), False)
    if verdict is Verdict.NEWER:
        replays.remember(signer, node, mark_of(unix, 0))
    return verdict


def test_a_fleet_on_random_ports_never_runs_out_of_marks(store):
    """Every node is new; none of those that were forgotten can be replayed."""
    replays = Replays(store, 1000)
    said = [(b"10.0.0.1:%d" % number, number) for number in range(20 * ROOM)]
    assert all(hear(replays, b"fleet", node, unix) is Verdict.NEWER for node, unix in said)
    outcomes = {replays.check(b"fleet", node, mark_of(unix, 0), False) for node, unix in said}
    assert outcomes == {Verdict.REPLAYED, Verdict.OVERTAKEN}


def test_a_signer_who_floods_crowds_out_itself_alone(store):
    replays = Replays(store, 1000)
    for number in range(5):
        assert hear(replays, b"good", b"%d" % number, 100 + number) is Verdict.NEWER
    for number in range(10 * ROOM):
        hear(replays, b"evil", b"%d" % number, 10_000 + number)
    for number in range(5):
        assert replays.check(b"good", b"%d" % number, mark_of(100 + number, 0), False) is Verdict.REPLAYED
    assert hear(replays, b"good", b"new", 50) is Verdict.NEWER
    assert hear(replays, b"newcomer", b"new", 50) is Verdict.NEWER
    assert hear(replays, b"evil", b"late", 10_000) is Verdict.OVERTAKEN


def test_a_successor_knows_marks_and_floors(store):
    replays = Replays(store, 1000)
    for number in range(2 * ROOM):
        hear(replays, b"fleet", b"%d" % number, 100 + number)
    successor = Replays(store, 1000)
    assert hear(successor, b"fleet", b"0", 100) is Verdict.OVERTAKEN
    assert hear(successor, b"fleet", b"%d" % (2 * ROOM - 1), 100 + 2 * ROOM - 1) is Verdict.REPLAYED
    for number in range(2 * ROOM, 4 * ROOM):
        assert hear(successor, b"fleet", b"%d" % number, 100 + number) is Verdict.NEWER


def test_it_says_so_before_it_is_full(store, caplog):
    replays = Replays(store, 1000)
    for number in range(ROOM):
        assert caplog.text == "" or number > 0.9 * ROOM
        hear(replays, b"fleet", b"%d" % number, number)
    assert caplog.text.count("there is room for 50") == 1
