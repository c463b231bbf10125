/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the FUSE selftests share: directories and mounts of their own, and a
 * server for one directory of files whose replies a test sets as it needs them.
 *
 * To be included first: it says how large off_t is.
 */
#ifndef _TEST_COMMON_H
#define _TEST_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#endif

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "fuse_server.h"

/* The harness has parameters that it does not use, in its macros too. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

#define TEST_FILES	8
#define TEST_FILE_ID(n)	((n) + 2)	/* node id; 1 is the root */

/* Somebody without privileges */
#define TEST_UID	4242
#define TEST_GID	4242

/* An errno that no call returns: it could not be made on this system */
#define TEST_SKIPPED	(-1)

/* A file in the server's only directory */
struct test_file {
	struct test_env *env;
	char name[32];		/* empty: slot not in use */
	int fd;			/* the server's, on the backing file; or -1 */
	bool absent;		/* until CREATE */

	/* What OPEN, CREATE and TMPFILE are answered with */
	uint32_t open_flags;
	int32_t backing_id;
	int open_error;
	/* OPEN posts "arrived", then waits for "go" */
	bool hold_open;
	sem_t arrived;
	sem_t go;

	/* What was seen */
	uint32_t user_flags;	/* O_* of the last open */
	uint64_t fh;		/* of the last open */
	uint64_t released_fh;	/* of the last RELEASE */
	int opens;		/* answered without an error */
	int releases;
};

struct test_env {
	char dir[PATH_MAX / 4];	/* for this test alone */
	char mnt[PATH_MAX / 2];
	char backing[PATH_MAX / 2];
	struct fuse_server_config config;
	struct fuse_server *srv;

	/* Asked before the standard answers. True: there is nothing left to do */
	bool (*hook)(struct test_env *env, struct fuse_req *req);
	void *hook_priv;

	struct test_file file[TEST_FILES];
	struct test_file *tmpfile;	/* what TMPFILE makes */
	uint32_t dir_open_flags;	/* OPENDIR's answer */
	int32_t dir_backing_id;
	uint64_t next_fh;
	/*
	 * Seconds until the connection is aborted. For a test of TEST_F_TIMEOUT()
	 * to be set between test_setup() and test_start()
	 */
	unsigned int time_limit;
	int retrieved;			/* bytes of the last NOTIFY_REPLY */
	char reason[256];		/* why something was skipped */
};

/*
 * A mount namespace and directories of the test's own, and a configuration that
 * negotiates passthrough. 0, or -1 with errno set.
 */
int test_setup(struct test_env *env);
/* Starts the server. 0, or -1 with errno set. */
int test_start(struct test_env *env);
/* Stops the server, if there is one, and starts it again. 0, or -1 */
int test_restart(struct test_env *env);
/* Fits any state that the above and the test left. */
void test_teardown(struct test_env *env);
/* Closes the server's fds on the backing files. */
void test_close_backing(struct test_env *env);

/* The kernel offers passthrough. False also without a server. */
bool test_passthrough_offered(struct test_env *env);
/* The kernel is mainline 6.9 or later with a passthrough of its own */
bool test_on_mainline(struct test_env *env);

/*
 * Makes a file with the given contents on the backing file system, or takes an
 * existing file at @path, and serves it. NULL with errno set on failure.
 */
struct test_file *test_add_file(struct test_env *env, const char *name,
				const void *data, size_t len);
struct test_file *test_add_path(struct test_env *env, const char *name,
				const char *path, int flags);
/* As test_add_file(), but not to be found until CREATE or TMPFILE makes it */
struct test_file *test_add_absent(struct test_env *env, const char *name,
				  const void *data, size_t len);
/*
 * Registers the file and has its opens answered with FOPEN_PASSTHROUGH and the
 * id. An id, or -1 with errno set.
 */
int test_back(struct test_file *file);
/* Opens the file through the mount, with mode 0644 for O_CREAT. */
int test_open(struct test_file *file, int flags);
/* test_add_file(), test_back() and test_open(). An fd, or -1 with errno set. */
int test_open_new(struct test_env *env, const char *name, const void *data,
		  size_t len, int flags, struct test_file **file);
/* What a hook answers with: the node id, and the backing file's attributes now */
uint64_t test_file_id(struct test_file *file);
int test_attr(struct test_file *file, struct fuse_attr *attr);
/* The path of a name below the mount and below the backing directory */
const char *test_path(struct test_file *file, char path[PATH_MAX]);
const char *test_backing_path(struct test_file *file, char path[PATH_MAX]);

/*
 * Returns after the server has handled all that was sent before: it has one
 * thread, and gets the requests in the order in which they were made.
 */
int test_sync(struct test_env *env);
/* Requests of an opcode, and READ + WRITE + GETXATTR, so far */
int test_count(struct test_env *env, uint32_t opcode);
int test_data_requests(struct test_env *env);
/* Opens answered and RELEASEs received, after test_sync() */
int test_opens(struct test_file *file);
int test_releases(struct test_file *file);

/* The raw ioctls. 0 or a positive errno. The id goes to @id unless NULL. */
int test_backing_ioctl(int dev, const struct fuse_backing_map *map, int *id);
int test_backing_open(int dev, int fd);
int test_backing_close(int dev, int32_t id);

/* A ring of io_uring's, for one thread at a time */
struct ring {
	int fd;
	uint32_t *sq_tail, *sq_mask, *sq_array;
	uint32_t *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	void *rings;
	size_t rings_len, sqes_len;
};

/* 0, or -1 with errno set. A ring that was not made is one of fd -1. */
int ring_init(struct ring *ring, unsigned int entries);
void ring_exit(struct ring *ring);
int ring_enter(struct ring *ring, unsigned int submit, unsigned int wait);
/* A cleared entry, that the next ring_enter() submits */
struct io_uring_sqe *ring_next(struct ring *ring);

/* Ways of reading and writing */
enum way {
	PLAIN,			/* read(), write() */
	VECTORED,		/* preadv2(), pwritev2() */
	AIO,			/* io_submit() */
	SPLICE,			/* by way of a pipe */
	URING,			/* io_uring_enter() */
	SENDFILE,		/* between the file and memory, or a pipe */
};

/* What was done, or -errno. The buffer need not be aligned but for O_DIRECT. */
ssize_t do_read(enum way way, int fd, void *buf, size_t len, off_t off);
ssize_t do_write(enum way way, int fd, const void *buf, size_t len, off_t off);
/* Can AIO be used? */
bool test_has_aio(void);
/* Is RWF_APPEND heeded where the backing files are? Not by 6.1's overlayfs. */
bool test_has_rwf_append(struct test_env *env);

/*
 * Sends a notification, FUSE_NOTIFY_*, of the server to the kernel. 0 or a
 * positive errno.
 */
int test_notify(struct test_env *env, int code, const void *arg, size_t len,
		const void *data, size_t data_len);
/*
 * How much of the file, from a multiple of the page size on, the kernel has in
 * the FUSE page cache. Asks by FUSE_NOTIFY_RETRIEVE; -1 if that fails.
 */
int test_cached_bytes(struct test_file *file, off_t off, uint32_t len);

/*
 * Tests that go round and round: until FUSE_RACE_ROUNDS rounds are done, or
 * FUSE_RACE_SECONDS seconds have gone, or what is usual.
 */
#define TEST_USUAL_ROUNDS	5000
/* The harness' limit, for as many seconds as may be asked for */
#define TEST_RACE_TIMEOUT	(24 * 60 * 60)

struct test_rounds {
	long max;
	long done;
	double begin;
	double end;
	bool stop;	/* there are to be no more */
};

/* To be called after test_setup(), because it also sets env->time_limit */
void test_rounds_begin(struct test_rounds *rounds, struct test_env *env,
		       double usual_seconds);
/* Is there to be another round? Any thread may ask. */
bool test_rounds_next(struct test_rounds *rounds);
/* The same for a thread whose rounds are not counted */
bool test_rounds_go_on(const struct test_rounds *rounds);
void test_rounds_stop(struct test_rounds *rounds);
/* Seconds so far */
double test_rounds_seconds(const struct test_rounds *rounds);

/* Seconds on a clock that is never set */
double test_now(void);
void test_sleep_ms(long ms);
/* Every byte of the buffer is the same */
bool test_uniform(const char *buf, size_t len);
/*
 * Waits until all opens of a file that succeeded, or that the kernel refused,
 * have been released. False if they are not.
 */
bool test_all_released(struct test_file *file);
/* Another mount of the backing directory: busy if and only if a file is in use */
int test_bind_backing(struct test_env *env, char path[PATH_MAX]);

/*
 * The exit status of a child, 255 if a signal ended it, or -1 if it is there
 * after so many seconds
 */
int test_wait(pid_t pid, double seconds);
/* Runs @fn in a child. Its return value (0 to 254), or 255 if it died. */
int test_in_child(int (*fn)(void *arg), void *arg);
/* The same as TEST_UID, without any capability */
int test_as_user(int (*fn)(void *arg), void *arg);
/* The thread gives up a capability, CAP_*; 0 or -1 */
int test_drop_cap(int cap);
/* The same of CAP_SYS_ADMIN. In a child only. */
int test_drop_sys_admin(void);

/*
 * Mounts a file system on a new directory @name below the test's. -1 with errno
 * set on failure, else 0 and the path in @path.
 */
int test_mount(struct test_env *env, const char *name, const char *type,
	       const char *options, char path[PATH_MAX]);
/*
 * An fd of a loop device, which is freed after the fd and the mount are gone, and
 * its path in @dev. -1 with errno set on failure.
 */
int test_attach_loop(const char *image, char dev[PATH_MAX]);
/* A read-only overlay over two new directories with a file "file" in one */
int test_mount_overlay(struct test_env *env, char path[PATH_MAX]);
/* Makes a file. 0, or -1 with errno set. */
int test_write_file(const char *path, const void *data, size_t len);
/*
 * Random numbers that are the same for the same seed: the start of a stream,
 * and its next number below @n
 */
uint64_t test_random_start(uint64_t seed);
uint32_t test_random_below(uint64_t *random, uint32_t n);
/* What an environment variable says, if it is set */
long test_number_in(const char *variable, long otherwise);
/* The same for a seed, which is otherwise a new one each time */
uint64_t test_seed_in(const char *variable);
/* Memory that children share; NULL with errno set on failure */
void *test_shared_memory(size_t size);
/* Fills @buf with something that no shifted copy of it equals. */
void test_pattern(void *buf, size_t len, unsigned int seed);
/* What is in the file at @off is @data */
bool test_has(int fd, off_t off, const void *data, size_t len);
/* Size and permissions as fstat() has them; -1 if it fails */
off_t test_size(int fd);
int test_mode(int fd);
/* The size that the kernel has without asking the server, or -1 */
off_t test_known_size(int fd);
bool test_same_time(struct timespec a, struct timespec b);
/* Closes what is open there, and leaves -1 */
void test_close(int *fd);
/* Empties the page cache of a file. 0, or -1 with errno set. */
int test_drop_cache(int fd);
/* How many pages of the first @size bytes are in the page cache, or -1 */
int test_cached_pages(int fd, size_t size);

/* What /proc/PID/maps and smaps say of a mapping */
struct test_mapping {
	uintptr_t start;
	uintptr_t end;
	dev_t dev;
	ino_t ino;
	char path[PATH_MAX];	/* empty if it has none */
};

/* The mapping at an address, from the file @maps. False if there is none */
bool test_find_mapping(const char *maps, const void *addr,
		       struct test_mapping *mapping);
/* A file of debugfs or sysfs that says how the kernel behaves */
struct test_knob {
	const char *path;
	const char *value;	/* what to write there */
	bool needed;		/* else it need not be there */
	char saved[32];		/* what was there; empty: not set */
};

/* Sets them all, in this order. 0, or -1 with errno set and none of them set. */
int test_set_knobs(struct test_knob *knobs, size_t n);
void test_restore_knobs(struct test_knob *knobs, size_t n);

/* An fd that watches a file for IN_* events, or -1; and those since the last call */
int test_watch(const char *path, uint32_t events);
uint32_t test_events(int fd);

/* Tries for some seconds, since files are closed late by other threads. */
int test_umount(const char *path);
/* Makes a copy of this program, that anybody may run. 0 or -1 */
int test_copy_self(const char *path);
/* Starts a program that waits, from a copy of this one at @path. -1 or pid */
pid_t test_run_text(const char *path);
/* printf() into a path. Truncation is not possible with the test's paths. */
const char *test_pathf(char path[PATH_MAX], const char *fmt, ...);

/* Ends the program, which reports that it could not test anything */
void test_skip_program(const char *reason);

/* For FIXTURE_SETUP, where 6.1's SKIP() would go on with the test */
#define TEST_NEEDS_PASSTHROUGH(env) do { \
	if (!test_passthrough_offered(env)) \
		SKIP(_exit(255), "kernel does not offer FUSE_PASSTHROUGH"); \
} while (0)

/*
 * Why a rule that mainline does not have was found broken, for SKIP(); NULL, and
 * a message, on any other kernel.
 */
const char *test_xfail(struct test_env *env, const char *rule, const char *fmt,
		       ...);

/*
 * Asserts a rule that mainline does not have. XFAIL is reported only after
 * @cond was seen to be false, and covers up no earlier failure. The rest of the
 * arguments say what mainline did. @statement is as in SKIP().
 */
#define ASSERT_OR_XFAIL(statement, env, cond, fmt, ...) do { \
	if (!(cond)) { \
		const char *xfail_ = test_xfail(env, #cond, fmt, \
						##__VA_ARGS__); \
		ASSERT_TRUE(xfail_ && _metadata->passed); \
		SKIP(statement, "XFAIL: mainline %s", xfail_); \
	} \
} while (0)

#endif /* _TEST_COMMON_H */
