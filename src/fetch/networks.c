/* SPDX-License-Identifier: Apache-2.0
 * fetch/networks.c -- which addresses are on the public net.
 *
 * (1) An address that cannot be told to be public is not.
 * (2) An IPv4-mapped address is the IPv4 address. What a translator or tunnel makes of an address (NAT64,
 *     6to4, ISATAP) has to be public as well.
 * (3) The addresses of this machine are asked for each time, for they change. */
#include "internal.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>

struct block4 {
	uint8_t octets[4];
	unsigned bits;
};

struct block6 {
	uint8_t octets[8]; /* none is longer than 64 bits */
	unsigned bits;
};

static const struct block4 not_public4[] = {
	{{0}, 8},              /* this network */
	{{10}, 8},             /* private */
	{{100, 64}, 10},       /* between a carrier and its customers */
	{{127}, 8},            /* loopback */
	{{168, 63, 129, 16}, 32}, /* one cloud's services for its guests, on a public number */
	{{169, 254}, 16},      /* link-local; the metadata services of most clouds */
	{{172, 16}, 12},       /* private */
	{{192, 0, 0}, 24},     /* protocol assignments */
	{{192, 0, 2}, 24},     /* documentation */
	{{192, 88, 99}, 24},   /* 6to4 relays, given up */
	{{192, 168}, 16},      /* private */
	{{198, 18}, 15},       /* benchmarks */
	{{198, 51, 100}, 24},  /* documentation */
	{{203, 0, 113}, 24},   /* documentation */
	{{224}, 4},            /* multicast */
	{{240}, 4},            /* reserved, and broadcast */
};

/* Global unicast is 2000::/3; of it these are not. Loopback, unspecified, IPv4-compatible, unique local,
 * link-local, site-local and multicast addresses all lie outside. */
static const struct block6 global6 = {{0x20}, 3};
static const struct block6 not_public6[] = {
	{{0x20, 0x01}, 23},             /* protocol assignments: Teredo, benchmarks, ORCHID and others */
	{{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
	{{0x3f, 0xff}, 20},             /* documentation */
};

/* -- reading -------------------------------------------------------------------------------------- */

static bool has_prefix(const uint8_t *octets, const uint8_t *prefix, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(octets, prefix, whole) != 0)
		return false;
	return rest == 0 || ((octets[whole] ^ prefix[whole]) >> (8 - rest)) == 0;
}

static struct address from_octets(int family, const void *octets)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct address a = {.family = family};

	memcpy(a.octets, octets, family == AF_INET ? 4 : 16);
	if (family == AF_INET6 && memcmp(a.octets, mapped, sizeof(mapped)) == 0) {
		a = (struct address){.family = AF_INET};
		memcpy(a.octets, (const uint8_t *)octets + sizeof(mapped), 4);
	}
	return a;
}

bool address_parse(const char *text, struct address *ret)
{
	struct in6_addr v6;
	struct in_addr v4;

	if (inet_pton(AF_INET6, text, &v6) == 1)
		*ret = from_octets(AF_INET6, &v6);
	else if (!strpbrk(text, " \t\n\v\f\r") && inet_aton(text, &v4)) /* it would stop at a blank */
		*ret = from_octets(AF_INET, &v4);
	else
		return false;
	return true;
}

bool address_of_socket(const struct sockaddr *sa, socklen_t n, struct address *ret)
{
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;

	if (sa->sa_family == AF_INET && n >= sizeof(v4)) {
		memcpy(&v4, sa, sizeof(v4));
		*ret = from_octets(AF_INET, &v4.sin_addr);
	} else if (sa->sa_family == AF_INET6 && n >= sizeof(v6)) {
		memcpy(&v6, sa, sizeof(v6));
		*ret = from_octets(AF_INET6, &v6.sin6_addr);
	} else {
		return false;
	}
	return true;
}

bool address_equal(const struct address *a, const struct address *b)
{
	return a->family == b->family && memcmp(a->octets, b->octets, sizeof(a->octets)) == 0;
}

static bool parse_bits(const char *text, unsigned max, unsigned *ret)
{
	unsigned bits = 0;
	size_t n = strspn(text, "0123456789");

	if (n == 0 || n > 3 || text[n])
		return false;
	for (size_t i = 0; i < n; i++)
		bits = bits * 10 + (unsigned)(text[i] - '0');
	*ret = bits;
	return bits <= max;
}

static bool is_clear_behind(const struct network *network)
{
	for (unsigned bit = network->bits; bit < 128; bit++) {
		if (network->address.octets[bit / 8] & (0x80 >> bit % 8))
			return false;
	}
	return true;
}

bool network_parse(const char *text, struct network *ret)
{
	char address[INET6_ADDRSTRLEN];
	size_t n = strcspn(text, "/");
	uint8_t octets[16];
	int family;

	if (n >= sizeof(address))
		return false;
	memcpy(address, text, n);
	address[n] = '\0';
	family = strchr(address, ':') ? AF_INET6 : AF_INET;
	if (inet_pton(family, address, octets) != 1)
		return false;
	ret->address = (struct address){.family = family};
	ret->bits = family == AF_INET ? 32 : 128;
	memcpy(ret->address.octets, octets, ret->bits / 8);
	if (text[n] == '/' && !parse_bits(text + n + 1, ret->bits, &ret->bits))
		return false;
	return is_clear_behind(ret);
}

/* -- judging -------------------------------------------------------------------------------------- */

static bool is_public4(const uint8_t octets[4])
{
	for (size_t i = 0; i < ARRAY_LEN(not_public4); i++) {
		if (has_prefix(octets, not_public4[i].octets, not_public4[i].bits))
			return false;
	}
	return true;
}

static bool is_public6(const uint8_t octets[16])
{
	static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b}, isatap[4] = {0x00, 0x00, 0x5e, 0xfe};
	static const uint8_t six_to_four[2] = {0x20, 0x02};

	if (memcmp(octets, nat64, sizeof(nat64)) == 0)
		return is_public4(octets + 12);
	if (!has_prefix(octets, global6.octets, global6.bits))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(not_public6); i++) {
		if (has_prefix(octets, not_public6[i].octets, not_public6[i].bits))
			return false;
	}
	if (memcmp(octets, six_to_four, sizeof(six_to_four)) == 0 && !is_public4(octets + 2))
		return false;
	/* The bit that may differ says whether the IPv4 address in it is said to be unique. */
	if ((octets[8] & ~0x02) == isatap[0] && memcmp(octets + 9, isatap + 1, 3) == 0)
		return is_public4(octets + 12);
	return true;
}

bool address_is_public(const struct address *a)
{
	return a->family == AF_INET ? is_public4(a->octets) : is_public6(a->octets);
}

static bool is_in_list(const char *const *networks, const struct address *a)
{
	struct network network;

	for (; networks && *networks; networks++) {
		if (network_parse(*networks, &network) && network.address.family == a->family &&
		    has_prefix(a->octets, network.address.octets, network.bits))
			return true;
	}
	return false;
}

/* True as well where nobody can tell. */
static bool is_own(const struct address *a)
{
	struct ifaddrs *all;
	struct address own;
	bool found = false;

	if (getifaddrs(&all) < 0)
		return true;
	for (struct ifaddrs *i = all; i && !found; i = i->ifa_next) {
		if (i->ifa_addr && address_of_socket(i->ifa_addr, sizeof(struct sockaddr_in6), &own))
			found = address_equal(a, &own);
	}
	freeifaddrs(all);
	return found;
}

bool address_is_allowed(const char *const *allowed_networks, const struct address *a)
{
	if (is_in_list(allowed_networks, a))
		return true;
	return address_is_public(a) && !is_own(a);
}
