# SPDX-License-Identifier: Apache-2.0
"""A machine of its own for each test: a container with systemd, in which the package is not yet installed."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

pytest.register_assert_rewrite('machine')

from machine import Machine, make_root  # noqa: E402

REPO = Path(__file__).resolve().parents[2]
# What the tests use inside, beside what the package depends on.
TOOLS = ['busybox', 'curl', 'dbus', 'iproute2', 'logrotate', 'qemu-utils', 'systemd', 'systemd-sysv']


@pytest.fixture(scope='session')
def package():
    found = os.environ.get('GLINT_DEB')
    if not found:
        pytest.exit('set GLINT_DEB to the package, or use `make deb-test`', returncode=2)
    return Path(found)


@pytest.fixture(scope='session')
def root():
    """Below build/, so that it is made once."""
    if os.getuid() != 0 or not shutil.which('systemd-nspawn'):
        pytest.skip('containers want root and systemd-nspawn')
    return Path(os.environ.get('GLINT_DEB_ROOT', REPO / 'build' / 'deb-root'))


@pytest.fixture
def machine(root, package, tmp_path):
    depends = subprocess.run(['dpkg-deb', '-f', package, 'Depends'], check=True, capture_output=True, text=True).stdout
    make_root(root, [*TOOLS, *(word.split()[0] for word in depends.split(','))])
    with Machine(root, tmp_path, {'/tmp/glint.deb': package}) as m:
        yield m
