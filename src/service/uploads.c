/* SPDX-License-Identifier: Apache-2.0
 * service/uploads.c -- which uploads run in this process. The database has the truth (db_upload_*);
 * this list only lets a delete stop the bytes at once, and tells recovery whom to leave alone. */
#include <string.h>

#include "service/internal.h"

void uploads_add(struct service *svc, struct upload *u)
{
	pthread_mutex_lock(&svc->lock);
	u->next = svc->uploads;
	svc->uploads = u;
	pthread_mutex_unlock(&svc->lock);
}

void uploads_remove(struct service *svc, struct upload *u)
{
	pthread_mutex_lock(&svc->lock);
	for (struct upload **p = &svc->uploads; *p; p = &(*p)->next) {
		if (*p == u) {
			*p = u->next;
			break;
		}
	}
	pthread_mutex_unlock(&svc->lock);
}

static struct upload *find(struct service *svc, const char *image_id)
{
	for (struct upload *u = svc->uploads; u; u = u->next)
		if (strcmp(u->image_id, image_id) == 0)
			return u;
	return NULL;
}

size_t uploads_count(struct service *svc)
{
	size_t n = 0;

	pthread_mutex_lock(&svc->lock);
	for (const struct upload *u = svc->uploads; u; u = u->next)
		n++;
	pthread_mutex_unlock(&svc->lock);
	return n;
}

bool uploads_has(struct service *svc, const char *image_id)
{
	bool found;

	pthread_mutex_lock(&svc->lock);
	found = find(svc, image_id) != NULL;
	pthread_mutex_unlock(&svc->lock);
	return found;
}

void uploads_image_deleted(struct service *svc, const char *image_id)
{
	pthread_mutex_lock(&svc->lock);
	for (struct upload *u = svc->uploads; u; u = u->next) {
		if (strcmp(u->image_id, image_id) != 0)
			continue;
		atomic_store(&u->image_deleted, true);
		atomic_store(&u->stop, true);
		if (u->source && u->source->cancel)
			u->source->cancel(u->source->cls);
	}
	pthread_mutex_unlock(&svc->lock);
}
