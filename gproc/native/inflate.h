/* DEFLATE, RFC 1951, in the frame of gzip, RFC 1952, from a source of bytes to a sink of bytes.
 *
 * It takes 350 KB of memory whatever it is given, and what it makes is bounded by its caller.  The checksum of the frame
 * is not looked at: a runtime has a better one.
 */
#ifndef GPROC_INFLATE_H
#define GPROC_INFLATE_H

#include "bits.h"

/* Whether `size` bytes were taken; `false` ends it. */
typedef bool (*inflate_sink)(const uint8_t *bytes, size_t size);

/* Whether the whole was good, and given to the sink; at most `most` bytes.  If not, `failure` says why, unless source or
 * sink have said it. */
bool inflate_gzip(bits_source source, inflate_sink sink, uint64_t most);

#endif
