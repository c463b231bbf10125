// SPDX-License-Identifier: GPL-2.0
/*
 * FUSE passthrough: the server dies, or its connection or mount ends, at every
 * stage of the use of a file. The server is a process of its own, so that it can
 * be killed. What is open goes on working; when it is closed, nothing is left.
 *
 * Each test goes round and round, see test_rounds_begin().
 */
#include "test_common.h"

#include <linux/aio_abi.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../kselftest_harness.h"

#define PAGE		4096
#define SIZE		(4 * PAGE)
#define USUAL_SECONDS	0.7
#define AIO_OPS		8

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT	21
#endif

/* What the server's process and this one tell each other */
struct shared {
	bool ready;
	bool hold_open;
	bool open_arrived;	/* and is held */
	bool go;		/* hold nothing any more */
	bool closed;		/* the connection has ended, and the files */
	int err;		/* it could not be started */
};

struct world {
	struct test_env env;
	struct test_rounds rounds;
	struct shared *shared;
	char pinned[PATH_MAX];	/* a mount that the file keeps busy */
	char backing[PATH_MAX];	/* the file there */
	char path[PATH_MAX];	/* the file, through FUSE */
	bool mainline;
	bool direct;		/* there is O_DIRECT */
	pid_t server;

	/* What a stage has in use */
	int fd;
	int pipe[2];
	char *map;
	char *buf;
	aio_context_t ctx;
	pthread_t thread;
	pid_t child;
	ssize_t ret;		/* of the thread */
	int err;
};

/* The server */

static bool is_set(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void set(bool *flag)
{
	__atomic_store_n(flag, true, __ATOMIC_RELEASE);
}

static bool wait_until(const bool *flag)
{
	double end = test_now() + 20;

	while (!is_set(flag) && test_now() < end)
		usleep(100);
	return is_set(flag);
}

static bool hold_opens(struct test_env *env, struct fuse_req *req)
{
	struct shared *shared = env->hook_priv;

	if (req->in->opcode == FUSE_OPEN && shared->hold_open) {
		set(&shared->open_arrived);
		wait_until(&shared->go);
	}
	return false;
}

static int start_serving(struct world *w)
{
	struct test_env *env = &w->env;
	struct test_file *file;

	file = test_add_path(env, "file", w->backing, O_RDWR);
	if (!file || test_restart(env))
		return errno;
	if (!env->config.hold_init && test_back(file) < 0)
		return errno;
	return 0;
}

static void serve(struct world *w)
{
	struct shared *shared = w->shared;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	shared->err = start_serving(w);
	set(&shared->ready);
	if (shared->err)
		_exit(1);
	if (w->env.config.hold_init) {
		wait_until(&shared->go);
		fuse_server_answer_init(w->env.srv);
	}

	fuse_server_wait(w->env.srv);
	test_close_backing(&w->env);
	set(&shared->closed);
	/* The device stays open: it is not its close that ends the ids */
	for (;;)
		pause();
}

static const char *start_server(struct world *w, bool hold_open)
{
	memset(w->shared, 0, sizeof(*w->shared));
	w->shared->hold_open = hold_open;
	fflush(NULL);
	w->server = fork();
	if (w->server < 0)
		return "fork";
	if (!w->server)
		serve(w);
	if (!wait_until(&w->shared->ready) || w->shared->err) {
		errno = w->shared->err;
		return "the server does not start";
	}
	return NULL;
}

static void kill_server(struct world *w)
{
	if (w->server <= 0)
		return;
	kill(w->server, SIGKILL);
	while (waitpid(w->server, NULL, 0) < 0 && errno == EINTR)
		;
	w->server = 0;
}

/* The ends */

static int end_by_kill(struct world *w)
{
	kill_server(w);
	return 0;
}

static int end_by_abort(struct world *w)
{
	return fuse_mount_abort(w->env.mnt);
}

static int end_by_force(struct world *w)
{
	/* Where files are open, it is not unmounted, but aborted all the same */
	return umount2(w->env.mnt, MNT_FORCE) && errno != EBUSY ? -1 : 0;
}

static int end_lazily(struct world *w)
{
	return umount2(w->env.mnt, MNT_DETACH);
}

FIXTURE(end)
{
	struct world w;
};

FIXTURE_VARIANT(end)
{
	int (*end)(struct world *w);
	bool goes_on;		/* for as long as files are open */
};

FIXTURE_VARIANT_ADD(end, by_sigkill)
{
	.end = end_by_kill,
};

FIXTURE_VARIANT_ADD(end, by_abort)
{
	.end = end_by_abort,
};

FIXTURE_VARIANT_ADD(end, by_umount_force)
{
	.end = end_by_force,
};

FIXTURE_VARIANT_ADD(end, by_lazy_umount)
{
	.end = end_lazily,
	.goes_on = true,
};

/* Makes what each round begins with. */
static bool bind_backing(struct world *w)
{
	return !mount(w->env.backing, w->pinned, NULL, MS_BIND, NULL);
}

static bool setup_world(struct world *w)
{
	struct test_env *env = &w->env;
	char data[SIZE];
	void *buf;
	int fd;

	w->fd = -1;
	if (test_setup(env) || posix_memalign(&buf, PAGE, SIZE))
		return false;
	w->buf = buf;
	test_rounds_begin(&w->rounds, env, USUAL_SECONDS);
	w->shared = mmap(NULL, sizeof(*w->shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (w->shared == MAP_FAILED || test_bind_backing(env, w->pinned))
		return false;
	env->config.threads = 2;
	env->hook = hold_opens;
	env->hook_priv = w->shared;
	test_pathf(w->backing, "%s/file", w->pinned);
	test_pathf(w->path, "%s/file", env->mnt);

	memset(data, 'x', SIZE);
	if (test_write_file(w->backing, data, SIZE))
		return false;
	fd = open(w->backing, O_RDWR | O_DIRECT);
	w->direct = fd >= 0;
	close(fd);
	/* Asked what it offers; the rounds have servers of their own */
	return !test_start(env);
}

FIXTURE_SETUP(end)
{
	struct world *w = &self->w;

	ASSERT_TRUE(setup_world(w));
	TEST_NEEDS_PASSTHROUGH(&w->env);
	w->mainline = test_on_mainline(&w->env);
	fuse_server_stop(w->env.srv);
	w->env.srv = NULL;
}

FIXTURE_TEARDOWN(end)
{
	struct world *w = &self->w;

	kill_server(w);
	umount2(w->env.mnt, MNT_DETACH);
	umount2(w->pinned, MNT_DETACH);
	test_teardown(&w->env);
	free(w->buf);
}

/*
 * A stage of use: what brings a file there, and what has to work after the end
 * and leaves nothing in use. Each returns what is wrong, or NULL.
 */
struct stage {
	bool hold_init;
	bool hold_open;
	const char *(*begin)(struct world *w);
	const char *(*after)(struct world *w, bool goes_on);
};

/*
 * With no file open, and the server's own files closed, the backing file system
 * is free, though the device is not closed if the server is still there.
 */
static const char *check_that_all_is_free(struct world *w)
{
	umount2(w->env.mnt, MNT_DETACH);
	if (w->server && !wait_until(&w->shared->closed))
		return "the connection does not end";
	if (w->mainline)
		kill_server(w);
	if (test_umount(w->pinned))
		return "the backing file system is in use";
	kill_server(w);
	return bind_backing(w) ? NULL : "mount";
}

static const char *one_round(struct world *w, const struct stage *stage,
			     int (*end)(struct world *w), bool goes_on)
{
	const char *wrong;

	w->env.config.hold_init = stage->hold_init;
	wrong = start_server(w, stage->hold_open);
	if (!wrong && stage->begin)
		wrong = stage->begin(w);
	if (wrong)
		return wrong;
	if (end(w))
		return "the end";
	set(&w->shared->go);
	if (stage->after)
		wrong = stage->after(w, goes_on);
	return wrong ? wrong : check_that_all_is_free(w);
}

#define ASSERT_ROUNDS_ARE_GOOD(...) do { \
	static const struct stage stage_ = { __VA_ARGS__ }; \
	struct world *w_ = &self->w; \
	const char *wrong_ = NULL; \
	int err_ = 0; \
	while (!wrong_ && test_rounds_next(&w_->rounds)) { \
		wrong_ = one_round(w_, &stage_, variant->end, \
				   variant->goes_on); \
		err_ = errno; \
	} \
	TH_LOG("%ld rounds in %.1f s", w_->rounds.done, \
	       test_rounds_seconds(&w_->rounds)); \
	ASSERT_EQ(NULL, wrong_) { \
		TH_LOG("%s: %s", wrong_, strerror(err_)); \
	} \
} while (0)

/* Things that work on an open file, with no server */

static const char *check_io(int fd, char *buf)
{
	if (pread(fd, buf, SIZE, 0) != SIZE || !test_uniform(buf, SIZE))
		return "pread";
	if (pwrite(fd, buf, PAGE, PAGE) != PAGE)
		return "pwrite";
	return NULL;
}

static const char *open_file(struct world *w)
{
	w->fd = open(w->path, O_RDWR | O_CLOEXEC);
	return w->fd < 0 ? "open" : check_io(w->fd, w->buf);
}

/* What close() says is the server's answer to FLUSH, which it may not give. */
static void close_file(struct world *w)
{
	close(w->fd);
	w->fd = -1;
}

/* Opens that wait */

static void *open_it(void *arg)
{
	struct world *w = arg;

	w->fd = open(w->path, O_RDWR | O_CLOEXEC);
	w->err = errno;
	return NULL;
}

static const char *begin_open(struct world *w)
{
	return pthread_create(&w->thread, NULL, open_it, w) ? "thread" : NULL;
}

static const char *begin_open_and_wait(struct world *w)
{
	const char *wrong = begin_open(w);

	if (!wrong && !wait_until(&w->shared->open_arrived))
		wrong = "no OPEN reaches the server";
	return wrong;
}

static const char *open_ended(struct world *w, bool goes_on)
{
	const char *wrong = NULL;

	pthread_join(w->thread, NULL);
	errno = w->err;
	if (goes_on && w->fd < 0)
		return "an open fails";
	if (!goes_on && w->fd >= 0)
		return "an open succeeds without its reply";
	if (!goes_on)
		return w->err == ECONNABORTED ? NULL : "an open's errno";
	wrong = check_io(w->fd, w->buf);
	close_file(w);
	return wrong;
}

/* It may not have begun before the end. */
static const char *open_of_no_connection_ended(struct world *w, bool goes_on)
{
	pthread_join(w->thread, NULL);
	errno = w->err;
	if (w->fd >= 0) {
		close_file(w);
		return goes_on ? NULL : "an open succeeds without its reply";
	}
	return w->err == ENOTCONN || w->err == ECONNABORTED ||
	       w->err == ECONNREFUSED || w->err == ENOENT ?
	       NULL : "an open's errno";
}

TEST_F_TIMEOUT(end, before_init_is_answered, TEST_RACE_TIMEOUT)
{
	ASSERT_ROUNDS_ARE_GOOD(.hold_init = true, .begin = begin_open,
			       .after = open_of_no_connection_ended);
}

TEST_F_TIMEOUT(end, after_backing_open, TEST_RACE_TIMEOUT)
{
	ASSERT_ROUNDS_ARE_GOOD(.begin = NULL);
}

TEST_F_TIMEOUT(end, inside_an_open, TEST_RACE_TIMEOUT)
{
	ASSERT_ROUNDS_ARE_GOOD(.hold_open = true, .begin = begin_open_and_wait,
			       .after = open_ended);
}

/* Files that are open */

static const char *use_open_file(struct world *w, bool goes_on)
{
	const char *wrong = check_io(w->fd, w->buf);
	int fd;

	/* There are no new ones */
	fd = open(w->path, O_RDWR | O_CLOEXEC);
	if (!wrong && fd >= 0)
		wrong = "a new open succeeds";
	if (fd >= 0)
		close(fd);
	close_file(w);
	return wrong;
}

TEST_F_TIMEOUT(end, after_an_open, TEST_RACE_TIMEOUT)
{
	ASSERT_ROUNDS_ARE_GOOD(.begin = open_file, .after = use_open_file);
}

static const char *submit_aio(struct world *w)
{
	struct iocb iocb[AIO_OPS] = {}, *iocbs[AIO_OPS];
	int i;

	w->fd = open(w->path, O_RDWR | O_CLOEXEC | (w->direct ? O_DIRECT : 0));
	if (w->fd < 0)
		return "open";
	memset(w->buf, 'x', SIZE);
	for (i = 0; i < AIO_OPS; i++) {
		iocb[i].aio_lio_opcode = i % 2 ? IOCB_CMD_PREAD :
						 IOCB_CMD_PWRITE;
		iocb[i].aio_fildes = w->fd;
		iocb[i].aio_buf = (uintptr_t)w->buf;
		iocb[i].aio_nbytes = SIZE;
		iocbs[i] = &iocb[i];
	}
	if (syscall(SYS_io_setup, AIO_OPS, &w->ctx))
		return "io_setup";
	if (syscall(SYS_io_submit, w->ctx, AIO_OPS, iocbs) != AIO_OPS)
		return "io_submit";
	return NULL;
}

static const char *complete_aio(struct world *w, bool goes_on)
{
	struct io_event event[AIO_OPS];
	const char *wrong = NULL;
	int i;

	/* In every other round the file is closed first */
	if (w->rounds.done % 2)
		close_file(w);
	if (syscall(SYS_io_getevents, w->ctx, AIO_OPS, AIO_OPS, event, NULL) !=
	    AIO_OPS)
		wrong = "io_getevents";
	for (i = 0; i < AIO_OPS && !wrong; i++)
		if (event[i].res != SIZE)
			wrong = "an operation does not end as it should";
	syscall(SYS_io_destroy, w->ctx);
	w->ctx = 0;
	if (w->fd >= 0)
		close_file(w);
	return wrong;
}

TEST_F_TIMEOUT(end, with_aio_in_flight, TEST_RACE_TIMEOUT)
{
	if (!test_has_aio())
		SKIP(return, "no io_submit: enable CONFIG_AIO");
	ASSERT_ROUNDS_ARE_GOOD(.begin = submit_aio, .after = complete_aio);
}

static const char *map_file(struct world *w)
{
	const char *wrong = open_file(w);

	if (wrong)
		return wrong;
	w->map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);
	if (w->map == MAP_FAILED)
		return "mmap";
	/* The other pages are faulted in after the end */
	w->map[0] = 'x';
	if (w->rounds.done % 2)
		close_file(w);
	return NULL;
}

static const char *use_mapping(struct world *w, bool goes_on)
{
	const char *wrong = NULL;

	memset(w->map, 'y', SIZE);
	if (msync(w->map, SIZE, MS_SYNC))
		wrong = "msync";
	/* Where there is no MADV_PAGEOUT, this does less */
	madvise(w->map, SIZE, MADV_PAGEOUT);
	if (w->map[0] != 'y' || !test_uniform(w->map, SIZE))
		wrong = "a mapping has not what was stored";
	memset(w->map, 'x', SIZE);
	munmap(w->map, SIZE);
	if (w->fd >= 0)
		close_file(w);
	return wrong;
}

TEST_F_TIMEOUT(end, with_a_mapping, TEST_RACE_TIMEOUT)
{
	ASSERT_ROUNDS_ARE_GOOD(.begin = map_file, .after = use_mapping);
}

static void *splice_it(void *arg)
{
	struct world *w = arg;
	loff_t off = 0;

	w->ret = splice(w->pipe[0], NULL, w->fd, &off, PAGE, 0);
	w->err = errno;
	return NULL;
}

/* It waits for something to come through the pipe. */
static const char *begin_splice(struct world *w)
{
	const char *wrong = open_file(w);

	if (wrong)
		return wrong;
	if (pipe2(w->pipe, O_CLOEXEC) ||
	    pthread_create(&w->thread, NULL, splice_it, w))
		return "pipe or thread";
	usleep(1000);
	return NULL;
}

static const char *end_splice(struct world *w, bool goes_on)
{
	const char *wrong = NULL;
	loff_t off = 0;

	memset(w->buf, 'x', SIZE);
	if (write(w->pipe[1], w->buf, PAGE) != PAGE)
		wrong = "write to a pipe";
	close(w->pipe[1]);
	pthread_join(w->thread, NULL);
	errno = w->err;
	if (w->ret != PAGE)
		wrong = "splice into the file";
	close(w->pipe[0]);

	if (!wrong && pipe2(w->pipe, O_CLOEXEC))
		return "pipe";
	if (!wrong && splice(w->fd, &off, w->pipe[1], NULL, PAGE, 0) != PAGE)
		wrong = "splice from the file";
	if (!wrong) {
		close(w->pipe[0]);
		close(w->pipe[1]);
	}
	close_file(w);
	return wrong;
}

TEST_F_TIMEOUT(end, during_a_splice, TEST_RACE_TIMEOUT)
{
	ASSERT_ROUNDS_ARE_GOOD(.begin = begin_splice, .after = end_splice);
}

/* Files that are on their way to somebody else */

static const char *send_file(struct world *w)
{
	char control[CMSG_SPACE(sizeof(int))] = {};
	struct iovec iov = { "x", 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	const char *wrong = open_file(w);

	if (wrong)
		return wrong;
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, w->pipe))
		return "socketpair";
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &w->fd, sizeof(int));
	if (sendmsg(w->pipe[1], &msg, 0) != 1)
		wrong = "sendmsg";
	close_file(w);
	return wrong;
}

static const char *receive_file(struct world *w)
{
	char control[CMSG_SPACE(sizeof(int))], c;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	const char *wrong;

	if (recvmsg(w->pipe[0], &msg, MSG_CMSG_CLOEXEC) != 1 ||
	    !CMSG_FIRSTHDR(&msg))
		return "recvmsg";
	memcpy(&w->fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	wrong = check_io(w->fd, w->buf);
	close_file(w);
	return wrong;
}

/* In every other round nobody takes it. */
static const char *take_from_socket(struct world *w, bool goes_on)
{
	const char *wrong = NULL;

	if (w->rounds.done % 2)
		wrong = receive_file(w);
	close(w->pipe[0]);
	close(w->pipe[1]);
	return wrong;
}

TEST_F_TIMEOUT(end, with_the_file_in_a_socket, TEST_RACE_TIMEOUT)
{
	ASSERT_ROUNDS_ARE_GOOD(.begin = send_file, .after = take_from_socket);
}

static const char *leave_to_child(struct world *w)
{
	const char *wrong = open_file(w);
	char c;

	if (wrong)
		return wrong;
	if (pipe2(w->pipe, O_CLOEXEC))
		return "pipe";
	w->child = fork();
	if (w->child < 0)
		return "fork";
	if (!w->child) {
		close(w->pipe[1]);
		/* Until the other end is closed */
		if (read(w->pipe[0], &c, 1))
			_exit(2);
		_exit(!!check_io(w->fd, w->buf));
	}
	close(w->pipe[0]);
	close_file(w);
	return NULL;
}

static const char *wait_for_child(struct world *w, bool goes_on)
{
	int status;

	close(w->pipe[1]);
	while (waitpid(w->child, &status, 0) < 0)
		if (errno != EINTR)
			return "waitpid";
	return status ? "a child cannot use its file" : NULL;
}

TEST_F_TIMEOUT(end, with_the_file_of_a_child, TEST_RACE_TIMEOUT)
{
	ASSERT_ROUNDS_ARE_GOOD(.begin = leave_to_child,
			       .after = wait_for_child);
}

TEST_HARNESS_MAIN
