/*
 * eoe_filter: a stand-in for the vendor tool of the first investigation.
 *
 * What is known of the vendor's tool is what the write-up shows of it:
 *   - its command line, `/isam/user/eoe_filter -n lo -t tap0 -E`;
 *   - that each run makes the kernel call register_netdevice() once, from an ioctl(TUNSETIFF) on
 *     /dev/net/tun ("the ioctl here is the TUNSETIFF system call, which in the end calls
 *     register_netdevice");
 *   - that it can be run five times in a row, so its device goes away with it.
 * The name and -n (a network interface) suggest that it then filters "Ethernet over Ethernet" frames
 * between that interface and the tap. The write-up shows nothing of it and no stack depends on it, so
 * this program stops after TUNSETIFF.
 *
 *   -n IF   the interface to filter; it has to exist
 *   -t TAP  the name of the tap device to make
 *   -E      "EoE mode"; accepted, without an effect here
 */
#include <err.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const char *network = NULL, *tap = NULL;
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	int option, device;

	while ((option = getopt(argc, argv, "n:t:E")) != -1) {
		switch (option) {
		case 'n':
			network = optarg;
			break;
		case 't':
			tap = optarg;
			break;
		case 'E':
			break;
		default:
			return 2;
		}
	}
	if (!network || !tap || optind != argc)
		errx(2, "usage: eoe_filter -n INTERFACE -t TAP [-E]");
	if (!if_nametoindex(network))
		err(1, "%s", network);
	if (strlen(tap) >= sizeof(request.ifr_name))
		errx(2, "%s: longer than %zu characters", tap, sizeof(request.ifr_name) - 1);
	strcpy(request.ifr_name, tap);

	device = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (device < 0)
		err(1, "/dev/net/tun");
	if (ioctl(device, TUNSETIFF, &request) < 0)
		err(1, "TUNSETIFF %s", tap);
	close(device);
	return 0;
}
