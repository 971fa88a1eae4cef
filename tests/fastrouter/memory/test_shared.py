"""Shared memory: records come out whole whatever happens at the same time."""

import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrouter.memory.cells import COUNTERS, Counter
from fastrouter.memory.shared import (
    EVERY_SLOT,
    Delta,
    Failure,
    Layout,
    NodeRecord,
    SharedState,
    read_deltas,
    read_failures,
)
from fastrouter.text import to_text
from fastrouter.wire.traits import MAX_ALGORITHM, Traits


@pytest.fixture
def state():
    state = SharedState(Layout(slots=4, workers=3))
    yield state
    state.close()


@given(
    st.builds(
        NodeRecord,
        id=st.integers(1, 2**64 - 1),
        order=st.integers(0, 2**64 - 1),
        key=st.binary(min_size=1, max_size=255),
        address=st.binary(min_size=1, max_size=255),
        traits=st.builds(
            Traits,
            modifier1=st.integers(0, 255),
            modifier2=st.integers(0, 255),
            weight=st.integers(1, 65535),
            backup=st.integers(0, 65535),
            max_conns=st.integers(0, 2**32 - 1),
            algorithm=st.binary(max_size=MAX_ALGORITHM).map(to_text),
            fd_passing=st.booleans(),
            keepalive=st.booleans(),
        ),
        resolved=st.binary(max_size=47),
        since=st.integers(0, 2**64 - 1),
        draining=st.booleans(),
    )
)
def test_records_come_back_as_they_were_written(record):
    state = SharedState(Layout(slots=2, workers=1))
    state.write(1, record)
    assert state.read(1) == record
    assert state.read(0) is None
    state.write(1, None)
    assert state.read(1) is None
    state.close()


def test_a_torn_read_is_impossible(state):
    """A process rewrites one slot as fast as it can; every record read elsewhere is one that was written."""
    records = [NodeRecord(n, n, b"%d" % n * 50, b"%d" % n * 20, Traits(weight=n)) for n in range(1, 10)]
    state.write(0, records[0])
    child = os.fork()
    if not child:
        while True:
            for record in records:
                state.write(0, record)
    try:
        seen = {state.read(0) for _ in range(30000)}
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert seen <= set(records)
    assert len(seen) > 1


def test_a_writer_that_dies_half_way_has_changed_nothing(state):
    old = NodeRecord(1, 1, b"key", b"old")
    state.write(2, old)
    cell = state.slot_cell(2, 0)
    sequence = state.cells[cell]
    state.write(2, NodeRecord(2, 2, b"key", b"new"))
    state.cells[cell] = sequence  # as if the last store of write() had not happened
    assert state.read(2) == old


def test_counters_are_summed_over_workers(state):
    for worker in range(3):
        counters = state.counters(worker)
        counters[2 * COUNTERS + Counter.REQUESTS] = 10 + worker
        counters.release()
    assert state.total(2, Counter.REQUESTS) == 33
    assert state.total(1, Counter.REQUESTS) == 0


def test_regions_do_not_overlap(state):
    for at in range(len(state.cells)):
        state.cells[at] = 2**64 - 1
    assert all(state._records[at] == 0 for at in range(len(state._records)))


def test_messages_survive_a_pipe():
    reader, writer = os.pipe()
    deltas = [Delta(1, 2), Delta(2**63, EVERY_SLOT)]
    for delta in deltas:
        os.write(writer, delta.encode())
    assert list(read_deltas(reader)) == deltas
    os.write(writer, Failure(7, 8).encode())
    assert list(read_failures(reader)) == [Failure(7, 8)]
    os.close(reader)
    os.close(writer)
