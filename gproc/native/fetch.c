#include "fetch.h"

#include "answer.h"
#include "net.h"
#include "path.h"

#define PATIENCE_S 3u /* of silence, and of connecting */
#define RATE_S 5     /* in so many seconds at least as many bytes come: the front end is faster then */
#define RATE_BYTES (512u << 10)

static int64_t since_s;
static uint64_t since_bytes;

/* Whether there is something to do at `file` in time.  The front end says nothing meanwhile: if its end can be read, it is
 * gone, or does not keep to the protocol. */
static bool is_ready(int file, short what, const char **why) {
    struct pollfd files[2] = {{file, what, 0}, {0, POLLIN, 0}};
    long result = 0;
    for (uint32_t waited_s = 0; waited_s < PATIENCE_S && result == 0; waited_s++) {
        struct moment tick = {1, 0};
        still_doing("receives the runtime from another node");
        result = SYS5(ppoll, files, 2, &tick, NULL, 0);
    }
    *why = files[1].revents != 0 ? "the front end is gone" : result == 0 ? "it does not answer" : "it cannot be awaited";
    return result > 0 && files[1].revents == 0;
}

static long connect_to(int connection, const uint8_t address[ADDRESS_BYTES], uint16_t port, bool four) {
    union any_address to;
    memset(&to, 0, sizeof to);
    if (four) {
        to.four.sin_family = FAMILY_INET;
        to.four.sin_port = swapped(port);
        memcpy(&to.four.sin_addr, address + 12, 4);
        return SYS3(connect, connection, &to.four, sizeof to.four);
    }
    to.six.sin6_family = FAMILY_INET6;
    to.six.sin6_port = swapped(port);
    memcpy(&to.six.sin6_addr, address, ADDRESS_BYTES);
    return SYS3(connect, connection, &to.six, sizeof to.six);
}

static const char *reason_of(long error) {
    switch (error) {
    case ECONNREFUSED:
        return "Connection refused";
    case EHOSTUNREACH:
        return "No route to host";
    case ENETUNREACH:
        return "Network is unreachable";
    case EACCES:
        return "Permission denied";
    default:
        return "it cannot be reached";
    }
}

static bool is_connected(int connection, const char **why) {
    int error = 0;
    uint32_t size = sizeof error;
    if (!is_ready(connection, POLLOUT, why)) {
        return false;
    }
    SYS5(getsockopt, connection, SOCKET_LEVEL, SOCKET_ERROR, &error, &size);
    *why = reason_of(error);
    return error == 0;
}

int fetch_open(const uint8_t address[ADDRESS_BYTES], uint16_t port, const struct request *request, const char **why) {
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    bool four = memcmp(address, mapped, sizeof mapped) == 0;
    int connection = stream_socket(four ? FAMILY_INET : FAMILY_INET6);
    if (connection < 0) {
        *why = "there is no socket for it";
        return -1;
    }
    long result = connect_to(connection, address, port, four);
    *why = reason_of(-result);
    bool good = result == 0 || (result == -EINPROGRESS && is_connected(connection, why));
    /* It is new: its buffer takes 56 bytes at once. */
    if (good && SYS6(sendto, connection, request, sizeof *request, NO_SIGNAL, NULL, 0) != (long)sizeof *request) {
        *why = "it closed the connection";
        good = false;
    }
    if (!good) {
        close_quietly(connection);
        return -1;
    }
    since_s = seconds();
    since_bytes = 0;
    return connection;
}

static bool is_fast_enough(size_t got) {
    int64_t now_s = seconds();
    since_bytes += got;
    if (now_s - since_s < RATE_S) {
        return true;
    }
    bool fast = since_bytes >= RATE_BYTES;
    since_s = now_s;
    since_bytes = 0;
    return fast;
}

long fetch_next(int connection, void *to, size_t size, const char **why) {
    for (;;) {
        if (!is_ready(connection, POLLIN, why)) {
            return 0;
        }
        long got = SYS3(read, connection, to, size);
        if (got == -EAGAIN || got == -EINTR) {
            continue;
        }
        *why = "it closed the connection";
        if (got > 0 && !is_fast_enough((size_t)got)) {
            *why = "it is slow";
            return 0;
        }
        return got < 0 ? 0 : got;
    }
}
