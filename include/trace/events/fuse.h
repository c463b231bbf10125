/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM fuse

#if !defined(_TRACE_FUSE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_FUSE_H

#include <linux/kdev_t.h>
#include <linux/tracepoint.h>

/*
 * An open has failed because the server's reply asked for a passthrough that cannot
 * be had: with -EIO, or -EAGAIN or the like if the backing file would have had to be
 * waited for. @error tells more only where something that the kernel tried has failed.
 */
TRACE_EVENT(fuse_passthrough_refused,
	    TP_PROTO(dev_t dev, u64 nodeid, int backing_id, u32 open_flags,
		     const char *reason, int error),

	    TP_ARGS(dev, nodeid, backing_id, open_flags, reason, error),

	    TP_STRUCT__entry(__field(dev_t, dev)
			     __field(u64, nodeid)
			     __field(int, backing_id)
			     __field(u32, open_flags)
			     __string(reason, reason)
			     __field(int, error)
	    ),

	    TP_fast_assign(__entry->dev = dev;
			   __entry->nodeid = nodeid;
			   __entry->backing_id = backing_id;
			   __entry->open_flags = open_flags;
			   __assign_str(reason, reason);
			   __entry->error = error;
	    ),

	    TP_printk("connection=%u:%u nodeid=%llu backing_id=%d open_flags=0x%x reason=\"%s\" error=%d",
		      MAJOR(__entry->dev), MINOR(__entry->dev),
		      __entry->nodeid, __entry->backing_id,
		      __entry->open_flags, __get_str(reason), __entry->error)
);

#endif /* _TRACE_FUSE_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
