// SPDX-License-Identifier: GPL-2.0
/*
 * What file operations cost, in ticks of the CPU's time stamp counter. Under
 * QEMU's -icount shift=0 a tick is one instruction, of the whole guest: what the
 * kernel and a FUSE server do for an operation counts.
 *
 * ops [-c] [-s STATS -p PID] LABEL DIR [OPERATION]...
 *
 * Each operation is repeated in batches, on a file in DIR, and the median of the
 * batches is the result, so that the few that a timer interrupts do not count.
 * With the mirror server's PID and file of statistics, its requests are counted
 * too. A line for each operation: LABEL, operation, ticks and requests per
 * operation. What the kernel does not support here has "-" for both. -c stays at
 * one operation, without lines, for a profile.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#define KIB		1024
#define MIB		(1024 * KIB)
#define FILE_SIZE	(4 * MIB)
#define PAGE		4096
#define BATCHES		15
#define RING		8

struct bench;

struct op {
	const char *name;
	unsigned int count;	/* operations in a batch */
	size_t len;
	int flags;		/* for open() */
	/* 0, or -1 with errno set */
	int (*prepare)(struct bench *bench);
	/* Does a batch; returns the ticks that it took. */
	uint64_t (*batch)(struct bench *bench);
	void (*finish)(struct bench *bench);
};

struct bench {
	const struct op *op;
	char path[4096];
	int fd;
	int other;		/* the other end of a sendfile() */
	char *buf;
	off_t pos;

	aio_context_t aio;
	int ring;
	struct io_uring_params params;
	struct io_uring_sqe *sqes;
	char *sq;
	char *cq;
	size_t sq_size;
	size_t cq_size;
};

static const char *stats;
static pid_t server;

/* Without this a short count would look like a fast operation. */
static void must(struct bench *bench, ssize_t ret, ssize_t wanted)
{
	if (ret == wanted)
		return;
	if (ret < 0)
		err(1, "%s on %s", bench->op->name, bench->path);
	errx(1, "%s on %s: %zd instead of %zd", bench->op->name, bench->path,
	     ret, wanted);
}

static off_t next_pos(struct bench *bench)
{
	off_t pos = bench->pos;

	bench->pos = (pos + bench->op->len) % FILE_SIZE;
	return pos;
}

/* read and write */

static uint64_t batch_pread(struct bench *bench)
{
	size_t len = bench->op->len;
	uint64_t start = __rdtsc();
	unsigned int i;

	for (i = 0; i < bench->op->count; i++)
		must(bench, pread(bench->fd, bench->buf, len, next_pos(bench)),
		     len);
	return __rdtsc() - start;
}

static uint64_t batch_pwrite(struct bench *bench)
{
	size_t len = bench->op->len;
	uint64_t start = __rdtsc();
	unsigned int i;

	for (i = 0; i < bench->op->count; i++)
		must(bench, pwrite(bench->fd, bench->buf, len, next_pos(bench)),
		     len);
	return __rdtsc() - start;
}

static uint64_t batch_pread_fstat(struct bench *bench)
{
	size_t len = bench->op->len;
	uint64_t start = __rdtsc();
	unsigned int i;
	struct stat st;

	for (i = 0; i < bench->op->count; i++) {
		must(bench, pread(bench->fd, bench->buf, len, next_pos(bench)),
		     len);
		must(bench, fstat(bench->fd, &st), 0);
	}
	return __rdtsc() - start;
}

static uint64_t batch_pwrite_fstat(struct bench *bench)
{
	size_t len = bench->op->len;
	uint64_t start = __rdtsc();
	unsigned int i;
	struct stat st;

	for (i = 0; i < bench->op->count; i++) {
		must(bench, pwrite(bench->fd, bench->buf, len, next_pos(bench)),
		     len);
		must(bench, fstat(bench->fd, &st), 0);
	}
	return __rdtsc() - start;
}

static uint64_t batch_open_close(struct bench *bench)
{
	uint64_t start = __rdtsc();
	unsigned int i;
	int fd;

	for (i = 0; i < bench->op->count; i++) {
		fd = open(bench->path, O_RDWR);
		must(bench, fd < 0 ? fd : 0, 0);
		must(bench, close(fd), 0);
	}
	return __rdtsc() - start;
}

/* sendfile */

static int prepare_null(struct bench *bench)
{
	bench->other = open("/dev/null", O_WRONLY);
	return bench->other < 0 ? -1 : 0;
}

static int prepare_memfd(struct bench *bench)
{
	bench->other = memfd_create("bench", 0);
	if (bench->other < 0)
		return -1;
	return ftruncate(bench->other, FILE_SIZE);
}

static void finish_other(struct bench *bench)
{
	close(bench->other);
}

static uint64_t batch_sendfile_from(struct bench *bench)
{
	size_t len = bench->op->len;
	uint64_t start = __rdtsc();
	unsigned int i;
	off_t pos;

	for (i = 0; i < bench->op->count; i++) {
		pos = next_pos(bench);
		must(bench, sendfile(bench->other, bench->fd, &pos, len), len);
	}
	return __rdtsc() - start;
}

static uint64_t batch_sendfile_to(struct bench *bench)
{
	size_t len = bench->op->len;
	uint64_t start = __rdtsc();
	unsigned int i;
	off_t pos;

	for (i = 0; i < bench->op->count; i++) {
		pos = next_pos(bench);
		must(bench, lseek(bench->fd, pos, SEEK_SET), pos);
		must(bench, sendfile(bench->fd, bench->other, &pos, len), len);
	}
	return __rdtsc() - start;
}

/* mmap. One operation is one page touched: faults map pages around them. */

static volatile char *map(struct bench *bench)
{
	char *p = mmap(NULL, FILE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		       bench->fd, 0);

	must(bench, p == MAP_FAILED ? -1 : 0, 0);
	return p;
}

static void unmap(struct bench *bench, volatile char *p)
{
	must(bench, munmap((void *)p, FILE_SIZE), 0);
}

static uint64_t batch_fault_read(struct bench *bench)
{
	volatile char *p = map(bench);
	uint64_t start = __rdtsc();
	size_t off;

	for (off = 0; off < FILE_SIZE; off += PAGE)
		p[off];
	start = __rdtsc() - start;
	unmap(bench, p);
	return start;
}

static uint64_t batch_fault_write(struct bench *bench)
{
	volatile char *p = map(bench);
	uint64_t start = __rdtsc();
	size_t off;

	for (off = 0; off < FILE_SIZE; off += PAGE)
		p[off] = 1;
	start = __rdtsc() - start;
	unmap(bench, p);
	return start;
}

static uint64_t batch_mmap(struct bench *bench)
{
	uint64_t start = __rdtsc();
	unsigned int i;

	for (i = 0; i < bench->op->count; i++)
		unmap(bench, map(bench));
	return __rdtsc() - start;
}

/* libaio's system calls */

static int prepare_aio(struct bench *bench)
{
	bench->aio = 0;
	return syscall(SYS_io_setup, RING, &bench->aio);
}

static void finish_aio(struct bench *bench)
{
	syscall(SYS_io_destroy, bench->aio);
}

static uint64_t batch_aio(struct bench *bench, int opcode)
{
	size_t len = bench->op->len;
	struct iocb iocb = {
		.aio_lio_opcode = opcode,
		.aio_fildes = bench->fd,
		.aio_buf = (uintptr_t)bench->buf,
		.aio_nbytes = len,
	};
	struct iocb *iocbs[] = { &iocb };
	struct io_event event;
	uint64_t start = __rdtsc();
	unsigned int i;

	for (i = 0; i < bench->op->count; i++) {
		iocb.aio_offset = next_pos(bench);
		must(bench, syscall(SYS_io_submit, bench->aio, 1, iocbs), 1);
		must(bench, syscall(SYS_io_getevents, bench->aio, 1, 1, &event,
				    NULL), 1);
		errno = -event.res;
		must(bench, event.res < 0 ? -1 : event.res, len);
	}
	return __rdtsc() - start;
}

static uint64_t batch_aio_read(struct bench *bench)
{
	return batch_aio(bench, IOCB_CMD_PREAD);
}

static uint64_t batch_aio_write(struct bench *bench)
{
	return batch_aio(bench, IOCB_CMD_PWRITE);
}

/* io_uring */

static void *map_ring(struct bench *bench, size_t size, off_t off)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, bench->ring, off);

	return p == MAP_FAILED ? NULL : p;
}

static void finish_ring(struct bench *bench)
{
	if (bench->sqes)
		munmap(bench->sqes, RING * sizeof(*bench->sqes));
	if (bench->cq)
		munmap(bench->cq, bench->cq_size);
	if (bench->sq)
		munmap(bench->sq, bench->sq_size);
	close(bench->ring);
}

static int prepare_ring(struct bench *bench)
{
	struct io_uring_params *p = &bench->params;
	int saved;

	memset(p, 0, sizeof(*p));
	bench->ring = syscall(SYS_io_uring_setup, RING, p);
	if (bench->ring < 0)
		return -1;

	bench->sq_size = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
	bench->cq_size = p->cq_off.cqes +
			 p->cq_entries * sizeof(struct io_uring_cqe);
	bench->sq = map_ring(bench, bench->sq_size, IORING_OFF_SQ_RING);
	bench->cq = map_ring(bench, bench->cq_size, IORING_OFF_CQ_RING);
	bench->sqes = map_ring(bench, RING * sizeof(*bench->sqes),
			       IORING_OFF_SQES);
	if (bench->sq && bench->cq && bench->sqes)
		return 0;

	saved = errno;
	finish_ring(bench);
	errno = saved;
	return -1;
}

static void ring_one(struct bench *bench, int opcode)
{
	struct io_uring_params *p = &bench->params;
	uint32_t *tail = (void *)(bench->sq + p->sq_off.tail);
	uint32_t *array = (void *)(bench->sq + p->sq_off.array);
	uint32_t *head = (void *)(bench->cq + p->cq_off.head);
	struct io_uring_cqe *cqes = (void *)(bench->cq + p->cq_off.cqes);
	uint32_t slot = *tail & (p->sq_entries - 1);
	struct io_uring_cqe *cqe;
	int res;

	bench->sqes[slot] = (struct io_uring_sqe) {
		.opcode = opcode,
		.fd = bench->fd,
		.off = next_pos(bench),
		.addr = (uintptr_t)bench->buf,
		.len = bench->op->len,
	};
	array[slot] = slot;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	must(bench, syscall(SYS_io_uring_enter, bench->ring, 1, 1,
			    IORING_ENTER_GETEVENTS, NULL, 0), 1);

	cqe = &cqes[*head & (p->cq_entries - 1)];
	res = cqe->res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	errno = -res;
	must(bench, res < 0 ? -1 : res, bench->op->len);
}

static uint64_t batch_ring(struct bench *bench, int opcode)
{
	uint64_t start = __rdtsc();
	unsigned int i;

	for (i = 0; i < bench->op->count; i++)
		ring_one(bench, opcode);
	return __rdtsc() - start;
}

static uint64_t batch_ring_read(struct bench *bench)
{
	return batch_ring(bench, IORING_OP_READ);
}

static uint64_t batch_ring_write(struct bench *bench)
{
	return batch_ring(bench, IORING_OP_WRITE);
}

static const struct op ops[] = {
	{ "pread-1", 400, 1, 0, NULL, batch_pread, NULL },
	{ "pread-4k", 400, 4 * KIB, 0, NULL, batch_pread, NULL },
	{ "pread-64k", 60, 64 * KIB, 0, NULL, batch_pread, NULL },
	{ "pread-1m", 4, MIB, 0, NULL, batch_pread, NULL },
	{ "pwrite-1", 400, 1, 0, NULL, batch_pwrite, NULL },
	{ "pwrite-4k", 400, 4 * KIB, 0, NULL, batch_pwrite, NULL },
	{ "pwrite-64k", 60, 64 * KIB, 0, NULL, batch_pwrite, NULL },
	{ "pwrite-1m", 4, MIB, 0, NULL, batch_pwrite, NULL },
	{ "open-close", 100, 0, 0, NULL, batch_open_close, NULL },
	{ "pread-4k-fstat", 400, 4 * KIB, 0, NULL, batch_pread_fstat, NULL },
	{ "pwrite-4k-fstat", 400, 4 * KIB, 0, NULL, batch_pwrite_fstat, NULL },
	{ "mmap-munmap", 200, 0, 0, NULL, batch_mmap, NULL },
	{ "fault-read", FILE_SIZE / PAGE, 0, 0, NULL, batch_fault_read, NULL },
	{ "fault-write", FILE_SIZE / PAGE, 0, 0, NULL, batch_fault_write,
	  NULL },
	{ "sendfile-from-64k", 60, 64 * KIB, 0, prepare_null,
	  batch_sendfile_from, finish_other },
	{ "sendfile-to-64k", 60, 64 * KIB, 0, prepare_memfd, batch_sendfile_to,
	  finish_other },
	{ "libaio-read-4k", 300, 4 * KIB, 0, prepare_aio, batch_aio_read,
	  finish_aio },
	{ "libaio-write-4k", 300, 4 * KIB, 0, prepare_aio, batch_aio_write,
	  finish_aio },
	{ "io_uring-read-4k", 300, 4 * KIB, 0, prepare_ring, batch_ring_read,
	  finish_ring },
	{ "io_uring-write-4k", 300, 4 * KIB, 0, prepare_ring, batch_ring_write,
	  finish_ring },
	{ "direct-pread-4k", 100, 4 * KIB, O_DIRECT, NULL, batch_pread, NULL },
	{ "direct-pwrite-4k", 100, 4 * KIB, O_DIRECT, NULL, batch_pwrite,
	  NULL },
	{ "direct-libaio-read-4k", 100, 4 * KIB, O_DIRECT, prepare_aio,
	  batch_aio_read, finish_aio },
	{ "direct-libaio-write-4k", 100, 4 * KIB, O_DIRECT, prepare_aio,
	  batch_aio_write, finish_aio },
	{ "direct-io_uring-read-4k", 100, 4 * KIB, O_DIRECT, prepare_ring,
	  batch_ring_read, finish_ring },
	{ "direct-io_uring-write-4k", 100, 4 * KIB, O_DIRECT, prepare_ring,
	  batch_ring_write, finish_ring },
};

/* What the server has got so far. FORGETs are nobody's operation. */
static uint64_t requests(void)
{
	char name[64];
	uint64_t n, sum = 0;
	FILE *f;

	if (!stats)
		return 0;

	unlink(stats);
	if (kill(server, SIGUSR1))
		err(1, "cannot ask the server, process %d, how many", server);
	while (!(f = fopen(stats, "r")))
		usleep(1000);
	while (fscanf(f, "%63s %lu", name, &n) == 2)
		if (strcmp(name, "TOTAL") && !strstr(name, "FORGET") &&
		    !strchr(name, ':'))
			sum += n;
	fclose(f);

	return sum;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void measure(struct bench *bench, const char *label)
{
	uint64_t ticks[BATCHES], before;
	const struct op *op = bench->op;
	unsigned int i;

	/* The first batch fills caches. */
	op->batch(bench);
	before = requests();
	for (i = 0; i < BATCHES; i++)
		ticks[i] = op->batch(bench);
	before = requests() - before;
	qsort(ticks, BATCHES, sizeof(*ticks), compare);

	printf("%s %s %.1f %.4f\n", label, op->name,
	       (double)ticks[BATCHES / 2] / op->count,
	       (double)before / (BATCHES * op->count));
	fflush(stdout);
}

/* -1 if the operation does not exist here */
static int run(struct bench *bench, const char *label, bool forever)
{
	const struct op *op = bench->op;

	bench->pos = 0;
	bench->fd = open(bench->path, O_RDWR | op->flags);
	/* Without O_DIRECT below, any error is EIO at a passthrough open. */
	if (bench->fd < 0 && op->flags && (errno == EINVAL || errno == EIO))
		return -1;
	if (bench->fd < 0)
		err(1, "open %s", bench->path);
	if (op->prepare && op->prepare(bench)) {
		if (errno != ENOSYS && errno != EOPNOTSUPP)
			err(1, "%s", op->name);
		close(bench->fd);
		return -1;
	}

	while (forever)
		op->batch(bench);
	measure(bench, label);

	if (op->finish)
		op->finish(bench);
	close(bench->fd);
	return 0;
}

static void make_file(struct bench *bench, const char *dir)
{
	size_t off;
	int fd;

	snprintf(bench->path, sizeof(bench->path), "%s/ops", dir);
	if (posix_memalign((void **)&bench->buf, PAGE, MIB))
		errx(1, "no memory");
	memset(bench->buf, 1, MIB);

	unlink(bench->path);
	fd = open(bench->path, O_RDWR | O_CREAT, 0644);
	if (fd < 0)
		err(1, "cannot make %s", bench->path);
	for (off = 0; off < FILE_SIZE; off += MIB)
		if (write(fd, bench->buf, MIB) != MIB)
			err(1, "cannot fill %s", bench->path);
	/* ext4 delays the choice of blocks, which is no operation's cost. */
	fsync(fd);
	close(fd);
}

static bool wanted(const char *name, char **names)
{
	if (!*names)
		return true;
	while (*names)
		if (!strcmp(name, *names++))
			return true;
	return false;
}

int main(int argc, char **argv)
{
	struct bench bench = { 0 };
	bool forever = false;
	unsigned int i;
	int opt;

	while ((opt = getopt(argc, argv, "cs:p:")) != -1) {
		switch (opt) {
		case 'c':
			forever = true;
			break;
		case 's':
			stats = optarg;
			break;
		case 'p':
			server = atoi(optarg);
			break;
		default:
			return 2;
		}
	}
	if (argc - optind < 2 || !stats != !server)
		errx(2, "usage: ops [-c] [-s STATS -p PID] LABEL DIR [OP]...");

	make_file(&bench, argv[optind + 1]);
	for (i = 0; i < sizeof(ops) / sizeof(*ops); i++) {
		bench.op = &ops[i];
		if (!wanted(ops[i].name, argv + optind + 2))
			continue;
		if (run(&bench, argv[optind], forever))
			printf("%s %s - -\n", argv[optind], ops[i].name);
	}
	unlink(bench.path);
	return 0;
}
