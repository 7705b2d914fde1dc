"""Methods fitted once for all tests of the contract, when a test first asks for them."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from tests.common.small import small


class Fitted(dict):
    """Each method by its name, fitted on the same rows."""

    def __init__(self, X, epochs):
        super().__init__()
        self.X, self.epochs = X, epochs

    def __missing__(self, name):
        self[name] = small(name, epochs=self.epochs).fit(self.X)
        return self[name]


@pytest.fixture(scope="session")
def four_blobs():
    X, y = make_blobs(300, n_features=20, centers=4, random_state=0)
    return X.astype(np.float32), y


@pytest.fixture(scope="session")
def fitted(four_blobs):
    """Each method, fitted until it has learned."""
    return *four_blobs, Fitted(four_blobs[0], 40)


@pytest.fixture(scope="session")
def brief(four_blobs):
    """Each method, fitted briefly: enough where one fit is compared with another, bit for bit."""
    return *four_blobs, Fitted(four_blobs[0], 3)
