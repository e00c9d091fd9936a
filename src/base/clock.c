/* SPDX-License-Identifier: Apache-2.0
 * base/clock.c -- time, and the forms in which the cloud writes it.
 *
 * All by hand: it happens several times a request, must not depend on a locale, and must not take
 * the lock of the time zone. The calendar counts days from 1 March of the year 0, so that the leap
 * day is the last of its year; an era is the 400 years after which the calendar repeats. Times
 * outside the years 1..9999 are written as the nearest one within. */
#include "clock.h"

#include <string.h>
#include <time.h>

#define US_A_SECOND INT64_C(1000000)
#define SECONDS_A_DAY INT64_C(86400)
#define DAYS_AN_ERA INT64_C(146097)
#define DAYS_TO_EPOCH INT64_C(719468)      /* from 0000-03-01 to 1970-01-01 */
#define FIRST_SECOND INT64_C(-62135596800) /* 0001-01-01 00:00:00 */
#define LAST_SECOND INT64_C(253402300799)  /* 9999-12-31 23:59:59 */

struct moment {
	unsigned year, month, day; /* month and day count from 1 */
	unsigned weekday;          /* 0: Sunday */
	unsigned hour, minute, second, us;
};

static int64_t read_clock(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts); /* cannot fail for these two clocks */
	return (int64_t)ts.tv_sec * US_A_SECOND + ts.tv_nsec / 1000;
}

int64_t clock_now_us(void)
{
	return read_clock(CLOCK_REALTIME);
}

int64_t clock_mono_us(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

/* @days since the epoch, none before 0001-01-01. */
static void set_date(struct moment *m, int64_t days)
{
	int64_t since = days + DAYS_TO_EPOCH;
	unsigned era = (unsigned)(since / DAYS_AN_ERA);
	unsigned in_era = (unsigned)(since % DAYS_AN_ERA);
	unsigned year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
	unsigned in_year = in_era - (365 * year + year / 4 - year / 100);
	unsigned from_march = (5 * in_year + 2) / 153; /* 153 days are five months: 31 30 31 30 31 */

	m->day = in_year - (153 * from_march + 2) / 5 + 1;
	m->month = from_march < 10 ? from_march + 3 : from_march - 9;
	m->year = era * 400 + year + (m->month <= 2);
	m->weekday = (unsigned)((since + 3) % 7); /* 0000-03-01 was a Wednesday */
}

/* The inverse: days since the epoch. */
static int64_t days_of(unsigned year, unsigned month, unsigned day)
{
	unsigned y = month <= 2 ? year - 1 : year;
	unsigned from_march = month > 2 ? month - 3 : month + 9;
	unsigned year_of_era = y % 400;
	unsigned in_year = (153 * from_march + 2) / 5 + day - 1;
	unsigned in_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + in_year;

	return (int64_t)(y / 400) * DAYS_AN_ERA + in_era - DAYS_TO_EPOCH;
}

static struct moment split(int64_t us)
{
	int64_t seconds = us / US_A_SECOND, rest = us % US_A_SECOND, in_day;
	struct moment m = {0};

	if (rest < 0) {
		rest += US_A_SECOND;
		seconds--;
	}
	if (seconds < FIRST_SECOND) {
		seconds = FIRST_SECOND;
		rest = 0;
	} else if (seconds > LAST_SECOND) {
		seconds = LAST_SECOND;
		rest = US_A_SECOND - 1;
	}
	seconds -= FIRST_SECOND; /* not negative, so that / and % round down */
	in_day = seconds % SECONDS_A_DAY;
	set_date(&m, seconds / SECONDS_A_DAY + FIRST_SECOND / SECONDS_A_DAY);
	m.hour = (unsigned)(in_day / 3600);
	m.minute = (unsigned)(in_day / 60 % 60);
	m.second = (unsigned)(in_day % 60);
	m.us = (unsigned)rest;
	return m;
}

static char *put_digits(char *p, unsigned value, unsigned width)
{
	for (unsigned i = width; i > 0; i--) {
		p[i - 1] = (char)('0' + value % 10);
		value /= 10;
	}
	return p + width;
}

static char *put_text(char *p, const char *text, size_t n)
{
	memcpy(p, text, n);
	return p + n;
}

/* "YYYY-MM-DD@HH:MM:SS" */
static char *put_moment(char *p, const struct moment *m, char between)
{
	p = put_digits(p, m->year, 4);
	*p++ = '-';
	p = put_digits(p, m->month, 2);
	*p++ = '-';
	p = put_digits(p, m->day, 2);
	*p++ = between;
	p = put_digits(p, m->hour, 2);
	*p++ = ':';
	p = put_digits(p, m->minute, 2);
	*p++ = ':';
	return put_digits(p, m->second, 2);
}

const char *clock_iso(int64_t us, char out[CLOCK_TEXT_MAX])
{
	struct moment m = split(us);
	char *p = put_moment(out, &m, 'T');

	*p++ = 'Z';
	*p = '\0';
	return out;
}

const char *clock_db(int64_t us, char out[CLOCK_TEXT_MAX])
{
	struct moment m = split(us);
	char *p = put_moment(out, &m, ' ');

	*p++ = '.';
	*put_digits(p, m.us, 6) = '\0';
	return out;
}

const char *clock_python(int64_t us, char out[CLOCK_TEXT_MAX])
{
	struct moment m = split(us);
	char *p = put_moment(out, &m, ' ');

	if (m.us > 0) {
		*p++ = '.';
		p = put_digits(p, m.us, 6);
	}
	*p = '\0';
	return out;
}

const char *clock_http(int64_t us, char out[CLOCK_TEXT_MAX])
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct moment m = split(us);
	char time_of_day[CLOCK_TEXT_MAX], *p;

	(void)put_moment(time_of_day, &m, ' ');
	p = put_text(out, days + 3 * m.weekday, 3);
	p = put_text(p, ", ", 2);
	p = put_digits(p, m.day, 2);
	*p++ = ' ';
	p = put_text(p, months + 3 * (m.month - 1), 3);
	*p++ = ' ';
	p = put_digits(p, m.year, 4);
	p = put_text(p, time_of_day + 10, 9); /* " HH:MM:SS" */
	(void)put_text(p, " GMT", 5);         /* with its NUL */
	return out;
}

/* How many seconds local time is ahead of UTC. localtime_r() takes a lock, so ask it once a minute
 * and thread: no zone changes its offset within one. */
static int64_t local_offset(int64_t second)
{
	static _Thread_local int64_t minute = INT64_MIN, offset;
	struct tm tm;
	time_t t = (time_t)second;

	if (second / 60 != minute) {
		offset = localtime_r(&t, &tm) ? tm.tm_gmtoff : 0;
		minute = second / 60;
	}
	return offset;
}

const char *clock_log(int64_t us, char out[CLOCK_TEXT_MAX])
{
	int64_t local_us;
	struct moment m;
	char *p;

	if (__builtin_add_overflow(us, local_offset(us / US_A_SECOND) * US_A_SECOND, &local_us))
		local_us = us; /* at the ends of int64_t, where split() gives the nearest year anyway */
	m = split(local_us);
	p = put_moment(out, &m, ' ');
	*p++ = '.';
	*put_digits(p, m.us / 1000, 3) = '\0';
	return out;
}

/* Reading: *p moves on past what was understood. */

static bool take_char(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

/* Exactly @width digits. */
static bool take_digits(const char **p, unsigned width, unsigned *ret)
{
	unsigned value = 0;

	for (unsigned i = 0; i < width; i++) {
		char c = (*p)[i];

		if (c < '0' || c > '9')
			return false;
		value = value * 10 + (unsigned)(c - '0');
	}
	*p += width;
	*ret = value;
	return true;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
	static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return month == 2 && leap ? 29 : days[month - 1];
}

static bool take_date(const char **p, struct moment *m)
{
	return take_digits(p, 4, &m->year) && take_char(p, '-') && take_digits(p, 2, &m->month) &&
	       take_char(p, '-') && take_digits(p, 2, &m->day) && m->year >= 1 && m->month >= 1 &&
	       m->month <= 12 && m->day >= 1 && m->day <= days_in_month(m->year, m->month);
}

/* ".f" to ".ffffff", or nothing. */
static bool take_fraction(const char **p, struct moment *m)
{
	unsigned n = 0;

	if (!take_char(p, '.'))
		return true;
	for (; n < 6 && **p >= '0' && **p <= '9'; n++)
		m->us = m->us * 10 + (unsigned)(*(*p)++ - '0');
	for (unsigned i = n; i < 6; i++)
		m->us *= 10;
	return n > 0;
}

static bool take_time(const char **p, struct moment *m)
{
	return take_digits(p, 2, &m->hour) && take_char(p, ':') && take_digits(p, 2, &m->minute) &&
	       take_char(p, ':') && take_digits(p, 2, &m->second) && m->hour <= 23 && m->minute <= 59 &&
	       m->second <= 59 && take_fraction(p, m);
}

/* "Z", "+HH:MM", "+HHMM", or nothing; how far that clock is ahead of UTC, in seconds. */
static bool take_zone(const char **p, int64_t *ret)
{
	bool behind = **p == '-';
	unsigned hours, minutes;

	*ret = 0;
	if (**p == '\0' || take_char(p, 'Z'))
		return true;
	if (!take_char(p, '+') && !take_char(p, '-'))
		return false;
	if (!take_digits(p, 2, &hours))
		return false;
	(void)take_char(p, ':');
	if (!take_digits(p, 2, &minutes) || hours > 23 || minutes > 59)
		return false;
	*ret = (int64_t)(hours * 60 + minutes) * (behind ? -60 : 60);
	return true;
}

bool clock_parse(const char *text, int64_t *ret_us)
{
	struct moment m = {0};
	int64_t ahead = 0, second;

	if (!text || !take_date(&text, &m))
		return false;
	if (*text != '\0') {
		if (!take_char(&text, 'T') && !take_char(&text, ' '))
			return false;
		if (!take_time(&text, &m) || !take_zone(&text, &ahead) || *text != '\0')
			return false;
	}
	second = days_of(m.year, m.month, m.day) * SECONDS_A_DAY - ahead;
	second += m.hour * 3600 + m.minute * 60 + m.second;
	if (second < FIRST_SECOND || second > LAST_SECOND)
		return false;
	*ret_us = second * US_A_SECOND + m.us;
	return true;
}
