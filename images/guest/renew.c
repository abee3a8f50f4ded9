// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * What a guest that was restored from a saved state must not share with the others of that state: sets the clock
 * and reseeds the kernel's random numbers.
 *
 *	renew SECONDS.NANOSECONDS HEX
 *
 * See clock_settime(2) and random(4).
 */
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { SEED = 32 };

static void die(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	struct {
		struct rand_pool_info info;
		unsigned char seed[SEED];
	} pool = { { SEED * 8, SEED } };
	long long seconds;
	struct timespec now;
	long nanoseconds;
	int urandom;

	if (argc != 3 || sscanf(argv[1], "%lld.%9ld", &seconds, &nanoseconds) != 2 ||
	    strlen(argv[2]) != 2 * SEED) {
		fprintf(stderr, "usage: renew SECONDS.NANOSECONDS HEX (of %d bytes)\n", SEED);
		return 2;
	}
	for (int i = 0; i < SEED; i++) {
		unsigned int byte;

		if (sscanf(argv[2] + 2 * i, "%2x", &byte) != 1)
			die("the seed");
		((unsigned char *)pool.info.buf)[i] = byte;
	}
	now.tv_sec = seconds;
	now.tv_nsec = nanoseconds;
	if (clock_settime(CLOCK_REALTIME, &now))
		die("clock_settime");
	urandom = open("/dev/urandom", O_RDWR);
	if (urandom < 0)
		die("/dev/urandom");
	if (ioctl(urandom, RNDADDENTROPY, &pool))
		die("RNDADDENTROPY");
	if (ioctl(urandom, RNDRESEEDCRNG))
		die("RNDRESEEDCRNG");
	return 0;
}
