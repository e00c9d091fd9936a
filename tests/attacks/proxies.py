# SPDX-License-Identifier: Apache-2.0
"""Debian's nginx and haproxy in front of a server, with connections to it that are kept and shared by all clients."""
import os
import socket
import subprocess

from broker import free_port
from harness import wait_for

NGINX = """%(user)s daemon off; pid %(root)s/pid; error_log %(root)s/errors; worker_processes 1;
events {}
http {
  access_log off; client_body_temp_path %(root)s; proxy_temp_path %(root)s; fastcgi_temp_path %(root)s;
  uwsgi_temp_path %(root)s; scgi_temp_path %(root)s; client_max_body_size 0; underscores_in_headers on;
  upstream behind { server %(behind)s; keepalive 4; }
  server {
    listen 127.0.0.1:%(port)d;
    location / {
      proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_request_buffering off;
      %(nginx)s
    }
  }
}
"""

HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  http-reuse always
  option accept-invalid-http-request
frontend front
  bind 127.0.0.1:%(port)d
  %(haproxy)s
  default_backend behind
backend behind
  server glint %(behind)s
"""

# As their manuals have it.
NGINX_FORWARDS = """proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;"""
HAPROXY_FORWARDS = """option forwardfor
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]"""


class Proxy:
    """Either of them; what it has to be told is in `root`."""

    def __init__(self, root, kind, server, forwards=False, behind=None):
        root.mkdir()
        self.port = free_port()
        self.url = f'http://127.0.0.1:{self.port}'
        conf = root / 'conf'
        conf.write_text({'nginx': NGINX, 'haproxy': HAPROXY}[kind] % {
            'root': root, 'port': self.port, 'behind': behind or f'127.0.0.1:{server.port}',
            'nginx': NGINX_FORWARDS if forwards else '', 'haproxy': HAPROXY_FORWARDS if forwards else '',
            'user': 'user root;' if os.getuid() == 0 else ''})
        command = {'nginx': ['/usr/sbin/nginx', '-e', str(root / 'errors'), '-c', str(conf)],
                   'haproxy': ['/usr/sbin/haproxy', '-q', '-db', '-f', str(conf)]}[kind]
        with open(root / 'said', 'wb') as said:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        wait_for(self.answers, root, kind)

    def answers(self):
        assert self.process.poll() is None
        with socket.socket() as s:
            return s.connect_ex(('127.0.0.1', self.port)) == 0

    def close(self):
        self.process.terminate()
        self.process.wait(10)
