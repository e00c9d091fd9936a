# SPDX-License-Identifier: Apache-2.0
"""Debian's glance-api on a loopback port, in a directory of its own: the peer that databases and stores
are exchanged with, and the yardstick of GLINT_E2E_TARGET=glance."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import requests

from harness import DEADLINE, Server

PASTE = """\
[pipeline:glance-api]
pipeline = healthcheck versionnegotiation unauthenticated-context rootapp
[pipeline:glance-api-trusted-auth]
pipeline = healthcheck versionnegotiation context rootapp
[composite:rootapp]
paste.composite_factory = glance.api:root_app_factory
/: apiversions
/v2: apiv2app
[app:apiversions]
paste.app_factory = glance.api.versions:create_resource
[app:apiv2app]
paste.app_factory = glance.api.v2.router:API.factory
[filter:healthcheck]
paste.filter_factory = oslo_middleware:Healthcheck.factory
backends = disable_by_file
[filter:versionnegotiation]
paste.filter_factory = glance.api.middleware.version_negotiation:VersionNegotiationFilter.factory
[filter:context]
paste.filter_factory = glance.api.middleware.context:ContextMiddleware.factory
[filter:unauthenticated-context]
paste.filter_factory = glance.api.middleware.context:UnauthenticatedContextMiddleware.factory
"""

_schema = None  # an empty database, made once a run: creating it takes longer than starting


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Glance(Server):
    def __init__(self, root, config=None):
        self.listen_port = free_port()
        super().__init__(root, config)

    def make_config(self, extra):
        root = self.root
        for name in ('etc', 'locks', 'staging', 'tasks'):
            (root / name).mkdir(exist_ok=True)
        (root / 'paste.ini').write_text(PASTE)
        (root / 'policy.yaml').write_text('{}\n')
        (root / 'schema-image.json').write_text('{}')  # no base properties beyond the code's own
        config = super().make_config(extra)
        config['DEFAULT'].update({'bind_host': '127.0.0.1', 'bind_port': self.listen_port, 'workers': 0,
                                  'lock_path': root / 'locks'})
        # its current rules; without authentication nobody has a role, and only the old ones let anybody in
        new = bool(config['paste_deploy']['flavor'])
        config['oslo_policy'] = {'policy_file': root / 'policy.yaml', 'enforce_new_defaults': new}
        config['DEFAULT']['enforce_secure_rbac'] = new
        config['paste_deploy']['config_file'] = root / 'paste.ini'
        if 'enabled_backends' in config['DEFAULT']:
            config['glance_store'].pop('filesystem_store_datadir', None)
            config['os_glance_staging_store'] = {'filesystem_store_datadir': root / 'staging'}
            config['os_glance_tasks_store'] = {'filesystem_store_datadir': root / 'tasks'}
        else:
            config['DEFAULT']['node_staging_uri'] = f'file://{root}/staging'
            config['glance_store'].update({'stores': 'file', 'default_store': 'file'})
        config.pop('glint', None)
        return config

    def command(self, program, *words):
        return [program, '--config-file', str(self.config_file), '--config-dir', str(self.root / 'etc'), *words]

    def sync(self):
        """An empty database of Glance's own making."""
        global _schema
        if _schema is None:
            subprocess.run(self.command('/usr/bin/glance-manage', 'db', 'sync'), check=True, cwd=self.root,
                           capture_output=True, timeout=120)
            _schema = Path(tempfile.mkdtemp(prefix='e2e-schema-')) / 'empty.sqlite'
            shutil.copy(self.database, _schema)
        elif not self.database.exists():
            shutil.copy(_schema, self.database)

    def start(self):
        if not self.database.exists():
            self.sync()
        with open(self.root / 'stdout', 'ab') as out:
            self.process = subprocess.Popen(self.command('/usr/bin/glance-api'), cwd=self.root, stdout=out,
                                            stderr=out, stdin=subprocess.DEVNULL)
        self.url = f'http://127.0.0.1:{self.listen_port}'
        end = time.monotonic() + 3 * DEADLINE
        while True:  # it tells nobody when it is ready
            try:
                with requests.Session() as http:
                    http.trust_env = False
                    http.get(self.url + '/healthcheck', timeout=5)
                return self
            except requests.RequestException:
                assert self.process.poll() is None, (self.root / 'stdout').read_text()[-2000:]
                assert time.monotonic() < end, 'glance-api does not answer'
                time.sleep(0.1)

    def stop(self):
        if self.process is None:
            return
        os.kill(self.pid, signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def restart(self):
        self.stop()
        return self.start()
