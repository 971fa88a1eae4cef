"""How many announcements a source may send."""

from fastrouter.subscriptions.rates import Rates, source_of


def test_a_burst_and_then_the_rate():
    rates = Rates(2)
    assert sum(rates.admits("a", 100.0) for _ in range(50)) == 20
    assert sum(rates.admits("a", 103.0) for _ in range(50)) == 6
    assert sum(rates.admits("b", 103.0) for _ in range(50)) == 20, "others have their own"
    assert sum(rates.admits("a", 1000.0) for _ in range(50)) == 20


def test_no_limit():
    assert all(Rates(0).admits("a", 0.0) for _ in range(1000))


def test_many_sources_cost_no_more_memory():
    rates = Rates(1)
    for number in range(70_000):
        rates.admits(str(number), 0.0)
    assert len(rates._buckets) == 65536


def test_who_counts_as_one_source():
    assert source_of("10.0.0.1", None) == "10.0.0.1"
    assert source_of("2001:db8::1", None) == source_of("2001:db8::ffff:1", None) == "2001:db8::/64"
    assert source_of("", 1000) == "uid 1000"
    assert source_of("", None) == ""
