#include "serve.h"

#include "net.h"
#include "path.h"

#define GUESTS_MAX 6u      /* the front end sends two at a time */
#define BACKLOG 128
#define SERVED_MAX 4096u   /* connections in all: one fan-out has at most 1,024 nodes */
#define SERVING_S 900      /* in all */
#define REQUEST_S 3        /* for a request */
#define SILENCE_S 5        /* for a guest to take something */
#define PIECE_BYTES (256u << 10)

struct guest {
    int connection; /* below 0: none */
    size_t come;    /* of the request */
    int64_t until_s;
    uint64_t at;
    struct request request;
};

static struct guest guests[GUESTS_MAX];

/* The time that this takes says nothing of the token. */
static bool is_same(const uint8_t *one, const uint8_t *other, size_t size) {
    uint8_t difference = 0;
    for (size_t index = 0; index < size; index++) {
        difference |= (uint8_t)(one[index] ^ other[index]);
    }
    return difference == 0;
}

static bool is_good(const struct request *request, const struct archive *archive) {
    return memcmp(request->magic, REQUEST_FORMAT, sizeof request->magic) == 0 &&
           is_same(request->token, archive->token, TOKEN_BYTES) &&
           is_same(request->digest, archive->digest, SHA256_BYTES) && request->offset < archive->size;
}

static bool is_heard(const struct guest *guest) {
    return guest->come == sizeof guest->request;
}

/* Whether the guest stays. */
static bool hear(struct guest *guest, const struct archive *archive) {
    uint8_t *to = (uint8_t *)&guest->request + guest->come;
    long got = SYS3(read, guest->connection, to, sizeof guest->request - guest->come);
    if (got == -EAGAIN || got == -EINTR) {
        return true;
    }
    if (got <= 0) {
        return false;
    }
    guest->come += (size_t)got;
    guest->at = guest->request.offset;
    return !is_heard(guest) || is_good(&guest->request, archive);
}

static bool give(struct guest *guest, const struct archive *archive) {
    uint64_t left = archive->size - guest->at;
    int64_t offset = (int64_t)guest->at;
    long sent = SYS4(sendfile, guest->connection, archive->file, &offset, left < PIECE_BYTES ? left : PIECE_BYTES);
    if (sent == -EAGAIN || sent == -EINTR) {
        return true;
    }
    if (sent <= 0 || (uint64_t)sent > left) {
        return false;
    }
    guest->at += (uint64_t)sent;
    guest->until_s = seconds() + SILENCE_S;
    return guest->at < archive->size;
}

static void admit(int listener, struct guest *guest) {
    close_quietly(guest->connection);
    guest->connection = (int)SYS4(accept4, listener, NULL, NULL, O_CLOEXEC | O_NONBLOCK);
    guest->come = 0;
    guest->until_s = seconds() + REQUEST_S;
}

static void attend(struct guest *guest, short can, const struct archive *archive) {
    bool stays = seconds() < guest->until_s;
    if (stays && can != 0) {
        stays = is_heard(guest) ? give(guest, archive) : hear(guest, archive);
    }
    if (!stays) {
        close_quietly(guest->connection);
        guest->connection = -1;
    }
}

/* Where the next guest can be admitted: for one who has said nothing yet, if need be, for that may be a stranger. */
static struct guest *place_for_one(void) {
    struct guest *place = NULL;
    for (uint32_t index = 0; index < GUESTS_MAX; index++) {
        struct guest *guest = &guests[index];
        if (guest->connection < 0) {
            return guest;
        }
        if (!is_heard(guest) && (place == NULL || guest->until_s < place->until_s)) {
            place = guest;
        }
    }
    return place;
}

/* Whether somebody knocks, when the next thing can be done. */
static bool await(int listener, struct pollfd files[GUESTS_MAX + 1]) {
    struct moment tick = {1, 0};
    for (uint32_t index = 0; index < GUESTS_MAX; index++) {
        const struct guest *guest = &guests[index];
        files[index] = (struct pollfd){guest->connection, is_heard(guest) ? POLLOUT : POLLIN, 0};
    }
    files[GUESTS_MAX] = (struct pollfd){place_for_one() == NULL ? -1 : listener, POLLIN, 0};
    long result = SYS5(ppoll, files, GUESTS_MAX + 1, &tick, NULL, 0);
    return result > 0 && files[GUESTS_MAX].revents != 0;
}

void serve(int listener, const struct archive *archive) {
    struct pollfd files[GUESTS_MAX + 1];
    int64_t until_s = seconds() + SERVING_S;
    for (uint32_t index = 0; index < GUESTS_MAX; index++) {
        guests[index] = (struct guest){.connection = -1};
    }
    for (uint32_t served = 0; served < SERVED_MAX && seconds() < until_s;) {
        bool knocks = await(listener, files);
        for (uint32_t index = 0; index < GUESTS_MAX; index++) {
            if (guests[index].connection >= 0) {
                attend(&guests[index], files[index].revents, archive);
            }
        }
        struct guest *place = place_for_one();
        if (knocks && place != NULL) {
            admit(listener, place);
            served++;
        }
    }
}

/* At every address of this machine, at a port that the kernel chooses. */
static int listen_anywhere(uint16_t *port) {
    union any_address own;
    uint32_t size = sizeof own;
    static const int families[2] = {FAMILY_INET6, FAMILY_INET};
    for (uint32_t index = 0; index < 2; index++) {
        int listener = stream_socket(families[index]);
        int no = 0;
        if (listener < 0) {
            continue;
        }
        memset(&own, 0, sizeof own);
        own.four.sin_family = (__kernel_sa_family_t)families[index];
        SYS5(setsockopt, listener, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no);
        long result = SYS3(bind, listener, &own, index == 0 ? sizeof own.six : sizeof own.four);
        result = result == 0 ? SYS2(listen, listener, BACKLOG) : result;
        if (result == 0 && SYS3(getsockname, listener, &own, &size) == 0) {
            *port = swapped(own.four.sin_port);
            return listener;
        }
        close_quietly(listener);
    }
    return -1;
}

/* In the child: nothing is open but the archive and the listener, so that it keeps no channel of ssh's from its end. */
static _Noreturn void become_server(int listener, struct archive archive, long parent) {
    uint64_t broken_pipe = SIGNAL_BIT(SIGPIPE);
    SYS2(prctl, PR_SET_PDEATHSIG, SIGKILL);
    SYS4(rt_sigprocmask, SIG_BLOCK, &broken_pipe, NULL, sizeof broken_pipe);
    SYS3(dup3, archive.file, 0, 0);
    SYS3(dup3, listener, 1, 0);
    SYS3(close_range, 2, ~0u, 0);
    archive.file = 0;
    if (SYS0(getppid) == parent) {
        serve(1, &archive);
    }
    sys_exit(0);
}

uint16_t serve_start(const struct archive *archive) {
    uint16_t port = 0;
    int listener = listen_anywhere(&port);
    if (listener < 0) {
        return 0;
    }
    /* Above the numbers that the child gives them. */
    int high = (int)SYS3(fcntl, listener, F_DUPFD_CLOEXEC, 3);
    int file = (int)SYS3(fcntl, archive->file, F_DUPFD_CLOEXEC, 3);
    close_quietly(listener);
    long own = SYS0(getpid);
    long child = high < 0 || file < 0 ? -EMFILE : SYS5(clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        struct archive copy = *archive;
        copy.file = file;
        become_server(high, copy, own);
    }
    close_quietly(high);
    close_quietly(file);
    return child < 0 ? 0 : port;
}
