/* A runtime's archive for other nodes, as long as the front end wants: by a process of its own, which has nothing else.
 *
 * They get it while it comes, so that the front end sends it once, and all have it hardly later than the first.  So bytes
 * are given unchecked, also those that an earlier run left here: each guest checks them by the digest.
 *
 * Any process in the network may connect.  A connection is cut if it does not say the token within seconds, or before
 * another one needs its place.  So there are only a few connections at a time, for a bounded time.  What they could get
 * is public, and is read from a descriptor.
 */
#ifndef GPROC_SERVE_H
#define GPROC_SERVE_H

#include "fetch.h"

/* there: how many of its bytes are in the file.  news: an eventfd(2), which says how many more are. */
struct archive {
    int file, news;
    uint64_t size, there;
    uint8_t digest[SHA256_BYTES];
    uint8_t token[TOKEN_BYTES];
};

/* The process that serves it.  port: 0 if there is none. */
struct server {
    long process;
    int news;
    uint16_t port;
};

/* Start a process that serves it, and that ends with this one at the latest. */
struct server serve_start(const struct archive *archive);

/* So many more bytes are in the file. */
void serve_more(const struct server *server, uint64_t bytes);

/* Where others find it now; 0 if the process has ended. */
uint16_t serve_port(struct server *server);

void serve_end(struct server *server);

/* What that process does, until its time is over: that begins when all is there, and again with each guest. */
void serve(int listener, struct archive archive);

#endif
