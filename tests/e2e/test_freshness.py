# SPDX-License-Identifier: Apache-2.0
"""What lists show comes from memory mostly: it is never older than what a client was told, nor than what another
program has committed, and nobody gets what he may not see."""
import sqlite3
import threading

import pytest

from harness import A, ADMIN, B

N_ROUNDS = 40


def listed(client, image_id):
    """The image as the list has it; None if it has not."""
    return next((i for i in client.list('limit=100')[1]['images'] if i['id'] == image_id), None)


def both(client, image_id):
    """The list and the show agree."""
    image = client.show(image_id)
    assert listed(client, image_id) == image
    return image


def by_hand(server, statement, *values):
    """Another program at the same database."""
    db = sqlite3.connect(server.database, timeout=20)
    with db:
        n = db.execute(statement, values).rowcount
    db.close()
    return n


class Hammer:
    """Writers count up a property of their images and another program does so with a column; readers compare what
    they get with what was told before they asked."""

    def __init__(self, server):
        self.server, self.wrong, self.over = server, [], threading.Event()
        client = server.client(A)
        self.ids = [client.new(name=f'n{n}', counter='0')['id'] for n in range(6)]
        self.told = dict.fromkeys(self.ids, 0)
        self.theirs = client.new(name='theirs')['id']
        self.min_ram = 0

    def count(self, ids):
        client = self.server.client(A)
        for i in range(1, N_ROUNDS + 1):
            for image_id in ids:
                r = client.patch(image_id, {'op': 'replace', 'path': '/counter', 'value': str(i)})
                if r.status_code != 200:
                    self.wrong.append(r.text)
                self.told[image_id] = i
                if i % 10 == 0:
                    client.put(f'/v2/images/{image_id}/tags/t{i}')

    def create_and_delete(self):
        client = self.server.client(A)
        for i in range(N_ROUNDS):
            image_id = client.new(name=f'short-lived {i}')['id']
            if listed(client, image_id) is None:
                self.wrong.append(f'created, not listed: {i}')
            client.remove(image_id)
            if listed(client, image_id) is not None:
                self.wrong.append(f'deleted, but listed: {i}')

    def meddle(self):
        for i in range(1, N_ROUNDS + 1):
            by_hand(self.server, 'UPDATE images SET min_ram = ? WHERE id = ?', i, self.theirs)
            self.min_ram = i

    def look(self):
        client = self.server.client(A)
        while not self.over.is_set():
            least, min_ram = dict(self.told), self.min_ram
            page = {i['id']: i for i in client.list('limit=100')[1]['images']}
            shown = client.show(self.ids[0])
            if int(shown['counter']) < int(page[self.ids[0]]['counter']):
                self.wrong.append('the show is behind the list')
            if page[self.theirs]['min_ram'] < min_ram:
                self.wrong.append('the list is behind another program')
            self.wrong += [f'{i}: {page[i]["counter"]} < {n}' for i, n in least.items() if int(page[i]['counter']) < n]

    def run(self):
        readers = [threading.Thread(target=self.look) for _ in range(3)]
        writers = [threading.Thread(target=self.count, args=(self.ids[n::2],)) for n in range(2)]
        writers += [threading.Thread(target=self.meddle), threading.Thread(target=self.create_and_delete)]
        for t in readers + writers:
            t.start()
        for t in writers:
            t.join()
        self.over.set()
        for t in readers:
            t.join()


def test_a_list_is_never_behind_an_answer(server):
    hammer, client = Hammer(server), server.client(A)
    hammer.run()
    assert not hammer.wrong
    for image_id in hammer.ids:
        image = both(client, image_id)
        assert image['counter'] == str(N_ROUNDS)
        assert sorted(image['tags']) == ['t10', 't20', 't30', 't40']
    assert both(client, hammer.theirs)['min_ram'] == N_ROUNDS


@pytest.mark.parametrize('statement', [
    "UPDATE images SET name = 'other' WHERE id = ?",
    "UPDATE image_properties SET value = 'other' WHERE image_id = ?",
    "UPDATE image_tags SET deleted = 1 WHERE image_id = ?"])
def test_another_program_is_seen_at_once(server, statement):
    """Whatever it changes, also if it leaves the time of the last change as it was."""
    client = server.client(A)
    image_id = client.new(name='mine', tags=['t'], colour='red')['id']
    before = both(client, image_id)
    assert by_hand(server, statement, image_id) == 1
    after = both(client, image_id)
    assert after != before
    assert after['updated_at'] == before['updated_at']


@pytest.mark.glint_only
def test_a_purge_by_the_command_line_changes_nothing(server):
    client = server.client(A)
    image_id = client.new(name='mine', tags=['t', 'u'], colour='red')['id']
    client.delete(f'/v2/images/{image_id}/tags/u')
    before = both(client, image_id)
    server.run('db', 'purge', '--age-in-days', '0')
    assert both(client, image_id) == before


def test_nobody_sees_what_only_others_may(server):
    """What is in memory was read for somebody who may see it; the next one may not, or not any more."""
    ours, theirs = server.client(A), server.client(B)
    image_id = ours.new(name='secret', visibility='shared')['id']
    assert listed(ours, image_id)
    assert listed(theirs, image_id) is None
    ours.share(image_id, B.project)
    assert listed(theirs, image_id) is None
    theirs.answer_share(image_id, B.project, 'accepted')
    assert listed(theirs, image_id) == listed(ours, image_id)
    ours.delete(f'/v2/images/{image_id}/members/{B.project}')
    assert listed(theirs, image_id) is None
    admin = server.client(ADMIN)
    admin.patch(image_id, {'op': 'replace', 'path': '/owner', 'value': B.project})
    assert listed(ours, image_id) is None
    assert listed(theirs, image_id)['owner'] == B.project
    theirs.remove(image_id)
    assert listed(theirs, image_id) is None


@pytest.mark.glint_only
def test_without_memory_it_is_the_same(servers):
    client = servers({'glint': {'image_cache_size': 0}}).client(A)
    image_id = client.new(name='a')['id']
    both(client, image_id)
    client.patch(image_id, {'op': 'replace', 'path': '/name', 'value': 'b'})
    assert both(client, image_id)['name'] == 'b'


@pytest.mark.glint_only
def test_more_than_memory_holds(servers):
    """Images of 100 kB each, ten times as much as one MiB holds: all come whole, page after page."""
    client = servers({'glint': {'image_cache_size': 1}}).client(A)
    value = 'v' * 50_000
    ids = {client.new(name=str(n), a=value, b=value)['id'] for n in range(105)}
    for _ in range(2):
        seen, marker = set(), ''
        while page := client.list(f'limit=20{marker}')[1]['images']:
            assert all(i['a'] == i['b'] == value for i in page)
            seen |= {i['id'] for i in page}
            marker = f"&marker={page[-1]['id']}"
        assert seen == ids
