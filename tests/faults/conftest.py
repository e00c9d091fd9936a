# SPDX-License-Identifier: Apache-2.0
"""The fault campaign stands on what the end-to-end tests have made."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'e2e'))
sys.path.insert(0, str(Path(__file__).resolve().parent))

pytest.register_assert_rewrite('harness', 'victim', 'leftovers')

import victim  # noqa: E402


@pytest.fixture
def victims(tmp_path):
    with victim.Victims(tmp_path) as made:
        yield made.make
