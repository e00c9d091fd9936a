# SPDX-License-Identifier: Apache-2.0
"""The documents say what the program does: the configuration reference is what the program prints, every line of the
log has its row, every event its table. Each failure says what to add where."""
import re

import pytest

from harness import REPO
from test_cli import run

pytestmark = pytest.mark.glint_only
DOCS = REPO / 'docs'


def tables(text):
    """The rows of the Markdown tables in a text, each a list of cells, without heads and rules."""
    rows = []
    lines = text.splitlines()
    for line, following in zip(lines, lines[1:] + ['']):
        if line.startswith('|') and not re.match(r'\|[-| ]+\|$', line) and not re.match(r'\|[-| ]+\|$', following):
            rows.append([cell.strip().replace(r'\|', '|') for cell in re.split(r'(?<!\\)\|', line)[1:-1]])
    return rows


# -- configuration -------------------------------------------------------------------------------------

def test_configuration_is_what_the_program_prints():
    said = run('config', 'options', '--markdown')
    assert said.returncode == 0 and said.stderr == ''
    assert (DOCS / 'configuration.md').read_text() == said.stdout, \
        'run: build/glint config options --markdown > docs/configuration.md'


def test_every_option_is_explained():
    """A whole sentence each, and a unit where the number alone says nothing."""
    rows = [row for row in tables((DOCS / 'configuration.md').read_text()) if len(row) == 4]
    assert len(rows) > 100
    for name, kind, _, meaning in rows:
        assert re.match(r'[A-Z0-9x"].*\.$|^[a-z-]+[:_ ].*\.$', meaning), f'{name}: "{meaning}" is no sentence'
        if re.search(r'timeout|interval|max_age|_size$|time_to_live', name) and kind.startswith('whole number'):
            assert '(' in kind or 'essages' in meaning, f'{name} has no .unit in its table'


def test_options_of_a_word():
    said = run('config', 'options', 'JOURNAL_max')
    assert re.findall(r'^\[\S+\] \S+', said.stdout, re.M) == ['[glint] journal_max_age', '[glint] journal_max_size']
    none = run('config', 'options', 'nosuchthing')
    assert none.returncode == 1 and 'nosuchthing' in none.stderr
    for words in (['options', 'a', 'b'], ['check', '--markdown'], ['options', 'a', '--markdown']):
        assert run('config', *words).returncode == 2


def test_what_is_ignored_says_why(tmp_path):
    """An option of Glance that has no meaning here is told apart from one that is mistyped."""
    path = tmp_path / 'glance-api.conf'
    path.write_text('[DEFAULT]\nworkers = 4\nworkesr = 4\n[glance_store]\nrbd_store_pool = images\n')
    said = run('config', 'check', '--config-file', path)
    assert said.returncode == 0 and '3 warnings' in said.stdout
    assert f'{path}:2: warning: option [DEFAULT] workers is ignored. One process' in said.stderr
    assert f'{path}:3: warning: unknown option [DEFAULT] workesr' in said.stderr
    assert f'{path}:5: warning: option [glance_store] rbd_store_pool is ignored. ' in said.stderr
