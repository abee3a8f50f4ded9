/*
 * workload: a fixed set of common system calls, for a sweep over the functions that they reach.
 *
 * It stops itself in front of each part of its work, until somebody continues it (sweep.c).
 *
 * What this kernel was built without (ENOSYS and its like) is left out with a line on standard error; any
 * other failure ends the work with status 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 65536

/* A result of a system call. */
static long must(const char *what, long result)
{
	if (result >= 0)
		return result;
	switch (errno) {
	case ENOSYS:
	case EAFNOSUPPORT:
	case EPROTONOSUPPORT:
	case ENODEV:
	case EOPNOTSUPP:
		warn("left out: %s", what);
		return -1;
	default:
		err(1, "%s", what);
	}
}

#define MUST(call) must(#call, (long)(call))

static char buffer[PAGE];

static void folders(void)
{
	MUST(mkdir("d", 0755));
	MUST(chdir("d"));
	getcwd(buffer, sizeof(buffer));
}

static void files(void)
{
	struct iovec parts[2] = { { buffer, 100 }, { buffer + 100, 200 } };
	struct stat status;
	int file, other;

	file = MUST(open("a", O_RDWR | O_CREAT | O_TRUNC, 0644));
	MUST(write(file, buffer, 5000));
	MUST(writev(file, parts, 2));
	MUST(pwrite(file, buffer, 300, 9000));
	MUST(lseek(file, 0, SEEK_SET));
	MUST(read(file, buffer, 4000));
	MUST(pread(file, buffer, 100, 50));
	MUST(ftruncate(file, 6000));
	MUST(fallocate(file, 0, 0, 8000));
	MUST(fsync(file));
	MUST(fstat(file, &status));
	MUST(fchmod(file, 0600));
	MUST(fchown(file, 0, 0));
	MUST(fcntl(file, F_GETFL));
	if (MUST(flock(file, LOCK_EX)) == 0)
		MUST(fcntl(file, F_SETLK, &(struct flock){ .l_type = F_WRLCK, .l_len = 10 }));
	other = MUST(dup(file));
	MUST(close(other));
	other = MUST(open("b", O_WRONLY | O_CREAT, 0600));
	MUST(lseek(file, 0, SEEK_SET));
	MUST(sendfile(other, file, NULL, 3000));
	MUST(close(other));
	MUST(close(file));
}

static void names(void)
{
	struct stat status;
	struct statfs system;
	DIR *folder;

	MUST(link("a", "hard"));
	MUST(symlink("a", "soft"));
	MUST(readlink("soft", buffer, sizeof(buffer)));
	MUST(stat("soft", &status));
	MUST(lstat("soft", &status));
	MUST(access("soft", R_OK));
	MUST(utimensat(AT_FDCWD, "a", NULL, 0));
	MUST(chmod("a", 0640));
	MUST(truncate("a", 10));
	MUST(statfs(".", &system));
	MUST(mknod("fifo", S_IFIFO | 0600, 0));
	MUST(rename("b", "c"));
	folder = opendir(".");
	if (!folder)
		err(1, "opendir");
	while (readdir(folder))
		;
	closedir(folder);
	MUST(unlink("a"));
	MUST(unlink("c"));
	MUST(unlink("hard"));
	MUST(unlink("soft"));
	MUST(unlink("fifo"));
	MUST(chdir(".."));
	MUST(rmdir("d"));
}

static void read_whole(const char *path)
{
	int file = MUST(open(path, O_RDONLY));

	while (MUST(read(file, buffer, sizeof(buffer))) > 0)
		;
	MUST(close(file));
}

static void kernel_files(void)
{
	int file;

	read_whole("/proc/self/maps");
	read_whole("/proc/self/status");
	read_whole("/proc/self/stat");
	read_whole("/proc/meminfo");
	read_whole("/proc/uptime");
	read_whole("/proc/mounts");
	read_whole("/proc/net/dev");
	read_whole("/sys/class/net/lo/mtu");
	file = MUST(open("/dev/zero", O_RDONLY));
	MUST(read(file, buffer, 100));
	MUST(close(file));
	file = MUST(open("/dev/null", O_WRONLY));
	MUST(write(file, buffer, 100));
	MUST(close(file));
}

static void mounts(void)
{
	struct statfs system;

	MUST(mkdir("m", 0755));
	MUST(mount("none", "m", "tmpfs", 0, NULL));
	MUST(statfs("m", &system));
	MUST(umount("m"));
	MUST(rmdir("m"));
}

static void memory(void)
{
	char *area = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int file;

	if (area == MAP_FAILED)
		err(1, "mmap");
	area[0] = area[PAGE] = 1;
	MUST(mprotect(area, PAGE, PROT_READ));
	MUST(mprotect(area, PAGE, PROT_READ | PROT_WRITE));
	MUST(mlock(area + PAGE, PAGE));
	MUST(munlock(area + PAGE, PAGE));
	MUST(madvise(area, 4 * PAGE, MADV_DONTNEED));
	area = mremap(area, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
	if (area == MAP_FAILED)
		err(1, "mremap");
	MUST(munmap(area, 8 * PAGE));

	file = MUST(open("mapped", O_RDWR | O_CREAT, 0600));
	MUST(ftruncate(file, PAGE));
	area = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (area == MAP_FAILED)
		err(1, "mmap of a file");
	area[0] = 1;
	MUST(msync(area, PAGE, MS_SYNC));
	MUST(munmap(area, PAGE));
	MUST(close(file));
	MUST(unlink("mapped"));
	if (sbrk(PAGE) == (void *)-1 || sbrk(-PAGE) == (void *)-1)
		err(1, "sbrk");
}

static void pipes(void)
{
	struct pollfd polled;
	struct epoll_event event = { .events = EPOLLIN };
	struct timeval soon = { .tv_usec = 1000 };
	fd_set set;
	int ends[2], pool, events;

	MUST(pipe(ends));
	MUST(write(ends[1], buffer, 100));
	polled = (struct pollfd){ .fd = ends[0], .events = POLLIN };
	MUST(poll(&polled, 1, 1000));
	FD_ZERO(&set);
	FD_SET(ends[0], &set);
	MUST(select(ends[0] + 1, &set, NULL, NULL, &soon));
	pool = MUST(epoll_create1(0));
	MUST(epoll_ctl(pool, EPOLL_CTL_ADD, ends[0], &event));
	MUST(epoll_wait(pool, &event, 1, 1000));
	MUST(close(pool));
	MUST(ioctl(ends[0], FIONREAD, &events));
	MUST(read(ends[0], buffer, 100));
	MUST(poll(&polled, 1, 2));
	MUST(close(ends[0]));
	MUST(close(ends[1]));
	events = MUST(eventfd(1, 0));
	MUST(read(events, buffer, 8));
	MUST(close(events));
}

static void watches(void)
{
	int watch = MUST(inotify_init1(0));
	int file;

	if (watch < 0)
		return;
	MUST(inotify_add_watch(watch, ".", IN_CREATE | IN_DELETE));
	file = MUST(open("watched", O_WRONLY | O_CREAT, 0600));
	MUST(close(file));
	MUST(unlink("watched"));
	MUST(read(watch, buffer, sizeof(buffer)));
	MUST(close(watch));
}

static void streams(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "socket" };
	socklen_t length = sizeof(address);
	int server, client, accepted, on = 1;

	server = MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
	MUST(bind(server, (struct sockaddr *)&address, sizeof(address)));
	MUST(listen(server, 1));
	MUST(getsockname(server, (struct sockaddr *)&address, &length));
	client = MUST(socket(AF_INET, SOCK_STREAM, 0));
	MUST(connect(client, (struct sockaddr *)&address, sizeof(address)));
	accepted = MUST(accept(server, NULL, NULL));
	MUST(send(client, buffer, 2000, 0));
	MUST(recv(accepted, buffer, 2000, MSG_WAITALL));
	MUST(shutdown(client, SHUT_WR));
	MUST(recv(accepted, buffer, 1, 0));
	MUST(close(accepted));
	MUST(close(client));
	MUST(close(server));

	server = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	MUST(bind(server, (struct sockaddr *)&name, sizeof(name)));
	MUST(listen(server, 1));
	client = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	MUST(connect(client, (struct sockaddr *)&name, sizeof(name)));
	MUST(close(client));
	MUST(close(server));
	MUST(unlink("socket"));
}

static void datagrams(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct iovec part = { buffer, 50 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	struct ifreq request = { .ifr_name = "lo" };
	socklen_t length = sizeof(address);
	int one = MUST(socket(AF_INET, SOCK_DGRAM, 0)), pair[2];

	MUST(bind(one, (struct sockaddr *)&address, sizeof(address)));
	MUST(getsockname(one, (struct sockaddr *)&address, &length));
	MUST(sendto(one, buffer, 100, 0, (struct sockaddr *)&address, sizeof(address)));
	MUST(recv(one, buffer, 100, 0));
	MUST(ioctl(one, SIOCGIFFLAGS, &request));
	MUST(close(one));

	MUST(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	MUST(sendmsg(pair[0], &message, 0));
	MUST(recvmsg(pair[1], &message, 0));
	MUST(close(pair[0]));
	MUST(close(pair[1]));
}

static void tap(void)
{
	struct ifreq request = { .ifr_name = "sweep0", .ifr_flags = IFF_TAP | IFF_NO_PI };
	int device = MUST(open("/dev/net/tun", O_RDWR)), control;

	MUST(ioctl(device, TUNSETIFF, &request));
	control = MUST(socket(AF_INET, SOCK_DGRAM, 0));
	MUST(ioctl(control, SIOCGIFFLAGS, &request));
	request.ifr_flags |= IFF_UP;
	MUST(ioctl(control, SIOCSIFFLAGS, &request));
	memset(buffer, 0xff, 60);
	MUST(write(device, buffer, 60));
	MUST(close(control));
	MUST(close(device));
}

static volatile sig_atomic_t caught;

static void catch(int signal)
{
	caught = signal;
}

static void signals(void)
{
	struct sigaction action = { .sa_handler = catch };
	stack_t stack = { .ss_sp = buffer, .ss_size = sizeof(buffer) };
	struct timespec soon = { .tv_nsec = 1000000 };
	sigset_t set;
	int queue;

	MUST(sigaltstack(&stack, NULL));
	MUST(sigaction(SIGUSR1, &action, NULL));
	MUST(kill(getpid(), SIGUSR1));
	if (caught != SIGUSR1)
		errx(1, "SIGUSR1 was not caught");
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	MUST(sigprocmask(SIG_BLOCK, &set, NULL));
	MUST(kill(getpid(), SIGUSR2));
	MUST(sigpending(&set));
	MUST(sigtimedwait(&set, NULL, &soon));
	queue = MUST(signalfd(-1, &set, 0));
	MUST(kill(getpid(), SIGUSR2));
	if (queue >= 0) {
		MUST(read(queue, buffer, sizeof(buffer)));
		MUST(close(queue));
	}
	stack.ss_flags = SS_DISABLE;
	MUST(sigaltstack(&stack, NULL));
}

static void timers(void)
{
	struct timespec soon = { .tv_nsec = 1000000 }, now;
	struct itimerval once = { .it_value.tv_usec = 1000 };
	struct itimerspec shortly = { .it_value.tv_nsec = 1000000 };
	struct sigaction action = { .sa_handler = catch };
	timer_t timer;
	sigset_t set, old;
	int file;

	MUST(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now));
	MUST(nanosleep(&soon, NULL));
	file = MUST(timerfd_create(CLOCK_MONOTONIC, 0));
	if (file >= 0) {
		MUST(timerfd_settime(file, 0, &shortly, NULL));
		MUST(read(file, buffer, 8));
		MUST(close(file));
	}
	MUST(sigaction(SIGALRM, &action, NULL));
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	MUST(sigprocmask(SIG_BLOCK, &set, &old));
	MUST(setitimer(ITIMER_REAL, &once, NULL));
	/* It ends with EINTR, by SIGALRM. */
	sigsuspend(&old);
	if (caught != SIGALRM)
		errx(1, "SIGALRM was not caught");
	if (MUST(timer_create(CLOCK_MONOTONIC, NULL, &timer)) == 0)
		MUST(timer_delete(timer));
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *thread(void *unused)
{
	pthread_mutex_lock(&lock);
	pthread_mutex_unlock(&lock);
	return unused;
}

static void tasks(void)
{
	char *const argv[] = { "/usr/bin/workload", "an argument", NULL };
	struct utsname names;
	struct rusage usage;
	struct rlimit limit;
	struct sysinfo info;
	pthread_t other;
	pid_t child;
	int status;

	child = MUST(fork());
	if (child == 0) {
		execv(argv[0], argv);
		_exit(127);
	}
	MUST(waitpid(child, &status, 0));
	/* With an argument it ends with its usage. */
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 2)
		errx(1, "a child ended with status %#x", status);
	pthread_mutex_lock(&lock);
	if (pthread_create(&other, NULL, thread, NULL))
		errx(1, "pthread_create");
	MUST(sched_yield());
	pthread_mutex_unlock(&lock);
	pthread_join(other, NULL);
	MUST(uname(&names));
	MUST(getrusage(RUSAGE_SELF, &usage));
	MUST(getrlimit(RLIMIT_NOFILE, &limit));
	MUST(setrlimit(RLIMIT_NOFILE, &limit));
	MUST(getpriority(PRIO_PROCESS, 0));
	MUST(setpriority(PRIO_PROCESS, 0, 1));
	MUST(sysinfo(&info));
	MUST(getpgid(0));
	MUST(setsid());
	MUST(umask(022));
	MUST(setgroups(0, NULL));
	MUST(setgid(0));
	MUST(setuid(0));
}

/* Threads come last: at the end of a thread others may go on before it is through. */
static void (*const parts[])(void) = {
	folders, files, names, kernel_files, mounts, memory, pipes, watches, streams, datagrams, tap, signals,
	timers, tasks,
};

int main(int argc, char **argv)
{
	char folder[] = "/tmp/workload.XXXXXX";

	(void)argv;
	if (argc != 1)
		errx(2, "usage: workload");
	if (!mkdtemp(folder))
		err(1, "%s", folder);
	MUST(chdir(folder));
	for (size_t part = 0; part < sizeof(parts) / sizeof(parts[0]); part++) {
		raise(SIGSTOP);
		parts[part]();
	}
	return 0;
}
