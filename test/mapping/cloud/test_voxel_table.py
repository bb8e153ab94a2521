"""The voxel table is a dictionary, whatever is inserted and erased in whatever order."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scal3r_ros.mapping.cloud.voxel_table import VoxelTable

few_keys = st.lists(st.integers(0, 40), unique=True, max_size=30)
step = st.tuples(st.sampled_from(["insert", "erase"]), few_keys)


def as_keys(values):
    return np.array(values, np.int64) * 0x1234_5678_9ABC % (1 << 62)


@given(st.lists(step, max_size=30))
def test_it_holds_what_a_dictionary_would(steps):
    table, oracle = VoxelTable(), {}
    for number, (action, keys) in enumerate(steps):
        if action == "insert":
            keys = [key for key in keys if key not in oracle]
            table.insert(as_keys(keys), np.full(len(keys), number, np.int32))
            oracle |= dict.fromkeys(keys, number)
        else:
            table.erase(as_keys(keys))
            oracle = {key: value for key, value in oracle.items() if key not in keys}
        found = table.find(as_keys(range(41)))
        assert found.tolist() == [oracle.get(key, -1) for key in range(41)]
        assert len(table) == len(oracle)


@settings(max_examples=5)
@given(st.integers(0, 1000))
def test_many_keys_survive_growth(seed):
    rng = np.random.default_rng(seed)
    keys = np.unique(rng.integers(0, 1 << 62, 30_000))
    rng.shuffle(keys)
    table = VoxelTable()
    for part in np.array_split(np.arange(len(keys), dtype=np.int32), 7):
        table.insert(keys[part], part)
    np.testing.assert_array_equal(table.find(keys), np.arange(len(keys)))


def test_memory_does_not_grow_while_keys_come_and_go():
    table = VoxelTable()
    sizes = []
    for start in range(0, 400_000, 2000):
        table.insert(as_keys(range(start, start + 2000)), np.zeros(2000, np.int32))
        table.erase(as_keys(range(start - 4000, start - 2000)) if start >= 4000 else as_keys([]))
        sizes.append(table.places)
    assert len(table) == 4000
    assert sizes[-1] <= 32_768
    assert sizes[100:] == [sizes[100]] * len(sizes[100:])


def test_clear_empties_it():
    table = VoxelTable()
    table.insert(as_keys([1, 2]), np.array([5, 6], np.int32))
    table.clear()
    assert len(table) == 0
    assert table.find(as_keys([1, 2])).tolist() == [-1, -1]
