# SPDX-License-Identifier: Apache-2.0
"""Fixtures: servers that are started for a module or for one test, and always stopped and checked."""
import os
import sys
import uuid
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

pytest.register_assert_rewrite('harness', 'catalogue', 'consumers')

import harness  # noqa: E402
from harness import make_server  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line('markers', 'glint_only: promised by glint, not what Glance does')
    config.addinivalue_line('markers', 'makes: the test leaves images of its caller behind')


def pytest_collection_modifyitems(items):
    if harness.TARGET != 'glance':
        return
    for item in items:
        if item.get_closest_marker('glint_only'):
            item.add_marker(pytest.mark.skip(reason='not what Glance does'))


@pytest.fixture(scope='session', autouse=True)
def program():
    if harness.TARGET != 'glance' and not os.access(harness.BINARY, os.X_OK):
        pytest.exit(f'{harness.BINARY} is not there; build it or set GLINT_BIN', returncode=2)


@pytest.fixture(scope='module')
def server(tmp_path_factory, request):
    """One server for a module, with the module's CONFIG if it has one."""
    s = make_server(tmp_path_factory.mktemp('server'), getattr(request.module, 'CONFIG', None))
    s.start()
    yield s
    s.stop()


@pytest.fixture
def servers(tmp_path):
    """A function that makes (and starts) servers for one test."""
    made = []

    def make(config=None, start=True, name=None, **kwargs):
        s = make_server(tmp_path / (name or f'server{len(made)}'), config, **kwargs)
        made.append(s)
        return s.start() if start else s
    yield make
    for s in made:
        s.stop()


@pytest.fixture
def admin(server):
    return server.client(harness.ADMIN)


@pytest.fixture
def a(server):
    return server.client(harness.A)


@pytest.fixture
def b(server):
    return server.client(harness.B)


# -- the message queue -----------------------------------------------------------------------------------

@pytest.fixture(scope='session')
def broker(tmp_path_factory):
    """One RabbitMQ for all. A test that does something to it leaves it as it was, or it is started anew."""
    from broker import Broker
    b = Broker(tmp_path_factory.mktemp('broker'))
    try:
        yield b.start()
    finally:
        b.close()


@pytest.fixture
def vhost(broker):
    """A place of its own on the broker for one test."""
    if broker.process is None or broker.process.poll() is not None:
        broker.start()
    name = f'test-{uuid.uuid4()}'
    broker.add_vhost(name)
    yield name
    if broker.process and broker.process.poll() is None:
        broker.recover()
        broker.call(f'rabbit_vhost:delete(<<"{name}">>, <<"tests">>)')
