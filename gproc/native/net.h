/* Sockets, as far as nodes hand a runtime on by them. */
#ifndef GPROC_NET_H
#define GPROC_NET_H

#include "sys.h"

#include <linux/in.h>
#include <linux/in6.h>

#define FAMILY_INET 2 /* AF_INET, AF_INET6, SOCK_STREAM, SOL_SOCKET, SO_ERROR, MSG_NOSIGNAL: socket(2) */
#define FAMILY_INET6 10
#define STREAM 1
#define SOCKET_ERROR 4
#define NO_SIGNAL 0x4000

union any_address {
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

static inline uint16_t swapped(uint16_t number) {
    return (uint16_t)(number << 8 | number >> 8); /* ours is little-endian, the network's is not */
}

static inline int stream_socket(int family) {
    return (int)SYS3(socket, family, STREAM | O_CLOEXEC | O_NONBLOCK, IPPROTO_TCP);
}

#endif
