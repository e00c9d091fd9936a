# SPDX-License-Identifier: Apache-2.0
"""The crash test stands on what the end-to-end tests and the fault campaign have made."""
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / 'e2e'), str(TESTS / 'faults')]

pytest.register_assert_rewrite('harness', 'victim', 'leftovers')

import victim  # noqa: E402


@pytest.fixture
def victims(tmp_path):
    with victim.Victims(tmp_path) as made:
        yield made.make
