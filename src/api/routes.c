/* SPDX-License-Identifier: Apache-2.0
 * api/routes.c -- every route there is. Reads that touch a few rows run on the event loop; whatever
 * commits or scans runs on a worker; what opens the file of an image, and what takes in its bytes, have threads
 * of their own, so that a store that hangs stalls nothing else. */
#include "api/internal.h"

const struct http_route api_routes[] = {
	{"GET", "/", HTTP_INLINE, versions_choices, true},
	{"GET", "/versions", HTTP_INLINE, versions_list, true},
	{"GET", "/v2", HTTP_INLINE, versions_choices, true},
	{"GET", "/v2/", HTTP_INLINE, versions_choices, true},
	{"GET", "/healthcheck", HTTP_INLINE, health_check, true},
	{"HEAD", "/healthcheck", HTTP_INLINE, health_check, true},
	{"GET", "/metrics", HTTP_WORKER, metrics_show, true},

	{"GET", "/v2/schemas/image", HTTP_INLINE, schema_image},
	{"GET", "/v2/schemas/images", HTTP_INLINE, schema_images},
	{"GET", "/v2/schemas/member", HTTP_INLINE, schema_member},
	{"GET", "/v2/schemas/members", HTTP_INLINE, schema_members},
	{"GET", "/v2/schemas/task", HTTP_INLINE, schema_task},
	{"GET", "/v2/schemas/tasks", HTTP_INLINE, schema_tasks},

	{"GET", "/v2/images", HTTP_INLINE, images_list},
	{"POST", "/v2/images", HTTP_INLINE, images_create},
	{"GET", "/v2/images/{image_id}", HTTP_INLINE, images_show},
	{"PATCH", "/v2/images/{image_id}", HTTP_WORKER, images_update},
	{"DELETE", "/v2/images/{image_id}", HTTP_WORKER, images_delete},

	{"GET", "/v2/images/{image_id}/file", HTTP_FILE, image_data_download},
	{"PUT", "/v2/images/{image_id}/file", HTTP_STREAM, image_data_upload},

	{"PUT", "/v2/images/{image_id}/stage", HTTP_STREAM, image_data_stage},
	{"POST", "/v2/images/{image_id}/import", HTTP_WORKER, image_import},
	{"GET", "/v2/images/{image_id}/tasks", HTTP_WORKER, image_tasks_list},

	{"POST", "/v2/images/{image_id}/locations", HTTP_WORKER, locations_add},
	{"GET", "/v2/images/{image_id}/locations", HTTP_WORKER, locations_list},

	{"POST", "/v2/images/{image_id}/actions/deactivate", HTTP_WORKER, image_deactivate},
	{"POST", "/v2/images/{image_id}/actions/reactivate", HTTP_WORKER, image_reactivate},

	{"PUT", "/v2/images/{image_id}/tags/{tag}", HTTP_WORKER, tags_add},
	{"DELETE", "/v2/images/{image_id}/tags/{tag}", HTTP_WORKER, tags_remove},

	{"GET", "/v2/images/{image_id}/members", HTTP_WORKER, members_list},
	{"POST", "/v2/images/{image_id}/members", HTTP_WORKER, members_add},
	{"GET", "/v2/images/{image_id}/members/{member_id}", HTTP_WORKER, members_show},
	{"PUT", "/v2/images/{image_id}/members/{member_id}", HTTP_WORKER, members_update},
	{"DELETE", "/v2/images/{image_id}/members/{member_id}", HTTP_WORKER, members_remove},

	{"GET", "/v2/tasks", HTTP_WORKER, tasks_list},
	{"POST", "/v2/tasks", HTTP_WORKER, tasks_create},
	{"GET", "/v2/tasks/{task_id}", HTTP_INLINE, tasks_show},

	{"GET", "/v2/info/import", HTTP_INLINE, info_import},
	{"GET", "/v2/info/stores", HTTP_INLINE, info_stores},
	{"GET", "/v2/info/stores/detail", HTTP_INLINE, info_stores_detail},
	{"GET", "/v2/info/usage", HTTP_INLINE, info_usage},
	{"DELETE", "/v2/stores/{store_id}/{image_id}", HTTP_WORKER, store_image_delete},
	{0},
};
