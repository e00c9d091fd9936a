/* SPDX-License-Identifier: Apache-2.0
 * image/when.c -- times as clients may write them in a query: brought into the one form that
 * clock_parse() reads, which then decides whether there is such a time. */
#include "image/when.h"

#include <string.h>

#include "base/clock.h"

#define MAX_FRACTION 6 /* digits that count */

struct rewriting {
	const char *in;
	char *out;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void put(struct rewriting *w, const char *text)
{
	w->out = stpcpy(w->out, text);
}

static bool copy_digits(struct rewriting *w, int n)
{
	for (int i = 0; i < n; i++) {
		if (!is_digit(w->in[i]))
			return false;
	}
	w->out = mempcpy(w->out, w->in, (size_t)n);
	w->in += n;
	return true;
}

/* Two digits, which @separator may precede; @missing if they are not there. */
static void copy_part(struct rewriting *w, char separator, const char *missing)
{
	if (*w->in == separator && is_digit(w->in[1]))
		w->in++;
	if (!copy_digits(w, 2))
		put(w, missing);
}

static bool copy_date(struct rewriting *w)
{
	if (!copy_digits(w, 4))
		return false;
	put(w, "-");
	copy_part(w, '-', "01");
	put(w, "-");
	copy_part(w, '-', "01");
	put(w, "T");
	return true;
}

static void copy_fraction(struct rewriting *w)
{
	if ((*w->in != '.' && *w->in != ',') || !is_digit(w->in[1]))
		return;
	put(w, ".");
	w->in++;
	for (int i = 0; is_digit(*w->in); i++, w->in++) {
		if (i < MAX_FRACTION)
			*w->out++ = *w->in;
	}
}

static void copy_zone(struct rewriting *w)
{
	if (*w->in == 'Z') {
		put(w, "Z");
		w->in++;
	} else if (*w->in == '+' || *w->in == '-') {
		*w->out++ = *w->in++;
		(void)copy_digits(w, 2); /* without them there is no such zone */
		put(w, ":");
		copy_part(w, ':', "00");
	}
}

static bool copy_time(struct rewriting *w)
{
	if (*w->in == '\0') {
		put(w, "00:00:00");
		return true;
	}
	if (*w->in != 'T' && *w->in != ' ')
		return false;
	w->in++;
	if (!copy_digits(w, 2))
		return false;
	put(w, ":");
	copy_part(w, ':', "00");
	put(w, ":");
	copy_part(w, ':', "00");
	copy_fraction(w);
	copy_zone(w);
	return *w->in == '\0';
}

bool when_parse(const char *text, int64_t *ret_us)
{
	char full[CLOCK_TEXT_MAX + sizeof("+00:00")] = "";
	struct rewriting w = {.in = text, .out = full};

	if (!copy_date(&w) || !copy_time(&w))
		return false;
	*w.out = '\0';
	return clock_parse(full, ret_us);
}
