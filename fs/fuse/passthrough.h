/* SPDX-License-Identifier: GPL-2.0 */
/*
 * FUSE passthrough: what its parts, and the rest of FUSE, call of each other
 *
 * backing.c		the files that a server has registered with the device
 * passthrough_open.c	which of them an open file uses, and until when
 * passthrough_io.c	reads, writes, splices and mappings of it
 * passthrough_attr.c	attributes, whose changes the server does not see
 *
 * What they keep in inodes, open files and connections is in fuse_i.h.
 */

#ifndef _FS_FUSE_PASSTHROUGH_H
#define _FS_FUSE_PASSTHROUGH_H

#include "fuse_i.h"

#include <linux/fdtable.h>
#include <linux/mount.h>

extern const struct file_operations fuse_passthrough_file_operations;

/* passthrough_io.c, called only if there are passthrough files */

ssize_t fuse_passthrough_read_iter(struct kiocb *iocb, struct iov_iter *to);
ssize_t fuse_passthrough_write_iter(struct kiocb *iocb, struct iov_iter *from);
ssize_t fuse_passthrough_splice_read(struct file *in, loff_t *ppos,
				     struct pipe_inode_info *pipe, size_t len,
				     unsigned int flags);
ssize_t fuse_passthrough_splice_write(struct pipe_inode_info *pipe,
				      struct file *out, loff_t *ppos,
				      size_t len, unsigned int flags);
int fuse_passthrough_mmap(struct file *file, struct vm_area_struct *vma);
int fuse_passthrough_fadvise(struct file *file, loff_t offset, loff_t len,
			     int advice);

#ifdef CONFIG_FUSE_PASSTHROUGH

/* backing.c */

long fuse_backing_ioctl(struct fuse_conn *fc, unsigned int cmd,
			void __user *argp);
void fuse_backing_negotiate(struct fuse_mount *fm,
			    const struct fuse_init_out *arg, u64 flags);
void fuse_backing_files_init(struct fuse_conn *fc);
void fuse_backing_files_drop(struct fuse_conn *fc);
void fuse_backing_files_free(struct fuse_conn *fc);
struct fuse_backing *fuse_backing_lookup(struct fuse_conn *fc, int id);
struct fuse_backing *fuse_backing_get(struct fuse_backing *fb);
void fuse_backing_put(struct fuse_backing *fb);
struct file *fuse_backing_open_file(struct fuse_backing *fb,
				    const struct file *user_file,
				    unsigned int flags,
				    backing_file_released_t released,
				    void *data);

/* passthrough_open.c */

int fuse_passthrough_open(struct inode *inode, struct file *file);
bool fuse_passthrough_may_cache(struct file *file);
void fuse_passthrough_release(struct inode *inode, struct fuse_file *ff);
void fuse_io_end(struct fuse_file *ff);

static inline void fuse_passthrough_conn_init(struct fuse_conn *fc)
{
	init_waitqueue_head(&fc->io_waitq);
}

static inline void fuse_passthrough_inode_init(struct fuse_inode *fi)
{
	fi->io_mode = FUSE_IO_NEUTRAL;
	INIT_HLIST_HEAD(&fi->io_opens);
	fi->backing = NULL;
}

static inline void fuse_file_set_backing_id(struct fuse_file *ff, int id)
{
	ff->backing_id = id;
}

/* The user's open flags, with what the FUSE mount says added */
static inline unsigned int fuse_passthrough_flags(struct file *file)
{
	/* fcntl() may be changing them, in which case either will do */
	unsigned int flags = data_race(file->f_flags);

	if (unlikely(file->f_path.mnt->mnt_flags & MNT_NOATIME))
		flags |= O_NOATIME;

	return flags;
}

/* Is there any file open on this inode that uses a backing file? */
static inline bool fuse_inode_passthrough(struct inode *inode)
{
	return S_ISREG(inode->i_mode) &&
	       READ_ONCE(get_fuse_inode(inode)->backing);
}

/*
 * Is what a server stores in the page cache kept? To be called with the page
 * locked, before it is marked up to date.
 */
static inline bool fuse_inode_stores(struct inode *inode)
{
	/* Pairs with fuse_passthrough_attach(), which empties the page cache */
	smp_mb();
	return !fuse_inode_passthrough(inode);
}

/* Does mmap of this open file go to the backing file? */
static inline bool fuse_file_has_backing(struct fuse_file *ff)
{
	return ff->backing_file;
}

/**
 * fuse_io_begin() - a read or write through the mode of its inode begins
 * @ff: open file, on a connection with passthrough
 * @async: it may be completed later
 *
 * Tells what would be in the way of another open when the file has been closed.
 * That cannot happen while the only task that has the file descriptor is busy
 * here, which then holds no reference to the file, see __fdget(), or for the time
 * of a submission (libaio, io_uring).
 *
 * Return: whether fuse_io_end() has to be called; true for all that are @async
 */
static inline bool fuse_io_begin(struct fuse_file *ff, bool async)
{
	const struct files_struct *files = current->files;

	if (!async && files && atomic_read(&files->count) == 1)
		return false;

	atomic_inc(&ff->io_count);
	WRITE_ONCE(ff->io_begun, true);
	return true;
}

/**
 * fuse_io_completed() - what was begun as asynchronous has been completed
 * @ff: open file, which the caller has a reference to through its user_file
 *
 * Context: any, interrupts included
 */
static inline void fuse_io_completed(struct fuse_file *ff)
{
	if (ff->fm->fc->passthrough)
		fuse_io_end(ff);
}

/**
 * fuse_io_counted() - do a read or write between fuse_io_begin() and its end
 * @iocb: the user's kiocb
 * @iter: its data
 * @fn: does it. -EIOCBQUEUED for direct I/O means that fuse_io_completed() is
 *	going to be called; for other I/O nothing is completed later, but it is
 *	tried again.
 *
 * Return: what @fn returned
 */
static __always_inline ssize_t
fuse_io_counted(struct kiocb *iocb, struct iov_iter *iter,
		ssize_t (*fn)(struct kiocb *iocb, struct iov_iter *iter))
{
	struct fuse_file *ff = iocb->ki_filp->private_data;
	bool async = !is_sync_kiocb(iocb) && (iocb->ki_flags & IOCB_DIRECT);
	bool counted = ff->fm->fc->passthrough && fuse_io_begin(ff, async);
	ssize_t ret = fn(iocb, iter);

	/* Neither @iocb nor @ff need to be there any more if it is queued */
	if (counted && !(async && ret == -EIOCBQUEUED))
		fuse_io_end(ff);

	return ret;
}

/* passthrough_io.c */

int fuse_passthrough_init(void);
void fuse_passthrough_exit(void);

/* passthrough_attr.c */

void fuse_passthrough_attr_begin(struct fuse_inode *fi);
void fuse_passthrough_attr_update(struct fuse_inode *fi);
void fuse_passthrough_attr_replied(struct fuse_inode *fi, bool outdated);
void fuse_passthrough_attr_written(struct inode *inode, loff_t end);
u32 fuse_passthrough_inval_mask(struct inode *inode);

#else /* CONFIG_FUSE_PASSTHROUGH */

static inline long fuse_backing_ioctl(struct fuse_conn *fc, unsigned int cmd,
				      void __user *argp)
{
	return -EOPNOTSUPP;
}

static inline void fuse_backing_negotiate(struct fuse_mount *fm,
					  const struct fuse_init_out *arg,
					  u64 flags)
{
}

static inline void fuse_backing_files_init(struct fuse_conn *fc)
{
}

static inline void fuse_backing_files_drop(struct fuse_conn *fc)
{
}

static inline void fuse_backing_files_free(struct fuse_conn *fc)
{
}

static inline int fuse_passthrough_open(struct inode *inode, struct file *file)
{
	return 0;
}

static inline bool fuse_passthrough_may_cache(struct file *file)
{
	return true;
}

static inline void fuse_passthrough_release(struct inode *inode,
					    struct fuse_file *ff)
{
}

static inline void fuse_passthrough_conn_init(struct fuse_conn *fc)
{
}

static inline void fuse_passthrough_inode_init(struct fuse_inode *fi)
{
}

static inline void fuse_file_set_backing_id(struct fuse_file *ff, int id)
{
}

static inline bool fuse_inode_passthrough(struct inode *inode)
{
	return false;
}

static inline bool fuse_inode_stores(struct inode *inode)
{
	return true;
}

static inline bool fuse_file_has_backing(struct fuse_file *ff)
{
	return false;
}

static inline void fuse_io_completed(struct fuse_file *ff)
{
}

static __always_inline ssize_t
fuse_io_counted(struct kiocb *iocb, struct iov_iter *iter,
		ssize_t (*fn)(struct kiocb *iocb, struct iov_iter *iter))
{
	return fn(iocb, iter);
}

static inline int fuse_passthrough_init(void)
{
	return 0;
}

static inline void fuse_passthrough_exit(void)
{
}

static inline void fuse_passthrough_attr_replied(struct fuse_inode *fi,
						 bool outdated)
{
}

static inline u32 fuse_passthrough_inval_mask(struct inode *inode)
{
	return READ_ONCE(get_fuse_inode(inode)->inval_mask);
}

#endif /* CONFIG_FUSE_PASSTHROUGH */

/* May there be passthrough files on this connection? */
static inline bool fuse_conn_passthrough(struct fuse_conn *fc)
{
	return IS_ENABLED(CONFIG_FUSE_PASSTHROUGH) && fc->passthrough;
}

/*
 * Does what the page cache has of a file stay there when it is opened? It is
 * fuse_passthrough_open() that empties it for passthrough, once no I/O through
 * it is under way that had to be waited for.
 */
static inline bool fuse_open_keeps_cache(struct inode *inode,
					 struct fuse_file *ff)
{
	if (fuse_conn_passthrough(ff->fm->fc) && S_ISREG(inode->i_mode) &&
	    !FUSE_IS_DAX(inode) && (ff->open_flags & FOPEN_PASSTHROUGH))
		return true;

	return ff->open_flags & FOPEN_KEEP_CACHE;
}

/* By truncation, too, which the server has done in answering the open */
static inline bool fuse_open_drops_cache(struct inode *inode,
					 struct file *file)
{
	struct fuse_file *ff = file->private_data;

	if (ff->fm->fc->atomic_o_trunc && (file->f_flags & O_TRUNC))
		return true;

	return !fuse_open_keeps_cache(inode, ff);
}

/* Must advice about this open file not fill the FUSE page cache? */
static inline bool fuse_file_uncached(struct file *file)
{
	struct fuse_file *ff = file->private_data;

	return fuse_conn_passthrough(ff->fm->fc) &&
	       ((ff->open_flags & FOPEN_DIRECT_IO) ||
		fuse_inode_passthrough(file_inode(file)));
}

#endif /* _FS_FUSE_PASSTHROUGH_H */
