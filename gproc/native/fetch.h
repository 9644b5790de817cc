/* A part of a runtime's archive from another node that has it: one request, and bytes until the end.
 *
 * The front end told us, over ssh, where that node is and with which token; it told that node the same token.  What comes
 * is checked by its digest at the end, so here there are only bounds: of silence, and of slowness.
 */
#ifndef GPROC_FETCH_H
#define GPROC_FETCH_H

#include "sha256.h"

#define TOKEN_BYTES 16u
#define ADDRESS_BYTES 16u /* of IPv6; one of IPv4 as ::ffff:a.b.c.d */
#define REQUEST_FORMAT "gpr1"

/* What a node says that wants the rest of an archive. */
struct request {
    char magic[4];
    uint32_t offset;
    uint8_t token[TOKEN_BYTES];
    uint8_t digest[SHA256_BYTES];
};

/* A connection on which the bytes come; below 0, and `why`, if there is none. */
int fetch_open(const uint8_t address[ADDRESS_BYTES], uint16_t port, const struct request *request, const char **why);

/* The next bytes; 0 and `why` at an end, after too long a silence, if they are too slow, or if the front end is gone. */
long fetch_next(int connection, void *to, size_t size, const char **why);

#endif
