/* A runtime's archive for other nodes, as long as the front end wants: by a process of its own, which has nothing else.
 *
 * Anybody in the network may connect.  Who does not say the token within seconds, or before somebody else comes and there is no
 * place, is cut off, so that there are only a few connections at a time, for a bounded time; what they could get is public, and is read from a descriptor.
 */
#ifndef GPROC_SERVE_H
#define GPROC_SERVE_H

#include "fetch.h"

struct archive {
    int file;
    uint64_t size;
    uint8_t digest[SHA256_BYTES];
    uint8_t token[TOKEN_BYTES];
};

/* Start a process that serves it, and that ends with this one; its port, 0 if that cannot be done. */
uint16_t serve_start(const struct archive *archive);

/* What that process does, until its time is over. */
void serve(int listener, const struct archive *archive);

#endif
