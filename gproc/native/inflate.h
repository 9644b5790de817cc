/* DEFLATE, RFC 1951, in the frame of gzip, RFC 1952, from a source of bytes to a sink of bytes.
 *
 * It takes 100 KB of memory whatever it is given, and what it makes is bounded by its caller.  The checksum of the frame
 * is not looked at: a runtime has a better one.
 */
#ifndef GPROC_INFLATE_H
#define GPROC_INFLATE_H

#include "sys.h"

/* The next bytes, at least one; 0 at their end or at a failure. */
typedef size_t (*inflate_source)(const uint8_t **bytes);

/* Whether `size` bytes were taken; `false` ends it. */
typedef bool (*inflate_sink)(const uint8_t *bytes, size_t size);

/* Whether the whole was good, and given to the sink; at most `most` bytes.  If not, `failure` says why, unless source or
 * sink have said it. */
bool inflate_gzip(inflate_source source, inflate_sink sink, uint64_t most);

#endif
