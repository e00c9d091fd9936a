# SPDX-License-Identifier: Apache-2.0
"""Where imports come from: a real nginx, and a source that has every fault a source can have."""
import os
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness import wait_for

NGINX = """%(user)s daemon off; pid %(root)s/pid; error_log %(root)s/errors; worker_processes 1;
events {}
http {
  access_log %(root)s/access; sendfile on; client_body_temp_path %(root)s; proxy_temp_path %(root)s;
  fastcgi_temp_path %(root)s; uwsgi_temp_path %(root)s; scgi_temp_path %(root)s;
  server { listen 127.0.0.1:%(port)d; root %(root)s/www; location = /moved { return 302 /disk; } }
}
"""

# What a server needs so that web-download may come here.
REACHABLE = {'import_filtering_opts': {'allowed_ports': ''}, 'glint': {'web_download_allow_networks': '127.0.0.0/8'}}


class Nginx:
    def __init__(self, root):
        self.root = root
        (root / 'www').mkdir(parents=True)
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            self.port = s.getsockname()[1]
        self.url = f'http://127.0.0.1:{self.port}'
        (root / 'conf').write_text(NGINX % {
            'root': root, 'port': self.port, 'user': 'user root;' if os.getuid() == 0 else ''})
        self.process = subprocess.Popen(['/usr/sbin/nginx', '-e', str(root / 'errors'), '-c', str(root / 'conf')],
                                        stdin=subprocess.DEVNULL)
        wait_for(self.answers, root, 'nginx')

    def answers(self):
        with socket.socket() as s:
            return s.connect_ex(('127.0.0.1', self.port)) == 0

    def put(self, name, data):
        (self.root / 'www' / name).write_bytes(data)
        return f'{self.url}/{name}'

    def close(self):
        self.process.terminate()
        self.process.wait(10)


class Hostile(ThreadingHTTPServer):
    """Each path is a fault; `data` is what it would be without. `gate` holds /held back until it is set."""
    daemon_threads = True

    def __init__(self, data, certificate=None):
        """`certificate` (certificate, key): https, on the name localhost."""
        super().__init__(('127.0.0.1', 0), Handler)
        self.data = data
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.seen = []  # paths that were asked for
        self.sent = 0   # octets that /parts has sent
        self.gate, self.waiting = threading.Event(), threading.Event()
        self.url = ('https://localhost:%d' if certificate else 'http://127.0.0.1:%d') % self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *args):
        pass  # whoever was served has had enough

    def close(self):
        self.gate.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def head(self, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace('_', '-'), str(value))
        self.send_header('Connection', 'close')
        self.end_headers()
        self.close_connection = True

    def do_GET(self):
        path = self.path.split('?')[0]
        self.server.seen.append(path)
        data = self.server.data
        getattr(self, 'at_' + path.strip('/'), self.at_missing)(data)

    def at_missing(self, data):
        self.send_error(404)

    def at_broken(self, data):
        self.send_error(500)

    def at_good(self, data):
        self.head(Content_Length=len(data))
        self.wfile.write(data)

    def at_short(self, data):
        self.head(Content_Length=len(data) + 100)
        self.wfile.write(data)

    def at_endless(self, data):
        self.head()
        while True:
            self.wfile.write(data)

    def at_stalled(self, data):
        self.head(Content_Length=len(data))
        self.wfile.write(data[:1000])
        self.wfile.flush()
        self.server.gate.wait(60)

    def at_silent(self, data):
        self.server.gate.wait(60)

    def at_held(self, data):
        """Half of it at once, the rest when the gate opens."""
        self.head(Content_Length=len(data))
        self.wfile.write(data[:len(data) // 2])
        self.wfile.flush()
        self.server.waiting.set()
        self.server.gate.wait(60)
        self.wfile.write(data[len(data) // 2:])

    def at_gzip(self, data):
        self.head(Content_Length=len(data), Content_Encoding='gzip')
        self.wfile.write(data)

    def at_loop(self, data):
        self.head(302, Location='/loop', Content_Length=0)

    def at_inside(self, data):
        self.head(302, Location='http://10.0.0.1/', Content_Length=0)

    def at_file(self, data):
        self.head(302, Location='file:///etc/passwd', Content_Length=0)

    def ranged(self, data, tag):
        first = int(self.headers['Range'].removeprefix('bytes=').rstrip('-')) if 'Range' in self.headers else 0
        more = {'Content_Range': f'bytes {first}-{len(data) - 1}/{len(data)}'} if first else {}
        self.head(206 if first else 200, ETag=tag, Content_Length=len(data) - first, **more)
        self.wfile.write(data[first:first + len(data) // 3 + 1])

    def at_cut(self, data):
        self.ranged(data, '"same"')

    def at_changed(self, data):
        self.ranged(data, '"other"' if 'Range' in self.headers else '"same"')

    def at_parts(self, data):
        """As a good server: all of it, or the one part that is asked for."""
        first, last = 0, len(data) - 1
        if 'Range' in self.headers:
            first, end = self.headers['Range'].removeprefix('bytes=').split('-')
            first, last = int(first), min(int(end or last), last)
            if first > last:
                self.head(416, Content_Range=f'bytes */{len(data)}', Content_Length=0)
                return
        more = {'Content_Range': f'bytes {first}-{last}/{len(data)}'} if 'Range' in self.headers else {}
        self.head(206 if more else 200, Content_Length=last - first + 1, **more)
        self.server.sent += last - first + 1
        self.wfile.write(data[first:last + 1])
