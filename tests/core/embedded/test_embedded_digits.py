import hashlib

import numpy as np
import pytest
from lth_core.errors import LTHError
from lth_core.openmmlab import embedded
from lth_core.openmmlab.embedded.digits import split_indices
from sklearn.datasets import load_digits


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_splits_are_disjoint_complete_and_stratified(seed):
    train, test = embedded.digits("train", seed), embedded.digits("test", seed)
    assert sorted([*train.indices, *test.indices]) == list(range(1797))
    target = load_digits().target
    for side in (train, test):
        assert np.array_equal(side.labels, target[side.indices])
    share = np.bincount(test.labels) / np.bincount(target)
    assert np.all(np.abs(share - 0.25) < 0.005)


def test_the_seed_fixes_the_split():
    first = split_indices("test", 0).copy()
    split_indices.cache_clear()
    assert np.array_equal(split_indices("test", 0), first)
    assert not np.array_equal(split_indices("test", 1), first)


def test_images_are_the_enlarged_originals():
    originals = load_digits().images
    train = embedded.digits("train")
    assert train.images.shape == (1347, 32, 32)
    assert train.images.dtype == np.uint8
    # The mean over a 4x4 block is close to the pixel it came from; overshoot is cut off.
    blocks = train.images.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)) / 255 * 16
    assert np.abs(blocks - originals[train.indices]).mean() < 1


def test_images_are_the_same_on_every_machine():
    digest = hashlib.sha256(embedded.digits("train").images.tobytes()).hexdigest()
    assert digest == "fbd9c106c66f1e02ab2d823e30e9ccd979c1347a0c0ad0f863d32344fa7ab763"


def test_arrays_are_shared_and_cannot_be_changed():
    train = embedded.digits()
    assert embedded.digits() is train
    with pytest.raises(ValueError, match="read-only"):
        train.images[0] = 0


def test_unknown_split_is_refused():
    with pytest.raises(LTHError, match=r"split='val'.*'train'.*'test'"):
        embedded.digits("val")
