// SPDX-License-Identifier: GPL-2.0
/*
 * A small library for FUSE servers that speak to /dev/fuse themselves.
 * See fuse_server.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fuse_server.h"

#define DEFAULT_MAX_WRITE	(128 * 1024)
/* Room for the headers before the data of a WRITE, with the kernel's slack */
#define HEADER_ROOM		4096
#define FUSECTL			"/sys/fs/fuse/connections"

struct server_thread {
	struct fuse_server *srv;
	pthread_t thread;
	int dev;
};

struct fuse_server {
	struct fuse_server_config config;
	char *dir;
	int dev;
	int stop;			/* eventfd: the threads shall leave */
	bool mounted;
	bool running;
	dev_t st_dev;

	struct server_thread *threads;
	unsigned int nr_threads;	/* that have been started */

	pthread_mutex_t lock;		/* protects what follows */
	pthread_cond_t cond;
	bool init_done;			/* answered, held back, or failed */
	uint64_t init_unique;
	struct fuse_init_in init_in;
	struct fuse_init_out init_out;

	uint64_t count[FUSE_SERVER_MAX_OPCODE];	/* atomic */
};

static const char * const opcode_names[FUSE_SERVER_MAX_OPCODE] = {
	[FUSE_LOOKUP] = "LOOKUP",
	[FUSE_FORGET] = "FORGET",
	[FUSE_GETATTR] = "GETATTR",
	[FUSE_SETATTR] = "SETATTR",
	[FUSE_READLINK] = "READLINK",
	[FUSE_SYMLINK] = "SYMLINK",
	[FUSE_MKNOD] = "MKNOD",
	[FUSE_MKDIR] = "MKDIR",
	[FUSE_UNLINK] = "UNLINK",
	[FUSE_RMDIR] = "RMDIR",
	[FUSE_RENAME] = "RENAME",
	[FUSE_LINK] = "LINK",
	[FUSE_OPEN] = "OPEN",
	[FUSE_READ] = "READ",
	[FUSE_WRITE] = "WRITE",
	[FUSE_STATFS] = "STATFS",
	[FUSE_RELEASE] = "RELEASE",
	[FUSE_FSYNC] = "FSYNC",
	[FUSE_SETXATTR] = "SETXATTR",
	[FUSE_GETXATTR] = "GETXATTR",
	[FUSE_LISTXATTR] = "LISTXATTR",
	[FUSE_REMOVEXATTR] = "REMOVEXATTR",
	[FUSE_FLUSH] = "FLUSH",
	[FUSE_INIT] = "INIT",
	[FUSE_OPENDIR] = "OPENDIR",
	[FUSE_READDIR] = "READDIR",
	[FUSE_RELEASEDIR] = "RELEASEDIR",
	[FUSE_FSYNCDIR] = "FSYNCDIR",
	[FUSE_GETLK] = "GETLK",
	[FUSE_SETLK] = "SETLK",
	[FUSE_SETLKW] = "SETLKW",
	[FUSE_ACCESS] = "ACCESS",
	[FUSE_CREATE] = "CREATE",
	[FUSE_INTERRUPT] = "INTERRUPT",
	[FUSE_BMAP] = "BMAP",
	[FUSE_DESTROY] = "DESTROY",
	[FUSE_IOCTL] = "IOCTL",
	[FUSE_POLL] = "POLL",
	[FUSE_NOTIFY_REPLY] = "NOTIFY_REPLY",
	[FUSE_BATCH_FORGET] = "BATCH_FORGET",
	[FUSE_FALLOCATE] = "FALLOCATE",
	[FUSE_READDIRPLUS] = "READDIRPLUS",
	[FUSE_RENAME2] = "RENAME2",
	[FUSE_LSEEK] = "LSEEK",
	[FUSE_COPY_FILE_RANGE] = "COPY_FILE_RANGE",
	[FUSE_SETUPMAPPING] = "SETUPMAPPING",
	[FUSE_REMOVEMAPPING] = "REMOVEMAPPING",
	[FUSE_SYNCFS] = "SYNCFS",
	[FUSE_TMPFILE] = "TMPFILE",
};

const char *fuse_opcode_name(uint32_t opcode)
{
	if (opcode < FUSE_SERVER_MAX_OPCODE && opcode_names[opcode])
		return opcode_names[opcode];

	return "UNKNOWN";
}

static int send_reply(int dev, uint64_t unique, int error,
		      const void *a, size_t alen, const void *b, size_t blen)
{
	struct fuse_out_header out = {
		.len = sizeof(out) + alen + blen,
		.error = error,
		.unique = unique,
	};
	struct iovec iov[] = {
		{ &out, sizeof(out) },
		{ (void *)a, alen },
		{ (void *)b, blen },
	};

	return writev(dev, iov, 3) < 0 ? -1 : 0;
}

int fuse_reply2(struct fuse_req *req, const void *a, size_t alen,
		const void *b, size_t blen)
{
	req->answered = true;
	return send_reply(req->dev, req->in->unique, 0, a, alen, b, blen);
}

int fuse_reply(struct fuse_req *req, const void *data, size_t len)
{
	return fuse_reply2(req, data, len, NULL, 0);
}

int fuse_reply_err(struct fuse_req *req, int err)
{
	req->answered = true;
	return send_reply(req->dev, req->in->unique, -err, NULL, 0, NULL, 0);
}

static uint32_t max_write(const struct fuse_server *srv)
{
	return srv->config.max_write ? srv->config.max_write : DEFAULT_MAX_WRITE;
}

static void fill_init_out(struct fuse_server *srv)
{
	const struct fuse_init_in *in = &srv->init_in;
	struct fuse_init_out *out = &srv->init_out;
	uint64_t offer = in->flags;
	uint64_t flags;

	if (offer & FUSE_INIT_EXT)
		offer |= (uint64_t)in->flags2 << 32;

	flags = srv->config.init_flags & offer;
	if (flags >> 32)
		flags |= FUSE_INIT_EXT;

	out->major = FUSE_KERNEL_VERSION;
	out->minor = FUSE_KERNEL_MINOR_VERSION;
	out->max_readahead = in->max_readahead;
	out->flags = flags;
	out->flags2 = flags >> 32;
	out->max_background = 16;
	out->congestion_threshold = 12;
	out->max_write = max_write(srv);
	out->max_pages = max_write(srv) / 4096;
	out->time_gran = 1;
	out->max_stack_depth = srv->config.max_stack_depth;

	if (srv->config.init_reply)
		srv->config.init_reply(srv, in, out);
}

static void set_init_done(struct fuse_server *srv)
{
	pthread_mutex_lock(&srv->lock);
	srv->init_done = true;
	pthread_cond_broadcast(&srv->cond);
	pthread_mutex_unlock(&srv->lock);
}

void fuse_server_answer_init(struct fuse_server *srv)
{
	send_reply(srv->dev, srv->init_unique, 0, &srv->init_out,
		   sizeof(srv->init_out), NULL, 0);
}

static void handle_init(struct fuse_req *req)
{
	struct fuse_server *srv = req->srv;
	size_t len = req->len;

	if (len > sizeof(srv->init_in))
		len = sizeof(srv->init_in);
	memcpy(&srv->init_in, req->arg, len);
	srv->init_unique = req->in->unique;
	fill_init_out(srv);

	req->answered = true;
	if (!srv->config.hold_init)
		fuse_server_answer_init(srv);
	set_init_done(srv);
}

static bool wants_no_reply(uint32_t opcode)
{
	return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET ||
	       opcode == FUSE_INTERRUPT || opcode == FUSE_NOTIFY_REPLY;
}

static void handle_request(struct fuse_req *req)
{
	struct fuse_server *srv = req->srv;
	uint32_t opcode = req->in->opcode;

	if (opcode < FUSE_SERVER_MAX_OPCODE)
		__atomic_fetch_add(&srv->count[opcode], 1, __ATOMIC_SEQ_CST);

	if (opcode == FUSE_INIT) {
		handle_init(req);
		return;
	}

	if (srv->config.handle)
		srv->config.handle(req);

	if (req->answered || wants_no_reply(opcode))
		return;

	fuse_reply_err(req, opcode == FUSE_DESTROY ? 0 : ENOSYS);
}

/* 1: a request was read, 0: none was there, -1: no more will come */
static int read_request(int dev, void *buf, size_t size, size_t *len)
{
	ssize_t n = read(dev, buf, size);

	if (n >= (ssize_t)sizeof(struct fuse_in_header)) {
		*len = n;
		return 1;
	}

	/* ENOENT: the request was interrupted before it could be read */
	if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOENT))
		return 0;

	return -1;
}

static void *thread_main(void *arg)
{
	struct server_thread *thread = arg;
	struct fuse_server *srv = thread->srv;
	size_t size = max_write(srv) + HEADER_ROOM;
	char *buf = malloc(size);
	struct pollfd fds[] = {
		{ .fd = thread->dev, .events = POLLIN },
		{ .fd = srv->stop, .events = POLLIN },
	};

	while (buf) {
		struct fuse_req req = { .srv = srv, .dev = thread->dev };
		size_t len;
		int ret;

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[1].revents)
			break;

		ret = read_request(thread->dev, buf, size, &len);
		if (ret < 0)
			break;
		if (!ret)
			continue;

		req.in = (void *)buf;
		req.arg = buf + sizeof(*req.in);
		req.len = len - sizeof(*req.in);
		handle_request(&req);
	}

	free(buf);
	/* Nobody shall wait for an INIT that is not going to come */
	set_init_done(srv);
	return NULL;
}

static int start_threads(struct fuse_server *srv)
{
	unsigned int n = srv->config.threads ? srv->config.threads : 1;
	unsigned int i;
	int err;

	srv->threads = calloc(n, sizeof(*srv->threads));
	if (!srv->threads)
		return -1;

	for (i = 0; i < n; i++) {
		struct server_thread *thread = &srv->threads[i];

		thread->srv = srv;
		thread->dev = srv->dev;
		if (i && srv->config.clone_fds) {
			thread->dev = fuse_dev_clone(srv->dev);
			if (thread->dev < 0)
				return -1;
		}

		err = pthread_create(&thread->thread, NULL, thread_main,
				     thread);
		if (err) {
			if (thread->dev != srv->dev)
				close(thread->dev);
			errno = err;
			return -1;
		}
		srv->nr_threads++;
	}

	return 0;
}

/* Leaves the device as it would be if the process had died. */
static void stop_threads(struct fuse_server *srv)
{
	uint64_t one = 1;
	unsigned int i;

	if (!srv->running)
		return;
	srv->running = false;

	if (write(srv->stop, &one, sizeof(one)) < 0)
		perror("fuse_server: cannot stop the threads");

	for (i = 0; i < srv->nr_threads; i++)
		pthread_join(srv->threads[i].thread, NULL);

	for (i = 0; i < srv->nr_threads; i++)
		if (srv->threads[i].dev != srv->dev)
			close(srv->threads[i].dev);
	close(srv->dev);
	srv->dev = -1;
}

/* Only the mount's own device number will do: a stat would ask the server. */
int fuse_find_st_dev(const char *dir, dev_t *dev)
{
	unsigned int maj, min;
	char line[4096], mnt[4096];
	int ret = -1;
	FILE *f;

	f = fopen("/proc/self/mountinfo", "r");
	if (!f)
		return -1;

	/* The last one is on top */
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%*u %*u %u:%u %*s %4095s",
			   &maj, &min, mnt) == 3 && !strcmp(mnt, dir)) {
			*dev = ((dev_t)maj << 32) | min;
			ret = 0;
		}
	}
	fclose(f);

	if (ret)
		errno = ENOENT;
	return ret;
}

static int do_mount(struct fuse_server *srv)
{
	const struct fuse_server_config *config = &srv->config;
	const char *fsname = config->fsname ? config->fsname : "fuse_server";
	char options[1024];

	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=%o,user_id=%u,group_id=%u%s%s", srv->dev,
		 config->root_mode ? config->root_mode : S_IFDIR | 0755,
		 getuid(), getgid(), config->options ? "," : "",
		 config->options ? config->options : "");

	if (mount(fsname, srv->dir, "fuse.fuse_server", config->mount_flags,
		  options))
		return -1;

	srv->mounted = true;
	return fuse_find_st_dev(srv->dir, &srv->st_dev);
}

static void wait_for_init(struct fuse_server *srv)
{
	pthread_mutex_lock(&srv->lock);
	while (!srv->init_done)
		pthread_cond_wait(&srv->cond, &srv->lock);
	pthread_mutex_unlock(&srv->lock);
}

static void free_server(struct fuse_server *srv)
{
	int saved_errno = errno;

	if (srv->stop >= 0)
		close(srv->stop);
	pthread_cond_destroy(&srv->cond);
	pthread_mutex_destroy(&srv->lock);
	free(srv->threads);
	free(srv->dir);
	free(srv);
	errno = saved_errno;
}

struct fuse_server *fuse_server_start(const struct fuse_server_config *config,
				      const char *dir)
{
	struct fuse_server *srv = calloc(1, sizeof(*srv));
	int saved_errno;

	if (!srv)
		return NULL;

	srv->config = *config;
	srv->dev = -1;
	srv->stop = -1;
	pthread_mutex_init(&srv->lock, NULL);
	pthread_cond_init(&srv->cond, NULL);

	srv->dir = realpath(dir, NULL);
	if (!srv->dir)
		goto out_free;

	srv->stop = eventfd(0, EFD_CLOEXEC);
	if (srv->stop < 0)
		goto out_free;

	srv->dev = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (srv->dev < 0)
		goto out_free;

	if (do_mount(srv))
		goto out_unmount;

	srv->running = true;
	if (start_threads(srv))
		goto out_stop;

	wait_for_init(srv);
	return srv;

out_stop:
	saved_errno = errno;
	stop_threads(srv);
	errno = saved_errno;
out_unmount:
	saved_errno = errno;
	if (srv->mounted)
		umount2(srv->dir, MNT_DETACH);
	if (srv->dev >= 0)
		close(srv->dev);
	errno = saved_errno;
out_free:
	free_server(srv);
	return NULL;
}

void fuse_server_kill(struct fuse_server *srv)
{
	stop_threads(srv);
}

void fuse_server_stop(struct fuse_server *srv)
{
	if (!srv)
		return;

	if (srv->mounted && umount(srv->dir))
		umount2(srv->dir, MNT_DETACH);
	stop_threads(srv);
	free_server(srv);
}

static int mount_fusectl(void)
{
	if (!access(FUSECTL "/.", F_OK) &&
	    !mount("fusectl", FUSECTL, "fusectl", 0, NULL))
		return 0;

	return errno == EBUSY ? 0 : -1;
}

int fuse_abort(dev_t dev)
{
	unsigned int min = dev & 0xffffffff;
	char path[128];
	int fd, ret;

	snprintf(path, sizeof(path), FUSECTL "/%u/abort", min);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && !mount_fusectl())
		fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;

	ret = write(fd, "1", 1) == 1 ? 0 : -1;
	close(fd);
	return ret;
}

int fuse_server_abort(struct fuse_server *srv)
{
	return fuse_abort(srv->st_dev);
}

int fuse_mount_abort(const char *dir)
{
	dev_t st_dev;

	return fuse_find_st_dev(dir, &st_dev) ? -1 : fuse_abort(st_dev);
}

int fuse_server_wait(struct fuse_server *srv)
{
	unsigned int i;

	for (i = 0; i < srv->nr_threads; i++)
		pthread_join(srv->threads[i].thread, NULL);
	srv->nr_threads = 0;

	return 0;
}

void *fuse_server_priv(struct fuse_server *srv)
{
	return srv->config.priv;
}

int fuse_server_dev(struct fuse_server *srv)
{
	return srv->dev;
}

const struct fuse_init_in *fuse_server_init_in(struct fuse_server *srv)
{
	return &srv->init_in;
}

const struct fuse_init_out *fuse_server_init_out(struct fuse_server *srv)
{
	return &srv->init_out;
}

uint64_t fuse_server_count(struct fuse_server *srv, uint32_t opcode)
{
	return opcode < FUSE_SERVER_MAX_OPCODE ?
	       __atomic_load_n(&srv->count[opcode], __ATOMIC_SEQ_CST) : 0;
}

uint64_t fuse_server_count_all(struct fuse_server *srv)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < FUSE_SERVER_MAX_OPCODE; i++)
		sum += fuse_server_count(srv, i);

	return sum;
}

int fuse_backing_open(int dev, int fd)
{
	struct fuse_backing_map map = { .fd = fd };

	return ioctl(dev, FUSE_DEV_IOC_BACKING_OPEN, &map);
}

int fuse_backing_close(int dev, int32_t id)
{
	uint32_t arg = id;

	return ioctl(dev, FUSE_DEV_IOC_BACKING_CLOSE, &arg);
}

int fuse_dev_clone(int dev)
{
	uint32_t arg = dev;
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	int saved_errno;

	if (fd < 0)
		return -1;

	if (ioctl(fd, FUSE_DEV_IOC_CLONE, &arg)) {
		saved_errno = errno;
		close(fd);
		errno = saved_errno;
		return -1;
	}

	return fd;
}
