/* SPDX-License-Identifier: Apache-2.0
 * store/inspect.c -- goes along with a stream, shows the readers what they want to see of it, and holds what
 * they find against what the image is declared to be.
 *
 *   update()  the head is kept until it is whole; then the formats are asked whose it is, and the rest of the
 *             stream gives the one reader that is concerned the parts that it asks for
 *   finish()  the reader sees the tail
 *
 * A part is taken from the head or from what comes after the last thing that was shown, never from in
 * between, so that cutting the stream elsewhere changes nothing. */
#include "store/inspect.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "store/inspect/format.h"

#define NAME_MAX_OCTETS 32

struct inspect {
	const struct inspect_rules *rules;
	char disk_format[NAME_MAX_OCTETS];
	bool is_bare;

	int64_t n_passed;
	size_t n_head, n_tail, n_part;
	bool has_begun;             /* the head has been looked at */
	bool is_wrong;              /* and what is wrong was let pass: nothing more is looked at */
	const struct format *found; /* whose the head is; NULL: nobody's */
	bool is_partitioned;
	struct look look;
	struct err remark;

	unsigned char head[HEAD_OCTETS], tail[TAIL_OCTETS], part[PART_OCTETS];
};

static const struct format *const formats[] = {&format_qcow2, &format_qcow, &format_qed, &format_vmdk,
					       &format_vhd,   &format_vhdx, &format_vdi, &format_luks,
					       &format_iso,   &format_ploop};

int look_refuse(struct err *err, const char *why)
{
	return err_set(err, ERR_MEDIA_TYPE, "The image is refused: %s.", why);
}

int look_set_size(struct look *l, uint64_t n, uint64_t unit, struct err *err)
{
	if (n > INT64_MAX / unit)
		return look_refuse(err, "its disk has a size that cannot be");
	l->virtual_size = (int64_t)(n * unit);
	return 0;
}

const struct format *format_find(const unsigned char *head, size_t n)
{
	for (size_t i = 0; i < ARRAY_LEN(formats); i++)
		if (formats[i]->match(head, n))
			return formats[i];
	return NULL;
}

int inspect_new(const struct inspect_rules *rules, const char *disk_format, const char *container_format,
		struct inspect **ret, struct err *err)
{
	struct inspect *i;

	if (!disk_format || !container_format)
		return err_set(err, ERR_CONFLICT, "The image needs a disk_format and a container_format before data.");
	i = calloc(1, sizeof(*i));
	if (!i)
		return err_nomem(err);
	i->rules = rules;
	strncpy(i->disk_format, disk_format, sizeof(i->disk_format) - 1);
	i->is_bare = strcmp(container_format, "bare") == 0;
	i->look.rules = rules;
	i->look.virtual_size = INSPECT_SIZE_UNKNOWN;
	*ret = i;
	return 0;
}

void inspect_free(struct inspect *i)
{
	free(i);
}

void inspect_free_p(struct inspect **i)
{
	inspect_free(*i);
}

/* -- what is declared ----------------------------------------------------------------------------- */

static bool is_declared(const struct inspect *i, const char *format)
{
	return strcmp(i->disk_format, format) == 0;
}

/* A disk as it is: no format that we could know by its octets. */
static bool is_plain(const struct inspect *i)
{
	for (size_t k = 0; k < ARRAY_LEN(formats); k++)
		if (is_declared(i, formats[k]->name))
			return false;
	return !is_declared(i, "gpt");
}

static int mismatch(const struct inspect *i, const char *found, struct err *err)
{
	if (!found)
		return err_set(err, ERR_MEDIA_TYPE, "The image says that it is %s, but its data is not.",
			       i->disk_format);
	return err_set(err, ERR_MEDIA_TYPE, "The image says that it is %s, but its data is %s.",
		       i->disk_format, found);
}

/* What a fixed VHD may have before its footer. */
static bool is_disk(const struct format *found)
{
	return !found || found == &format_iso || found == &format_luks;
}

/* An encrypted disk is a disk. */
static bool may_be(const struct inspect *i, const struct format *found)
{
	return is_declared(i, found->name) || (found == &format_luks && is_plain(i)) ||
	       (is_disk(found) && is_declared(i, "vhd"));
}

/* Two formats in one file are there to be taken for one by us and for the other by somebody else. */
static int check_single(const struct inspect *i, struct err *err)
{
	for (size_t k = 0; k < ARRAY_LEN(formats); k++)
		if (formats[k] != i->found && formats[k]->match(i->head, i->n_head))
			return err_set(err, ERR_MEDIA_TYPE,
				       "The image is refused: its data is both %s and %s.", i->found->name,
				       formats[k]->name);
	return 0;
}

/* Nothing was found: is that what it says? In a container that we do not look into, it may be. */
static int check_nothing_found(const struct inspect *i, struct err *err)
{
	if (is_plain(i) || !i->is_bare)
		return 0;
	if (is_declared(i, "vhd") || (is_declared(i, "gpt") && i->is_partitioned))
		return 0; /* a fixed VHD is known by its end */
	return mismatch(i, NULL, err);
}

static int check_declared(const struct inspect *i, struct err *err)
{
	if (!i->found)
		return check_nothing_found(i, err);
	if (!may_be(i, i->found))
		return mismatch(i, i->found->name, err);
	return check_single(i, err);
}

/* -- the head and the parts ----------------------------------------------------------------------- */

/* What is wrong is the end of it, or a remark. */
static int settle(struct inspect *i, int r, struct err *err)
{
	if (r != ERR_MEDIA_TYPE || i->rules->must_match)
		return r;
	i->is_wrong = true;
	if (err) {
		i->remark = *err;
		*err = (struct err){0};
	}
	return 0;
}

static int show(struct inspect *i, const unsigned char *octets, size_t n, struct err *err)
{
	const struct format *f = i->found ? i->found : &format_gpt;

	i->look.octets = octets;
	i->look.n = n;
	i->look.want_n = 0;
	i->n_part = 0;
	return f->look(&i->look, err);
}

/* Of a partition table. */
static int begin_partitions(struct inspect *i, struct err *err)
{
	int r = show(i, i->head, i->n_head, i->rules->gpt_nonfatal ? &i->remark : err);

	return i->rules->gpt_nonfatal ? 0 : r;
}

static int begin(struct inspect *i, struct err *err)
{
	int r;

	i->has_begun = true;
	i->found = format_find(i->head, i->n_head);
	i->is_partitioned = format_gpt.match(i->head, i->n_head);
	r = check_declared(i, err);
	if (r < 0)
		return r;
	if (i->found && is_declared(i, i->found->name))
		return show(i, i->head, i->n_head, err);
	if (!i->found && i->is_partitioned && (is_declared(i, "raw") || is_declared(i, "gpt")))
		return begin_partitions(i, err);
	return 0;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* What of the wanted part is in the head. */
static void take_from_head(struct inspect *i)
{
	struct look *l = &i->look;

	if (l->want_at < i->n_head) {
		i->n_part = least(l->want_n, i->n_head - (size_t)l->want_at);
		memcpy(i->part, i->head + l->want_at, i->n_part);
	}
}

/* Show the parts that are wanted as far as @data has them: @n octets from @at on, all behind the head. */
static int take_parts(struct inspect *i, const unsigned char *data, size_t n, uint64_t at, struct err *err)
{
	struct look *l = &i->look;
	size_t from = 0; /* of @data, what has not been shown */
	int r = 0;

	while (r == 0 && l->want_n > 0) {
		uint64_t next;
		size_t k;

		if (i->n_part == 0)
			take_from_head(i);
		next = l->want_at + i->n_part;
		if (i->n_part < l->want_n) {
			if (next < at + from)
				return show(i, NULL, 0, err); /* it has passed */
			if (next - at >= n)
				return 0; /* it is still to come */
			from = (size_t)(next - at);
			k = least(l->want_n - i->n_part, n - from);
			memcpy(i->part + i->n_part, data + from, k);
			i->n_part += k;
			from += k;
		}
		if (i->n_part < l->want_n)
			return 0;
		r = show(i, i->part, l->want_n, err);
	}
	return r;
}

static void keep_tail(struct inspect *i, const unsigned char *data, size_t n)
{
	size_t keep = least(i->n_tail, TAIL_OCTETS - least(n, TAIL_OCTETS));

	if (n > TAIL_OCTETS) {
		data += n - TAIL_OCTETS;
		n = TAIL_OCTETS;
	}
	memmove(i->tail, i->tail + i->n_tail - keep, keep);
	memcpy(i->tail + keep, data, n);
	i->n_tail = keep + n;
}

static size_t keep_head(struct inspect *i, const unsigned char *data, size_t n)
{
	size_t k = least(n, HEAD_OCTETS - i->n_head);

	memcpy(i->head + i->n_head, data, k);
	i->n_head += k;
	return k;
}

int inspect_update(struct inspect *i, const void *data, size_t n, struct err *err)
{
	size_t k = keep_head(i, data, n);
	int r = 0;

	keep_tail(i, data, n);
	i->n_passed += (int64_t)n;
	if (i->is_wrong)
		return 0;
	if (!i->has_begun && i->n_head == HEAD_OCTETS)
		r = begin(i, err);
	if (r == 0 && i->has_begun)
		r = take_parts(i, (const unsigned char *)data + k, n - k, (uint64_t)i->n_passed - (n - k),
			       err);
	return settle(i, r, err);
}

/* -- the end -------------------------------------------------------------------------------------- */

static int end_reading(struct inspect *i, const struct ending *e, struct err *err)
{
	const struct format *f = i->found;
	int r = 0;

	while (r == 0 && i->look.want_n > 0)
		r = show(i, NULL, 0, err);
	if (r == 0 && f && is_declared(i, f->name) && f->end)
		r = f->end(&i->look, e, err);
	return r;
}

/* A raw disk, a file system, an encrypted disk: or all of that in a fixed VHD. */
static int end_vhd(struct inspect *i, const struct ending *e, struct err *err)
{
	bool is_tail = is_disk(i->found) && vhd_is_tail(e);

	if (!is_declared(i, "vhd"))
		return is_tail ? mismatch(i, "vhd", err) : 0;
	if (i->found == &format_vhd)
		return 0;
	if (!is_tail)
		return i->found || i->is_bare ? mismatch(i, i->found ? i->found->name : NULL, err) : 0;
	i->found = &format_vhd;
	return format_vhd.end(&i->look, e, err);
}

static int end(struct inspect *i, struct err *err)
{
	const struct ending e = {.size = i->n_passed, .tail = i->tail, .n_tail = i->n_tail};
	int r = 0;

	if (!i->has_begun)
		r = begin(i, err);
	if (r == 0)
		r = take_parts(i, NULL, 0, (uint64_t)i->n_passed, err); /* of a stream that is all head */
	if (r == 0)
		r = end_reading(i, &e, err);
	return r < 0 ? r : end_vhd(i, &e, err);
}

static int64_t virtual_size(const struct inspect *i)
{
	if (!i->is_bare)
		return INSPECT_SIZE_UNKNOWN;
	if (is_declared(i, "raw") || is_declared(i, "gpt"))
		return i->n_passed; /* a disk as it is */
	return i->is_wrong ? INSPECT_SIZE_UNKNOWN : i->look.virtual_size;
}

int inspect_finish(struct inspect *i, struct inspect_result *ret, struct err *err)
{
	int r = i->is_wrong ? 0 : settle(i, end(i, err), err);

	if (r < 0)
		return r;
	*ret = (struct inspect_result){
		.format = i->found            ? i->found->name
			  : i->is_partitioned ? "gpt"
					      : "raw",
		.virtual_size = virtual_size(i),
	};
	memcpy(ret->remark, i->remark.text, sizeof(ret->remark));
	return 0;
}
