/* SPDX-License-Identifier: Apache-2.0
 * service/measure.c -- gauges of what runs and of what is still to do. */
#include "base/metrics.h"
#include "service/internal.h"

static bool read_uploads(void *cls, size_t row, int64_t *ret)
{
	*ret = (int64_t)uploads_count(cls);
	return true;
}

static bool count_jobs(struct service *svc, int64_t *ret_waiting, int64_t *ret_running)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;

	return db_begin(svc->db, DB_READ, &tx, NULL) == 0 && db_job_count(tx, ret_waiting, ret_running, NULL) == 0;
}

static bool read_waiting(void *cls, size_t row, int64_t *ret)
{
	int64_t running;

	return count_jobs(cls, ret, &running);
}

static bool read_running(void *cls, size_t row, int64_t *ret)
{
	int64_t waiting;

	return count_jobs(cls, &waiting, ret);
}

static bool count_removals(struct service *svc, int64_t *ret_n, int64_t *ret_n_failed_before)
{
	AUTO(db_abort_p) struct db_tx *tx = NULL;

	return db_begin(svc->db, DB_READ, &tx, NULL) == 0 &&
	       db_removal_count(tx, ret_n, ret_n_failed_before, NULL) == 0;
}

static bool read_removals(void *cls, size_t row, int64_t *ret)
{
	int64_t n_failed_before;

	return count_removals(cls, ret, &n_failed_before);
}

static bool read_failed_removals(void *cls, size_t row, int64_t *ret)
{
	int64_t n;

	return count_removals(cls, &n, ret);
}

int service_measure(struct service *svc, struct metrics *m, struct err *err)
{
	const struct {
		const char *name, *help;
		metric_read_fn *read;
	} table[] = {
		{"glint_uploads_running", "Uploads that run in this process.", read_uploads},
		{"glint_tasks_waiting", "Tasks that wait to be run.", read_waiting},
		{"glint_tasks_running", "Tasks that run.", read_running},
		{"glint_removals_pending", "Deleted images whose bytes are still to be removed.",
		 read_removals},
		{"glint_removals_failing", "Those of them whose removal has failed before.",
		 read_failed_removals},
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(table) && r == 0; i++) {
		const struct metric_spec spec = {.name = table[i].name,
						 .help = table[i].help,
						 .kind = METRIC_GAUGE,
						 .read = table[i].read,
						 .cls = svc};

		r = metrics_register(m, &spec, NULL, err);
	}
	return r;
}
