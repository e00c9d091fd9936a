# SPDX-License-Identifier: Apache-2.0
"""Starting and stopping a glint process: what demo, run and bench have in common."""
import os
import re
import signal
import subprocess
import sys
import threading

ANSWERS = re.compile(r'listening on (http://\S+)')


class ServiceError(Exception):
    """The service did not start; the text says why."""


def write_config(path, sections):
    """Write a glance-api.conf out of {section: {option: value}}."""
    with open(path, 'w') as f:
        for section, options in sections.items():
            f.write(f'[{section}]\n')
            f.writelines(f'{name} = {value}\n' for name, value in options.items())


class Service:
    """A running `glint serve`. Leaving the `with` block stops it and waits for its end."""

    def __init__(self, glint, arguments, echo=False, start_seconds=30):
        self.echo = echo  # hand on what it says to standard error
        self.lines = []
        self.process = subprocess.Popen(
            [os.path.abspath(glint), 'serve', *arguments], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, errors='replace', process_group=0)  # Ctrl-C reaches us; we stop it
        self._answers = threading.Event()
        self.url = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            self._answers.wait(start_seconds)
        finally:
            if not self.url:
                self.stop()
        if not self.url:
            raise ServiceError('\n'.join(['glint did not start', *([] if echo else self.lines[-5:])]))

    def _read(self):
        """Drain standard error (a full pipe would stop the service) and look for the address in it."""
        for line in self.process.stderr:
            self.lines = [*self.lines[-49:], line.rstrip()]
            found = ANSWERS.search(line)
            if found and not self.url:
                self.url = found.group(1)
                self._answers.set()
            elif self.echo:
                sys.stderr.write(line)
        self._answers.set()

    def stop(self, seconds=20):
        """SIGTERM, then SIGKILL when it takes too long. Returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(5)
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def stop_on_sigterm():
    """Make SIGTERM unwind like Ctrl-C, so that what was started is stopped."""
    def interrupt(*_):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, interrupt)
