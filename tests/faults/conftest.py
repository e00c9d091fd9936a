# SPDX-License-Identifier: Apache-2.0
"""The fault campaign stands on what the end-to-end tests have made."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'e2e'))

pytest.register_assert_rewrite('harness')
