// SPDX-License-Identifier: GPL-2.0
/*
 * How the cost of passthrough depends on how many backing ids and open files a
 * connection has, and what memory each of them takes.
 *
 * scale DIR MAX: DIR is on a tmpfs; up to MAX ids and open files
 *
 * Time is in ticks of the time stamp counter, which under QEMU's -icount shift=0
 * are instructions of the whole guest. Lines that it prints:
 *
 * scale N WHAT TICKS: the median of one more, while there are N
 * memory WHAT BYTES: slab for each one
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>
#include <x86intrin.h>

#include "fuse_server.h"

#define PROBES		101
#define MEMORY_COUNT	20000
#define FILE_ID(n)	((n) + 2)	/* node id; 1 is the root */
#define SIZE		4096

struct probe {
	uint64_t backing_open[PROBES];
	uint64_t open[PROBES];
	uint64_t read[PROBES];
	uint64_t close[PROBES];
	uint64_t backing_close[PROBES];
};

static char backing[4096], mnt[4096];
static struct fuse_server *srv;
static unsigned int max;
static bool passthrough;
/* Indexed by the file's number */
static int32_t *ids;
static int *fds;
/* In place of ids[], if it is not 0 */
static int32_t one_id;

static const char *file_path(const char *dir, unsigned int n)
{
	static char path[8192];

	snprintf(path, sizeof(path), "%s/%u", dir, n);
	return path;
}

/* The server: as many files as are asked for, all with the same attributes */

static void fill_attr(struct fuse_attr *attr, uint64_t nodeid)
{
	*attr = (struct fuse_attr) {
		.ino = nodeid,
		.mode = nodeid == FUSE_ROOT_ID ? S_IFDIR | 0755 :
						 S_IFREG | 0644,
		.nlink = 1,
		.size = SIZE,
		.blksize = SIZE,
	};
}

static void do_lookup(struct fuse_req *req)
{
	struct fuse_entry_out out = {
		.nodeid = FILE_ID(strtoul(req->arg, NULL, 10)),
		.entry_valid = 1000000,
		.attr_valid = 1000000,
	};

	fill_attr(&out.attr, out.nodeid);
	fuse_reply(req, &out, sizeof(out));
}

static void do_getattr(struct fuse_req *req)
{
	struct fuse_attr_out out = { .attr_valid = 1000000 };

	fill_attr(&out.attr, req->in->nodeid);
	fuse_reply(req, &out, sizeof(out));
}

static void do_open(struct fuse_req *req)
{
	struct fuse_open_out out = { 0 };

	if (passthrough) {
		out.open_flags = FOPEN_PASSTHROUGH;
		out.backing_id = one_id ? one_id :
				 ids[req->in->nodeid - FILE_ID(0)];
	}
	fuse_reply(req, &out, sizeof(out));
}

static void handle(struct fuse_req *req)
{
	struct fuse_statfs_out statfs = { 0 };

	switch (req->in->opcode) {
	case FUSE_LOOKUP:
		do_lookup(req);
		break;
	case FUSE_GETATTR:
		do_getattr(req);
		break;
	case FUSE_OPEN:
		do_open(req);
		break;
	case FUSE_RELEASE:
		fuse_reply_err(req, 0);
		break;
	case FUSE_STATFS:
		fuse_reply(req, &statfs, sizeof(statfs));
		break;
	}
}

static void schedule(int policy)
{
	struct sched_param param = { .sched_priority = policy != SCHED_OTHER };

	if (sched_setscheduler(0, policy, &param))
		err(1, "sched_setscheduler");
}

/*
 * The server's thread inherits that it runs as soon as there is a request, so
 * that the number of task switches does not depend on what was done before.
 */
static void start_server(void)
{
	struct fuse_server_config config = {
		.init_flags = FUSE_PASSTHROUGH,
		.max_stack_depth = 1,
		.handle = handle,
	};

	schedule(SCHED_FIFO);
	srv = fuse_server_start(&config, mnt);
	schedule(SCHED_OTHER);
	if (!srv)
		err(1, "cannot mount on %s", mnt);
	if (!(fuse_server_init_out(srv)->flags2 & FUSE_PASSTHROUGH >> 32))
		errx(1, "the kernel offers no passthrough");
}

/* Steps. Each ends the program if it fails. */

static int make_backing(unsigned int n)
{
	static const char data[SIZE];
	int fd = open(file_path(backing, n), O_RDWR | O_CREAT, 0600);

	if (fd < 0 || write(fd, data, SIZE) != SIZE)
		err(1, "cannot make backing file %u", n);
	return fd;
}

static int32_t backing_open(int fd)
{
	int32_t id = fuse_backing_open(fuse_server_dev(srv), fd);

	if (id <= 0)
		err(1, "BACKING_OPEN");
	return id;
}

static void backing_close(int32_t id)
{
	if (fuse_backing_close(fuse_server_dev(srv), id))
		err(1, "BACKING_CLOSE of %d", id);
}

static int open_path(const char *path)
{
	int fd = open(path, O_RDWR);

	if (fd < 0)
		err(1, "open %s", path);
	return fd;
}

/* Returns after the server has handled what was sent before. */
static void barrier(void)
{
	struct statfs st;

	if (statfs(mnt, &st))
		err(1, "statfs");
}

static void close_fd(int fd)
{
	if (close(fd))
		err(1, "close");
	barrier();
}

static void read_fd(int fd)
{
	char buf[SIZE];

	if (pread(fd, buf, SIZE, 0) != SIZE)
		err(1, "read");
}

static void add_file(unsigned int n)
{
	int fd = make_backing(n);

	ids[n] = backing_open(fd);
	close(fd);
	fds[n] = open_path(file_path(mnt, n));
}

/* One more of each than there are, and away with it */
static void probe_one(struct probe *probe, unsigned int i, unsigned int n)
{
	int backing_fd = make_backing(n);
	const char *path;
	struct stat st;
	uint64_t t[8];
	int fd;

	path = file_path(mnt, n);
	/* A lookup is not to be measured. */
	if (stat(path, &st))
		err(1, "stat %s", path);

	t[0] = __rdtsc();
	ids[n] = backing_open(backing_fd);
	t[1] = __rdtsc();
	close(backing_fd);
	t[2] = __rdtsc();
	fd = open_path(path);
	t[3] = __rdtsc();
	read_fd(fd);
	t[4] = __rdtsc();
	close_fd(fd);
	t[5] = __rdtsc();
	backing_close(ids[n]);
	t[6] = __rdtsc();

	probe->backing_open[i] = t[1] - t[0];
	probe->open[i] = t[3] - t[2];
	probe->read[i] = t[4] - t[3];
	probe->close[i] = t[5] - t[4];
	probe->backing_close[i] = t[6] - t[5];
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void say_median(unsigned int n, const char *what, uint64_t *ticks)
{
	qsort(ticks, PROBES, sizeof(*ticks), compare);
	printf("scale %u %s %lu\n", n, what, ticks[PROBES / 2]);
}

static void probe_at(unsigned int n)
{
	struct probe probe;
	unsigned int i;

	for (i = 0; i < PROBES; i++)
		probe_one(&probe, i, n);

	say_median(n, "backing-open", probe.backing_open);
	say_median(n, "open", probe.open);
	say_median(n, "read-4k", probe.read);
	say_median(n, "close", probe.close);
	say_median(n, "backing-close", probe.backing_close);
	fflush(stdout);
}

static void measure_growth(void)
{
	unsigned int n = 0, next;

	start_server();
	passthrough = true;
	for (next = 1; next <= max; next *= 10) {
		while (n < next)
			add_file(n++);
		probe_at(n);
	}
	while (n)
		close(fds[--n]);
	fuse_server_stop(srv);
}

/* The server dies, with @n ids. Per id, with what dying costs without any off. */
static void measure_death(void)
{
	uint64_t none = 0, ticks;
	unsigned int n, i;
	int fd = make_backing(0);

	for (n = 0; n <= max; n = n ? n * 10 : 1) {
		start_server();
		for (i = 0; i < n; i++)
			backing_open(fd);
		ticks = __rdtsc();
		fuse_server_kill(srv);
		ticks = __rdtsc() - ticks;
		umount2(mnt, MNT_DETACH);
		if (!n)
			none = ticks;
		else
			printf("scale %u teardown-per-id %.1f\n", n,
			       ((double)ticks - none) / n);
	}
	fflush(stdout);
	close(fd);
}

/* Bytes in slabs, free objects included */
static long slab(void)
{
	char line[512];
	long sum = 0, per_slab, slabs;
	FILE *f;

	/* What RCU still has to free */
	sleep(1);
	f = fopen("/proc/slabinfo", "r");
	if (!f)
		err(1, "/proc/slabinfo");
	while (fgets(line, sizeof(line), f)) {
		const char *data = strstr(line, "slabdata");

		if (sscanf(line, "%*s %*d %*d %*d %*d %ld", &per_slab) == 1 &&
		    data && sscanf(data, "slabdata %*d %ld", &slabs) == 1)
			sum += slabs * per_slab * 4096;
	}
	fclose(f);
	return sum;
}

static void say_memory(const char *what, long before)
{
	printf("memory %s %.1f\n", what,
	       (double)(slab() - before) / MEMORY_COUNT);
	fflush(stdout);
}

static void memory_of_opens(const char *what, const char *path)
{
	static int opened[MEMORY_COUNT];
	long before;
	int i;

	close(open_path(path));
	before = slab();
	for (i = 0; i < MEMORY_COUNT; i++)
		opened[i] = open_path(path);
	say_memory(what, before);
	for (i = 0; i < MEMORY_COUNT; i++)
		close(opened[i]);
}

static void measure_memory(void)
{
	int i, fd = make_backing(0);
	long before;

	start_server();
	memory_of_opens("open-native", file_path(backing, 0));
	passthrough = false;
	memory_of_opens("open-plain", file_path(mnt, 0));
	passthrough = true;
	one_id = backing_open(fd);
	memory_of_opens("open-passthrough", file_path(mnt, 0));

	before = slab();
	for (i = 0; i < MEMORY_COUNT; i++)
		backing_open(fd);
	say_memory("backing-id", before);

	one_id = 0;
	close(fd);
	fuse_server_stop(srv);
}

static void allow_files(unsigned int n)
{
	struct rlimit limit = { n, n };
	FILE *f = fopen("/proc/sys/fs/file-max", "w");

	if (!f || fprintf(f, "%u", 2 * n) < 0 || fclose(f))
		err(1, "/proc/sys/fs/file-max");
	if (setrlimit(RLIMIT_NOFILE, &limit))
		err(1, "cannot have %u open files", n);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		errx(2, "usage: scale DIR MAX");

	max = atoi(argv[2]);
	ids = calloc(max + 1, sizeof(*ids));
	fds = calloc(max + 1, sizeof(*fds));
	if (!ids || !fds)
		err(1, "no memory");
	allow_files(max + MEMORY_COUNT + 1000);
	snprintf(backing, sizeof(backing), "%s/backing", argv[1]);
	snprintf(mnt, sizeof(mnt), "%s/mnt", argv[1]);
	if (mkdir(backing, 0700) || mkdir(mnt, 0700))
		err(1, "cannot make directories in %s", argv[1]);

	measure_memory();
	measure_death();
	measure_growth();
	return 0;
}
