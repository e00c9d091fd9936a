# SPDX-License-Identifier: Apache-2.0
"""What holds for all tests that pytest runs."""


def pytest_configure(config):
    config.addinivalue_line('markers', 'quiet: judges how long something takes, so nothing else may run beside it')
