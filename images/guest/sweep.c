/*
 * sweep: has ftrace record a command's tasks, each function a few times.
 *
 *   sweep FUNCTIONS FIRST STEP STACKS TRACE COMMAND [ARGUMENT]..
 *
 * sets the current tracer "function" to every STEP-th of the functions that the file FUNCTIONS lists (a copy
 * of available_filter_functions), from the FIRST on, and runs COMMAND, which must stop itself at once and
 * then after each part of its work. Whenever it stands, what was recorded goes to the end of the file TRACE,
 * and functions that were recorded STACKS times by now are traced no longer. The exit status is the command's.
 */
#define _GNU_SOURCE
#include <err.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRACEFS "/sys/kernel/tracing/"

/* A function of the filter. */
struct function {
	char name[256];
	unsigned number, seen;
	/* It is dropped, or never will be: of several with one name the trace does not tell which it was. */
	int settled;
};

static struct function *functions;
static size_t function_count;

static int by_name(const void *one, const void *other)
{
	const struct function *a = one, *b = other;

	return strcmp(a->name, b->name);
}

static FILE *must_open(const char *path, const char *mode)
{
	FILE *file = fopen(path, mode);

	if (!file)
		err(1, "%s", path);
	return file;
}

static void must_close(FILE *file, const char *path)
{
	if (ferror(file) | fclose(file))
		err(1, "%s", path);
}

static void list_functions(const char *path, unsigned first, unsigned step)
{
	FILE *file = must_open(path, "r");
	struct function next = { .number = 0 };

	while (fscanf(file, "%255s%*[^\n]", next.name) == 1) {
		next.number++;
		if (next.number % step != first % step)
			continue;
		functions = realloc(functions, (function_count + 1) * sizeof(next));
		if (!functions)
			err(1, "%s", path);
		functions[function_count++] = next;
	}
	must_close(file, path);
	if (!function_count)
		errx(1, "%s: no function from number %u on", path, first);
	qsort(functions, function_count, sizeof(next), by_name);
	for (size_t i = 1; i < function_count; i++)
		if (!strcmp(functions[i - 1].name, functions[i].name))
			functions[i - 1].settled = functions[i].settled = 1;
}

static void write_word(const char *path, const char *value)
{
	FILE *file = must_open(path, "w");

	fputs(value, file);
	must_close(file, path);
}

/* Functions go by their numbers, because looking up names would take minutes. */
static void trace_all(void)
{
	FILE *file = must_open(TRACEFS "set_ftrace_filter", "w");

	for (size_t i = 0; i < function_count; i++)
		fprintf(file, "%u ", functions[i].number);
	must_close(file, TRACEFS "set_ftrace_filter");
}

/* Traces functions no longer that were recorded so often. The last one stays: an empty filter means all. */
static void drop(unsigned stacks)
{
	FILE *file = must_open(TRACEFS "set_ftrace_filter", "a");
	static size_t dropped;

	for (size_t i = 0; i < function_count && dropped + 1 < function_count; i++) {
		struct function *one = &functions[i];

		if (one->seen < stacks || one->settled)
			continue;
		fprintf(file, "!%u ", one->number);
		one->settled = 1;
		dropped++;
	}
	must_close(file, TRACEFS "set_ftrace_filter");
}

/* ftrace waits for RCU at each change: with `1` it waits less. A kernel for one processor needs no such file. */
static void expedite(const char *value)
{
	if (!access("/sys/kernel/rcu_expedited", W_OK))
		write_word("/sys/kernel/rcu_expedited", value);
}

/* Moves what was recorded to the end of a file, and counts the functions. No traced task runs meanwhile. */
static void keep(const char *path)
{
	FILE *trace = must_open(TRACEFS "trace", "r"), *kept = must_open(path, "a");
	struct function wanted, *found;
	char *line = NULL, *name;
	size_t size = 0;

	while (getline(&line, &size, trace) > 0) {
		fputs(line, kept);
		/*   TASK-PID  [CPU] FLAGS  SECONDS: FUNCTION+0x4/0x20 <ADDRESS> <-CALLER */
		name = strstr(line, ": ");
		if (!strstr(line, " <-") || !name || sscanf(name, ": %255[^+ ]", wanted.name) != 1)
			continue;
		found = bsearch(&wanted, functions, function_count, sizeof(wanted), by_name);
		if (found)
			found->seen++;
	}
	free(line);
	must_close(trace, TRACEFS "trace");
	must_close(kept, path);
	write_word(TRACEFS "trace", "");
}

static unsigned number(const char *word)
{
	char *end;
	unsigned long number = strtoul(word, &end, 10);

	if (end == word || *end || !number || number > INT_MAX)
		errx(2, "%s: not a number from 1 on", word);
	return number;
}

/* Waits until the command stops or ends. */
static int wait_for(pid_t child)
{
	int status;

	if (waitpid(child, &status, WUNTRACED) < 0)
		err(1, "waitpid");
	return status;
}

int main(int argc, char **argv)
{
	char pid[16];
	unsigned stacks;
	pid_t child;
	int status;

	if (argc < 7)
		errx(2, "usage: sweep FUNCTIONS FIRST STEP STACKS TRACE COMMAND [ARGUMENT]..");
	list_functions(argv[1], number(argv[2]), number(argv[3]));
	stacks = number(argv[4]);
	child = fork();
	if (child < 0)
		err(1, "fork");
	if (child == 0) {
		execvp(argv[6], argv + 6);
		err(127, "%s", argv[6]);
	}
	status = wait_for(child);
	if (!WIFSTOPPED(status))
		errx(1, "%s did not stop", argv[6]);
	snprintf(pid, sizeof(pid), "%d", child);
	expedite("1");
	write_word(TRACEFS "set_ftrace_pid", pid);
	trace_all();
	write_word(TRACEFS "current_tracer", "function");
	while (WIFSTOPPED(status)) {
		expedite("0");
		if (kill(child, SIGCONT) < 0)
			err(1, "kill");
		status = wait_for(child);
		expedite("1");
		keep(argv[5]);
		drop(stacks);
	}
	expedite("0");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
