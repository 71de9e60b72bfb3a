"""LightGBM as the baseline beside the fits."""

import subprocess
import sys

import numpy as np
import pytest

from mixes.boosting import FEWEST_RUNS, boosted
from mixes.regression import cross_validate


def test_trees_rank_what_they_have_not_seen_and_do_so_again():
    mixtures = np.random.default_rng(0).dirichlet(np.ones(3), 300)
    losses = 1.0 / (0.2 + mixtures[:, 0])
    predicted = boosted(mixtures[:250], losses[:250], mixtures[250:])
    assert np.corrcoef(predicted, losses[250:])[0, 1] > 0.98
    assert np.array_equal(predicted, boosted(mixtures[:250], losses[:250], mixtures[250:]))


@pytest.mark.parametrize("count", [FEWEST_RUNS - 1, FEWEST_RUNS])
def test_evidence_shows_them_above_200_runs(count):
    mixtures = np.random.default_rng(0).dirichlet(np.ones(2), count)
    evidence = cross_validate(mixtures, 1.0 / (0.2 + mixtures[:, :1]), ["loss"], seed=0, folds=2)
    assert ("lightgbm" in evidence.spearman) == (count > 200)
    assert ("lightgbm" in evidence.region_rmse) == (count > 200)


def test_without_openmp_the_error_says_what_to_install():
    script = (
        "import sys, importlib.abc, numpy as np\n"
        "class Broken(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'lightgbm': raise OSError('libgomp.so.1: cannot open shared object file')\n"
        "sys.meta_path.insert(0, Broken())\n"
        "from mixes.boosting import MissingLibraryError, boosted\n"
        "try: boosted(np.eye(2), np.ones(2), np.eye(2))\n"
        "except MissingLibraryError as error: print(error)\n"
    )
    said = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert "libgomp.so.1" in said
    assert "libgomp1" in said
