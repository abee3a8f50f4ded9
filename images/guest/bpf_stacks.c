// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * bpf_stacks: the kernel's stack at each hit of an event, as a BPF program is told it.
 *
 *   bpf_stacks kprobe|kretprobe|fentry|fexit|tracepoint TARGET bpf_get_stack|bpf_get_stackid FOLDER
 *
 * TARGET is a function or, of a tracepoint, GROUP:NAME. The program is a few instructions of our own, loaded with
 * bpf(2): no compiler and no library are in the guest. "armed PID" on standard output says that it records, and whom
 * to send SIGTERM for the end. FOLDER/stacks then holds for each hit a line with the process id and the name of the
 * task, and below it a line with the address of each frame, innermost first:
 *
 *   113 mkdir
 *   	ffffffff8028f4d8
 *   	ffffffff8028f6a0
 *   113 mkdir
 *   failed 14
 *   lost 2
 *
 * An error of the helper stands in the place of the frames as an errno; the last line counts hits that found no room.
 * FOLDER/bpf-kallsyms holds the lines of /proc/kallsyms for BPF's own code, which is gone afterwards.
 *
 * See bpf(2), bpf-helpers(7), perf_event_open(2) and Documentation/bpf/btf.rst.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	/* PERF_MAX_STACK_DEPTH: kernel.perf_event_max_stack is not above it unless somebody raises it. */
	DEPTH = 127,
	/* The most hits that are kept. */
	HITS = 2048,
	/* The most different stacks that bpf_get_stackid() keeps; a power of two, for few of equal hashes. */
	STACKS = 16384,
	LOG_BYTES = 1 << 20,
};

/* What the program keeps of a hit. */
struct hit {
	uint64_t task; /* The process id is the lower half. */
	int64_t told; /* Bytes in `frames`, or a stack's number, or an errno as a negative number. */
	char name[16];
	uint64_t frames[DEPTH];
};

struct hook {
	const char *name;
	enum bpf_prog_type type;
	enum bpf_attach_type attach;
};

static const struct hook hooks[] = {
	{ "kprobe", BPF_PROG_TYPE_KPROBE, 0 },
	{ "kretprobe", BPF_PROG_TYPE_KPROBE, 0 },
	{ "fentry", BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY },
	{ "fexit", BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT },
	{ "tracepoint", BPF_PROG_TYPE_TRACEPOINT, 0 },
};

/* The buffer that a hit is written to, the queue of hits, the number of lost hits, and bpf_get_stackid()'s stacks. */
struct maps {
	int buffer, hits, lost, stacks;
};

static long bpf(int command, union bpf_attr *attributes)
{
	return syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

static int map(enum bpf_map_type type, unsigned int key, unsigned int value, unsigned int entries)
{
	union bpf_attr attributes = {
		.map_type = type, .key_size = key, .value_size = value, .max_entries = entries,
	};
	int file = bpf(BPF_MAP_CREATE, &attributes);

	if (file < 0)
		err(1, "BPF_MAP_CREATE of type %d", type);
	return file;
}

static struct maps make_maps(void)
{
	return (struct maps){
		.buffer = map(BPF_MAP_TYPE_ARRAY, 4, sizeof(struct hit), 1),
		.hits = map(BPF_MAP_TYPE_QUEUE, 0, sizeof(struct hit), HITS),
		.lost = map(BPF_MAP_TYPE_ARRAY, 4, 8, 1),
		.stacks = map(BPF_MAP_TYPE_STACK_TRACE, 4, DEPTH * 8, STACKS),
	};
}

/* A file of the kernel's with one number. */
static int number_in(const char *path)
{
	FILE *file = fopen(path, "r");
	int number;

	if (!file || fscanf(file, "%i", &number) != 1)
		err(1, "%s", path);
	fclose(file);
	return number;
}

#define INSTRUCTION(CODE, TO, FROM, OFFSET, IMMEDIATE) \
	((struct bpf_insn){ .code = CODE, .dst_reg = TO, .src_reg = FROM, .off = OFFSET, .imm = IMMEDIATE })
#define MOVE(TO, FROM) INSTRUCTION(BPF_ALU64 | BPF_MOV | BPF_X, TO, FROM, 0, 0)
#define SET(TO, VALUE) INSTRUCTION(BPF_ALU64 | BPF_MOV | BPF_K, TO, 0, 0, VALUE)
#define ADD(TO, VALUE) INSTRUCTION(BPF_ALU64 | BPF_ADD | BPF_K, TO, 0, 0, VALUE)
#define STORE(TO, OFFSET, FROM) INSTRUCTION(BPF_STX | BPF_MEM | BPF_DW, TO, FROM, OFFSET, 0)
#define STORE_ZERO(TO, OFFSET) INSTRUCTION(BPF_ST | BPF_MEM | BPF_W, TO, 0, OFFSET, 0)
#define CALL(HELPER) INSTRUCTION(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_##HELPER)
#define SKIP_IF(CONDITION, REGISTER, COUNT) INSTRUCTION(BPF_JMP | CONDITION | BPF_K, REGISTER, 0, COUNT, 0)
#define COUNT_ONE(TO, ONE) INSTRUCTION(BPF_STX | BPF_ATOMIC | BPF_DW, TO, ONE, 0, BPF_ADD)
#define LEAVE INSTRUCTION(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
/* Two instructions. */
#define MAP(TO, FILE) \
	INSTRUCTION(BPF_LD | BPF_DW | BPF_IMM, TO, BPF_PSEUDO_MAP_FD, 0, FILE), INSTRUCTION(0, 0, 0, 0, 0)

static int load(const struct hook *hook, int function, int by_number, const struct maps *maps)
{
	static char log[LOG_BYTES];
	/* r6: the context, r7: the hit. A map's value may be null for all that the verifier knows. */
	struct bpf_insn program[] = {
		MOVE(6, 1),
		STORE_ZERO(10, -4),
		MAP(1, maps->buffer),
		MOVE(2, 10),
		ADD(2, -4),
		CALL(map_lookup_elem),
		SKIP_IF(BPF_JNE, 0, 2),
		SET(0, 0),
		LEAVE,
		MOVE(7, 0),
		CALL(get_current_pid_tgid),
		STORE(7, offsetof(struct hit, task), 0),
		MOVE(1, 7),
		ADD(1, offsetof(struct hit, name)),
		SET(2, sizeof(((struct hit *)0)->name)),
		CALL(get_current_comm),
		/* Of both ways one runs. */
		SET(8, by_number),
		SKIP_IF(BPF_JNE, 8, 7),
		MOVE(1, 6),
		MOVE(2, 7),
		ADD(2, offsetof(struct hit, frames)),
		SET(3, sizeof(((struct hit *)0)->frames)),
		SET(4, 0),
		CALL(get_stack),
		SKIP_IF(BPF_JA, 0, 5),
		MOVE(1, 6),
		MAP(2, maps->stacks),
		SET(3, 0),
		CALL(get_stackid),
		STORE(7, offsetof(struct hit, told), 0),
		MAP(1, maps->hits),
		MOVE(2, 7),
		SET(3, 0),
		CALL(map_push_elem),
		SKIP_IF(BPF_JEQ, 0, 9),
		STORE_ZERO(10, -4),
		MAP(1, maps->lost),
		MOVE(2, 10),
		ADD(2, -4),
		CALL(map_lookup_elem),
		SKIP_IF(BPF_JEQ, 0, 2),
		SET(1, 1),
		COUNT_ONE(0, 1),
		SET(0, 0),
		LEAVE,
	};
	union bpf_attr attributes = {
		.prog_type = hook->type,
		.expected_attach_type = hook->attach,
		.attach_btf_id = function,
		.insns = (uintptr_t)program,
		.insn_cnt = sizeof(program) / sizeof(*program),
		/* What this file may be used under is compatible with the GPL, which the helpers ask for. */
		.license = (uintptr_t) "Dual MIT/GPL",
		.log_level = 1,
		.log_buf = (uintptr_t)log,
		.log_size = sizeof(log),
		.prog_name = "stacks",
	};
	int file = bpf(BPF_PROG_LOAD, &attributes);

	if (file < 0)
		err(1, "BPF_PROG_LOAD of %s: %s", hook->name, log);
	return file;
}

/* The number of a function in the kernel's BTF. */
static int btf_function(const char *name)
{
	static const char path[] = "/sys/kernel/btf/vmlinux";
	int file = open(path, O_RDONLY), number = 0;
	struct btf_header *header;
	struct stat status;
	char *data, *at, *end;

	if (file < 0 || fstat(file, &status))
		err(1, "%s", path);
	data = malloc(status.st_size);
	if (!data)
		err(1, "%s", path);
	for (off_t have = 0; have < status.st_size;) {
		ssize_t got = read(file, data + have, status.st_size - have);

		if (got <= 0)
			err(1, "%s", path);
		have += got;
	}
	close(file);
	header = (struct btf_header *)data;
	at = data + header->hdr_len + header->type_off;
	end = at + header->type_len;
	while (at < end) {
		struct btf_type *type = (struct btf_type *)at;
		const char *called = data + header->hdr_len + header->str_off + type->name_off;
		size_t members = BTF_INFO_VLEN(type->info);

		number++;
		if (BTF_INFO_KIND(type->info) == BTF_KIND_FUNC && !strcmp(called, name))
			return number;
		at += sizeof(*type);
		switch (BTF_INFO_KIND(type->info)) {
		case BTF_KIND_INT:
		case BTF_KIND_VAR:
		case BTF_KIND_DECL_TAG:
			at += sizeof(uint32_t);
			break;
		case BTF_KIND_ARRAY:
			at += sizeof(struct btf_array);
			break;
		case BTF_KIND_STRUCT:
		case BTF_KIND_UNION:
			at += members * sizeof(struct btf_member);
			break;
		case BTF_KIND_ENUM:
			at += members * sizeof(struct btf_enum);
			break;
		case BTF_KIND_ENUM64:
			at += members * 12;
			break;
		case BTF_KIND_FUNC_PROTO:
			at += members * sizeof(struct btf_param);
			break;
		case BTF_KIND_DATASEC:
			at += members * sizeof(struct btf_var_secinfo);
			break;
		}
	}
	errx(1, "%s has no function %s", path, name);
}

/* Returns a file that keeps the program at its hook until it is closed. */
static int attach(const struct hook *hook, const char *target, int program)
{
	struct perf_event_attr event = { .size = sizeof(event), .sample_period = 1, .wakeup_events = 1 };
	char path[256], group[128];
	int file;

	if (hook->type == BPF_PROG_TYPE_TRACING) {
		union bpf_attr attributes = { .raw_tracepoint.prog_fd = program };

		file = bpf(BPF_RAW_TRACEPOINT_OPEN, &attributes);
		if (file < 0)
			err(1, "%s of %s", hook->name, target);
		return file;
	}
	if (hook->type == BPF_PROG_TYPE_TRACEPOINT) {
		const char *name = strchr(target, ':');

		if (!name || name - target >= (int)sizeof(group))
			errx(2, "%s is not GROUP:NAME", target);
		snprintf(group, sizeof(group), "%.*s", (int)(name - target), target);
		snprintf(path, sizeof(path), "/sys/kernel/tracing/events/%s/%s/id", group, name + 1);
		event.type = PERF_TYPE_TRACEPOINT;
		event.config = number_in(path);
	} else {
		event.type = number_in("/sys/bus/event_source/devices/kprobe/type");
		event.kprobe_func = (uintptr_t)target;
		/* `config:0` in the unit's format/retprobe. */
		event.config = !strcmp(hook->name, "kretprobe");
	}
	file = syscall(SYS_perf_event_open, &event, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);
	if (file < 0)
		err(1, "perf_event_open of %s %s", hook->name, target);
	if (ioctl(file, PERF_EVENT_IOC_SET_BPF, program) || ioctl(file, PERF_EVENT_IOC_ENABLE, 0))
		err(1, "a BPF program at %s %s", hook->name, target);
	return file;
}

static FILE *create(const char *folder, const char *name)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "w");
	if (!file)
		err(1, "%s", path);
	return file;
}

/* The names of BPF's own code, while it is there. */
static void keep_symbols(const char *folder)
{
	FILE *all = fopen("/proc/kallsyms", "r"), *ours = create(folder, "bpf-kallsyms");
	char *line = NULL;
	size_t size = 0;

	if (!all)
		err(1, "/proc/kallsyms");
	while (getline(&line, &size, all) > 0)
		if (strstr(line, "\t[bpf]"))
			fputs(line, ours);
	if (fclose(ours))
		err(1, "%s", folder);
}

/* Whether there was a further hit. */
static int take(const struct maps *maps, struct hit *hit)
{
	union bpf_attr next = { .map_fd = maps->hits, .value = (uintptr_t)hit };

	if (!bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, &next))
		return 1;
	if (errno != ENOENT)
		err(1, "BPF_MAP_LOOKUP_AND_DELETE_ELEM");
	return 0;
}

static void write_stacks(const char *folder, const struct maps *maps, int by_number)
{
	FILE *file = create(folder, "stacks");
	uint64_t lost = 0, frames[DEPTH];
	uint32_t first = 0;
	struct hit hit;
	union bpf_attr counter = {
		.map_fd = maps->lost, .key = (uintptr_t)&first, .value = (uintptr_t)&lost,
	};

	while (take(maps, &hit)) {
		size_t count = 0;

		fprintf(file, "%u ", (uint32_t)hit.task);
		for (size_t at = 0; at < sizeof(hit.name) && hit.name[at]; at++)
			fputc((unsigned char)hit.name[at] < ' ' ? '?' : hit.name[at], file);
		fputc('\n', file);
		if (hit.told < 0) {
			fprintf(file, "failed %d\n", (int)-hit.told);
			continue;
		}
		if (by_number) {
			uint32_t number = hit.told;
			union bpf_attr stack = {
				.map_fd = maps->stacks, .key = (uintptr_t)&number, .value = (uintptr_t)frames,
			};

			if (bpf(BPF_MAP_LOOKUP_ELEM, &stack))
				err(1, "stack %u", number);
			while (count < DEPTH && frames[count])
				count++;
		} else {
			count = hit.told / 8;
			memcpy(frames, hit.frames, sizeof(frames));
		}
		for (size_t at = 0; at < count; at++)
			fprintf(file, "\t%llx\n", (unsigned long long)frames[at]);
	}
	if (bpf(BPF_MAP_LOOKUP_ELEM, &counter))
		err(1, "the number of lost hits");
	if (lost)
		fprintf(file, "lost %llu\n", (unsigned long long)lost);
	if (fclose(file))
		err(1, "%s", folder);
}

int main(int argc, char **argv)
{
	const struct hook *hook = NULL;
	int by_number, program, hooked, signal;
	struct maps maps;
	struct hit hit;
	sigset_t end;

	if (argc != 5)
		errx(2, "usage: bpf_stacks HOOK TARGET bpf_get_stack|bpf_get_stackid FOLDER");
	for (size_t at = 0; at < sizeof(hooks) / sizeof(*hooks); at++)
		if (!strcmp(hooks[at].name, argv[1]))
			hook = &hooks[at];
	if (!hook)
		errx(2, "%s is no hook", argv[1]);
	by_number = !strcmp(argv[3], "bpf_get_stackid");
	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigprocmask(SIG_BLOCK, &end, NULL);
	maps = make_maps();
	program = load(hook, hook->type == BPF_PROG_TYPE_TRACING ? btf_function(argv[2]) : 0, by_number, &maps);
	hooked = attach(hook, argv[2], program);
	if (hook->type == BPF_PROG_TYPE_TRACING)
		keep_symbols(argv[4]);
	/* Nothing of what it did itself. */
	while (take(&maps, &hit))
		;
	printf("armed %d\n", (int)getpid());
	if (fflush(stdout))
		err(1, "standard output");
	sigwait(&end, &signal);
	close(hooked);
	write_stacks(argv[4], &maps, by_number);
	return 0;
}
