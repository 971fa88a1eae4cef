"""The file that the table survives a restart in."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import announcement

from fastrouter.subscriptions.saved_state import SavedNode, StateError, load_state, save_state
from fastrouter.wire.announcement import Announcement

NODES = [
    SavedNode(announcement("foo.com", "127.0.0.1:1", weight=3, modifier1=5, backup=1000)),
    SavedNode(announcement("foo.com", "/run/x.sock", algorithm="lrc", max_conns=7)),
    SavedNode(Announcement("bär.com", "app.example:80", cores=4, load=2), "10.0.0.1:80"),
]


def test_what_was_saved_comes_back(tmp_path):
    path = str(tmp_path / "state")
    save_state(path, NODES)
    assert list(load_state(path)) == NODES
    save_state(path, [])
    assert list(load_state(path)) == []
    assert os.listdir(tmp_path) == ["state"]


def test_what_others_put_in_its_way_is_not_written_to(tmp_path):
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "state.new").symlink_to(tmp_path / "victim")
    save_state(str(tmp_path / "state"), NODES)
    assert (tmp_path / "victim").read_text() == "precious"
    assert not (tmp_path / "state").is_symlink()


def test_no_file_is_no_nodes(tmp_path):
    assert list(load_state(str(tmp_path / "state"))) == []


def test_an_old_file_is_not_believed(tmp_path):
    path = str(tmp_path / "state")
    save_state(path, NODES)
    old = time.time() - 400  # noqa: TID251 - files have nothing else
    os.utime(path, (old, old))
    with pytest.raises(StateError, match="seconds old"):
        list(load_state(path))


@pytest.mark.parametrize("cut", [1, 3, 10, 60])
def test_what_is_whole_of_a_damaged_file_counts(tmp_path, cut):
    path = tmp_path / "state"
    save_state(str(path), NODES)
    whole = path.read_bytes()
    first = len(NODES[0].announcement.encode())
    path.write_bytes(whole[: first + cut])
    found = []
    with pytest.raises(StateError, match=f"byte {first}"):
        for node in load_state(str(path)):
            found.append(node)
    assert found == NODES[:1]


@given(data=st.binary(max_size=300))
def test_rubbish_is_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("state") / "state"
    path.write_bytes(data)
    try:
        list(load_state(str(path)))
    except StateError:
        pass
