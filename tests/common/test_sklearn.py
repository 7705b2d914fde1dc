"""scikit-learn's own checks, over the registry."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.common.small import DEEP, small

EXPECTED_FAILURES: dict[str, str] = {}


@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings on purpose
@parametrize_with_checks([small(name) for name in DEEP], expected_failed_checks=lambda _: EXPECTED_FAILURES)
def test_estimator_passes_scikit_learn_check(estimator, check):
    check(estimator)
