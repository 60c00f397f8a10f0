"""The real sets, where they can be had.

GPNAS_TEST_MNIST_DIR=<folder with the four idx files>   full check of MNIST
GPNAS_TEST_NETWORK=1                                     Fashion-MNIST from Debian's package
"""

import os
import time

import numpy as np
import pytest

from gpnas import data

MNIST = os.environ.get("GPNAS_TEST_MNIST_DIR")
NETWORK = os.environ.get("GPNAS_TEST_NETWORK") == "1"
PATH = os.environ.get("PATH", "")


def counts(ds):
    """Images of each class in train and validation together, and in test."""
    labels = np.concatenate([ds.train.targets, ds.validation.targets])
    return np.bincount(labels).tolist(), np.bincount(ds.test.targets).tolist()


@pytest.mark.skipif(not MNIST, reason="GPNAS_TEST_MNIST_DIR is not set")
def test_mnist():
    ds = data.load("mnist", raw_dir=MNIST)
    assert (len(ds.train), len(ds.validation), len(ds.test)) == (54_000, 6_000, 10_000)
    assert ds.input_shape == (28, 28, 1)
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert counts(ds) == (train, test)
    assert ds.test.targets[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert ds.sha256 == "bab833be44432887b8367c256dc3f6f37f73632c1eabcb1cbc894e04f779a312"
    np.testing.assert_allclose(ds.mean, [0.1307], atol=3e-4)
    np.testing.assert_allclose(ds.std, [0.3081], atol=3e-4)


@pytest.mark.skipif(not NETWORK, reason="GPNAS_TEST_NETWORK=1 is not set")
def test_fashion_mnist_from_debian(monkeypatch):
    monkeypatch.setenv("PATH", PATH)
    ds = data.load("fashion_mnist")
    assert (len(ds.train), len(ds.validation), len(ds.test)) == (54_000, 6_000, 10_000)
    assert counts(ds) == ([6000] * 10, [1000] * 10)
    assert ds.class_names[9] == "Ankle boot"
    assert ds.test.targets[:5].tolist() == [9, 2, 1, 1, 6]
    assert ds.sha256 == "09627107dde20800f249b90a3b80609822fbaf088555476bb02aea854423a846"
    start = time.monotonic()
    again = data.load("fashion_mnist", download=False)
    assert time.monotonic() - start < 3
    assert again.sha256 == ds.sha256
