# SPDX-License-Identifier: Apache-2.0
"""The attacks have the servers and callers of the end-to-end tests."""
import importlib.util
from pathlib import Path

import pytest

path = Path(__file__).resolve().parents[1] / 'e2e' / 'conftest.py'
spec = importlib.util.spec_from_file_location('e2e_conftest', path)
e2e = importlib.util.module_from_spec(spec)
spec.loader.exec_module(e2e)

pytest_configure = e2e.pytest_configure
program, server, servers, admin, a, b = e2e.program, e2e.server, e2e.servers, e2e.admin, e2e.a, e2e.b
broker, vhost = e2e.broker, e2e.vhost

pytest.register_assert_rewrite('attack')
