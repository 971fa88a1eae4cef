"""The cache in shared memory: what is stored, seen, counted; several processes; sudden deaths."""

import os
import signal
import threading

import pytest
from harness import wait_until
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fastrouter.cache import store
from fastrouter.cache.definition import CacheError, Definition, parse_definition, parse_item
from fastrouter.cache.store import Cache, number_in


def make(items=4, readers=1, **extra):
    return Cache(Definition("test", items, blocksize=64, keysize=16, **extra), readers)


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1_800_000_000

    clock = Clock()
    monkeypatch.setattr(store, "_now", lambda: clock.now)
    return clock


def test_set_keeps_and_update_replaces():
    cache = make()
    assert cache.set(b"k", b"1")
    assert not cache.set(b"k", b"2")
    assert cache.get(b"k").value == b"1"
    assert cache.update(b"k", b"2")
    assert cache.get(b"k").value == b"2"
    assert cache.delete(b"k")
    assert not cache.delete(b"k")
    assert cache.get(b"k") is None
    assert cache.set(b"k", b"3")


def test_what_does_not_fit_is_refused():
    cache = make()
    assert not cache.set(b"", b"v")
    assert not cache.set(b"k", b"")
    assert not cache.set(b"k" * 17, b"v")
    assert not cache.set(b"k", b"v" * 65)
    assert cache.set(b"k" * 16, b"v" * 64)
    assert cache.get(b"k" * 16).value == b"v" * 64
    assert cache.keys() == [b"k" * 16]


def test_hits_count_from_the_insertion_and_go_on_over_an_update():
    cache = make(readers=2)
    cache.set(b"k", b"v")
    assert [cache.look_up(b"k", reader)[1] for reader in (0, 1, 0)] == [0, 1, 2]
    cache.get(b"k")
    cache.peek(b"k")
    cache.update(b"k", b"w")
    item, hits = cache.look_up(b"k", 1)
    assert (item.value, hits) == (b"w", 4)
    cache.delete(b"k")
    cache.set(b"k", b"v")
    assert cache.look_up(b"k", 0)[1] == 0
    assert cache.look_up(b"other", 0) is None


def test_expiry(clock):
    cache = make(items=2)
    cache.set(b"k", b"v", 10)
    assert cache.get(b"k").expires == clock.now + 10
    clock.now += 9
    assert cache.keys() == [b"k"]
    clock.now += 1
    assert cache.get(b"k") is None and cache.keys() == [] and not cache.delete(b"k")
    assert cache.set(b"k", b"new")
    cache.set(b"x", b"v", 1)
    clock.now += 5
    assert cache.set(b"y", b"v"), "what has expired makes room"
    cache.update(b"y", b"v", 3)
    cache.update(b"y", b"w")
    clock.now += 5
    assert cache.get(b"y").value == b"w", "an update without a time makes it permanent"


def test_expiry_by_default_and_never(clock):
    for extra, alive in (({"expires": 5}, False), ({"expires": 5, "no_expire": True}, True), ({}, True)):
        cache = make(**extra)
        cache.set(b"k", b"v")
        clock.now += 6
        assert (cache.get(b"k") is not None) is alive


def test_full(caplog):
    cache = make(items=2)
    assert cache.set(b"1", b"v") and cache.set(b"2", b"v")
    assert not cache.set(b"3", b"v")
    assert "FULL" in caplog.text
    assert cache.update(b"2", b"w")
    caplog.clear()
    quiet = make(items=1, ignore_full=True)
    assert quiet.set(b"1", b"v") and not quiet.set(b"2", b"v") and not caplog.text
    clearing = make(items=2, clear_on_full=True)
    assert all(clearing.set(key, b"v") for key in (b"1", b"2", b"3"))
    assert clearing.keys() == [b"3"]


def test_the_least_recently_used_goes():
    cache = make(items=3, lru=True)
    for key in (b"1", b"2", b"3"):
        cache.set(key, b"v")
    cache.look_up(b"1", 0)
    cache.get(b"2")
    assert cache.set(b"4", b"v")
    assert sorted(cache.keys()) == [b"1", b"2", b"4"]


def test_arithmetic():
    cache = make()
    assert cache.compute(b"n", "inc", 5)
    assert cache.compute(b"n", "mul", -7)
    assert number_in(cache.get(b"n").value) == -35
    assert cache.compute(b"n", "div", 2) and number_in(cache.get(b"n").value) == -17
    assert cache.compute(b"n", "dec", 2**63 - 1) and number_in(cache.get(b"n").value) == 2**63 - 16
    assert cache.compute(b"n", "div", 0) and number_in(cache.get(b"n").value) == 0
    cache.set(b"text", b"no number")
    assert not cache.compute(b"text", "inc", 1)
    assert make(math_initial=10).compute(b"n", "inc", 1)


def in_child(work):
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


def test_processes_see_each_other_at_once():
    cache = make(items=600)
    pids = [
        in_child(lambda first=first: [cache.set(b"%d" % n, b"v%d" % n) for n in range(first, 600, 3)])
        for first in range(3)
    ]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 0, 0]
    assert sorted(cache.keys()) == sorted(b"%d" % n for n in range(600))
    assert all(cache.peek(b"%d" % n).value == b"v%d" % n for n in range(600))


def test_a_reader_never_sees_half_of_anything():
    cache = make(items=2)
    values = [bytes([65 + n]) * 64 for n in range(20)]
    cache.set(b"k", values[0])

    def write():
        while True:
            for value in values:
                cache.update(b"k", value)

    pid = in_child(write)
    try:
        seen = set()

        def read():
            seen.update(cache.peek(b"k").value for _ in range(20_000))
            return len(seen) > 2

        wait_until(read, "several values to be written")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert seen <= set(values)


def test_writers_that_are_killed_leave_a_whole_cache():
    cache = make(items=50)

    def churn():
        number = 0
        while True:
            number += 1
            cache.update(b"%d" % (number % 60), b"%d" % number)
            cache.delete(b"%d" % ((number * 7) % 60))

    for _ in range(30):
        pid = in_child(churn)
        generation = cache._cells[store._GENERATION]
        while cache._cells[store._GENERATION] < generation + 20:
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        cache.clear()
        assert cache.keys() == []
        for number in range(50):
            assert cache.set(b"%d" % number, b"v")
        assert len(cache.keys()) == 50


def test_what_a_dead_writer_had_begun_is_finished():
    cache = make()
    cache.set(b"k", b"old")
    slot = cache._slots[b"k"]
    cache._cells[store._PENDING] = slot + 1
    cache._records_buffer.write(slot, store._ITEM.pack(0, 0, 1) + b"x" + b"new")
    assert cache.set(b"y", b"v")
    assert sorted(cache.keys()) == [b"x", b"y"]


def test_threads_take_turns():
    cache = make()

    def count():
        for _ in range(500):
            cache.compute(b"n", "inc", 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number_in(cache.get(b"n").value) == 2000


def test_threads_that_read_while_another_process_writes():
    cache = make(items=50)

    def churn():
        number = 0
        while True:
            number += 1
            cache.update(b"%d" % (number % 50), b"v")
            cache.delete(b"%d" % ((number * 7) % 50))

    failures = []

    def read():
        try:
            for number in range(3000):
                cache.peek(b"%d" % (number % 50))
                cache.look_up(b"%d" % (number % 50), 0)
                cache.keys()
        except Exception as error:
            failures.append(error)

    pid = in_child(churn)
    try:
        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert not failures


def test_a_store_outlives_the_program(tmp_path):
    path = str(tmp_path / "store")
    cache = make(store=path)
    cache.set(b"k", b"v")
    cache.look_up(b"k", 0)
    again = make(store=path, readers=3)
    item, hits = again.look_up(b"k", 2)
    assert (item.value, hits) == (b"v", 0)
    with pytest.raises(CacheError, match="another cache"):
        make(items=9, store=path)
    assert make(items=9, store=path, store_delete=True).keys() == []


def test_a_damaged_store_loses_the_damaged_only(tmp_path):
    path = tmp_path / "store"
    cache = make(store=str(path))
    cache.set(b"good", b"value of good")
    cache.set(b"bad", b"value of bad")
    data = bytearray(path.read_bytes())
    at = data.index(b"value of bad")
    data[at : at + 5] = b"VALUE"
    path.write_bytes(data)
    assert make(store=str(path)).keys() == [b"good"]


class Model(RuleBasedStateMachine):
    """Two processes' views, any order of operations: both agree with a dictionary."""

    keys = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
    values = st.binary(min_size=1, max_size=64)

    def __init__(self):
        super().__init__()
        self.cache = make(items=5)
        self.other = make(items=5)
        self.other._cells = self.cache._cells
        self.other._records_buffer = self.cache._records_buffer
        self.other._uses = self.cache._uses
        self.model = {}

    @rule(key=keys, value=values, view=st.booleans())
    def set(self, key, value, view):
        assert (self.cache if view else self.other).set(key, value) is (key not in self.model)
        self.model.setdefault(key, value)

    @rule(key=keys, value=values, view=st.booleans())
    def update(self, key, value, view):
        assert (self.cache if view else self.other).update(key, value)
        self.model[key] = value

    @rule(key=keys, view=st.booleans())
    def delete(self, key, view):
        assert (self.cache if view else self.other).delete(key) is (self.model.pop(key, None) is not None)

    @rule(view=st.booleans(), times=st.integers(1, 400))
    def churn(self, view, times):
        for number in range(times):
            (self.cache if view else self.other).update(b"a", b"%d" % number)
        self.model[b"a"] = b"%d" % (times - 1)

    @rule(view=st.booleans())
    def clear(self, view):
        (self.cache if view else self.other).clear()
        self.model.clear()

    @invariant()
    def both_agree(self):
        for cache in (self.cache, self.other):
            keys = cache.keys()
            assert {key: cache.peek(key).value for key in keys} == self.model


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def test_definitions():
    assert parse_definition("name=a,items=10") == Definition("a", 10)
    assert parse_definition("name=a,max_items=10,blocksize=100,keysize=20,lru=1,hash=murmur2,blocks=10") == (
        Definition("a", 10, 100, 20, lru=True)
    )
    for text, problem in (
        ("items=10", "a name"),
        ("name=a", "items=N"),
        ("name=a,items=x", "whole number for items"),
        ("name=a,items=1,keysize=70000", "keysize"),
        ("name=a,items=1,udp=1.2.3.4:5", "no 'udp'"),
    ):
        with pytest.raises(CacheError, match=problem):
            parse_definition(text)


def test_items():
    assert parse_item("foo.com=127.0.0.1:4040") == ("", b"foo.com", b"127.0.0.1:4040")
    assert parse_item("one a=b=c") == ("one", b"a", b"b=c")
    for text in ("a", "=b", "a=", "one a"):
        with pytest.raises(CacheError):
            parse_item(text)
