/* SPDX-License-Identifier: Apache-2.0
 * http/range.c -- reads the two headers that ask for a part of a body.
 *
 * A number too large to count is as good as the largest there is: both lie past the end of any body.
 * Several ranges are never served, so a list of a thousand costs what one costs (RFC 9110 section
 * 14.2 lets a server ignore them). */
#include "range.h"

#include <string.h>
#include <strings.h>

static const char *skip_blanks(const char *p)
{
	return p + strspn(p, " \t");
}

/* Digits only, at least one; past INT64_MAX it is INT64_MAX. */
static bool read_number(const char **p, int64_t *ret)
{
	const char *at = *p;
	int64_t n = 0;

	for (; *at >= '0' && *at <= '9'; at++) {
		int digit = *at - '0';

		n = n > (INT64_MAX - digit) / 10 ? INT64_MAX : n * 10 + digit;
	}
	if (at == *p)
		return false;
	*p = at;
	*ret = n;
	return true;
}

/* "bytes", in any case (a range unit is a token of HTTP), and behind it @separator. */
static bool read_unit(const char **p, char separator)
{
	const char *at = skip_blanks(*p);

	if (strncasecmp(at, "bytes", 5) != 0 || at[5] != separator)
		return false;
	*p = skip_blanks(at + 6);
	return true;
}

static bool read_end(const char *p)
{
	return *skip_blanks(p) == '\0';
}

static enum range_verdict one(int64_t first, int64_t last, int64_t *ret_first, int64_t *ret_last)
{
	*ret_first = first;
	*ret_last = last;
	return RANGE_ONE;
}

/* "-n": the last n octets, or all of them if there are not so many. */
static enum range_verdict suffix(const char *p, int64_t size, int64_t *ret_first, int64_t *ret_last)
{
	int64_t n;

	if (!read_number(&p, &n) || !read_end(p))
		return RANGE_NONE;
	if (n == 0 || size == 0)
		return RANGE_UNSATISFIABLE;
	return one(n < size ? size - n : 0, size - 1, ret_first, ret_last);
}

enum range_verdict range_parse(const char *value, int64_t size, int64_t *ret_first, int64_t *ret_last)
{
	int64_t first, last = INT64_MAX;

	if (!value || size < 0 || !read_unit(&value, '='))
		return RANGE_NONE;
	if (*value == '-')
		return suffix(value + 1, size, ret_first, ret_last);
	if (!read_number(&value, &first) || *value++ != '-')
		return RANGE_NONE;
	if (!read_end(value) && (!read_number(&value, &last) || !read_end(value)))
		return RANGE_NONE;
	if (last < first)
		return RANGE_NONE; /* "invalid", not "unsatisfiable": RFC 9110 section 14.1.1 */
	if (first >= size)
		return RANGE_UNSATISFIABLE;
	return one(first, last < size ? last : size - 1, ret_first, ret_last);
}

/* "first-last" without blanks; "*" (no range at all) is not one. */
static bool read_pair(const char **p, int64_t *ret_first, int64_t *ret_last)
{
	if (!read_number(p, ret_first) || *(*p)++ != '-' || !read_number(p, ret_last))
		return false;
	return *ret_first <= *ret_last;
}

enum range_verdict range_parse_content_range(const char *value, int64_t size, int64_t *ret_first,
					     int64_t *ret_last)
{
	int64_t first, last, total = size;

	if (!value || size < 0 || !read_unit(&value, ' '))
		return RANGE_NONE;
	if (!read_pair(&value, &first, &last) || *value++ != '/')
		return RANGE_NONE;
	if (*value == '*')
		value++;
	else if (!read_number(&value, &total))
		return RANGE_NONE;
	if (!read_end(value))
		return RANGE_NONE;
	/* Who names a last octet that is not there has another body in mind: as Glance, no shortening. */
	if (total != size || last >= size)
		return RANGE_UNSATISFIABLE;
	return one(first, last, ret_first, ret_last);
}
