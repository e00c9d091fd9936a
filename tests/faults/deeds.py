# SPDX-License-Identifier: Apache-2.0
"""What clients do, one deed at a time, with all that is ever told of it: so that a server which was killed
in the middle, and has come back, can be asked whether it was done, or not, or given up."""
import requests

from harness import ADMIN, B, Client, pattern
from victim import GAVE_UP, SAVING, STAGED, UPLOADED

DATA = pattern(300_000)  # more than one write
TASK = ['task.create', 'task.run', 'task.processing']
OCTETS = {'Content-Type': 'application/octet-stream'}


class Deed:
    """`done` is told of it if it was done, `given_up` if it was begun and cut off: of the images, of the tasks."""
    done = ([], [])
    given_up = None
    status = 'active'  # of the image before
    answer_status = range(200, 300)

    def prepare(self, client, source):
        self.source = source
        self.image = client.new(DATA if self.status == 'active' else None, name='deed')['id']

    def ask(self, client):
        raise NotImplementedError

    def may_be_told(self):
        """What may stand in the journal now; an answer says that it was done."""
        if self.answer is not None:
            assert self.answer.status_code in self.answer_status, self.answer.text
            return [self.done]
        return [([], []), self.done] + ([self.given_up] if self.given_up else [])

    def images(self, server):
        """To be cleared away."""
        return [self.image]

    def try_it(self, server):
        try:
            self.answer = self.ask(Client(server, ADMIN))
        except requests.RequestException:
            self.answer = None


class Create(Deed):
    done = (['image.create'], [])
    n = 0

    def prepare(self, client, source):
        Create.n += 1
        self.image = f'c7000000-0000-4000-8000-{Create.n:012x}'

    def ask(self, client):
        return client.create(id=self.image, name='deed', disk_format='raw', container_format='bare', key='value', tags=['t'])

    def images(self, server):
        return [i for i, in server.rows('SELECT id FROM images WHERE id = ?', self.image)]


class Patch(Deed):
    status = 'queued'
    done = (['image.update(queued)'], [])

    def ask(self, client):
        return client.patch(self.image, {'op': 'add', 'path': '/key', 'value': 'value'},
                            {'op': 'replace', 'path': '/name', 'value': 'other'})


class Tag(Patch):
    def ask(self, client):
        return client.put(f'/v2/images/{self.image}/tags/t')


class Deactivate(Deed):
    done = (['image.update(deactivated)'], [])

    def ask(self, client):
        return client.action(self.image, 'deactivate')


class Reactivate(Deed):
    done = (['image.update(active)', 'image.activate'], [])

    def prepare(self, client, source):
        super().prepare(client, source)
        assert client.action(self.image, 'deactivate').status_code == 204

    def ask(self, client):
        return client.action(self.image, 'reactivate')


class AddMember(Deed):
    status = 'queued'
    done = (['image.member.create'], [])

    def ask(self, client):
        return client.share(self.image, B.project)


class AcceptMember(AddMember):
    done = (['image.member.update'], [])

    def prepare(self, client, source):
        super().prepare(client, source)
        assert client.share(self.image, B.project).status_code == 200

    def ask(self, client):
        return Client(client.server, B).answer_share(self.image, B.project, 'accepted')


class RemoveMember(AcceptMember):
    done = (['image.member.delete'], [])

    def ask(self, client):
        return client.delete(f'/v2/images/{self.image}/members/{B.project}')


class Upload(Deed):
    status = 'queued'
    done = (SAVING + UPLOADED, [])
    given_up = (SAVING + GAVE_UP, [])

    def ask(self, client):
        return client.upload(self.image, DATA)


class UploadTooLarge(Upload):
    """It fails in the middle, whatever happens."""
    done = given_up = (SAVING + GAVE_UP, [])
    answer_status = [413]

    def ask(self, client):
        return client.upload(self.image, (piece for piece in [DATA] * 5))


class Download(Deed):
    """Changes nothing; a crash may cost the image.send of bytes that went out before it."""

    def ask(self, client):
        r = client.download(self.image)
        if len(r.content) < len(DATA):
            raise requests.ConnectionError('cut short')
        return r

    def may_be_told(self):
        return [([], []), (['image.send'], []), (['ERROR image.send'], [])]


class Delete(Deed):
    done = (['image.delete'], [])

    def ask(self, client):
        return client.remove(self.image)

    def images(self, server):
        return [i for i, in server.rows('SELECT id FROM images WHERE id = ? AND deleted = 0', self.image)]


class Unstore(Deed):
    """The image goes from one of its two stores."""
    done = (['image.update(active)'], [])

    def prepare(self, client, source):
        super().prepare(client, source)
        copied(client, self.image)

    def ask(self, client):
        return client.delete(f'/v2/stores/two/{self.image}')


class Stage(Deed):
    status = 'queued'
    done = (STAGED, [])
    given_up = (STAGED[:1] + GAVE_UP, [])

    def ask(self, client):
        return client.put(f'/v2/images/{self.image}/stage', data=DATA, headers=OCTETS)


class DeleteStaged(Delete):
    status = 'queued'

    def prepare(self, client, source):
        super().prepare(client, source)
        stage(client, self.image)


class Import(Deed):
    """Whatever cuts it off, the next start goes on with it: once it is answered it will be done."""
    status = 'queued'
    method = {}
    stores = ['one', 'two']
    done = (['image.update(importing)', 'image.prepare', 'image.prepare', 'image.upload', 'image.update(importing)',
             'image.upload', 'image.activate', 'image.update(active)', 'image.update(active)'], TASK + ['task.success'])

    def ask(self, client):
        return client.post(f'/v2/images/{self.image}/import', {'method': self.method, 'stores': self.stores})


class ImportStaged(Import):
    method = {'name': 'glance-direct'}
    stores = ['one']
    done = (['image.update(importing)', 'image.prepare', 'image.upload', 'image.activate', 'image.update(active)',
             'image.update(active)'], TASK + ['task.success'])

    def prepare(self, client, source):
        super().prepare(client, source)
        stage(client, self.image)


class ImportUrl(Import):
    def prepare(self, client, source):
        super().prepare(client, source)
        self.method = {'name': 'web-download', 'uri': f'{source.url}/good'}


class ImportNothing(Import):
    """There is nothing behind the URL."""
    done = (['image.update(importing)', 'image.update(queued)'], TASK + ['task.failure'])

    def prepare(self, client, source):
        super().prepare(client, source)
        self.method = {'name': 'web-download', 'uri': f'{source.url}/missing'}


class Copy(Import):
    status = 'active'
    method = {'name': 'copy-image'}
    stores = ['two']
    done = (['image.update(active)', 'image.prepare', 'image.upload', 'image.update(active)', 'image.update(active)'],
            TASK + ['task.success'])


class ImportTask(Import):
    """The old way: the task makes the image, and uploads to it; an upload that was cut off is told of, and done again."""
    done = (['image.create'] + SAVING + UPLOADED, TASK + ['task.success'])
    at_the_second_go = (['image.create'] + SAVING + GAVE_UP + SAVING + UPLOADED, TASK + ['task.success'])

    def may_be_told(self):
        return super().may_be_told() + [self.at_the_second_go]

    def prepare(self, client, source):
        self.source = source

    def ask(self, client):
        properties = {'disk_format': 'raw', 'container_format': 'bare', 'name': 'deed'}
        return client.post('/v2/tasks', {'type': 'import', 'input': {
            'import_from': f'{self.source.url}/good', 'import_from_format': 'raw', 'image_properties': properties}})

    def images(self, server):
        return [i for i, in server.rows("SELECT id FROM images WHERE deleted = 0 AND name = 'deed'")]


DEEDS = [Create, Patch, Tag, Deactivate, Reactivate, AddMember, AcceptMember, RemoveMember, Upload, UploadTooLarge, Download,
         Delete, Unstore, Stage, DeleteStaged, ImportStaged, ImportUrl, ImportNothing, Copy, ImportTask]


def stage(client, image):
    r = client.put(f'/v2/images/{image}/stage', data=DATA, headers=OCTETS)
    assert r.status_code == 204, r.text


def copied(client, image):
    """Into the other store as well."""
    r = client.post(f'/v2/images/{image}/import', {'method': {'name': 'copy-image'}, 'stores': ['two']})
    assert r.status_code == 202, r.text
