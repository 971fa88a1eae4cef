"""Every parser with any bytes, briefly; scripts/fuzz does it at length."""

import fuzz
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st


def mutations(name):
    """Any bytes, and samples with a piece replaced."""
    samples = st.sampled_from(fuzz.seeds(name))
    positions = st.integers(0, 4096)
    mutated = st.builds(
        lambda sample, at, size, piece: sample[: at % (len(sample) + 1)] + piece + sample[at % (len(sample) + 1) + size :],
        samples, positions, st.integers(0, 8), st.binary(max_size=8),
    )  # fmt: skip
    return st.one_of(st.binary(max_size=300), mutated)


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_no_bytes_do_harm(name):
    target = fuzz.TARGETS[name]
    for sample in fuzz.seeds(name):
        target(sample)

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @example(b"")
    @given(mutations(name))
    def run(data):
        target(data)

    run()
