# SPDX-License-Identifier: Apache-2.0
"""Who sees what: a random walk through sharing, visibility, hiding and owners, in glint and in the real Glance. Both give
the same statuses and, to everybody, the same lists and members. SHARING_SEED repeats a walk, SHARING_STEPS makes it longer.

Two things differ on purpose. A page of Glance's has no `next` when the last of its images are ones that the caller may
not see; glint's pages end where the list does, so pages are walked here and their images compared together. And a marker
that the caller may not see is answered as one that does not exist (400), where Glance says that it is there (403); so is one
that is deleted, which Glance's admins may go on from."""
import os
import random

import pytest

from harness import A, ADMIN, B, C, Glint, Who, at_once, without
from real_glance import Glance

pytestmark = pytest.mark.glint_only
STEPS = int(os.environ.get('SHARING_STEPS', '300'))
SEEDS = [int(s) for s in os.environ.get('SHARING_SEED', '11').split(',')]


class Projectless(Who):
    def headers(self):
        return without(super().headers(), 'X-Project-Id')


PROJECTLESS = Projectless('7' * 32, '', 'member,reader')
PROJECTS, STATUSES = [A, B, C], ['pending', 'accepted', 'rejected']
VISIBILITIES = ['private', 'shared', 'shared', 'community']
VISIBILITY_FILTERS = ['', 'visibility=public', 'visibility=community', 'visibility=shared', 'visibility=private', 'visibility=all']
MEMBER_FILTERS = ['', *(f'member_status={s}' for s in [*STATUSES, 'all', 'nonsense'])]
MORE_FILTERS = ['', '', 'os_hidden=true', 'os_hidden=false', f'owner={A.project}', f'owner={B.project}', 'status=active',
                'limit=1', 'limit=3']


class Walk:
    """Requests; the same for everybody who has the same seed."""

    def __init__(self, seed):
        self.rng, self.images, self.shares, self.caller = random.Random(seed), [], [], None

    def image(self):
        return self.rng.choice(self.images[-10:])

    def project(self):
        return self.rng.choice(PROJECTS).project

    def create(self):
        image = '5ea50000-0000-4000-8000-%012x' % len(self.images)
        self.images.append(image)
        body = {'id': image, 'name': f'image {len(self.images):04}', 'visibility': self.rng.choice(VISIBILITIES)}
        return lambda c: c.create(**body)

    def change(self, path, value):
        image = self.image()
        return lambda c: c.patch(image, {'op': 'replace', 'path': path, 'value': value})

    def visibility(self):
        return self.change('/visibility', self.rng.choice([*VISIBILITIES, 'public']))

    def hide(self):
        return self.change('/os_hidden', self.rng.random() < 0.5)

    def owner(self):
        return self.change('/owner', self.project())

    def share(self):
        image, member = self.image(), self.rng.choice(PROJECTS)
        self.shares.append((image, member))
        return lambda c: c.share(image, member.project)

    def answer(self):
        """Mostly by the member itself, of an image that it was shared."""
        image, member = self.rng.choice(self.shares[-12:] or [(self.image(), A)])
        status, self.caller = self.rng.choice(STATUSES), member if self.rng.random() < 0.8 else None
        return lambda c: c.answer_share(image, member.project, status)

    def unshare(self):
        image, member = self.image(), self.project()
        return lambda c: c.delete(f'/v2/images/{image}/members/{member}')

    def remove(self):
        image = self.image()
        return lambda c: c.remove(image)

    def show(self):
        image = self.image()
        return lambda c: c.get(f'/v2/images/{image}')

    def members(self):
        image = self.image()
        return lambda c: c.get(f'/v2/images/{image}/members')

    def member(self):
        image, member = self.image(), self.project()
        return lambda c: c.get(f'/v2/images/{image}/members/{member}')

    def list(self):
        words = [self.rng.choice(f) for f in (VISIBILITY_FILTERS, MEMBER_FILTERS, MORE_FILTERS)]
        if self.rng.random() < 0.2:
            words.append('marker=' + self.image())
        query = '&'.join(filter(None, ['sort=name:asc', *words]))
        return lambda c: c.get('/v2/images?' + query)

    WEIGHTS = {'create': 5, 'visibility': 6, 'hide': 3, 'owner': 3, 'share': 9, 'answer': 12, 'unshare': 2, 'remove': 1, 'show': 5,
               'members': 4, 'member': 3, 'list': 16}

    def next(self):
        name = self.rng.choices(list(self.WEIGHTS), self.WEIGHTS.values())[0] if len(self.images) > 3 else 'create'
        self.caller = None
        send = getattr(self, name)()
        return name, self.caller or self.rng.choice([A, A, B, B, C, C, ADMIN]), send


def outcome(name, client, r):
    """What of it is to be the same."""
    if r.status_code >= 400 or not r.content:
        return r.status_code
    body = r.json()
    if name != 'list':
        return r.status_code, {k: v for k, v in body.items() if k in ('visibility', 'owner', 'os_hidden', 'status', 'member_id')}, \
            sorted((m['member_id'], m['status']) for m in body.get('members', []))
    ids = [image['id'] for image in body['images']]
    while 'next' in body:
        body = client.get(body['next']).json()
        ids += [image['id'] for image in body['images']]
    return r.status_code, ids


@pytest.mark.parametrize('seed', SEEDS)
def test_same_walk(tmp_path, seed):
    glance, glint = Glance(tmp_path / 'glance').start(), Glint(tmp_path / 'glint').start()
    try:
        clients = {who: (glance.client(who), glint.client(who)) for who in (A, B, C, ADMIN)}
        walk, seen = Walk(seed), {}
        for n in range(STEPS):
            name, who, send = walk.next()
            theirs, ours = at_once(*[lambda c=c: (lambda r: (r, outcome(name, c, r)))(send(c)) for c in clients[who]])
            request = ours[0].request
            if theirs[0].status_code == 500:
                assert ours[0].status_code < 500  # a crash is no model
                continue
            if ours[1] == 400 and 'marker=' in request.path_url and (theirs[1] == 403 or who == ADMIN):
                continue
            said = f'{request.method} {request.path_url} {request.body}'
            assert ours[1] == theirs[1], f'step {n}: {who.roles} of {who.project[:2]}: {said}'
            seen.setdefault(name, set()).add(ours[0].status_code)
        assert STEPS < 300 or seen['share'] >= {200, 403, 404} and seen['answer'] >= {200, 403, 404}
        for who in clients:  # in the end
            for query in [f'{v}&{m}&{h}' for v in VISIBILITY_FILTERS for m in MEMBER_FILTERS[:5]
                          for h in ('', 'os_hidden=true')][::3]:
                theirs, ours = (outcome('list', c, c.get(f'/v2/images?sort=name:asc&limit=1000&{query}')) for c in clients[who])
                assert ours == theirs, (who.roles, query)
    finally:
        glance.stop()
        glint.stop()


def test_without_a_project(server, a, b, admin):
    """Whoever is of no project is shared nothing with. In Glance he is shown whatever is shared with anybody."""
    nobody = server.client(PROJECTLESS)
    images = {v: a.new(visibility=v, protected=False)['id'] for v in ('private', 'shared', 'community')}
    images['public'] = admin.new(visibility='public')['id']
    images['owned by nobody'] = admin.new()['id']
    assert admin.patch(images['owned by nobody'], {'op': 'replace', 'path': '/owner', 'value': None}).status_code == 200
    assert a.share(images['shared'], B.project).status_code == 200
    assert b.answer_share(images['shared'], B.project, 'accepted').status_code == 200
    for query, wanted in (('', {'public'}), ('member_status=all', {'public'}), ('visibility=shared&member_status=all', set()),
                          ('visibility=private', set()), ('visibility=all&member_status=all', {'public', 'community'})):
        assert {k for k, i in images.items() if i in nobody.list('limit=1000&' + query)[0]} == wanted, query
    for visibility, image in images.items():
        seen = visibility in ('community', 'public', 'owned by nobody')
        assert nobody.get(f'/v2/images/{image}').status_code == (200 if seen else 404)
        for r in (nobody.share(image, C.project), nobody.remove(image), nobody.get(f'/v2/images/{image}/members'),
                  nobody.answer_share(image, B.project, 'accepted')):
            assert r.status_code in (403, 404)
    assert images['shared'] in b.list('limit=1000')[0]  # its twin


def test_a_marker_that_may_not_be_seen(a, b, admin):
    image, twin = a.new(visibility='private')['id'], b.new(visibility='private')['id']
    hidden, absent = (b.get(f'/v2/images?marker={i}') for i in (image, '00000000-0000-4000-8000-000000000000'))
    assert (hidden.status_code, hidden.json()) == (absent.status_code, absent.json()) and hidden.status_code == 400
    assert b.get(f'/v2/images?marker={twin}').status_code == 200
    assert admin.patch(image, {'op': 'replace', 'path': '/owner', 'value': None}).status_code == 200
    assert b.get(f'/v2/images/{image}').status_code == 404 and b.get(f'/v2/images?marker={image}').status_code == 400
    assert admin.patch(image, {'op': 'replace', 'path': '/visibility', 'value': 'shared'}).status_code == 200
    assert b.show(image) and b.get(f'/v2/images?marker={image}').status_code == 200  # everybody's
