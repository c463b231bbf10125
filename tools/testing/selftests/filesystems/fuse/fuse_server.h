/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A small library for FUSE servers that speak to /dev/fuse themselves.
 *
 * A server is mounted, answers INIT as its configuration says, and hands every
 * other request to the handler of the configuration, in threads of its own.
 * Each request is counted by opcode before it is handled: a test proves that an
 * operation bypassed the server by comparing counters.
 */
#ifndef _FUSE_SERVER_H
#define _FUSE_SERVER_H

#include <linux/fuse.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FUSE_SERVER_MAX_OPCODE	64

struct fuse_server;

/* One request, valid until the handler returns */
struct fuse_req {
	struct fuse_server *srv;
	const struct fuse_in_header *in;	/* as it came from the kernel */
	const void *arg;		/* what follows the header */
	size_t len;			/* bytes at arg */
	int dev;			/* device fd that the request came from */
	bool answered;			/* a reply was sent, or must not be */
};

struct fuse_server_config {
	/* What to answer INIT with. Flags are masked with the kernel's offer. */
	uint64_t init_flags;		/* 64 bits: flags2 << 32 | flags */
	uint32_t max_stack_depth;
	uint32_t max_write;		/* 0: 128 KiB */
	/* The last word on the INIT reply, wrong words included. May be NULL */
	void (*init_reply)(struct fuse_server *srv,
			   const struct fuse_init_in *in,
			   struct fuse_init_out *out);
	/* INIT is left unanswered until fuse_server_answer_init() */
	bool hold_init;

	/*
	 * Handles everything but INIT, in any of the server's threads. What it
	 * leaves unanswered is answered with ENOSYS (FORGET and the like: with
	 * nothing).
	 */
	void (*handle)(struct fuse_req *req);
	unsigned int threads;		/* 0: one */
	bool clone_fds;			/* each thread has its own cloned fd */

	const char *fsname;		/* in /proc/mounts; NULL: "fuse_server" */
	const char *options;		/* further mount options, or NULL */
	unsigned long mount_flags;	/* MS_* */
	uint32_t root_mode;		/* 0: S_IFDIR | 0755 */
	void *priv;
};

/*
 * Opens /dev/fuse, mounts on @dir and starts the threads. Returns the server,
 * or NULL with errno set. INIT has been answered when it returns, unless
 * hold_init is set.
 */
struct fuse_server *fuse_server_start(const struct fuse_server_config *config,
				      const char *dir);
/* Answers an INIT that was held back. */
void fuse_server_answer_init(struct fuse_server *srv);
/* Unmounts (lazily if busy), stops the threads, frees everything. */
void fuse_server_stop(struct fuse_server *srv);
/* As if the server had been killed: closes the device, leaves the mount. */
void fuse_server_kill(struct fuse_server *srv);
/* Writes to /sys/fs/fuse/connections/N/abort. 0, or -1 with errno set. */
int fuse_server_abort(struct fuse_server *srv);
/* The same for the mount at @dir, whoever serves it. */
int fuse_mount_abort(const char *dir);
/*
 * The same for a mount without a struct fuse_server, by the device number of the
 * top mount on @dir, MAJOR << 32 | MINOR
 */
int fuse_find_st_dev(const char *dir, dev_t *dev);
int fuse_abort(dev_t dev);
/* Runs until the file system is unmounted (for servers in the foreground). */
int fuse_server_wait(struct fuse_server *srv);

void *fuse_server_priv(struct fuse_server *srv);
int fuse_server_dev(struct fuse_server *srv);	/* the first device fd */
const struct fuse_init_in *fuse_server_init_in(struct fuse_server *srv);
const struct fuse_init_out *fuse_server_init_out(struct fuse_server *srv);
uint64_t fuse_server_count(struct fuse_server *srv, uint32_t opcode);
uint64_t fuse_server_count_all(struct fuse_server *srv);
const char *fuse_opcode_name(uint32_t opcode);

/* Replies. @err is positive. Each returns 0, or -1 with errno set. */
int fuse_reply(struct fuse_req *req, const void *data, size_t len);
int fuse_reply2(struct fuse_req *req, const void *a, size_t alen,
		const void *b, size_t blen);
int fuse_reply_err(struct fuse_req *req, int err);

/* The two ioctls. An id or 0, or -1 with errno set. */
int fuse_backing_open(int dev, int fd);
int fuse_backing_close(int dev, int32_t id);
/* A further device fd of the connection of @dev, or -1 with errno set. */
int fuse_dev_clone(int dev);

#endif /* _FUSE_SERVER_H */
